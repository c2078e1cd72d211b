"""The archive: what is over leaves the journal, nothing else does, and the books add up across both."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent import journal as journal_module
from agent import journal_archive, journal_archiving
from agent.journal import Journal, JournalUnreadable
from agent.journal_archive import ArchiveError, archive_path
from agent.journal_archiving import STEP_RECORDS, Window
from agent.mirror import MirrorImage, merge
from agent.salvage import salvage
from agent.verify import walk, walk_export
from tests.journal_scenes import SECRET, Home, entry

OLD, YOUNG, NOW = "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-05T00:00:00Z"
WINDOW = Window("2026-02-01T00:00:00Z", "2026-03-06T00:00:00Z")
LATER = Window("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z")
PUBLIC = '{"amount_minor":100,"batch":"7","currency":"156"}'


def story(journal: Journal, txn_id: str, *states: str, at_utc: str = OLD) -> None:
    """One commit a state; the first brings the secret."""
    for number, state in enumerate(states):
        pending = state in ("begun", "approved", "reversing", "parked")
        secret = b"" if number else SECRET
        one = entry(txn_id, state, pending, secret=secret, at_utc=at_utc, public=PUBLIC)
        journal.append([one], {"stan L1": journal.health().head_seq})


def archived(journal: Journal, window: Window = WINDOW) -> int:
    """Steps until nothing is left to do; how many transactions went."""
    gone = 0
    while (step := journal.archive(window, NOW)) is not None:
        gone += len(step.over)
        if not step.more:
            break
    return gone


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two old finished transactions around a pending and a parked one, and a young one; the journal is closed."""
    directory = tmp_path / "store"
    directory.mkdir()
    home = Home(directory)
    journal = home.open()
    story(journal, "done", "begun", "approved", "completed")
    story(journal, "open", "begun", "reversing")
    story(journal, "stuck", "begun", "reversing", "parked")
    story(journal, "undone", "begun", "reversing", "reversed")
    story(journal, "young", "begun", "completed", at_utc=YOUNG)
    journal.close()
    return home


def test_only_what_is_over_and_old_goes(home: Home) -> None:
    journal = home.open()
    before = journal.pending()
    assert archived(journal) == 2
    assert journal.counts() == {"completed": 1, "parked": 1, "reversing": 1}
    assert journal.pending() == before
    assert [len(journal.history(name)) for name in ("open", "stuck")] == [2, 3]
    journal.close()
    connection = sqlite3.connect(home.path)
    left = {name for (name,) in connection.execute("SELECT DISTINCT txn_id FROM record")}
    connection.close()
    assert left == {"open", "stuck", "young", ""}


def test_what_is_no_transaction_stays(home: Home) -> None:
    journal = home.open()
    journal.append([entry("session:L1", "signed-on", False, reference="session:L1", at_utc=OLD)])
    archived(journal, LATER)
    assert journal.counts() == {"parked": 1, "reversing": 1, "signed-on": 1}
    assert len(journal.history("session:L1")) == 1
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()


def test_a_second_run_finds_nothing_to_do(home: Home) -> None:
    journal = home.open()
    archived(journal)
    head = journal.health().head_seq
    assert journal.archive(WINDOW, NOW) is None
    assert journal.health().head_seq == head
    journal.close()


def test_what_is_archived_is_still_found_by_reference_and_id(home: Home) -> None:
    journal = home.open()
    names = ("done", "undone")
    before = [(journal.get(name), journal.find("L1", f"ref-{name}"), journal.history(name)) for name in names]
    counters = journal.counters()
    archived(journal)
    for _ in range(2):
        after = [(journal.get(name), journal.find("L1", f"ref-{name}"), journal.history(name)) for name in names]
        assert after == before
        assert before[0][0] is not None
        assert before[0][0].entry.secret == SECRET
        assert (journal.find("L1", "never"), journal.get("never"), journal.history("never")) == (None, None, [])
        assert journal.counters() == counters
        journal.close()
        journal = home.open(check_last=None)
    journal.close()


def test_the_archive_is_for_its_owner_only_and_holds_no_card_data(home: Home) -> None:
    journal = home.open()
    archived(journal)
    journal.close()
    path = archive_path(home.path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert SECRET not in path.read_bytes()


def test_the_books_add_up_across_journal_and_archive(home: Home) -> None:
    before = walk(home.path, home.vault(), home.mark)
    journal = home.open()
    archived(journal)
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    assert (report.begun, report.states) == (before.begun, before.states)
    assert sum(one.amount_minor for one in report.sums) == sum(one.amount_minor for one in before.sums)
    assert report.archive is not None
    assert report.archive.records == 11
    assert "joins the journal" in "\n".join(report.lines())


def test_an_archive_that_was_put_away_leaves_its_totals_and_is_told(home: Home) -> None:
    journal = home.open()
    archived(journal)
    journal.close()
    archive_path(home.path).rename(home.directory.parent / "shelf")
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    assert (report.begun, report.archived) == (5, 2)
    assert "the file is not here" in "\n".join(report.lines())
    journal = home.open()
    assert journal.find("L1", "ref-done") is None
    journal.close()


def test_a_new_archive_goes_on_where_the_one_put_away_ended(home: Home) -> None:
    journal = home.open()
    archived(journal)
    shelf = home.directory.parent / "shelf"
    archive_path(home.path).rename(shelf)
    story(journal, "later", "begun", "declined")
    story(journal, "open", "reversed")
    assert archived(journal, LATER) == 2
    assert journal.find("L1", "ref-later") is not None
    assert journal.counts() == {"parked": 1, "reversed": 1}, "the old records of `open` are on the shelf: it stays"
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    assert "the ones before are in a file put away" in "\n".join(report.lines())


def test_what_ends_later_goes_later(home: Home) -> None:
    journal = home.open()
    archived(journal)
    story(journal, "open", "reversed")
    story(journal, "stuck", "settled")
    assert archived(journal, LATER) == 3
    assert [row.state for row in journal.history("stuck")] == ["begun", "reversing", "parked", "settled"]
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    assert report.states == {"completed": 2, "reversed": 2, "settled": 1}


def test_nothing_is_removed_whose_copy_was_damaged_since(home: Home) -> None:
    journal = home.open()
    archived(journal)
    connection = sqlite3.connect(archive_path(home.path))
    connection.execute("UPDATE record SET public = '{}' WHERE seq = 4")
    connection.commit()
    connection.close()
    story(journal, "open", "reversed")
    story(journal, "stuck", "settled")
    assert archived(journal, LATER) == 2
    assert journal.counts() == {"reversed": 1}, "`open` stays whole in the journal"
    assert [row.seq for row in journal.history("open")][:2] == [4, 5]
    journal.close()
    home.open(check_last=None).close()


def test_what_comes_for_an_archived_transaction_continues_it(home: Home) -> None:
    journal = home.open()
    archived(journal)
    story(journal, "x", "begun", "declined")
    again = entry("done", "reversing", True, at_utc=OLD, public=PUBLIC)
    journal.append([again])
    stored = journal.get("done")
    assert stored is not None
    assert stored.entry == replace(again, secret=SECRET)
    assert [row.state for row in journal.history("done")] == ["begun", "approved", "completed", "reversing"]
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    journal = home.open(check_last=None)
    assert "done" in {one.entry.txn_id for one in journal.pending()}
    assert archived(journal, LATER) == 2
    journal.append([entry("done", "reversed", False, at_utc=OLD, public=PUBLIC)])
    assert archived(journal, LATER) == 1
    assert [row.state for row in journal.history("done")][-2:] == ["reversing", "reversed"]
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    assert report.begun == sum(report.states.values()) == 6


def test_a_clock_that_was_wrong_for_a_while_does_not_stop_the_archive(tmp_path: Path) -> None:
    journal = Home(tmp_path).open()
    story(journal, "future", "begun", "completed", at_utc="2036-01-01T00:00:00Z")
    story(journal, "past", "begun", "completed", at_utc="1970-01-01T00:00:00Z")
    story(journal, "young", "begun", "completed", at_utc=YOUNG)
    story(journal, "behind", "begun", "completed", at_utc=OLD)
    assert archived(journal) == 2
    assert journal.get("young") is not None
    assert journal.counts() == {"completed": 2}
    journal.close()


def test_many_records_go_in_bounded_steps(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open(presize_bytes=1 << 20)
    count = STEP_RECORDS
    journal.append([entry(f"t{n}", at_utc=OLD, secret=SECRET) for n in range(count)], {"stan L1": 1})
    journal.append([entry(f"t{n}", "reversed", n % 50 == 0, at_utc=OLD) for n in range(count)])
    log_bytes = home.log.stat().st_size
    steps = []
    while (step := journal.archive(WINDOW, NOW)) is not None:
        steps.append(len(step.seqs))
        if not step.more:
            break
    assert len(steps) >= 2
    assert max(steps) <= 2 * STEP_RECORDS
    assert home.log.stat().st_size == log_bytes
    assert journal.counts() == {"reversed": count // 50}
    journal.close()
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole, report.lines()
    assert report.begun == count


def test_less_than_asked_for_is_left_alone(home: Home) -> None:
    journal = home.open()
    assert journal.archive(WINDOW, NOW, least=12) is None
    assert not archive_path(home.path).exists()
    assert journal.archive(WINDOW, NOW, least=11) is not None
    journal.close()


def test_no_archive_grows_into_the_reserve(tmp_path: Path) -> None:
    journal = Home(tmp_path).open(reserve_bytes=1 << 60)
    story(journal, "done", "begun", "completed")
    with pytest.raises(ArchiveError, match="free"):
        journal.archive(WINDOW, NOW)
    assert journal.counts() == {"completed": 1}
    assert any("W-STORE-ARCHIVE" in warning for warning in journal.health().warnings)
    journal.close()


def _foreign(path: Path) -> None:
    path.write_bytes(b"not a database, but somebody's file" * 200)


def _of_another_journal(path: Path) -> None:
    directory = path.parent.parent / "other"
    directory.mkdir()
    other = Home(directory)
    journal = other.open()
    story(journal, "a", "begun", "completed")
    archived(journal)
    journal.close()
    archive_path(other.path).rename(path)


@pytest.mark.parametrize("put", [_foreign, _of_another_journal, lambda path: path.mkdir()])
def test_a_file_that_is_no_archive_of_this_journal_stops_the_step_and_nothing_else(
    home: Home, put: Callable[[Path], None]
) -> None:
    journal = home.open()
    put(archive_path(home.path))
    with pytest.raises(ArchiveError):
        journal.archive(WINDOW, NOW)
    story(journal, "goes-on", "begun")
    assert len(journal.history("done")) == 3
    journal.close()
    assert walk(home.path, home.vault(), home.mark).whole


def test_a_changed_byte_in_the_archive_is_told(home: Home) -> None:
    journal = home.open()
    archived(journal)
    journal.close()
    connection = sqlite3.connect(archive_path(home.path))
    connection.execute("UPDATE record SET public = replace(public, '100', '900') WHERE seq = 2")
    connection.commit()
    connection.close()
    report = walk(home.path, home.vault(), home.mark)
    assert not report.whole
    assert "record 2 or the chain before it was changed" in "\n".join(report.lines())
    journal = home.open()
    assert (journal.get("done"), journal.history("done")) == (None, [])
    assert any("W-STORE-ARCHIVE" in warning and "record 2" in warning for warning in journal.health().warnings)
    assert journal.get("undone") is not None, "the others are still found"
    journal.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE seq = 5",
        "DELETE FROM current WHERE txn_id = 'stuck'",
        "UPDATE record SET state = 'parked' WHERE seq = 4",
        "UPDATE record SET public = replace(public, '11', '12') WHERE event = 'archived'",
        "DELETE FROM record WHERE event = 'archived'",
        "UPDATE meta SET value = '0' WHERE name = 'archived_seq'",
        "UPDATE link SET chain = zeroblob(32)",
    ],
)
def test_damage_to_what_stayed_behind_is_refused(home: Home, statement: str) -> None:
    journal = home.open()
    archived(journal)
    journal.close()
    connection = sqlite3.connect(home.path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(JournalUnreadable):
        home.open(check_last=None)


def test_an_old_second_copy_does_not_bring_back_what_was_archived(home: Home) -> None:
    journal = home.open()
    done = journal.get("undone")
    assert done is not None
    stale = MirrorImage(
        journal.journal_id, 10, (replace(done, entry=replace(done.entry, state="reversing", pending=True)),), {}
    )
    archived(journal)
    archive_path(home.path).rename(home.directory.parent / "shelf")
    merged = merge(journal, stale)
    journal.close()
    assert (merged.added, merged.doubtful) == ((), ())


def test_an_export_is_verified_with_the_archive_as_it_was_then(home: Home) -> None:
    journal = home.open()
    archived(journal)
    target = home.directory / "copy.db"
    journal.export(target)
    story(journal, "open", "reversed")
    archived(journal)
    report = walk_export(target, home.vault(), home.mark, archive_path(home.path))
    journal.close()
    assert report.whole, report.lines()
    assert report.archived == 2


def test_a_salvage_does_not_take_what_is_archived_for_lost(home: Home) -> None:
    journal = home.open()
    archived(journal)
    journal.close()
    other = Home(home.directory.parent)
    report = salvage(home.path, home.vault(), other.path, other.mark, home.mark)
    assert (report.lost, report.doubtful) == ({}, {})
    assert set(report.saved) == {4, 5, 6, 7, 8, 12, 13, 14}


class _Dies(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("place", ["before the copy", "after the copy", "after the check", "in the removal"])
def test_a_death_between_any_two_steps_loses_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise _Dies

    names = {"before the copy": "_copied", "after the check": "_going", "in the removal": "remove"}
    journal = home.open()
    if place == "after the copy":
        monkeypatch.setattr(journal_archive, "check_copy", dies)
    elif place == "in the removal":
        monkeypatch.setattr(journal_module, "remove", dies)
    else:
        monkeypatch.setattr(journal_archiving, names[place], dies)
    with pytest.raises(_Dies):
        journal.archive(WINDOW, NOW)
    monkeypatch.undo()
    crashed = home.copy(tmp_path / "crashed")
    report = walk(crashed.path, crashed.vault(), crashed.mark)
    assert report.whole, report.lines()
    again = crashed.open(check_last=None)
    assert [len(again.history(name)) for name in ("done", "open", "stuck", "undone", "young")] == [3, 2, 3, 3, 2]
    assert archived(again) == 2
    again.close()
    report = walk(crashed.path, crashed.vault(), crashed.mark)
    assert report.whole, report.lines()
