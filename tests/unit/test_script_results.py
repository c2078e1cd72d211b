"""Script results: kept durably, sent before the reversal, told again until answered, never in its way for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.events import Reverse
from agent.lane import RefusedError
from agent.loop import Loop
from agent.notice_api import NoticeApi
from agent.notice_desk import NoticeDesk
from agent.notices import WAITING_MAX, Notice, Outbox
from agent.outcomes import Exchange, Lost, Replied, Unsent
from agent.records import State, Transaction
from agent.rpc import Peer
from agent.side_desks import SideDesks
from protocol.iso8583 import Message
from protocol.profile import load_profile
from protocol.tlv import read_tags
from tests.dialogue import PAN
from tests.simulation.memory_journal import MemoryJournal
from tests.unit.test_loop import World

CHIP = "9F360200A1" + "9F2608" + "11" * 8 + "9505000004E000" + "DF3105" + "2000000001" + "5A08" + "62" * 8
RESULT = "2000000001"
TILL = Peer(pid=1, uid=1, gid=1, name="till")
PROFILE = load_profile("unionpay-pos")


async def _never(condition: Callable[[], bool], seconds: float) -> bool:
    raise AssertionError("nobody waits here")


class Shop:
    """A loop with its outbox, on a wire that answers when told to."""

    def __init__(self, journal: MemoryJournal | None = None, profile: str = "unionpay-pos") -> None:
        self.world = World(journal, profile)
        self.heard: list[tuple[str, str, int]] = []
        self.desk = self._desk(self.world.loop)

    def _desk(self, loop: Loop, until: Callable[..., Awaitable[bool]] = _never) -> NoticeDesk:
        desk = NoticeDesk(
            loop,
            self.world.journal,
            self.world.clock,  # type: ignore[arg-type]
            until,
            lambda lane, code, wish: self.heard.append((lane, code, wish)),
            lambda lane: None,
        )
        desk.configure("main")
        return desk

    @property
    def journal(self) -> MemoryJournal:
        return self.world.journal

    @property
    def lane(self) -> Any:
        return self.world.loop.lanes["main"]

    def approved(self, reference: str = "R1") -> Transaction:
        """A sale that the host has approved."""
        self.world.begin(reference)
        self.answer(**{"39": "00", "38": "123456", "37": "000000000042", "13": "0307", "32": "01020000", "14": ""})
        txn = self.world.loop.find("main", reference)
        assert txn is not None
        assert txn.state is State.APPROVED
        return txn

    def message(self) -> Message:
        """What is on the wire."""
        exchange: Exchange = self.lane.busy
        return PROFILE.codec.unpack(exchange.body)

    def answer(self, mac: str = "valid", requirement: int = 0, **elements: str) -> None:
        """The host answers what is on the wire."""
        sent = self.message()
        kept = {number: sent.get(number) for number in (2, 3, 4, 11, 41, 42, 49, 60) if sent.get(number)}
        kept |= {int(number): value for number, value in elements.items() if value}
        reply = Message(f"{sent.mti[:2]}{int(sent.mti[2]) + 1}0", kept)
        body = PROFILE.codec.pack(reply)
        self.end(Replied(body, mac, "h1", requirement))  # type: ignore[arg-type]

    def end(self, outcome: Any) -> None:
        """The exchange under way ends."""
        self.world.loop.outcome(self.lane.busy.id, outcome)
        if self.lane.busy is None:
            self.desk.look("main")  # as the room does when a lane is free

    def lose(self) -> None:
        self.end(Lost("timeout", "no answer in time", "h1"))

    def sent(self) -> list[str]:
        """The types that have left so far."""
        return [PROFILE.codec.unpack(exchange.body).mti for exchange, _ in self.world.wire.sent]

    def restarted(self) -> Shop:
        """A new process on the same journal."""
        again = Shop(self.journal)
        again.world.clock.mono = self.world.clock.mono
        again.world.loop.start()
        return again


def test_the_message_says_what_the_facts_say_of_a_script_result() -> None:
    shop = Shop()
    txn = shop.approved()
    notice = shop.desk.keep(txn, CHIP)
    shop.desk.look("main")
    message = shop.message()
    assert message.mti == "0620"
    wanted = {2, 3, 4, 11, 22, 25, 32, 37, 38, 41, 42, 49, 55, 60, 61, 64}
    assert set(message.fields) == wanted
    assert message.get(11) == notice.stan != txn.stan  # a number of its own
    assert message.get(60) == "00000017951"
    assert message.get(61) == f"000017{txn.stan}0307"
    assert (message.get(37), message.get(38), message.get(32)) == ("000000000042", "123456", "01020000")
    assert [tag for tag, _ in read_tags(message.get(55))] == ["95", "9F26", "9F36", "DF31"]  # no card number (5A)


def test_a_result_goes_before_the_reversal_of_its_sale() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    shop.world.loop.handle(txn.id, Reverse("card", "other", "card-refused"))
    shop.world.loop.wake()
    shop.answer(**{"39": "00"})
    assert shop.sent() == ["0200", "0620", "0400"]
    shop.answer(**{"39": "00"})
    assert shop.world.loop.get(txn.id).state is State.REVERSED  # type: ignore[union-attr]
    assert shop.desk.trays["main"].outbox.waiting == ()
    assert shop.desk.trays["main"].outbox.ended[-1].how == "answered"


def test_a_host_that_never_answers_it_holds_the_reversal_up_three_times_and_no_more() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    shop.world.loop.handle(txn.id, Reverse("card"))
    shop.world.loop.wake()
    for _ in range(3):
        assert shop.message().mti == "0620"
        shop.lose()
    assert shop.message().mti == "0400"
    shop.answer(**{"39": "00"})
    (late,) = shop.desk.trays["main"].outbox.late(3)
    assert (late.tries, late.last_error) == (3, "no answer in time")
    shop.world.later(PROFILE.retry.parked_every_s * 1.3)
    shop.desk.wake()
    assert shop.sent() == ["0200", "0620", "0620", "0620", "0400", "0620"]  # kept, and told again on the slow schedule


def test_each_try_sends_the_same_bytes() -> None:
    shop = Shop()
    shop.desk.keep(shop.approved(), CHIP)
    shop.desk.look("main")
    for _ in range(2):
        shop.lose()
    bodies = {exchange.body for exchange, _ in shop.world.wire.sent[1:]}
    assert len(bodies) == 1


def test_a_try_is_counted_before_its_bytes_leave_and_no_restart_loses_the_result_or_its_count() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    shop.desk.look("main")
    body = shop.lane.busy.body
    again = shop.restarted()  # the power went while it was on the wire
    (notice,) = again.desk.trays["main"].outbox.waiting
    assert (notice.tries, notice.body, notice.id) == (1, body, txn.id)
    again.desk.wake()
    assert again.lane.busy.body == body
    again.answer(**{"39": "00"})
    assert again.restarted().desk.trays["main"].outbox.waiting == ()


def test_after_a_restart_too_it_goes_before_the_reversal() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    shop.world.loop.handle(txn.id, Reverse("card"))
    again = shop.restarted()
    again.world.later(10)
    assert again.sent() == ["0620"]
    again.answer(**{"39": "00"})
    assert again.sent() == ["0620", "0400"]


def test_a_dead_link_costs_no_try_and_holds_no_reversal_up() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    shop.world.loop.handle(txn.id, Reverse("card"))
    shop.world.loop.wake()
    shop.end(Unsent("network", "no route"))
    assert shop.message().mti == "0400"
    shop.end(Unsent("network", "no route"))
    assert shop.desk.trays["main"].outbox.waiting[0].tries == 0
    shop.desk.back("main")  # the link is back: the result first
    assert shop.message().mti == "0620"


def test_several_go_in_their_order_and_one_that_is_never_answered_does_not_stop_the_next() -> None:
    shop = Shop()
    first, second = shop.approved("R1"), shop.approved("R2")
    shop.desk.keep(first, CHIP)
    shop.desk.keep(second, CHIP)
    shop.desk.look("main")
    for _ in range(3):
        assert first.stan in shop.message().get(61)
        shop.lose()
    shop.world.later(60)  # the backoff after three failures, jitter included
    shop.desk.look("main")
    assert second.stan in shop.message().get(61)


def test_many_results_hold_a_reversal_of_a_silent_host_up_no_longer_than_one() -> None:
    shop = Shop()
    sales = [shop.approved(f"R{number}") for number in range(5)]
    for txn in sales:
        shop.desk.keep(txn, CHIP)
    shop.world.loop.handle(sales[0].id, Reverse("card"))
    shop.world.loop.wake()
    for _ in range(3):
        shop.lose()
    assert shop.sent()[5:] == ["0620", "0620", "0620", "0400"]
    shop.answer(**{"39": "00"})
    shop.desk.back("main")  # the link was down and is back: the others get their turn again
    shop.answer(**{"39": "00"})
    assert shop.sent()[-1] == "0620"
    assert len(shop.desk.trays["main"].outbox.ended) == 1


def test_a_code_of_the_host_ends_it_save_one_that_only_a_sign_on_mends() -> None:
    shop = Shop()
    shop.desk.keep(shop.approved("R1"), CHIP)
    shop.desk.look("main")
    shop.answer(**{"39": "A0"}, requirement=3)
    assert shop.heard == [("main", "A0", 3)]
    (notice,) = shop.desk.trays["main"].outbox.waiting
    assert notice.tries == 1
    shop.desk.back("main")
    shop.answer(**{"39": "30"})
    ended = shop.desk.trays["main"].outbox.ended[-1]
    assert (ended.how, ended.code) == ("refused", "30")


@pytest.mark.parametrize("mac", ["invalid", "unverified"])
def test_an_answer_with_a_wrong_mac_ends_nothing(mac: str) -> None:
    shop = Shop()
    shop.desk.keep(shop.approved(), CHIP)
    shop.desk.look("main")
    shop.answer(mac, **{"39": "00"})
    assert shop.desk.trays["main"].outbox.waiting


def test_asked_again_it_is_the_same_one_and_another_result_is_refused() -> None:
    shop = Shop()
    txn = shop.approved()
    api = NoticeApi(shop.world.loop, lambda: shop.desk)
    first = api.keep(TILL, {"reference": "R1", "chip_data": CHIP})
    assert api.keep(TILL, {"reference": "R1", "chip_data": CHIP}) == first
    assert first["id"] == txn.id
    with pytest.raises(RefusedError) as caught:
        api.keep(TILL, {"reference": "R1", "chip_data": CHIP.replace(RESULT, "1100000001")})
    assert caught.value.code == "A-SCRIPT-RESULT-KEPT"
    shop.answer(**{"39": "00"})
    with pytest.raises(RefusedError):  # told already: not a second time
        api.keep(TILL, {"reference": "R1", "chip_data": CHIP})
    assert api.list(TILL, {})["lanes"]["main"]["ended"][0]["id"] == txn.id


@pytest.mark.parametrize(
    ("chip_data", "code"),
    [("", "A-PARAMETER"), ("9F360200A1", "A-PARAMETER"), ("DF3104200000", "A-PARAMETER"), ("zz", "A-PARAMETER")],
)
def test_chip_data_without_a_result_is_refused_and_not_repeated(chip_data: str, code: str) -> None:
    shop = Shop()
    shop.approved()
    with pytest.raises(RefusedError) as caught:
        NoticeApi(shop.world.loop, lambda: shop.desk).keep(TILL, {"reference": "R1", "chip_data": chip_data})
    assert caught.value.code == code
    assert not chip_data or chip_data not in str(caught.value)


def test_a_sale_without_an_answer_and_a_host_that_wants_none_are_told() -> None:
    shop = Shop()
    shop.world.begin()
    api = NoticeApi(shop.world.loop, lambda: shop.desk)
    for reference, code in (("R1", "A-NO-SCRIPT-RESULT"), ("R9", "A-NO-REFERENCE")):
        with pytest.raises(RefusedError) as caught:
            api.keep(TILL, {"reference": reference, "chip_data": CHIP})
        assert caught.value.code == code
    other = Shop(profile="iso87-ascii")
    other.world.begin()
    other.lose()
    with pytest.raises(RefusedError) as caught:
        NoticeApi(other.world.loop, lambda: other.desk).keep(TILL, {"reference": "R1", "chip_data": CHIP})
    assert caught.value.code == "A-NO-SCRIPT-RESULT"


def test_a_person_closes_what_no_host_answers_and_it_is_recorded() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    api = NoticeApi(shop.world.loop, lambda: shop.desk)
    with pytest.raises(RefusedError):
        api.close(TILL, {"id": txn.id, "why": " "})
    assert api.close(TILL, {"id": txn.id, "why": "told by telephone"}) == {"closed": txn.id}
    rows = shop.journal.history("outbox:main")
    assert [row.event for row in rows] == ["Kept", "Closed"]
    assert json.loads(rows[-1].public)["ended"][0]["by"] == "till"
    with pytest.raises(RefusedError):
        api.close(TILL, {"id": txn.id, "why": "again"})


def test_a_card_number_that_a_person_types_as_the_why_is_not_kept() -> None:
    shop = Shop()
    txn = shop.approved()
    shop.desk.keep(txn, CHIP)
    NoticeApi(shop.world.loop, lambda: shop.desk).close(TILL, {"id": txn.id, "why": f"the bank knows {PAN}"})
    kept = json.loads(shop.journal.history("outbox:main")[-1].public)["ended"][0]["why"]
    assert kept.startswith("the bank knows ")
    assert PAN not in kept


def test_no_card_number_and_no_chip_data_stand_in_the_open() -> None:
    shop = Shop()
    notice = shop.desk.keep(shop.approved(), CHIP)
    for row in shop.journal.history("outbox:main"):
        assert PAN not in row.public
        assert "1111111111111111" not in row.public
    assert PAN not in repr(notice)
    assert notice.body.hex() not in repr(shop.desk.trays)
    (entry,) = shop.desk.sealed_anew()
    assert entry.secret


def test_the_number_of_a_waiting_result_is_given_to_no_sale() -> None:
    shop = Shop()
    notice = shop.desk.keep(shop.approved(), CHIP)
    shop.journal.append([], {"stan:main": int(notice.stan) - 1})
    again = shop.restarted()
    assert again.world.begin("R2").stan != notice.stan


def test_a_queue_that_is_full_takes_no_more() -> None:
    shop = Shop()
    txn = shop.approved()
    full = Outbox("main", tuple(Notice(f"x{n}", "1", "0620", "", "", {}, "") for n in range(WAITING_MAX)))
    shop.desk.trays["main"].outbox = full
    with pytest.raises(RefusedError) as caught:
        shop.desk.keep(txn, CHIP)
    assert caught.value.code == "A-SCRIPT-RESULTS-FULL"


def test_an_outbox_survives_its_stored_form() -> None:
    shop = Shop()
    shop.desk.keep(shop.approved(), CHIP)
    outbox = shop.desk.trays["main"].outbox
    assert Outbox.load("main", outbox.public(), outbox.secret()) == outbox
    over = outbox.without(outbox.waiting[0].id, "answered", "2026", "00")
    assert Outbox.load("main", over.public(), over.secret()) == over


def test_a_sale_waits_for_a_try_that_is_due_but_not_for_a_dead_link() -> None:
    shop = Shop()
    shop.desk.keep(shop.approved(), CHIP)
    asked: list[bool] = []

    async def until(condition: Callable[[], bool], seconds: float) -> bool:
        asked.append(condition())
        shop.end(Unsent("network", "no route"))
        asked.append(condition())
        return True

    desk = shop._desk(shop.world.loop, until)
    shop.desk = desk
    asyncio.run(desk.before_sale("main"))
    assert asked == [False, True]


def test_a_start_makes_the_desk_only_where_something_waits() -> None:
    shop = Shop()
    txn = shop.approved()

    def side(loop: Loop) -> SideDesks:
        made = SideDesks(loop, shop.journal, shop.world.clock, _never, lambda *_: None, lambda _: None)  # type: ignore[arg-type]
        made.configure("main")
        return made

    idle = World(shop.journal)
    assert side(idle.loop).next_wake() is None
    assert idle.lane.goes_first is None
    assert side(idle.loop).view("main") == {"script_results": {"waiting": 0, "unanswered": 0}, "upload": None}
    shop.desk.keep(txn, CHIP)
    waits = World(shop.journal)
    found = side(waits.loop)
    assert waits.lane.goes_first is not None
    assert found.view("main")["script_results"]["waiting"] == 1
    assert found.next_wake() is not None


def test_an_outbox_that_cannot_be_read_stops_no_start() -> None:
    shop = Shop()
    shop.desk.keep(shop.approved(), CHIP)
    (entry,) = shop.desk.sealed_anew()
    shop.world.loop.keep([replace(entry, secret=b"{}")])
    assert shop.restarted().desk.trays["main"].outbox.waiting == ()
