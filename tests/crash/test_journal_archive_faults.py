"""Archiving, killed or refused by its disk at every write and sync, and cut off at any point: nothing is lost."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from agent.journal import JournalUnreadable
from agent.verify import walk
from tests.crash import fault_server as faults
from tests.crash import powercut
from tests.crash.fault_server import FaultServer
from tests.crash.journal_worker import EVERYTHING, NOW, txn_of
from tests.journal_scenes import Home

COMMITS = 8  # two reversals that are over, and one that is pending
OVER = 2


def problem(home: Home) -> str:
    """What is wrong after a restart: "" if every record is there, live or archived, and archiving comes to its end."""
    report = walk(home.path, home.vault(), home.mark)
    if not report.whole:
        return "; ".join(report.lines())
    try:
        journal = home.open(check_last=None)
    except JournalUnreadable as error:
        return f"refused: {error}"
    lost = [n for n in range(COMMITS) if all(row.seq != n + 1 for row in journal.history(txn_of(n)))]
    pending = [one.entry.txn_id for one in journal.pending()]
    journal.archive(EVERYTHING, NOW)
    counts = journal.counts()
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    if lost or pending != [txn_of(COMMITS - 1)] or counts != {"reversing": 1}:
        return f"commits {lost} are lost, pending are {pending}, {counts} stayed"
    return "" if report.whole and report.archived == OVER else "; ".join(report.lines())


@pytest.fixture
def template(server: FaultServer, scratch: Path) -> Path:
    """A closed journal, nothing of it archived."""
    directory = scratch / "template"
    directory.mkdir()
    server.run(directory, faults.COUNT, 0, COMMITS)
    return directory


@pytest.mark.parametrize(
    "kind",
    [
        faults.KILL_BEFORE_WRITE,
        faults.KILL_IN_WRITE,
        faults.KILL_BEFORE_SYNC,
        faults.KILL_AFTER_SYNC,
        faults.EIO_WRITE,
        faults.EIO_SYNC,
    ],
)
def test_a_fault_at_every_write_and_sync_of_archiving_loses_nothing(
    server: FaultServer, scratch: Path, template: Path, kind: int
) -> None:
    whole = server.run(shutil.copytree(template, scratch / "whole"), faults.COUNT, 0, 0, archive=True)
    assert "archived 8" in whole.lines
    by_write = kind in (faults.KILL_BEFORE_WRITE, faults.KILL_IN_WRITE, faults.EIO_WRITE)
    places = whole.writes if by_write else whole.syncs
    assert places > 10
    ends: Counter[str] = Counter()
    for at in range(1, places + 1):
        home = Home(Path(shutil.copytree(template, scratch / f"run {at}")))
        run = server.run(home.directory, kind, at, 0, archive=True)
        ends[next((line for line in reversed(run.lines) if not line.startswith("counts")), "killed")] += 1
        assert problem(home) == "", (kind, at, run)
        shutil.rmtree(home.directory)
    assert len(ends) > 1, f"the faults must have hit different moments: {ends}"


def test_no_power_cut_while_archiving_loses_a_record(scratch: Path, tmp_path: Path) -> None:
    directory = tmp_path / "store"
    directory.mkdir()
    calls = powercut.record(directory, COMMITS, "archive")
    told: Counter[str] = Counter()
    first = max(number for number, call in enumerate(calls) if call.name == "ack")
    for number, _, files in powercut.states(calls, str(directory), Random(3), variants=2):
        if number < first:
            continue
        place = scratch / "store"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in files.items():
            (place / Path(name).name).write_bytes(content)
            (place / Path(name).name).chmod(0o600)
        told["states"] += 1
        if found := problem(Home(place)):
            told["violations"] += 1
            told[f"call {number} {calls[number].name} {Path(calls[number].paths[0]).name}: {found}"] += 1
    assert told["states"] > 60
    assert told["violations"] == 0, told
