"""Keys are rotated and destroyed while reversals are owed: nothing is lost, and what is destroyed stays unreadable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow


def key_file(bench: AgentBench) -> Path:
    return bench.directory / "state" / "data.key"


def command(bench: AgentBench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """reversalctl keys ..."""
    line = [sys.executable, "-m", "agent.cli", "--config", str(bench.configuration), "--language", "en", "keys"]
    return subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=60, check=False)


def owe(bench: AgentBench, host: HostServer, reference: str) -> None:
    """A reversal that cannot be acknowledged yet."""
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale(reference)
    assert bench.state_of(reference) == "reversing"


def states(bench: AgentBench) -> list[str]:
    return [key["state"] for key in bench.agent.call("keys.list", {})["keys"]]


def test_pending_items_survive_rotation_destruction_and_restart(bench: AgentBench, host: HostServer) -> None:
    owe(bench, host, "OLD")
    rotated = command(bench, "rotate")
    assert "sealed anew: 1" in rotated.stdout
    owe(bench, host, "NEW")
    assert states(bench) == ["seals", "opens"]
    assert "A-KEY-YOUNG" in command(bench, "destroy").stderr + bench.log()
    assert "destroyed" in command(bench, "destroy", "--now").stdout
    assert sorted(states(bench)) == ["destroyed", "seals"]
    assert len(key_file(bench).read_text().splitlines()) == 2
    bench.agent.kill()
    bench.agent.start()
    host.faults.clear()
    for reference in ("OLD", "NEW"):
        bench.until(lambda reference=reference: bench.state_of(reference) == "reversed", "it is reversed")
    agree(host, bench)


def test_destroying_a_key_leaves_the_history_provable_and_the_card_data_unreadable(
    bench: AgentBench, host: HostServer
) -> None:
    host.faults.add("0200", "drop-reply")
    bench.sale("ENDED")
    bench.until(lambda: bench.state_of("ENDED") == "reversed", "it is reversed")
    command(bench, "rotate")
    command(bench, "destroy", "--now")
    bench.agent.kill()
    bench.agent.start()
    assert bench.state_of("ENDED") == "reversed"
    bench.agent.stop()
    verify = [sys.executable, "-m", "agent.cli", "--config", str(bench.configuration), "verify"]
    ended = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_key_is_rotated_without_a_running_agent(bench: AgentBench, host: HostServer) -> None:
    owe(bench, host, "OLD")
    bench.agent.kill()
    assert "stay readable with the old key" in command(bench, "rotate").stdout
    assert command(bench, "list").stdout.count("\n") == 2
    bench.agent.start()
    host.faults.clear()
    bench.until(lambda: bench.state_of("OLD") == "reversed", "it is reversed")
    agree(host, bench)


@pytest.mark.parametrize("how", ["missing", "other", "damaged", "readable"])
def test_with_a_wrong_key_the_daemon_says_so_sells_nothing_and_overwrites_nothing(
    bench: AgentBench, host: HostServer, how: str
) -> None:
    owe(bench, host, "OWED")
    bench.agent.kill()
    good, journal = key_file(bench).read_bytes(), (bench.directory / "state" / "journal.db").read_bytes()
    if how == "missing":
        key_file(bench).unlink()
    elif how == "readable":
        key_file(bench).chmod(0o644)
    else:
        key_file(bench).write_bytes(b"A" * 43 + b"=\n" if how == "other" else good[:20])
    found = key_file(bench).read_bytes() if how != "missing" else b""
    bench.agent.spawn()
    assert bench.agent.wait() in (73, 78)
    assert "key" in bench.log().splitlines()[-1]
    with pytest.raises(DemoError):
        bench.sale("NEW")
    assert (key_file(bench).read_bytes() if how != "missing" else b"") == found
    assert (bench.directory / "state" / "journal.db").read_bytes() == journal
    key_file(bench).write_bytes(good)
    key_file(bench).chmod(0o600)
    bench.agent.start()
    host.faults.clear()
    bench.until(lambda: bench.state_of("OWED") == "reversed", "it is reversed")
    agree(host, bench)


def test_a_key_file_that_somebody_changed_is_not_overwritten(bench: AgentBench) -> None:
    with key_file(bench).open("a") as stream:
        stream.write("A" * 43 + "=\n")
    before = key_file(bench).read_bytes()
    with pytest.raises(DemoError, match="changed since it was read"):
        bench.agent.call("keys.rotate", {})
    assert key_file(bench).read_bytes() == before
    assert bench.sale("R1")["outcome"] == "approved"
