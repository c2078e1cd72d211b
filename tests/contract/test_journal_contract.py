"""What every journal promises, tested on the one on disk and on the one of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.journal import JournalFailed, Store
from tests.journal_scenes import SECRET, Home, entry, sale
from tests.simulation.memory_journal import MemoryJournal


class _Memory:
    def __init__(self) -> None:
        self.journal = MemoryJournal()

    def restart(self) -> Store:
        self.journal.close()
        self.journal = MemoryJournal(self.journal.image())
        return self.journal


class _Disk:
    def __init__(self, directory: Path) -> None:
        self.home = Home(directory)
        self.journal = self.home.open()

    def restart(self) -> Store:
        self.journal.close()
        self.journal = self.home.open()
        return self.journal


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Disk | _Memory]:
    made = _Disk(tmp_path) if request.param == "disk" else _Memory()
    yield made
    made.journal.close()


@pytest.fixture
def journal(place: _Disk | _Memory) -> Store:
    return place.journal


def test_a_new_journal_holds_nothing(journal: Store) -> None:
    assert (journal.pending(), journal.counters(), journal.counts(), journal.recent(5)) == ([], {}, {}, [])
    assert (journal.get("t1"), journal.find("L1", "ref-t1"), journal.history("t1")) == (None, None, [])


def test_sequence_numbers_start_at_one_and_have_no_gap(journal: Store) -> None:
    assert [journal.append([entry(f"t{n}")]) for n in range(3)] == [1, 2, 3]
    assert journal.append([entry("a"), entry("b")]) == 5


def test_what_was_appended_is_read_back_equal(journal: Store) -> None:
    first = entry("t1", secret=SECRET, public='{"冲正":1}', at_utc="2026-02-03T04:05:06Z")
    journal.append([first])
    stored = journal.get("t1")
    assert stored is not None
    assert (stored.entry, stored.seq) == (first, 1)
    assert journal.find("L1", "ref-t1") == stored


def test_an_empty_secret_leaves_the_earlier_one_valid(journal: Store) -> None:
    sale(journal, "t1", "begun", "reversing", "reversing")
    stored = journal.get("t1")
    assert stored is not None
    assert (stored.entry.secret, stored.seq) == (SECRET, 3)


def test_a_later_secret_replaces_the_earlier_one(journal: Store) -> None:
    sale(journal, "t1", "begun")
    journal.append([entry("t1", "reversing", secret=b"the reversal"), entry("t1", "reversing", event="tried")])
    assert journal.pending()[0].entry.secret == b"the reversal"


def test_pending_lists_what_is_not_over_oldest_first(journal: Store) -> None:
    for txn_id in ("b", "a", "c"):
        sale(journal, txn_id, "begun")
    sale(journal, "a", "completed")
    sale(journal, "b", "reversing")
    assert [stored.entry.txn_id for stored in journal.pending()] == ["b", "c"]


def test_waiting_says_what_is_pending_without_reading_it(journal: Store) -> None:
    for txn_id in ("b", "a", "c"):
        sale(journal, txn_id, "begun")
    sale(journal, "a", "completed")
    sale(journal, "b", "reversing")
    assert list(journal.waiting()) == [("b", "L1", "reversing"), ("c", "L1", "begun")]
    assert [journal.checked(one.txn_id) for one in journal.waiting()] == journal.pending()
    assert journal.checked("nothing") is None


def test_find_gives_the_newest_of_a_reference_used_twice(journal: Store) -> None:
    journal.append([entry("old", reference="same"), entry("new", reference="same")])
    journal.append([entry("old", "reversed", False, reference="same")])
    found = journal.find("L1", "same")
    assert found is not None
    assert found.entry.txn_id == "new"
    assert journal.find("L2", "same") is None


def test_history_shows_every_entry_without_its_secret(journal: Store) -> None:
    sale(journal, "t1", "begun")
    sale(journal, "t2", "begun")
    sale(journal, "t1", "reversing", "reversed")
    rows = journal.history("t1")
    assert [(row.seq, row.previous, row.state) for row in rows] == [
        (1, 0, "begun"),
        (3, 1, "reversing"),
        (4, 3, "reversed"),
    ]
    assert SECRET.decode() not in repr(rows)


def test_recent_gives_each_transaction_once_newest_change_first(journal: Store) -> None:
    for txn_id in ("a", "b", "c"):
        sale(journal, txn_id, "begun")
    sale(journal, "a", "completed")
    assert [(row.txn_id, row.state) for row in journal.recent(2)] == [("a", "completed"), ("c", "begun")]


def test_counts_follow_every_change_of_state(journal: Store) -> None:
    sale(journal, "a", "begun", "reversing", "reversed")
    sale(journal, "b", "begun")
    journal.append([entry("c"), entry("c", "declined", False)])
    assert journal.counts() == {"begun": 1, "declined": 1, "reversed": 1}


def test_counters_are_set_with_the_entries_and_alone(journal: Store) -> None:
    journal.append([entry("a")], {"stan L1": 7, "stan L2": 9})
    assert journal.append([], {"stan L1": 8}) == 2
    assert journal.append([entry("b")]) == 3
    assert journal.counters() == {"stan L1": 8, "stan L2": 9}


def test_an_append_of_nothing_changes_nothing(journal: Store) -> None:
    sale(journal, "a", "begun")
    assert journal.append([]) == 1


def test_everything_is_the_same_after_a_restart(place: _Disk | _Memory) -> None:
    sale(place.journal, "a", "begun", "reversing")
    sale(place.journal, "b", "begun", "completed")
    place.journal.append([], {"batch": 12})

    def whole(journal: Store) -> object:
        return (
            journal.pending(),
            journal.recent(9),
            journal.counts(),
            journal.counters(),
            journal.history("a"),
            journal.health().head_seq,
        )

    before = whole(place.journal)
    assert whole(place.restart()) == before


def test_a_transaction_cannot_change_its_reference(journal: Store) -> None:
    sale(journal, "a", "begun")
    with pytest.raises(ValueError, match="reference"):
        journal.append([entry("a", reference="other")])
    with pytest.raises(JournalFailed):
        journal.pending()


def test_nothing_is_answered_after_the_end(journal: Store) -> None:
    sale(journal, "a", "begun")
    journal.close()
    calls: list[Callable[[], object]] = [
        lambda: journal.append([entry("b")]),
        journal.admit,
        journal.pending,
        lambda: journal.get("a"),
        lambda: journal.find("L1", "ref-a"),
        lambda: journal.history("a"),
        lambda: journal.recent(1),
        journal.counters,
        journal.counts,
        journal.health,
    ]
    for call in calls:
        with pytest.raises(JournalFailed):
            call()
