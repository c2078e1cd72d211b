"""The disk fills, the journal is damaged, daemons are killed: the real daemon still neither loses nor invents money."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")


@pytest.fixture
def host() -> Iterator[HostServer]:
    """A host that authenticates every reply."""
    with HostServer(settings=HostSettings(mac_on_all_replies=True)) as server:
        yield server


@needs_root
def test_on_a_full_disk_no_sale_starts_and_what_is_owed_is_still_acknowledged(tmp_path: Path, host: HostServer) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", state], check=True)
    try:
        with AgentBench(tmp_path, [host.address], reserve_bytes=2 << 20) as bench:
            bench.agent.start()
            host.faults.add("0200", "drop-reply")
            host.faults.add("reversal", "drop-reply", count=None)
            bench.sale("OWED", 2000)
            fill(state / "rubbish")
            with pytest.raises(DemoError, match="E-JOURNAL-FULL"):
                bench.sale("REFUSED", 1000)
            host.faults.clear()
            bench.until(lambda: bench.state_of("OWED") == "reversed", "the reversal is acknowledged and stored")
            (state / "rubbish").unlink()
            assert bench.sale("AFTER", 1000)["outcome"] == "approved"
            bench.agent.call("transaction.complete", {"reference": "AFTER"})
            agree(host, bench)
            assert bench.agent.stop() == 0
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_a_damaged_journal_stops_the_daemon_and_is_never_taken_for_an_empty_one(
    tmp_path: Path, host: HostServer
) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        host.faults.add("0200", "drop-reply")
        host.faults.add("reversal", "drop-reply", count=None)
        bench.sale("OWED", 2000)
        bench.agent.stop()
        journal = tmp_path / "state" / "journal.db"
        content = journal.read_bytes()
        assert b'"amount_minor":2000' in content
        journal.write_bytes(content.replace(b'"amount_minor":2000', b'"amount_minor":1000'))
        bench.agent.spawn()
        assert bench.agent.wait() == 73
        assert "E-JOURNAL" in bench.log()
        assert "reversalctl salvage" in bench.log()


def test_a_journal_that_is_gone_is_not_replaced_by_an_empty_one(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        bench.sale("R1")
        bench.agent.stop()
        (tmp_path / "state" / "journal.db").unlink()
        bench.agent.spawn()
        assert bench.agent.wait() == 73
        assert "E-JOURNAL-MISSING" in bench.log()
        assert not (tmp_path / "state" / "journal.db").exists()


def test_a_journal_whose_key_is_gone_is_not_opened_under_a_new_one(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        bench.sale("R1")
        bench.agent.stop()
        key = tmp_path / "state" / "data.key"
        kept = key.read_bytes()
        key.unlink()
        bench.agent.spawn()
        assert bench.agent.wait() == 73
        assert not key.exists()
        key.write_bytes(kept)
        key.chmod(0o600)
        bench.agent.start()
        assert bench.state_of("R1") == "approved"
