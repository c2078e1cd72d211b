"""Lines that are appended: each whole or an error, also behind what a power cut has torn."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agent.durable_file import append_line
from tests.full_disk import room_for


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
