"""A drill from beginning to end, with a trainee who types what the help says, and one who tries to leave the stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.drill import SCRIPTS
from agent.texts_operations import operations
from hwsim.host import HostServer
from tests.agent_bench import AgentBench

pytestmark = pytest.mark.slow

LINES = {
    "host-outage": ["status", "plan host-outage", "why drill-1", "selftest", "retry --all", "maintenance --note done"],
    "power-failing": ["status", "plan power-failing", "list", "why drill-1", "maintenance --note done", "retry --all"],
    "storage-failing": ["status", "plan", "selftest", "export {}/copy.db", "wait-clear", "maintenance --note done"],
    "device-lost": ["status", "plan device-lost", "devices", "why drill-1", "maintenance --note done"],
}


def play(
    tmp_path: Path, name: str, lines: list[str], configuration: str = "/nowhere/live.toml", *more: str
) -> tuple[int, dict[str, Any], str]:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "agent.cli", "drill", name, "--record", str(record), *more]
    environment = {**os.environ, "REVERSALD_CONFIG": configuration}
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
    assert f"* {name}: " in told, "the plan is on when the trainee reads it"
    for step in operations().plans[name].people:
        assert " ".join(step.en.split()[:4]) in " ".join(told.split())
    assert "S-PLAN" in told or name == "storage-failing"  # there the store's own conditions fill the console


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
    assert "Not kept" in told


def test_a_drill_says_one_word_to_the_live_agent_its_record_and_cannot_do_more(tmp_path: Path) -> None:
    """The live agent is the one that REVERSALD_CONFIG names; the trainee tries every way to it."""
    live, stage = tmp_path / "live", tmp_path / "stage"
    live.mkdir()
    stage.mkdir()
    with HostServer() as host, AgentBench(live, [host.address]) as bench:
        bench.agent.start()
        socket, file = live / "run/agent.sock", bench.configuration
        ways = [
            f"--socket {socket}",
            f"--so={socket}",
            f"--c {file}",
            f"--config={file}",
            f"--st {live}/run/status.json",
        ]
        lines = [
            *(f"reversalctl {way} retry --all" for way in ways),
            *(f"reversalctl retry --all {way}" for way in ways),
            f"reversalctl replay x --to {host.address}",
            "reversalctl drill power-failing",
            "reversalctl keys rotate",
            f"REVERSALD_CONFIG={file} reversalctl list",
            "reversalctl park drill-1 --why training",
            "reversalctl hold drill-1 --why training",
            "end",
        ]
        more = ("--trainee", "Wang Fang", "--language", "zh")
        status, record, told = play(stage, "host-outage", lines, str(file), *more)
        assert (status, record["trainee"], record["wrong_commands"]) == (1, "Wang Fang", len(ways) * 2 + 3), told
        assert "drill-1" in told, "its own agent was asked"
        assert host.ledger.rows() == []
        assert bench.agent.call("reversal.list", {"all": True})["items"] == []
        entries = bench.agent.call("maintenance.list", {})["entries"]
        assert [(entry["kind"], entry["result"]) for entry in entries] == [("drill", "fail")]
        assert "host-outage: Wang Fang, 0 %" in entries[0]["text"]
        calls = {line.split("api: ")[1].split(" by ")[0] for line in bench.log().splitlines() if "api: " in line}
        assert calls == {"maintenance.note", "maintenance.list"}
