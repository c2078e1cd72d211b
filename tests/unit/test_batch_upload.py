"""The upload of a batch's details: once each, over lost answers and restarts, behind every reversal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.batch_upload import Upload, begun, dump, element_48, load
from agent.events import Complete
from agent.lane import Order
from agent.outcomes import Lost, Replied, Unsent
from agent.records import State, Transaction
from agent.upload_desk import UploadDesk
from hwsim.host.dialect_unionpay import UnionPay
from hwsim.host.notices import Notice
from protocol.iso8583 import Message
from protocol.profile import load_profile
from tests.dialogue import PAN
from tests.simulation.memory_journal import MemoryJournal
from tests.unit.test_loop import CARD, World

PROFILE = load_profile("unionpay-pos")


class Host:
    """A host that takes uploads, with the simulated host's own codec and book entries."""

    def __init__(self, journal: MemoryJournal | None = None) -> None:
        self.world = World(journal)
        self.notices: list[Notice] = []
        self.heard: list[str] = []
        self.desk = UploadDesk(
            self.world.loop,
            self.world.journal,
            self.world.clock,  # type: ignore[arg-type]
            lambda lane, code, wish: self.heard.append(code),
            lambda lane: None,
        )
        self.desk.configure("main")

    def sold(self, count: int, **card: str) -> list[str]:
        """Completed sales."""
        return [self._sale(f"R{number}{len(card)}", 100 + number, {**CARD, **card}).id for number in range(count)]

    def _sale(self, reference: str, amount_minor: int, card: dict[str, str]) -> Transaction:
        txn = self.world.loop.begin("main", Order(reference, "sale", amount_minor, card))
        self.answer("00")
        return self.world.loop.handle(txn.id, Complete("till"))

    def start(self, ids: list[str], batch: str = "000017") -> None:
        upload, entry = self.desk.prepared("main", batch, ids)
        self.world.loop.keep([entry])
        self.desk.start(upload)

    @property
    def upload(self) -> Upload:
        return self.desk.benches["main"].upload

    def message(self) -> Message:
        assert self.world.lane.busy is not None
        return PROFILE.codec.unpack(self.world.lane.busy.body)

    def answer(self, code: str) -> None:
        """The host answers what is on the wire and books what an upload told."""
        busy = self.world.loop.lanes["main"].busy
        assert busy is not None
        sent = PROFILE.codec.unpack(busy.body)
        if sent.mti == "0320" and code == "00":
            self.notices.append(Notice.of(UnionPay.codec.unpack(busy.body)))
        kept = {number: sent.get(number) for number in (2, 3, 4, 11, 41, 42, 49, 60) if sent.get(number)}
        reply = Message(f"{sent.mti[:2]}{int(sent.mti[2]) + 1}0", {**kept, 39: code})
        self.end(Replied(PROFILE.codec.pack(reply), "valid", "h1", 0))

    def end(self, outcome: Replied | Lost | Unsent) -> None:
        loop = self.world.loop
        busy = loop.lanes["main"].busy
        assert busy is not None
        loop.outcome(busy.id, outcome)
        if loop.lanes["main"].busy is None:
            self.desk.look("main")

    def restarted(self) -> Host:
        """A new process on the same journal."""
        again = Host(self.world.journal)
        again.world.loop.start()
        again.notices = self.notices
        return again

    def told(self) -> list[str]:
        """STANs of the details that were told, in order; "end" and its count."""
        return [
            stan
            for one in self.notices
            for stan in ([stan for stan, _ in one.details()] if one.network_code == "201" else [f"end {one.about}"])
        ]


def test_details_go_eight_in_a_message_then_the_end_with_their_count() -> None:
    host = Host()
    ids = host.sold(11)
    host.start(ids)
    first = host.message()
    assert (first.mti, first.get(60), first.get(48)[:2]) == ("0320", "00000017201", "08")
    assert first.get(48)[2:42] == "00" + "000001" + PAN.rjust(20, "0") + "000000000100"
    assert set(first.fields) == {11, 41, 42, 48, 60}  # a batch message carries no MAC
    host.answer("00")
    host.answer("00")
    assert (host.message().get(48), host.message().get(60)) == ("0011", "00000017202")
    host.answer("00")
    assert host.told() == [f"{number:06d}" for number in range(1, 12)] + ["end 0011"]
    assert (host.upload.step, host.upload.accepted, host.world.loop.lanes["main"].busy) == ("done", 11, None)


def test_a_lost_answer_sends_the_same_message_again() -> None:
    host = Host()
    host.start(host.sold(9))
    body = host.world.lane.busy.body  # type: ignore[union-attr]
    host.end(Lost("timeout", "no answer", "h1"))
    assert host.desk.at_rest("main")
    host.desk.back("main")
    assert host.world.lane.busy is not None
    assert host.world.lane.busy.body == body


@pytest.mark.parametrize("answered", range(4))
@pytest.mark.parametrize("told", [False, True])
def test_a_restart_at_any_message_goes_on_and_tells_nothing_twice(answered: int, told: bool) -> None:
    host = Host()
    ids = host.sold(17)
    host.start(ids)
    for _ in range(answered):
        host.answer("00")
    body = host.world.lane.busy.body  # type: ignore[union-attr]
    if told:  # the host has it, the answer was lost with the power
        host.notices.append(Notice.of(UnionPay.codec.unpack(body)))
    again = host.restarted()
    again.desk.wake()
    assert again.world.lane.busy is not None
    assert again.world.lane.busy.body == body
    while again.world.lane.busy is not None:
        again.answer("00")
    unique = list(dict.fromkeys((one.stan, one.about) for one in again.notices))
    assert len(unique) == 4  # three messages of details and the end, each under one number
    assert again.upload.step == "done"
    assert again.restarted().desk.next_wake() is None


def test_what_the_host_refuses_stops_none_of_the_others() -> None:
    host = Host()
    ids = host.sold(10)
    host.start(ids)
    host.answer("30")
    host.answer("00")
    assert host.message().get(48) == "0002"
    host.answer("00")
    assert [one for one, _ in host.upload.refused] == ids[:8]
    assert {code for _, code in host.upload.refused} == {"30"}
    assert host.upload.step == "done"


def test_a_code_that_only_a_sign_on_mends_is_no_refusal() -> None:
    host = Host()
    host.start(host.sold(1))
    host.answer("77")
    assert (host.heard, host.upload.refused, host.upload.waiting != ()) == (["77"], (), True)


def test_chip_sales_and_what_is_gone_are_left_by_name() -> None:
    host = Host()
    chip = host.sold(1, pos_entry_mode="051", chip_data="9F360200A1")
    stripe = host.sold(1)
    host.start([*chip, *stripe, "main-99"])
    host.answer("00")
    host.answer("00")
    assert dict(host.upload.left)[chip[0]].startswith("a chip sale")
    assert "main-99" in dict(host.upload.left)
    assert host.upload.accepted == 1


def test_an_upload_of_nothing_is_its_end() -> None:
    host = Host()
    host.start([])
    assert host.message().get(48) == "0000"
    host.answer("00")
    assert host.upload.step == "done"


def test_a_reversal_that_is_due_goes_before_the_next_message() -> None:
    host = Host()
    ids = host.sold(9)
    txn = host.world.begin("GONE")
    host.end(Lost("timeout", "no answer", "h1"))
    host.end(Lost("timeout", "no answer", "h1"))  # the first try of its reversal
    assert host.world.loop.get(txn.id).state is State.REVERSING  # type: ignore[union-attr]
    host.start(ids)
    host.world.clock.mono += 1000
    host.answer("00")
    assert host.message().mti == "0400"
    host.answer("00")
    assert host.message().mti == "0320"


def test_no_card_number_stands_in_the_open() -> None:
    host = Host()
    host.start(host.sold(2))
    rows = host.world.journal.history("upload:main")
    assert [row.event for row in rows] == ["Begun", "Made", "Tried"]
    assert all(PAN not in row.public for row in rows)
    assert PAN not in str(host.desk.views())
    assert len(host.desk.sealed_anew()) == 1


def test_a_person_goes_on_without_it() -> None:
    host = Host()
    host.start(host.sold(1))
    host.end(Lost("timeout", "no answer", "h1"))
    host.desk.abandon("main")
    assert host.desk.open("main") is None
    assert host.restarted().desk.next_wake() is None


def test_an_upload_survives_its_stored_form() -> None:
    upload = replace(begun("main", "000017", ["main-1", "main-2"]), refused=(("main-3", "30"),), left=(("x", "y"),))
    assert load(dump(upload)) == upload
    assert element_48(["1" * 40]) == "01" + "1" * 40


def test_what_cannot_be_read_after_a_restart_stops_no_start() -> None:
    host = Host()
    host.start(host.sold(1))
    entry, body = host.desk.prepared("main", "000017", [])[1], host.desk.benches["main"].body
    host.world.loop.keep([replace(entry, public="{}")])
    assert Host(host.world.journal).desk.benches == {}
    again = Host()
    again.start(again.sold(1))
    again.end(Lost("timeout", "no answer", "h1"))
    assert body
    again.desk.benches["main"].body = body[:-3]  # another profile than the one that made it
    again.desk.back("main")
    assert again.upload.last_error.startswith("its message cannot be made")
    assert again.desk.next_wake() is not None
