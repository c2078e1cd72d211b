"""The real process, killed or refused by its disk at every single write and sync."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Counted
from tests.crash import fault_server as faults
from tests.crash.fault_server import FaultServer, Run
from tests.crash.journal_worker import txn_of
from tests.journal_scenes import Home

COMMITS = 8  # with a log of 30 frames this is enough for checkpoints in between


def fresh(scratch: Path) -> Home:
    directory = scratch / "store"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return Home(directory)


def started(scratch: Path, template: Path) -> Home:
    directory = scratch / "store"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(template, directory)
    return Home(directory)


def check_after(home: Home, run: Run, before: int = 0) -> int:
    """A restart finds each acknowledged commit, at most one more, and a journal that goes on. Returns the head."""
    journal = home.open(check_last=None)
    head = journal.health().head_seq
    acknowledged = max(run.acknowledged, before)
    assert acknowledged <= head <= acknowledged + 1, (run, head)
    for number in range(head):
        assert any(row.seq == number + 1 for row in journal.history(txn_of(number)))
    assert journal.counters() == ({"stan L1": head - 1} if head else {})
    assert len(journal.pending()) == (1 if head % 3 else 0)
    journal.close()
    return head


def total(server: FaultServer, home: Home) -> Run:
    run = server.run(home.directory, faults.COUNT, 0, COMMITS)
    assert run.lines[-2] == "closed"
    assert run.writes > 5 * COMMITS
    assert run.syncs > COMMITS
    return run


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(faults.KILL_BEFORE_WRITE, marks=pytest.mark.slow),
        faults.KILL_IN_WRITE,
        faults.KILL_BEFORE_SYNC,
        pytest.param(faults.KILL_AFTER_SYNC, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_every_write_and_sync_of_a_first_run_loses_nothing(
    server: FaultServer, scratch: Path, counted: Counted, kind: int
) -> None:
    whole = total(server, fresh(scratch))
    places = whole.writes if kind in (faults.KILL_BEFORE_WRITE, faults.KILL_IN_WRITE) else whole.syncs
    heads = set()
    for at in range(1, places + 1):
        home = fresh(scratch)
        run = server.run(home.directory, kind, at, COMMITS)
        assert run.killed, (at, run)
        heads.add(check_after(home, run))
    counted("crash: the journal at its n-th write and sync", kills=places, violations=0)
    assert heads == set(range(COMMITS + 1)), "the kills must have hit every commit"


@pytest.mark.parametrize("kind", [faults.EIO_SYNC, faults.EIO_WRITE])
def test_an_io_error_anywhere_ends_the_process_and_loses_nothing(
    server: FaultServer, scratch: Path, counted: Counted, kind: int
) -> None:
    first = fresh(scratch)
    server.run(first.directory, faults.COUNT, 0, COMMITS)
    template = scratch / "template"
    shutil.copytree(first.directory, template)
    whole = total(server, started(scratch, template))
    ends = set()
    places = whole.syncs if kind == faults.EIO_SYNC else whole.writes
    for at in range(1, places + 1):
        home = started(scratch, template)
        run = server.run(home.directory, kind, at, COMMITS)
        ends.add(run.lines[-2].split()[0])
        check_after(home, run, before=COMMITS)
    counted("crash: the journal at its n-th write and sync", EIOs=places, violations=0)
    assert {"failed", "refused"} <= ends


def test_a_disk_that_is_full_from_any_write_on_still_takes_every_acknowledgement(
    server: FaultServer, scratch: Path
) -> None:
    for at in (1, 7, 40, 200):
        home = fresh(scratch)
        server.run(home.directory, faults.COUNT, 0, count=3, presize=1 << 20)
        before = 3
        run = server.run(home.directory, faults.FULL, 10**9, count=0, presize=1 << 20)
        assert run.lines[0] == "ready"
        journal = home.open(presize_bytes=1 << 20)
        crashed = home.copy(scratch / f"running {at}")  # log and room are there, as after a SIGKILL
        journal.close()
        run = server.run(crashed.directory, faults.FULL, at, count=200, presize=1 << 20)
        acknowledged = [line for line in run.lines if line.startswith("ack")]
        assert len(acknowledged) == 200, run.lines[-3:]
        check_after(crashed, run, before)
