"""Files whose content survives: what a replaced one keeps of the old one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.durable_file import replace_durably


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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may give files away")
def test_root_does_not_take_a_file_away_from_its_owner(tmp_path: Path) -> None:
    """The daemon could not read its key file any more after root had rotated the keys."""
    target = tmp_path / "f"
    target.write_bytes(b"old")
    os.chown(target, 12345, 23456)
    replace_durably(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (12345, 23456)
