"""What a technician has taken out of service is remembered, and an unreadable memory is told and set aside."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from agent.inhibitions import FILE_NAME, Inhibitions
from agent.lane import RefusedError


def test_what_was_taken_is_known_to_the_next_start(tmp_path: Path) -> None:
    first = Inhibitions(tmp_path)
    assert dict(first.because) == {}
    first.add("printer", "新切刀 (anna), since 2026")
    first.add("pad", "keys")
    first.drop("pad")
    first.drop("reader")
    assert dict(Inhibitions(tmp_path).because) == {"printer": "新切刀 (anna), since 2026"}
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"printer": 1}', b"\xff"])
def test_an_unreadable_file_is_told_and_kept_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert dict(Inhibitions(tmp_path).because) == {}
    assert "every device is in service" in caplog.text
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]


def test_a_disk_that_does_not_take_it_is_a_refusal_that_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "state"
    gone.mkdir()
    memory = Inhibitions(gone)
    gone.rmdir()
    with pytest.raises(RefusedError, match="a restart will undo it"):
        memory.add("printer", "new cutter")
    assert "printer" in memory.because
