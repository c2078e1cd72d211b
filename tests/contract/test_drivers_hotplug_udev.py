"""Hot-plug by udev's events: the real libudev and pyudev, with the kernel's events played by umockdev."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(shutil.which("umockdev-wrapper") is None, reason="apt-get install umockdev"),
    pytest.mark.slow,
]
BACK_S = 2.0  # the promise


def test_an_event_brings_a_replugged_device_back_before_anybody_would_have_looked(tmp_path: Path) -> None:
    command = ["umockdev-wrapper", sys.executable, "-W", "error", "-m", "tests.contract.udev_scene", str(tmp_path)]
    played = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert played.returncode == 0, played.stderr[-2000:]
    result = json.loads(played.stdout)
    assert result["told"] == ["usb add", "usb add", "usb remove", "usb remove"]
    event_s, looking_s = result["by_event_s"], result["by_looking_s"]
    print(f"back in service after {min(event_s)} to {max(event_s)} s by an event, {max(looking_s)} s without")
    assert max(*event_s, *looking_s) < BACK_S
    assert min(event_s) < min(looking_s)
