"""The journal of a running agent: checked, archived and measured while sales go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hwsim.host import HostServer
from tests.agent_bench import AgentBench

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path, host: HostServer) -> Iterator[AgentBench]:
    with AgentBench(tmp_path, [host.address], confirm="on-approval") as made:
        made.agent.start()
        yield made


def control(bench: AgentBench, *words: str) -> tuple[int, str]:
    """reversalctl, as an engineer types it."""
    environment = {**os.environ, "REVERSALD_CONFIG": str(bench.configuration), "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", "agent.cli", *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def owe(host: HostServer, bench: AgentBench) -> None:
    """A reversal that the host does not acknowledge for now."""
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("OWED", 2000)
    bench.until(lambda: bench.state_of("OWED") == "reversing", "the sale is reversed")


def test_verify_of_a_running_agent_checks_a_copy_that_does_not_stay(bench: AgentBench, host: HostServer) -> None:
    bench.sale("R1")
    owe(host, bench)
    code, told = control(bench, "verify")
    assert code == 0, told
    assert "the agent is running: this is the check of a copy that it has just made" in told
    assert "1 pending" in told
    assert told.splitlines()[-1] == "whole: nothing is missing"
    assert [path for path in (bench.directory / "state").iterdir() if path.name.startswith("verify-")] == []
    code, told = control(bench, "verify", "--json")
    assert (code, json.loads(told)["copy_of_running_agent"]) == (0, True)


def test_what_is_over_is_archived_while_the_agent_runs(bench: AgentBench, host: HostServer) -> None:
    bench.sale("R1", 1100)
    bench.sale("R2", 1200)
    over = datetime.now(UTC).replace(microsecond=0)
    bench.until(lambda: datetime.now(UTC).replace(microsecond=0) > over, "records of this second are old")
    owe(host, bench)
    code, told = control(bench, "archive", "--older-than", "0")
    assert (code, told.startswith("2 transactions")) == (0, True), told
    code, told = control(bench, "archive", "--older-than", "0")
    assert (code, told.strip()) == (0, "nothing to archive")
    assert bench.state_of("R1") == "completed"  # still found by its reference
    assert bench.state_of("OWED") == "reversing"
    code, told = control(bench, "verify")
    assert code == 0, told
    assert "its chain is whole and joins the journal's" in told
    assert "3 begun = 2 completed + 1 reversing" in told
    bench.agent.kill()
    code, told = control(bench, "verify")
    assert code == 0, told
    host.faults.clear()
    bench.agent.start()
    bench.until(lambda: bench.state_of("OWED") == "reversed", "the host acknowledges it")
    assert bench.state_of("R2") == "completed"
    assert host.ledger.violations() == []
    stands = {row.key.stan: row.charges - row.effects for row in host.ledger.rows()}
    assert stands == {"000001": 1, "000002": 1, "000003": 0}


def test_the_status_tells_what_a_reversal_costs_the_medium(bench: AgentBench) -> None:
    bench.sale("R1")
    store = bench.agent.call("agent.status", {})["store"]
    assert store["bytes_per_reversal"] >= 0  # 0 on a memory disk, where nothing is written
    assert isinstance(store["bytes_per_reversal"], int)
