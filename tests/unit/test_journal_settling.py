"""A commit writes its records alone; the tables derived from them follow in turns, and nobody sees the difference."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import journal_space as space
from agent.config_schema import Journal as JournalSettings
from agent.events import Now
from agent.journal import Journal, JournalFull
from agent.journal_archive import ArchiveError, archive_path
from agent.journal_archiving import STEP_RECORDS, Window
from agent.journal_current import REST_RECORDS, SETTLE_RECORDS, SETTLE_TRANSACTIONS
from agent.journal_rest import DUE_SOON_S, JournalRest
from agent.journal_space import FRAME_BYTES
from agent.verify import walk
from tests.journal_scenes import SECRET, Home, entry, sale


def seen(journal: Journal) -> object:
    """Everything that a caller can see of these transactions."""
    rows = journal.recent(1000)
    found = [(journal.get(row.txn_id), journal.find(row.lane, row.reference)) for row in rows]
    return journal.pending(), rows, found, journal.counters(), journal.counts()


def settled(home: Home, scratch: Path) -> int:
    """As of which record the tables on the disk are."""
    copy = home.copy(scratch)
    connection = sqlite3.connect(copy.path)
    value = connection.execute("SELECT value FROM meta WHERE name = 'settled_seq'").fetchone()[0]
    connection.close()
    return int(value)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    directory = tmp_path / "store"
    directory.mkdir()
    return Home(directory)


def test_a_step_of_a_reversal_writes_one_page_and_its_padding(home: Home) -> None:
    journal = home.open()
    sizes = []
    for number in range(40):  # the first ones overwrite what the start left of the log
        journal.append([entry("a", "reversing")], {"stan L1": number})
        sizes.append(home.log.stat().st_size)
    journal.close()
    steps = [after - before for before, after in pairwise(sizes[20:])]
    assert sorted(steps)[len(steps) // 2] == 2 * FRAME_BYTES
    assert max(steps) <= 5 * FRAME_BYTES, "a new page: its parent, the first page, and the padding"


def test_a_killed_process_leaves_nothing_unseen(home: Home, tmp_path: Path) -> None:
    journal = home.open()
    for number in range(SETTLE_TRANSACTIONS + 20):
        sale(journal, f"t{number}", "begun", *(("reversing", "reversed") if number % 3 else ("approved",)))
    journal.append([entry("again", reference="ref-t1")])
    before = seen(journal)
    crashed = home.copy(tmp_path / "crashed")
    journal.close()
    assert settled(crashed, tmp_path / "look") < 100 + 3 * SETTLE_TRANSACTIONS, "the newest ones are in records alone"
    report = walk(crashed.path, crashed.vault(), crashed.mark)
    assert report.whole, report.lines()
    for _ in range(2):
        again = crashed.open(check_last=None)
        assert seen(again) == before
        again.close()


@pytest.mark.parametrize("one_transaction", [True, False])
def test_the_tables_are_never_far_behind(home: Home, tmp_path: Path, one_transaction: bool) -> None:
    journal = home.open()
    sale(journal, "t", "begun")
    far = 0
    for number in range(SETTLE_RECORDS + 10):
        seq = journal.append([entry("t" if one_transaction else f"t{number}", "reversing")])
        if number % 64 == 0 or number > SETTLE_RECORDS:
            far = max(far, seq - settled(home, tmp_path / f"look {number}"))
    journal.close()
    assert 0 < far <= (SETTLE_RECORDS if one_transaction else SETTLE_TRANSACTIONS)


def test_several_entries_of_one_transaction_go_in_order(home: Home) -> None:
    journal = home.open()
    batch = [
        entry("a", secret=SECRET),
        entry("b"),
        entry("a", "reversing"),
        entry("b", "declined", False),
        entry("a", "reversed", False),
    ]
    assert journal.append(batch, {"stan L1": 2, "txn L1": 2}) == 5
    assert [(row.seq, row.previous, row.state) for row in journal.history("a")] == [
        (1, 0, "begun"),
        (3, 1, "reversing"),
        (5, 3, "reversed"),
    ]
    assert journal.counts() == {"declined": 1, "reversed": 1}
    stored = journal.get("a")
    assert stored is not None
    assert stored.entry.secret == SECRET
    journal.close()
    assert walk(home.path, home.vault(), home.mark).whole


def test_a_batch_of_hundreds_is_the_same_as_one_by_one(tmp_path: Path) -> None:
    many = [
        entry(f"t{n % 150}", "begun" if n < 150 else "reversing", secret=b"" if n % 2 else SECRET) for n in range(400)
    ]
    found = []
    for name, size in (("batch", 400), ("single", 1)):
        (tmp_path / name).mkdir()
        home = Home(tmp_path / name)
        journal = home.open(presize_bytes=1 << 20)
        log_bytes = home.log.stat().st_size
        for start in range(0, len(many), size):
            journal.append(many[start : start + size], {"stan L1": min(start + size, len(many))})
        assert home.log.stat().st_size == log_bytes, "the room taken at start was enough"
        found.append(seen(journal))
        journal.close()
        assert walk(home.path, home.vault(), home.mark).whole
    assert found[0] == found[1]


def test_a_batch_with_one_impossible_entry_is_not_stored_at_all(home: Home, tmp_path: Path) -> None:
    journal = home.open()
    sale(journal, "a", "begun")
    with pytest.raises(ValueError, match="cannot change"):
        journal.append([entry("b"), entry("a", lane="L2")])
    crashed = home.copy(tmp_path / "crashed")
    again = crashed.open(check_last=None)
    assert again.counts() == {"begun": 1}
    again.close()


def test_rest_does_what_is_worth_it_and_comes_to_an_end(home: Home, tmp_path: Path) -> None:
    journal = home.open()
    sale(journal, "few", "begun")
    assert journal.rest() is False, "a few records are not worth two syncs"
    for number in range(REST_RECORDS):
        sale(journal, f"t{number}", "begun", "reversing", "reversed")
    before = seen(journal)
    steps = 0
    while journal.rest():
        steps += 1
        assert steps < 10
    assert steps == 2, "the tables, then the log"
    assert settled(home, tmp_path / "look") == journal.health().head_seq
    assert seen(journal) == before
    journal.close()


def test_rest_after_a_full_disk_takes_the_room_back(home: Home) -> None:
    journal = home.open(presize_bytes=1 << 20)
    (home.directory / "journal.db.ballast").unlink()
    assert journal.rest() is True
    assert (home.directory / "journal.db.ballast").exists()
    assert journal.rest() is False
    journal.close()


def test_on_a_read_only_disk_nothing_is_written_that_can_wait(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = home.open()
    many(journal)
    before = {path.name: path.read_bytes() for path in home.directory.iterdir()}
    monkeypatch.setattr(space, "is_read_only", lambda witness: True)
    assert journal.rest() is False
    with pytest.raises(ArchiveError, match="read-only"):
        journal.archive(Window("2026-02-01", "2026-03-01"), "2026-03-01")
    with pytest.raises(JournalFull, match="read-only"):
        journal.admit()
    assert {path.name: path.read_bytes() for path in home.directory.iterdir()} == before
    journal.export(tmp_path / "copy.db")
    assert journal.counts() == {"reversed": STEP_RECORDS}, "and all that is stored is still told"
    monkeypatch.undo()
    journal.close()


class Scene:
    """What the daemon knows when the journal may rest."""

    def __init__(self, journal: Journal, days: int = 0) -> None:
        self.busy: object = None
        self.due: float | None = None
        configuration: Any = SimpleNamespace(journal=replace(JournalSettings(), archive_after_days=days))
        self.now = Now(mono=100.0, utc=datetime(2026, 6, 1, tzinfo=UTC))
        lanes: Any = [self]
        self.rest = JournalRest(journal, lambda: configuration, lambda: self.now, lambda: lanes, lambda: self.due)


def many(journal: Journal) -> None:
    """Enough that rest is worth it, and that the rule archives."""
    for start in range(0, STEP_RECORDS, 100):
        journal.append([entry(f"t{n}", "reversed", False) for n in range(start, start + 100)])


def test_the_journal_rests_only_where_nothing_is_due(home: Home, tmp_path: Path) -> None:
    journal = home.open()
    scene = Scene(journal)
    many(journal)
    before = settled(home, tmp_path / "before")
    scene.busy = object()
    scene.rest.step()
    scene.busy, scene.due = None, scene.now.mono + DUE_SOON_S / 2
    scene.rest.step()
    assert settled(home, tmp_path / "busy") == before
    scene.due = scene.now.mono + 2 * DUE_SOON_S
    scene.rest.step()
    assert settled(home, tmp_path / "idle") == journal.health().head_seq
    journal.close()


def test_the_rule_archives_in_quiet_moments_and_says_a_fault_once(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    journal = home.open()
    many(journal)
    scene = Scene(journal, days=90)
    path = archive_path(home.path)
    path.mkdir()
    with caplog.at_level(logging.ERROR):
        for _ in range(8):
            scene.rest.step()
    assert len(caplog.records) == 1
    assert any("W-STORE-ARCHIVE" in warning for warning in journal.health().warnings)
    path.rmdir()
    for _ in range(4):
        scene.rest.step()
    assert journal.counts() == {}
    assert not any("W-STORE-ARCHIVE" in warning for warning in journal.health().warnings)
    assert journal.get("t7") is not None
    journal.close()


def test_without_the_rule_nothing_is_archived(home: Home) -> None:
    journal = home.open()
    many(journal)
    scene = Scene(journal)
    for _ in range(8):
        scene.rest.step()
    assert not archive_path(home.path).exists()
    journal.close()
