"""Names that come and go are heard of, without looking again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.hotplug import Hotplug, is_absent
from drivers.name_watch import NameWatch

LONG_S = 60.0


class Woken:
    """A worker that counts."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def wake(self) -> None:
        self.event.set()


def come(name: Path) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    name.touch()


def come_by_rename(name: Path) -> None:
    (name.parent / "other").touch()
    (name.parent / "other").rename(name)


def come_as_link(name: Path) -> None:
    (name.parent / "target").touch()
    name.symlink_to("target")


@pytest.mark.parametrize("appear", [come, come_by_rename, come_as_link])
def test_a_worker_is_woken_when_its_name_comes_and_when_it_goes(tmp_path: Path, appear: Callable[[Path], None]) -> None:
    name, worker = tmp_path / "reader", Woken()
    hotplug = Hotplug({"reader": (str(name), worker)}, poll_s=LONG_S, udev=False)
    hotplug.start()
    try:
        assert is_absent(str(name))
        appear(name)
        assert worker.event.wait(10)
        worker.event.clear()
        name.unlink()
        assert worker.event.wait(10)
    finally:
        hotplug.close()


def test_a_name_in_a_directory_that_does_not_exist_yet(tmp_path: Path) -> None:
    name, worker = tmp_path / "dev" / "pos" / "reader", Woken()
    hotplug = Hotplug({"reader": (str(name), worker)}, poll_s=LONG_S, udev=False)
    hotplug.start()
    try:
        come(name)
        assert worker.event.wait(10)
    finally:
        hotplug.close()


def test_the_target_of_a_link_that_stays(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    name, worker = tmp_path / "reader", Woken()
    name.symlink_to("dev/ttyUSB0")
    hotplug = Hotplug({"reader": (str(name), worker)}, poll_s=LONG_S, udev=False)
    hotplug.start()
    try:
        assert is_absent(str(name))
        (tmp_path / "dev" / "ttyUSB0").touch()
        assert worker.event.wait(10)
    finally:
        hotplug.close()


def test_an_end_does_not_wait_for_the_next_look(tmp_path: Path) -> None:
    hotplug = Hotplug({"reader": (str(tmp_path / "x"), Woken())}, poll_s=LONG_S, udev=False)
    hotplug.start()
    hotplug.close()
    assert not hotplug._thread.is_alive()


def test_a_watch_without_names_only_waits(tmp_path: Path) -> None:
    watch = NameWatch()
    watch.arm()
    watch.interrupt()
    watch.wait(LONG_S)
    watch.close()
    watch.close()
    assert not is_absent("")
