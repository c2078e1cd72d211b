"""The daemon's command line, where it only says something and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGURATION = """
[[lane]]
name = "main"
profile = "iso87-ascii"
terminal_id = "10000001"
merchant_id = "102110000000001"
hosts = ["127.0.0.1:5000"]
"""


@pytest.mark.parametrize("word", ["--check-config", "--print-config"])
def test_a_pager_that_was_closed_is_no_fault(word: str, tmp_path: Path) -> None:
    """`reversald --print-config | head -1`: no stack reaches the person, and the command has done what was asked."""
    file = tmp_path / "reversald.toml"
    file.write_text(CONFIGURATION)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "agent", "--config", str(file), word]
    with os.fdopen(writer) as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
