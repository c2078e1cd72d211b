"""A drill from beginning to end, with a trainee who types what the help says, and one who tries to leave the stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.drill import SCRIPTS

pytestmark = pytest.mark.slow

LINES = {
    "host-outage": ["status", "plan host-outage", "why drill-1", "selftest", "retry --all", "maintenance --note done"],
    "power-failing": ["status", "plan power-failing", "list", "why drill-1", "maintenance --note done", "retry --all"],
    "storage-failing": ["status", "plan", "selftest", "export {}/copy.db", "wait-clear", "maintenance --note done"],
    "device-lost": ["status", "plan device-lost", "devices", "why drill-1", "maintenance --note done"],
}


def play(tmp_path: Path, name: str, lines: list[str]) -> tuple[int, dict[str, object], str]:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "agent.cli", "drill", name, "--record", str(record)]
    environment = {**os.environ, "REVERSALD_CONFIG": "/nowhere/live.toml"}
    typed = "".join(line + "\n" for line in lines)
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=110, env=environment, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, json.loads(record.read_text()), done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_trainee_who_knows_the_plan_passes(tmp_path: Path, name: str) -> None:
    lines = [f"reversalctl {line.format(tmp_path)}" for line in LINES[name]]
    status, record, told = play(tmp_path, name, lines)
    assert (status, record["passed"], record["score_percent"]) == (0, True, 100), told
    assert "drill-1" in told


def test_a_trainee_who_gives_up_or_tries_another_agent_does_not_pass(tmp_path: Path) -> None:
    lines = [
        "help",
        "rm -rf /",
        "reversalctl --config /etc/reversald/reversald.toml status",
        "reversalctl status",
        "end",
    ]
    status, record, told = play(tmp_path, "host-outage", lines)
    assert (status, record["passed"], record["alone"]) == (1, False, [])
    assert "A drill has simulators" in told
