"""What nobody catches is told by type and place: its text could hold a message, and so card data."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETUP = "from agent.hardening import hide_values_in_tracebacks; hide_values_in_tracebacks()"
FAULT = "def fault():\n    raise ValueError('6200000000000005')"
IN_A_THREAD = "import threading; thread = threading.Thread(target=fault); thread.start(); thread.join()"


@pytest.mark.parametrize("end", ["fault()", IN_A_THREAD], ids=["main", "thread"])
def test_a_fault_that_nobody_catches_shows_no_value_in_any_thread(end: str) -> None:
    program = "\n".join((SETUP, FAULT, end))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "6200000000000005" not in done.stdout + done.stderr
    assert "our own fault: ValueError" in done.stderr
    assert "in fault" in done.stderr
