"""The two files: whole at every instant, readable by everybody, honest about their writer."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from agent.status import snapshot
from agent.status_alive import age_s, life, writer
from tests.unit.status_samples import PANS, StillLoop, owed, parked, scene, status_writer


def document(*pending: Any) -> dict[str, Any]:
    return snapshot(StillLoop(*pending), scene())


def test_both_files_are_there_readable_by_all_and_numbered(tmp_path: Path) -> None:
    status = status_writer(tmp_path)
    assert status.write(document(owed()))
    assert status.write(document())
    told = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert told["sequence"] == 2
    assert (tmp_path / "status.txt").read_text(encoding="utf-8").startswith("OK")
    for name in ("status.json", "status.txt"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["status.json", "status.txt"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        status_writer(tmp_path).write(document())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "status.json").stat().st_mode) == 0o644


def test_a_reader_with_the_old_file_open_still_reads_it_whole(tmp_path: Path) -> None:
    status = status_writer(tmp_path)
    status.write(document())
    with (tmp_path / "status.json").open(encoding="utf-8") as held:
        status.write(document(parked()))
        assert json.load(held)["sequence"] == 1


def test_a_directory_that_is_gone_is_logged_once_and_again_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "run"
    status = status_writer(home)
    with caplog.at_level(logging.INFO, logger="reversald"):
        assert not status.write(document())
        assert not status.write(document())
        home.mkdir()
        assert status.write(document())
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_the_last_word_says_that_the_agent_was_stopped_and_why(tmp_path: Path) -> None:
    status = status_writer(tmp_path)
    status.stopped("nothing was written yet")
    assert not (tmp_path / "status.json").exists()
    status.write(document())
    status.stopped(f"journal in doubt {PANS[0]}")
    told = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert told["stopped"]["reason"].startswith("journal in doubt")
    assert PANS[0] not in told["stopped"]["reason"]
    assert life(told, 0.0) == "stopped"


@pytest.mark.parametrize(
    ("language", "severity", "said"),
    [("en", "CRITICAL", "THE AGENT WAS STOPPED (as asked)"), ("zh", "严重", "系统已停止（按要求）")],
)
def test_the_text_that_outlives_its_writer_does_not_go_on_saying_that_all_is_well(
    tmp_path: Path, language: str, severity: str, said: str
) -> None:
    status = status_writer(tmp_path)
    status.write({**document(), "language": language})
    status.stopped()
    told = (tmp_path / "status.txt").read_text(encoding="utf-8")
    assert told.startswith(severity)
    assert said in told
    assert "systemctl start reversald" in told.splitlines()[-1]


# --- who wrote it ---


def proc(root: Path, pid: int = 4242, ticks: int = 77, boot: str = "b", namespace: str = "pid:[1]") -> Path:
    """A /proc with one process. The name holds what a parser could trip over."""
    (root / "sys/kernel/random").mkdir(parents=True)
    (root / "sys/kernel/random/boot_id").write_text(boot + "\n")
    (root / "self/ns").mkdir(parents=True)
    (root / "self/ns/pid").symlink_to(namespace)
    (root / str(pid)).mkdir()
    (root / str(pid) / "stat").write_text(f"{pid} (a ) b) S " + "0 " * 18 + f"{ticks} 0 0\n")
    return root


def test_a_writer_that_lives_is_alive(tmp_path: Path) -> None:
    told = document()
    assert life(told, told["updated_mono_s"] + 14, proc(tmp_path)) == "alive"


def test_a_stamp_that_is_too_old_means_that_it_hangs(tmp_path: Path) -> None:
    told = document()
    assert life(told, told["updated_mono_s"] + 16, proc(tmp_path)) == "silent"
    assert age_s(told, told["updated_mono_s"] + 16) == 16


def test_a_process_that_is_gone_is_dead_however_fresh_the_stamp(tmp_path: Path) -> None:
    told = document()
    assert life(told, told["updated_mono_s"], proc(tmp_path, pid=1)) == "dead"


def test_another_process_with_the_same_number_is_not_the_writer(tmp_path: Path) -> None:
    told = document()
    assert life(told, told["updated_mono_s"], proc(tmp_path, ticks=78)) == "dead"


def test_a_file_from_before_the_restart_of_the_machine_is_known_as_such(tmp_path: Path) -> None:
    told = document()
    assert life(told, told["updated_mono_s"], proc(tmp_path, boot="another")) == "rebooted"


def test_process_numbers_of_another_container_are_not_compared(tmp_path: Path) -> None:
    told = document()
    elsewhere = proc(tmp_path, pid=1, namespace="pid:[2]")
    assert life(told, told["updated_mono_s"], elsewhere) == "alive"
    assert life(told, told["updated_mono_s"] + 60, elsewhere) == "silent"


def test_this_process_recognises_itself() -> None:
    told = {"agent": writer(), "stopped": None, "updated_mono_s": 10.0, "stale_after_s": 5.0}
    assert told["agent"]["pid"] == os.getpid()
    assert life(told, 11.0) == "alive"
