"""The second copy: the medium with the journal may be lost, what is owed is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow


@pytest.fixture
def host() -> Iterator[HostServer]:
    """A host that authenticates every reply."""
    with HostServer(settings=HostSettings(mac_on_all_replies=True)) as server:
        yield server


def bench_with_copy(directory: Path, host: HostServer, medium: Path) -> AgentBench:
    """A daemon with a second copy on `medium`."""
    return AgentBench(directory, [host.address], mirror=str(medium / "pending"))


def owe(host: HostServer, bench: AgentBench) -> None:
    """A reversal that the host does not acknowledge for now."""
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("OWED", 2000)


def copied(medium: Path) -> bool:
    """Whether a copy that holds the item is on the medium."""
    return any(b"OWED" in path.read_bytes() for path in medium.glob("pending.*"))


def test_a_lost_journal_is_refused_and_what_is_owed_comes_back_from_the_copy(tmp_path: Path, host: HostServer) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    with bench_with_copy(tmp_path, host, medium) as bench:
        bench.agent.start()
        owe(host, bench)
        bench.until(lambda: copied(medium), "the second copy holds the item")
        bench.agent.kill()
        for path in (tmp_path / "state").glob("journal.db*"):
            path.unlink()
        bench.agent.spawn()
        assert bench.agent.wait() == 73  # never an empty queue
        command = [sys.executable, "-m", "agent", "--config", str(bench.configuration), "--new-journal"]
        with bench.agent.log_file.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            bench.until(lambda: "is back from the second copy" in bench.log(), "the item is back")
            bench.until(lambda: answers(bench), "the daemon answers")
            host.faults.clear()
            bench.until(lambda: bench.state_of("OWED") == "reversed", "the host has reversed it and the journal knows")
            agree(host, bench)
        finally:
            process.terminate()
            assert process.wait(10) == 0


def answers(bench: AgentBench) -> bool:
    """Whether the daemon listens yet: what is owed goes out before that."""
    try:
        bench.agent.call("agent.status", {})
    except DemoError:
        return False
    return True


def test_a_missing_medium_is_a_warning_and_never_stops_a_reversal(tmp_path: Path, host: HostServer) -> None:
    with bench_with_copy(tmp_path, host, tmp_path / "not-there") as bench:
        bench.agent.start()
        host.faults.add("0200", "drop-reply")
        bench.sale("OWED", 2000)
        bench.until(lambda: bench.state_of("OWED") == "reversed", "the reversal is acknowledged")
        warnings = bench.agent.call("agent.status", {})["store"]["warnings"]
        assert any("W-STORE-MIRROR" in warning for warning in warnings)
        agree(host, bench)
