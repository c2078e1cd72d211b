"""Which slips are owed to paper follows from the items; the book keeps them from being printed twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent import slip_book
from agent.records import State, Transaction
from agent.slip_book import SlipBook, owed, reference
from tests.unit import status_samples as samples

ENDED = "2026-01-02T05:00:00.000Z"
ITEM = samples.owed()


def ended(state: State, name: str = "main-2") -> Transaction:
    return samples.transaction(id=name, state=state, ended_at_utc=ENDED)


def names(book: SlipBook, *items: tuple[int, Transaction]) -> list[tuple[str, str, bool]]:
    return [(txn.id, what, again) for txn, what, again in book.owed(items)]


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (State.BEGUN, ""),
        (State.APPROVED, ""),
        (State.COMPLETED, ""),
        (State.DECLINED, ""),
        (State.REVERSING, "cancelled"),
        (State.PARKED, "parked"),
        (State.REVERSED, "confirmed"),
        (State.SETTLED, "settled"),
    ],
)
def test_a_state_owes_its_slip(state: State, what: str) -> None:
    assert owed(samples.transaction(state=state)) == what


def test_a_slip_that_was_waiting_is_owed_after_a_restart_and_not_after_it_was_printed(tmp_path: Path) -> None:
    path = tmp_path / "slips.book"
    SlipBook.open(path, 5)
    book = SlipBook.open(path, 9)
    assert names(book, (7, ended(State.REVERSED)), (0, ITEM)) == [
        ("main-2", "confirmed", False),
        ("main-1", "cancelled", False),
    ]
    book.note(reference(ITEM, "cancelled"), "begun", durable=False)
    book.note(reference(ITEM, "cancelled"), "printed", durable=True)
    assert names(SlipBook.open(path, 9), (0, ITEM)) == []


def test_a_slip_cut_short_by_the_power_says_that_it_may_be_the_second(tmp_path: Path) -> None:
    path = tmp_path / "slips.book"
    SlipBook.open(path, 0).note(reference(ITEM, "cancelled"), "begun", durable=False)
    assert names(SlipBook.open(path, 0), (0, ITEM)) == [("main-1", "cancelled", True)]


def test_a_slip_that_the_printer_refused_is_no_second_one(tmp_path: Path) -> None:
    book = SlipBook.open(tmp_path / "slips.book", 0)
    book.note(reference(ITEM, "cancelled"), "begun", durable=False)
    book.note(reference(ITEM, "cancelled"), "waits", durable=False)
    assert names(SlipBook.open(tmp_path / "slips.book", 0), (0, ITEM)) == [("main-1", "cancelled", False)]


def test_a_slip_of_which_the_printer_cannot_tell_is_not_printed_again(tmp_path: Path) -> None:
    book = SlipBook.open(tmp_path / "slips.book", 0)
    book.note(reference(ITEM, "cancelled"), "unknown", durable=True)
    assert names(SlipBook.open(tmp_path / "slips.book", 0), (0, ITEM)) == []


def test_what_ended_before_the_book_began_is_not_printed(tmp_path: Path) -> None:
    book = SlipBook.open(tmp_path / "slips.book", 100)
    assert names(book, (100, ended(State.REVERSED)), (101, ended(State.REVERSED, "main-3"))) == [
        ("main-3", "confirmed", False)
    ]


def test_an_item_that_is_reversed_again_gets_its_confirmation_again() -> None:
    first = ended(State.REVERSED)
    again = replace(first, ended_at_utc="2026-01-02T06:00:00.000Z")
    assert reference(first, "confirmed") != reference(again, "confirmed")
    assert reference(ITEM, "cancelled") == reference(replace(ITEM, attempts=9), "cancelled")


def test_a_torn_or_foreign_line_costs_one_slip_its_memory_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "slips.book"
    book = SlipBook.open(path, 3)
    book.note("main-8/cancelled", "printed", durable=True)
    with path.open("ab") as file:
        file.write(b'[1]\n{"slip": 4\n{"slip": "main-9/cancelled", "is": "pri')
    again = SlipBook.open(path, 9)
    assert (again.from_seq, again.ended("main-8/cancelled"), again.ended("main-9/cancelled")) == (3, True, False)
    again.note("main-9/cancelled", "printed", durable=True)
    assert SlipBook.open(path, 9).ended("main-9/cancelled")


def test_a_long_book_is_shortened_to_what_can_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slip_book, "LINES_MAX", 3)
    path = tmp_path / "slips.book"
    book = SlipBook.open(path, 0)
    for number in range(8):
        book.note(f"main-{number}/cancelled", "printed", durable=False)
    reopened = SlipBook.open(path, 9)
    assert names(reopened, (0, ITEM)) == []
    assert len(path.read_text().splitlines()) == 2
    assert SlipBook.open(path, 9).ended("main-1/cancelled")


def test_a_printer_that_is_asked_for_days_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "slips.book"
    book = SlipBook.open(path, 0)
    for _ in range(200):
        book.note("main-1/cancelled", "begun", durable=False)
        book.note("main-1/cancelled", "waits", durable=False)
    assert len(path.read_text().splitlines()) == 4
    assert names(SlipBook.open(path, 0), (0, ITEM)) == [("main-1", "cancelled", True)]


def test_a_book_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    book = SlipBook.open(tmp_path / "no" / "slips.book", 0)
    book.note("main-1/cancelled", "printed", durable=True)
    assert book.ended("main-1/cancelled")
    assert len([record for record in caplog.records if "slips.book" in record.getMessage()]) == 1
