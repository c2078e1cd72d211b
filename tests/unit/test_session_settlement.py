"""Totals of a batch and what the host says of them; and that both languages of the session's texts agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent import session_texts as texts
from agent.journal_contract import Row
from agent.records import State, dump
from agent.settlement import Totals, equal, next_batch, supported, totals_of
from agent.texts import Text, placeholders
from protocol.profile import load_profile
from tests import dialogue

BATCH = "000017"


def item(kind: str, amount_minor: int, state: State = State.COMPLETED, batch: str = BATCH) -> Row:
    """The latest record of a transaction, as the journal has it."""
    txn = replace(dialogue.transaction(), kind=kind, amount_minor=amount_minor, state=state, batch=batch)
    return Row(1, 0, txn.id, txn.lane, txn.reference, str(state), txn.pending, "Begin", dump(txn), txn.begun_at_utc)


def test_sales_and_completions_are_debits_voids_and_refunds_credits() -> None:
    kinds = ["sale", "completion", "void", "completion-void", "refund", "preauth", "preauth-void", "balance"]
    found = totals_of([item(kind, 10**power) for power, kind in enumerate(kinds)], BATCH)
    assert found == Totals(11, 2, 11100, 3)


@pytest.mark.parametrize("state", sorted(set(State) - {State.COMPLETED}))
def test_only_what_stands_is_counted(state: State) -> None:
    assert totals_of([item("sale", 100), item("sale", 7, state)], BATCH) == Totals(100, 1, 0, 0)


def test_another_batch_is_not_counted() -> None:
    assert totals_of([item("sale", 100), item("sale", 7, batch="000016")], BATCH) == Totals(100, 1, 0, 0)


def test_element_48_has_62_digits_in_the_order_debit_credit_flag() -> None:
    sent = Totals(1250, 2, 300, 1).field_48()
    assert sent == "000000001250" + "002" + "000000000300" + "001" + "0" + "0" * 31
    assert len(sent) == 62


def test_totals_that_do_not_fit_are_noticed() -> None:
    assert Totals(10**12 - 1, 999, 0, 0).fits
    assert not Totals(10**12, 1, 0, 0).fits
    assert not Totals(1, 1000, 0, 0).fits


@pytest.mark.parametrize(("flag", "said"), [("1", True), ("2", False), ("0", None), ("", None)])
def test_the_flag_says_equal_unequal_or_nothing(flag: str, said: bool | None) -> None:
    assert equal("0" * 30 + flag) is said


def test_the_last_batch_is_followed_by_the_first() -> None:
    assert [next_batch(batch) for batch in ("000001", "000099", "999999")] == ["000002", "000100", "000001"]


def test_only_profiles_with_totals_in_element_48_settle() -> None:
    assert supported(load_profile("unionpay-pos"))
    assert not supported(load_profile("iso87-ascii"))
    assert not supported(load_profile("nac-edc"))


def every_text() -> list[Text]:
    """All texts of the session's catalogue."""
    tables = (texts.WANTED, texts.HOST_ASKS, texts.SETTLED)
    plain = [text for table in tables for text in table.values()]
    return plain + [text for entry in texts.CONDITIONS.values() for text in (entry.text, entry.action)]


@pytest.mark.parametrize("text", every_text(), ids=lambda text: text.en[:30])
def test_both_languages_say_the_same_with_the_same_placeholders(text: Text) -> None:
    assert text.en != text.zh
    assert placeholders(text.en) == placeholders(text.zh)


def test_every_wish_of_a_shipped_profile_has_words() -> None:
    wishes = {action for name in ("unionpay-pos", "unionpay-x919") for action in _actions(name)}
    assert wishes - {"none"} <= set(texts.HOST_ASKS)


def _actions(name: str) -> set[str]:
    return set(load_profile(name).session.requirements.values())
