"""A copy of a slip tells the truth about its item as it stands now, and says that it is a copy."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agent.lane import RefusedError
from agent.letterhead import Letterhead
from agent.loop import Loop
from agent.money_effect import EFFECTS
from agent.records import State, Transaction
from agent.rpc_socket import Peer
from agent.slip_desk import SlipDesk, possible
from agent.slips import BY_EFFECT, NOTES, UNDECIDED, WORDS, slip, words
from agent.status_text import columns
from protocol.escpos import Line, Pair
from tests.unit.status_samples import PANS, owed, parked, transaction

ANNA = Peer(1, 1000, 1000, "anna")


class Room:
    def __init__(self, prints: bool = True) -> None:
        self.prints = prints
        self.slips_waiting = 2
        self.asked: list[tuple[str, str, str]] = []

    def slip(self, txn: Transaction, what: str, note: str = "") -> None:
        self.asked.append((txn.id, what, note))


class OneItem:
    def __init__(self, txn: Transaction) -> None:
        self._txn = txn

    def get(self, txn_id: str) -> Transaction | None:
        return self._txn if txn_id == self._txn.id else None


def desk(txn: Transaction, room: Room) -> SlipDesk:
    return SlipDesk(cast(Loop, OneItem(txn)), room)


@pytest.mark.parametrize(
    ("txn", "slips"),
    [
        (owed(), ["cancelled", "adjustment"]),
        (parked(), ["parked", "cancelled", "adjustment"]),
        (parked(undecided=True), ["parked"]),
        (transaction(state=State.REVERSED), ["confirmed"]),
        (transaction(state=State.SETTLED), ["settled"]),
        (transaction(state=State.COMPLETED), []),
        (transaction(state=State.DECLINED), []),
    ],
)
def test_only_slips_that_are_true_now_can_be_printed(txn: Transaction, slips: list[str]) -> None:
    assert possible(txn) == slips
    for what in WORDS:
        room = Room()
        if what in slips:
            desk(txn, room).print(ANNA, {"id": txn.id, "what": what})
            assert room.asked == [(txn.id, what, "copy")]
        else:
            with pytest.raises(RefusedError) as caught:
                desk(txn, room).print(ANNA, {"id": txn.id, "what": what})
            assert (caught.value.code, room.asked) == ("A-NO-SLIP", [])


def test_without_a_name_it_is_the_slip_of_its_state() -> None:
    room = Room()
    assert desk(parked(), room).print(ANNA, {"id": "main-1"}) == {"id": "main-1", "slip": "parked", "waiting": 2}


@pytest.mark.parametrize(
    ("params", "prints", "code"), [("main-9", True, "A-NO-ITEM"), ("main-1", False, "A-NO-PRINTER")]
)
def test_what_cannot_be_printed_is_refused(params: str, prints: bool, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        desk(owed(), Room(prints)).print(ANNA, {"id": params})
    assert caught.value.code == code


@pytest.mark.parametrize("note", ["", *NOTES])
@pytest.mark.parametrize("what", [name for name in WORDS if name != "notice"])
def test_a_slip_says_what_it_is_in_both_languages_without_card_data(what: str, note: str) -> None:
    items: tuple[Any, ...] = slip(what, parked(), Letterhead("测试商店"), note).items
    told = " ".join(
        item.text if isinstance(item, Line) else f"{item.left} {item.right}"
        for item in items
        if isinstance(item, Line | Pair)
    )
    assert WORDS[what][0] in told
    assert WORDS[what][1] in told
    assert "000123" in told
    assert all(text in told for text in NOTES.get(note, ()))
    assert not any(pan in told for pan in PANS)


@pytest.mark.parametrize("kind", [kind for kind, effect in EFFECTS.items() if effect in ("undoes", "gives")])
@pytest.mark.parametrize("what", ["cancelled", "confirmed", "declined", "parked", "adjustment"])
def test_the_slip_of_a_failed_void_or_refund_promises_no_money(what: str, kind: str) -> None:
    _, _, chinese, english = words(what, parked(kind=kind))
    assert "nothing is charged" not in english
    assert "goes back to your account. " not in english.replace("Nothing goes back to your account. ", "")
    assert "未扣款" not in chinese
    assert "将退回您" not in chinese


def test_a_slip_of_an_undecided_sale_does_not_say_that_it_is_reversed() -> None:
    title, _, _, english = words("parked", parked(undecided=True))
    assert "冲正未确认" not in title
    assert "confirm it, if not reverse it" in english


def test_every_line_of_a_slip_fits_in_its_titles_width() -> None:
    """A title is printed in double height only: 32 columns on the narrowest paper."""
    tables = [WORDS, *BY_EFFECT.values(), {"undecided": UNDECIDED}]
    assert all(columns(title) <= 32 for table in tables for entry in table.values() for title in entry[:2])
