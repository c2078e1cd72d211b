"""The host's books: what counts as a charge, what undoes it, what a right agent never does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.host.entries import Facts, Key, LedgerRules
from hwsim.host.ledger import Ledger, LedgerError

KEY = Key("10000001", "000001", "000007", "123456789012345")
CARD = "6212345678900000003"


def sale(**changes: object) -> Facts:
    elements = {2: CARD, 4: "000000001000", 11: KEY.stan}
    facts = Facts(KEY, "0200", "sale", "000000", 1000, "156", CARD, elements, at=1000.0)
    return replace(facts, **changes)  # type: ignore[arg-type]


def reversal(**changes: object) -> Facts:
    return sale(**{"mti": "0400", "elements": {4: "000000001000", 39: "98"}, **changes})


def names(ledger: Ledger) -> list[str]:
    return [violation.name for violation in ledger.violations()]


def test_a_sale_charges_once_however_often_it_arrives() -> None:
    ledger = Ledger()
    first = ledger.charge(sale())
    again = ledger.charge(sale())
    assert (first.code, again.code) == ("00", "00")
    assert (again.entry.rrn, again.entry.approval_code) == (first.entry.rrn, first.entry.approval_code)
    assert ledger.net() == {"156": 1000}
    assert ledger.rows()[0].requests == 2
    assert names(ledger) == ["request-sent-again"]


def test_a_duplicate_is_answered_94_when_the_host_is_set_so() -> None:
    ledger = Ledger(LedgerRules(duplicate="94"))
    ledger.charge(sale())
    assert ledger.charge(sale()).code == "94"
    assert ledger.net() == {"156": 1000}


def test_an_advice_may_be_sent_again() -> None:
    ledger = Ledger()
    ledger.charge(sale(mti="0220", kind="completion"))
    ledger.charge(sale(mti="0220", kind="completion"))
    assert names(ledger) == []
    assert ledger.net() == {"156": 1000}


def test_another_request_under_the_same_key_is_never_charged() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    other = sale(amount_minor=2000, elements={2: CARD, 4: "000000002000", 11: KEY.stan})
    assert ledger.charge(other).code == "94"
    assert ledger.net() == {"156": 1000}
    assert names(ledger) == ["stan-reused"]


def test_a_reversal_undoes_a_charge_once_however_often_it_arrives() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    assert [ledger.reverse(reversal()).code for _ in range(3)] == ["00", "00", "00"]
    row = ledger.rows()[0]
    assert (row.state, row.charges, row.effects, row.reversals) == ("reversed", 1, 1, 3)
    assert ledger.net() == {"156": 0}
    assert names(ledger) == []


def test_a_repeat_is_counted_apart_from_the_first() -> None:
    ledger = Ledger(LedgerRules(repeats_are_marked=True))
    ledger.charge(sale())
    ledger.reverse(reversal(mti="0420"))
    ledger.reverse(reversal(mti="0421", repeat=True))
    row = ledger.rows()[0]
    assert (row.reversals, row.repeats, row.repeats_unseen, row.effects) == (1, 1, 0, 1)
    assert names(ledger) == []


def test_a_repeat_whose_first_never_came_is_counted() -> None:
    ledger = Ledger(LedgerRules(repeats_are_marked=True))
    ledger.charge(sale())
    ledger.reverse(reversal(mti="0421", repeat=True))
    row = ledger.rows()[0]
    assert (row.reversals, row.repeats, row.repeats_unseen) == (0, 1, 1)


def test_a_first_advice_that_arrives_twice_is_a_violation_where_repeats_are_marked() -> None:
    ledger = Ledger(LedgerRules(repeats_are_marked=True))
    ledger.charge(sale())
    ledger.reverse(reversal(mti="0420"))
    ledger.reverse(reversal(mti="0420"))
    assert names(ledger) == ["first-sent-again"]


def test_a_reversal_that_changes_between_tries_is_a_violation() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    ledger.reverse(reversal(elements={4: "000000001000", 60: "22000001"}))
    ledger.reverse(reversal(elements={4: "000000001000", 60: "22000002"}))
    assert [(found.name, found.text) for found in ledger.violations()] == [
        ("reversal-changed", "elements [60] differ from the first reversal")
    ]


@pytest.mark.parametrize("code", ["25", "00"])
def test_a_reversal_of_an_unknown_original_blocks_the_late_original(code: str) -> None:
    ledger = Ledger(LedgerRules(unknown_reversal=code))
    assert ledger.reverse(reversal()).code == code
    assert ledger.reverse(reversal()).code == code
    assert ledger.rows()[0].state == "blocked"
    assert ledger.charge(sale()).code == "12"
    assert ledger.net() == {"156": 0}
    assert ledger.reverse(reversal()).code == "00"
    assert ledger.rows()[0].effects == 0


def test_a_host_that_does_not_block_charges_the_late_original_and_a_later_try_undoes_it() -> None:
    ledger = Ledger(LedgerRules(block_late_original=False))
    assert ledger.reverse(reversal()).code == "25"
    assert ledger.rows()[0].state == "unknown"
    assert ledger.charge(sale()).code == "00"
    assert ledger.net() == {"156": 1000}
    assert ledger.reverse(reversal()).code == "00"
    assert ledger.net() == {"156": 0}
    assert ledger.rows()[0].effects == 1


def test_a_late_original_can_still_be_declined_by_a_host_that_does_not_block() -> None:
    ledger = Ledger(LedgerRules(block_late_original=False))
    ledger.reverse(reversal())
    assert ledger.charge(sale(), decline="51").code == "51"
    assert ledger.rows()[0].state == "declined"


def test_a_request_that_comes_again_after_its_reversal_is_refused() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    ledger.reverse(reversal())
    assert ledger.charge(sale()).code == "12"
    assert ledger.net() == {"156": 0}


def test_a_reversal_of_a_declined_sale_is_accepted_without_effect() -> None:
    ledger = Ledger()
    assert ledger.charge(sale(), decline="51").code == "51"
    assert ledger.reverse(reversal()).code == "00"
    row = ledger.rows()[0]
    assert (row.state, row.charges, row.effects) == ("declined", 0, 0)


@pytest.mark.parametrize(
    ("changes", "code", "what"),
    [
        ({"amount_minor": 999}, "64", "amount"),
        ({"card": "6200000000000005"}, "14", "card"),
        ({"currency": "840"}, "30", "currency"),
        ({"processing_code": "200000"}, "30", "processing code"),
    ],
)
def test_a_reversal_that_does_not_fit_its_original_is_refused(changes: dict[str, object], code: str, what: str) -> None:
    ledger = Ledger()
    ledger.charge(sale())
    assert ledger.reverse(reversal(**changes)).code == code
    assert ledger.net() == {"156": 1000}
    assert ledger.rows()[0].refused_reversals == 1
    assert [found.text for found in ledger.violations()] == [f"{what} is not the original's"]


def test_a_reversal_without_a_card_number_is_matched_by_its_key() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    assert ledger.reverse(reversal(card="")).code == "00"


def test_a_refused_reversal_is_counted_and_has_no_effect() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    assert ledger.reverse(reversal(), refuse="96").code == "96"
    row = ledger.rows()[0]
    assert (row.reversals, row.refused_reversals, row.effects) == (1, 1, 0)


def test_a_partial_reversal_leaves_the_amount_that_stands() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    ledger.reverse(reversal(standing_minor=300))
    assert ledger.net() == {"156": 300}


@pytest.mark.parametrize(
    ("kind", "taken", "held"),
    [
        ("sale", 1000, 0),
        ("void", -1000, 0),
        ("refund", -1000, 0),
        ("preauth", 0, 1000),
        ("preauth-void", 0, -1000),
        ("completion", 1000, -1000),
        ("completion-void", -1000, 1000),
        ("balance", 0, 0),
    ],
)
def test_each_kind_moves_the_money_it_should_and_its_reversal_moves_it_back(kind: str, taken: int, held: int) -> None:
    ledger = Ledger()
    ledger.charge(sale(kind=kind))
    assert (ledger.net(), ledger.held()) == ({"156": taken}, {"156": held})
    ledger.reverse(reversal(kind=kind))
    assert (ledger.net(), ledger.held()) == ({"156": 0}, {"156": 0})
    assert ledger.rows()[0].state == "reversed"


def test_money_is_counted_by_currency() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    ledger.charge(sale(key=replace(KEY, stan="000008"), currency="840", amount_minor=5))
    assert ledger.net() == {"156": 1000, "840": 5}


@pytest.mark.parametrize("part", ["terminal", "batch", "stan", "merchant"])
def test_the_key_has_four_parts(part: str) -> None:
    ledger = Ledger()
    ledger.charge(sale())
    other = replace(KEY, **{part: "999999"})
    assert ledger.reverse(reversal(key=other)).code == "25"
    assert ledger.net() == {"156": 1000}


def test_totals_of_a_batch_leave_reversed_sales_out() -> None:
    ledger = Ledger()
    for number, kind in enumerate(["sale", "sale", "refund", "sale"]):
        ledger.charge(sale(key=replace(KEY, stan=f"00001{number}"), kind=kind))
    ledger.reverse(reversal(key=replace(KEY, stan="000013")))
    assert ledger.totals(KEY.terminal, KEY.batch) == (2000, 2, 1000, 1)


def test_rows_are_copies() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    ledger.rows()[0].charges = 7
    ledger.rows()[0].request_print.clear()
    assert ledger.rows()[0].charges == 1
    assert ledger.charge(sale()).code == "00"
    assert names(ledger) == ["request-sent-again"]


def test_two_effects_would_be_a_violation(tmp_path: Path) -> None:
    """The ledger guards itself, so only damaged books can show it."""
    path = tmp_path / "books.json"
    Ledger(path=path).charge(sale())
    books = json.loads(path.read_text())
    books["entries"][0]["effects"] = 2
    path.write_text(json.dumps(books))
    assert names(Ledger(path=path)) == ["two-effects"]


def test_the_books_survive_a_restart_of_the_host(tmp_path: Path) -> None:
    path = tmp_path / "books.json"
    before = Ledger(path=path)
    rrn = before.charge(sale()).entry.rrn
    before.keep_terminal("10000001", replace(before.terminal("10000001"), batch=7, sign_ons=2))
    after = Ledger(path=path)
    assert after.terminal("10000001").batch == 7
    assert after.charge(sale()).entry.rrn == rrn
    assert after.reverse(reversal()).code == "00"
    assert after.reverse(reversal(card="6200000000000005")).code == "14"
    assert Ledger(path=path).rows()[0].effects == 1
    assert names(Ledger(path=path)) == ["request-sent-again", "reversal-mismatch"]


def test_the_books_hold_no_card_number(tmp_path: Path) -> None:
    path = tmp_path / "books.json"
    ledger = Ledger(path=path)
    ledger.charge(sale())
    ledger.reverse(reversal(elements={2: CARD}))
    text = path.read_text()
    assert CARD not in text
    assert CARD not in json.dumps([row.as_dict() for row in ledger.rows()])
    assert ledger.rows()[0].card == "621234*********0003"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1}'])
def test_unreadable_books_are_an_error_and_never_empty_books(tmp_path: Path, text: str) -> None:
    path = tmp_path / "books.json"
    path.write_text(text)
    with pytest.raises(LedgerError, match="cannot read"):
        Ledger(path=path)


def test_books_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "books.json"
    with pytest.raises(LedgerError, match="cannot write"):
        Ledger(path=path).charge(sale())


def test_find_gives_the_newest_entry() -> None:
    ledger = Ledger()
    ledger.charge(sale())
    ledger.charge(sale(key=replace(KEY, batch="000002")))
    found = ledger.find("000007", "10000001")
    assert found is not None
    assert found.key.batch == "000002"
    assert ledger.find("000007", batch="000001") is not None
    assert ledger.find("000009") is None
