"""Files whose content survives: what a replaced one keeps of the old one; lines that are whole or an error."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.durable_file import LockFile, append_line, create_durably, replace_durably
from tests.full_disk import room_for


def test_a_replaced_file_has_the_new_content_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    replace_durably(target, b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_a_draft_that_a_power_cut_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"half")
    replace_durably(tmp_path / "f", b"new")
    assert os.listdir(tmp_path) == ["f"]


def test_a_replaced_file_can_keep_its_age(tmp_path: Path) -> None:
    target = tmp_path / "f"
    replace_durably(target, b"old", 1_600_000_000_000_000_000)
    assert target.stat().st_mtime_ns == 1_600_000_000_000_000_000
    replace_durably(target, b"new")
    assert target.stat().st_mtime_ns > 1_600_000_000_000_000_000


def test_a_name_that_is_taken_is_left_alone_and_no_draft_beside_it(tmp_path: Path) -> None:
    """The draft of a copy of the data keys holds them in clear."""
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        create_durably(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("write", [create_durably, replace_durably])
def test_a_content_that_does_not_fit_leaves_no_draft(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    with room_for(4096), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "f", bytes(8192))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may give files away")
def test_root_does_not_take_a_file_away_from_its_owner(tmp_path: Path) -> None:
    """The daemon could not read its key file any more after root had rotated the keys."""
    target = tmp_path / "f"
    target.write_bytes(b"old")
    os.chown(target, 12345, 23456)
    replace_durably(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (12345, 23456)


def test_lines_stand_in_their_order_and_belong_to_their_owner(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for line in ("one", "zwei", "三"):
        append_line(file, line, durable=True)
    assert file.read_text("utf-8") == "one\nzwei\n三\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_behind_a_torn_one_stands_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text('one\n{"torn": "by the po')
    append_line(file, "two", durable=False)
    assert file.read_text().splitlines() == ["one", '{"torn": "by the po', "two"]


def test_a_disk_that_takes_half_a_line_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "log"
    append_line(file, "one", durable=False)
    with room_for(file.stat().st_size + 5), pytest.raises(OSError, match="too large") as refused:
        append_line(file, "a longer line", durable=True)
    assert refused.value.errno == errno.EFBIG
    append_line(file, "two", durable=False)
    assert file.read_text().splitlines()[::2] == ["one", "two"]


def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("another's\n")
    (tmp_path / "log").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(tmp_path / "log", "one", durable=True)
    assert (tmp_path / "other").read_text() == "another's\n"


def test_a_lock_that_was_given_back_is_free_although_a_child_still_has_a_copy(tmp_path: Path) -> None:
    lock = LockFile.take(tmp_path / "lock")
    assert isinstance(lock, LockFile)
    copy = os.dup(lock._descriptor)  # as a child has it between fork and exec
    lock.release()
    again = LockFile.take(tmp_path / "lock")
    assert isinstance(again, LockFile), again
    again.release()
    os.close(copy)
