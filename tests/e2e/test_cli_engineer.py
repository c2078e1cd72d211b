"""A field engineer at a real agent, with only the commands that the output itself suggests."""

from __future__ import annotations

import hmac
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from tests.agent_bench import CARD, AgentBench

pytestmark = pytest.mark.slow
BANK_KEY = bytes(range(32))


@pytest.fixture
def bench(tmp_path: Path, host: HostServer) -> Iterator[AgentBench]:
    with AgentBench(tmp_path, [host.address]) as agent:
        key_file = tmp_path / "bank.key"
        key_file.write_text(BANK_KEY.hex())
        key_file.chmod(0o600)
        text = agent.configuration.read_text().replace('settle = "one-person"\n', "")  # the usual rule: two persons
        agent.configuration.write_text(text.replace("[policy]", f'[policy]\nsettle_bank_key_file = "{key_file}"'))
        agent.agent.start()
        yield agent


def bank_answers(code: str, amount_minor: int, stan: str, bank_reference: str) -> str:
    """What the bank's service desk computes by docs/closing.md, with code of its own."""
    line = f"settle|{code.replace('-', '')}|10000001|102110000000001|000017|{stan}|{amount_minor}|156|{bank_reference}"
    bits = int(hmac.new(BANK_KEY, line.encode(), "sha256").hexdigest(), 16)
    letters = ""
    for _ in range(10):
        bits, digit = divmod(bits, 32)
        letters += "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit]
    return letters


class Terminal:
    """Types commands as a person would; keeps everything that was on the screen."""

    def __init__(self, bench: AgentBench, language: str = "en") -> None:
        self._environment = {**os.environ, "REVERSALD_CONFIG": str(bench.configuration), "LC_ALL": "C.UTF-8"}
        self._language = language
        self.screen = ""

    def type(self, command: str) -> tuple[int, str]:
        """One command line beginning with "reversalctl"; exit status and what it printed."""
        name, *arguments = shlex.split(command)
        assert name == "reversalctl"
        line = [sys.executable, "-m", "agent.cli", "--language", self._language, *arguments]
        done = subprocess.run(line, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        told = done.stdout + done.stderr
        self.screen += told
        assert "Traceback" not in told
        assert CARD["pan"] not in told
        return done.returncode, told


def suggested(told: str, command: str) -> str:
    """The command of that name that the output suggests, filled in by a person."""
    found = re.search(rf"reversalctl {command}[^\n;,.|]*", told)
    assert found, f"no {command} in:\n{told}"
    return found[0].replace("TEXT", "'adjusted by the bank'").replace("NUMBER", "B-20260102-77").strip()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_from_alarm_to_closed_case_with_what_the_output_suggests(
    bench: AgentBench, host: HostServer, language: str
) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "code", value="57", count=None)
    bench.sale("R1")
    bench.until(lambda: bench.state_of("R1") == "parked", "the item is parked")
    bench.until(lambda: bench.agent.status()["overall"]["code"] == "S-PARKED", "the status file shows it")
    engineer = Terminal(bench, language)

    code, told = engineer.type("reversalctl status")
    assert code == 2
    code, told = engineer.type(suggested(told, "why"))
    assert code == 0
    assert "D-HOST-REFUSED" in told
    assert "57" in told
    settle = suggested(told, "settle")
    code, told = engineer.type(suggested(told, "form") + f" --output {bench.directory}/form.html")
    assert code == 0
    code, told = engineer.type(settle)
    assert code == 0
    assert bench.state_of("R1") == "parked"
    code, refused = engineer.type(suggested(told, "confirm"))
    assert (code, "A-SAME-PERSON" in refused) == (65, True)
    challenge = re.search(r"confirm main-1 ([0-9A-Z-]+)", told)
    assert challenge is not None
    answer = bank_answers(challenge[1], 1250, "000001", "B-20260102-77")
    code, told = engineer.type(f"reversalctl confirm main-1 --bank-code {answer}")
    assert code == 0
    assert "B-20260102-77" in told
    assert bench.state_of("R1") == "settled"
    checked = subprocess.run(
        ["sha256sum", "-c", "settled-main-1.sha256"],
        cwd=bench.directory / "state/evidence",
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0
    bench.until(lambda: not bench.agent.status()["items"], "the status file shows the end")
    code, told = engineer.type("reversalctl status")
    assert code == 0
    assert "main-1" in told


def test_a_retry_shows_its_result(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "code", value="57")
    bench.sale("R1")
    bench.until(lambda: bench.state_of("R1") == "parked", "the item is parked")
    code, told = Terminal(bench).type("reversalctl retry main-1")
    assert (code, bench.state_of("R1")) == (0, "reversed")
    assert "D-DONE" in told


def test_the_story_is_told_from_the_journal(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply")
    bench.sale("R1")
    bench.until(lambda: bench.state_of("R1") == "reversed", "the sale is reversed")
    code, told = Terminal(bench).type("reversalctl --json why main-1")
    story = json.loads(told)["timeline"]
    assert code == 0
    assert [entry["event"] for entry in story] == ["Begin", "Lost", "Wake", "Lost", "Wake", "Answered"]
    assert story[-1]["text_en"].startswith("The bank confirmed the reversal: response code 00")


def test_a_dead_agent_is_said_to_be_dead_and_its_journal_is_whole(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("R1")
    bench.until(lambda: bench.agent.status()["pending_count"] == 1, "the status file shows the item")
    bench.agent.kill()
    engineer = Terminal(bench)
    code, told = engineer.type("reversalctl status")
    assert (code, "C-DEAD" in told, "main-1" in told) == (2, True, True)
    code, told = engineer.type("reversalctl list")
    assert (code, "C-FROM-FILE" in told, "main-1" in told) == (69, True, True)
    code, told = engineer.type("reversalctl why main-1")
    assert (code, "C-NO-DAEMON" in told) == (69, True)
    code, told = engineer.type("reversalctl verify")
    assert (code, told.splitlines()[-1]) == (0, "whole: nothing is missing")


def test_a_stopped_agent_says_so(bench: AgentBench) -> None:
    bench.agent.stop()
    code, told = Terminal(bench).type("reversalctl status")
    assert (code, "C-STOPPED" in told) == (2, True)


def test_a_running_agents_journal_is_checked_on_a_copy(bench: AgentBench) -> None:
    code, told = Terminal(bench).type("reversalctl verify")
    assert (code, told.splitlines()[-1]) == (0, "whole: nothing is missing")
    assert "the agent is running: this is the check of a copy" in told
    assert bench.agent.call("agent.status", {})["overall"]["code"] == "S-OK"


def test_what_can_be_read_is_saved_into_a_new_journal(bench: AgentBench, tmp_path: Path) -> None:
    bench.sale("R1")
    bench.agent.kill()
    target = tmp_path / "saved.db"
    code, told = Terminal(bench).type(f"reversalctl salvage {target}")
    assert (code, target.exists()) == (0, True)
    assert "lost         0 records" in told


def test_a_stuck_reversal_is_explained_byte_by_byte_without_a_copy(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "code", count=None, value="96")
    bench.sale("R1")
    bench.until(lambda: bench.state_of("R1") == "reversing", "the reversal is owed")
    for language, reason in (("en", "no reply in time"), ("zh", "收到应答")):
        engineer = Terminal(bench, language)
        status, told = engineer.type("reversalctl explain --item main-1")
        assert status == 0
        assert reason in told
        assert "620000******0005" in told
    status, told = Terminal(bench).type("reversalctl explain --item main-1 --json")
    assert json.loads(told)["mti"] == "0400"
    assert Terminal(bench).type("reversalctl explain --item main-99")[0] != 0
