"""A real, small file system, filled to its last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import Journal, JournalFull, JournalUnreadable
from tests.journal_scenes import Home, sale

ROOM = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A memory file system of 8 MiB; skipped where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("needs root to mount a small file system; to run it: sudo make test")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> None:
    """Somebody else's log takes every byte."""
    with (disk / "other.log").open("ab", buffering=0) as stream:
        for size in (1 << 16, 4096, 1):
            try:
                while stream.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def acknowledge(journal: Journal, first: int, count: int) -> None:
    for number in range(first, first + count):
        sale(journal, f"t{number}", "reversed")


def test_acknowledgements_are_stored_on_a_full_disk_and_sales_are_refused(disk: Path) -> None:
    home = Home(disk)
    journal = home.open(presize_bytes=ROOM, reserve_bytes=1 << 19)
    for number in range(120):
        sale(journal, f"t{number}", "begun")
    journal.admit()
    fill(disk)
    assert os.statvfs(disk).f_bavail == 0
    with pytest.raises(JournalFull):
        journal.admit()
    acknowledge(journal, 0, 120)
    assert journal.counts() == {"reversed": 120}
    journal.close()


def test_a_clean_restart_on_a_full_disk_takes_its_log_from_the_ballast(disk: Path) -> None:
    home = Home(disk)
    journal = home.open(presize_bytes=ROOM)
    for number in range(60):
        sale(journal, f"t{number}", "begun")
    journal.close()
    fill(disk)
    journal = home.open(presize_bytes=ROOM)
    fill(disk)
    acknowledge(journal, 0, 60)
    assert not journal.pending()
    journal.close()


def test_a_read_only_disk_refuses_the_start_and_is_told(disk: Path) -> None:
    home = Home(disk)
    journal = home.open(presize_bytes=0)
    sale(journal, "a", "begun")
    journal.close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(JournalUnreadable) as caught:
        home.open()
    assert caught.value.code == "E-JOURNAL-IO"
