"""A report's file stands as a whole or not at all, and one that cannot be written is said with its code."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.report_files import ReportFileError, writing
from tests.full_disk import room_for


def test_the_file_is_there_when_the_block_has_ended_and_for_its_group_only(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with writing(path) as file:
        file.write("one\n")
        assert not path.exists()
    assert path.read_text() == "one\n"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o137
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_leaves_the_old_report_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old\n")
    with room_for(4096), pytest.raises(ReportFileError), writing(path) as file:
        file.write("long\n" * 4096)
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_a_report_that_is_broken_off_leaves_no_draft_with_customers_sales(
    tmp_path: Path, fault: type[BaseException]
) -> None:
    def broken_off() -> None:
        with writing(tmp_path / "report.html") as file:
            file.write("one\n")
            raise fault

    with pytest.raises(fault):
        broken_off()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["report.txt/report.html", "missing/report.html"])
def test_a_place_that_is_no_directory_is_said_with_its_code(tmp_path: Path, name: str) -> None:
    (tmp_path / "report.txt").write_text("a file\n")
    with pytest.raises(ReportFileError, match=r"cannot be written"), writing(tmp_path / name):
        pass
