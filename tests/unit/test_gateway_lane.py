"""What the gateway makes itself, and how it reads what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from agent.events import Now
from agent.gateway_answers import GIVEN_KEPT, REPEATED_S, Given, answer, refusal, swapped
from agent.gateway_lane import Relay, Rules, _is_answer, _type_of
from agent.lane import Lane
from agent.macs import NoMac, SoftwareMac
from agent.orders import Order, new_transaction
from agent.outcomes import Replied
from agent.policy import Policy
from agent.records import Transaction
from hwsim.host import macs
from hwsim.host.dialects import dialect
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE
from protocol.envelope import EnvelopeReader, HostFrame, wrap
from protocol.errors import MessageError
from protocol.iso8583 import Message
from protocol.profile import load_profile
from tests.unit.protocol_samples import PROFILES, request_of

UNIONPAY = load_profile("unionpay-pos")
TPDU = bytes.fromhex("6012345678")


def test_a_made_answer_travels_back_the_way_the_request_came() -> None:
    assert swapped(TPDU) == bytes.fromhex("6056781234")
    assert swapped(b"") == b""


@pytest.mark.parametrize("name", PROFILES)
def test_a_refusal_can_be_read_by_the_profiles_own_rules(name: str) -> None:
    profile, request = request_of(name)
    rules = profile.envelope
    frame = HostFrame(b"", rules.tpdu, rules.header, 0)
    (read,) = EnvelopeReader(profile).feed(asyncio.run(refusal(profile, request, frame, NoMac())))
    message = profile.codec.unpack(read.body)
    assert profile.responses.request(message.get(39)) == "declined"
    assert message.get(11) == request.get(11)
    assert not any(message.get(field) for field in (14, 35, 52, 55))


def test_a_made_acknowledgement_bears_the_mac_that_the_host_would_make() -> None:
    _, request = request_of("unionpay-pos")
    frame = HostFrame(b"", TPDU, UNIONPAY.envelope.header, 0)
    key = SoftwareMac(UNIONPAY.mac, UNIONPAY_MAK_DOUBLE)
    (read,) = EnvelopeReader(UNIONPAY).feed(asyncio.run(answer(UNIONPAY, request, frame, "00", key)))
    assert dialect("unionpay").codec.unpack(read.body).get(39) == "00"
    assert macs.compute("up-ecb", UNIONPAY_MAK_DOUBLE, read.body[:-8]) == read.body[-8:]


@pytest.mark.parametrize("name", PROFILES)
def test_the_type_is_read_also_of_a_message_that_cannot_be_unpacked(name: str) -> None:
    profile, request = request_of(name)
    body = profile.codec.pack(request)
    assert _type_of(profile, body[: profile.codec.mti_bytes] + b"\xff" * 20) == request.mti
    with pytest.raises(MessageError):
        _type_of(profile, b"\xff\xff\xff\xff")


def test_an_unrecorded_message_is_answered_by_its_type_and_number_only() -> None:
    request = Message("0800", {11: "000007", 41: "10000001"})
    codec = UNIONPAY.codec
    right = codec.pack(Message("0810", {11: "000007", 39: "00"}))
    assert _is_answer(UNIONPAY, request, right)
    assert not _is_answer(UNIONPAY, request, codec.pack(Message("0810", {11: "000008", 39: "00"})))
    assert not _is_answer(UNIONPAY, request, codec.pack(Message("0210", {11: "000007", 39: "00"})))
    assert not _is_answer(UNIONPAY, request, b"\x08\x10" + b"\xff" * 30)
    assert _is_answer(UNIONPAY, Message("0800", {}), b"\x08\x10" + b"\xff" * 30)


def test_an_envelope_travels_unchanged() -> None:
    header = bytes.fromhex("603100311003")
    body = UNIONPAY.codec.pack(Message("0800", {11: "000007", 41: "10000001"}))
    frame = wrap(UNIONPAY, body, TPDU, header)
    (read,) = EnvelopeReader(UNIONPAY).feed(frame)
    assert (read.tpdu, read.header, wrap(UNIONPAY, read.body, read.tpdu, read.header)) == (TPDU, header, frame)


# --- a request that comes again ---


class Second:
    """A clock that is set by hand."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


def replied() -> Replied:
    return Replied(b"body", "valid", "host", 0)


def test_a_repetition_is_known_by_everything_but_times_pin_block_and_mac() -> None:
    _, request = request_of("unionpay-pos")
    given = Given(Second())
    mark = given.mark(UNIONPAY, request)
    again = Message(request.mti, {**request.fields, 12: "235959", 13: "1231", 52: "0011223344556677"})
    assert given.mark(UNIONPAY, again) == mark
    for number, value in {4: "000000000001", 11: "999999", 2: "6200000000000005", 41: "99999999"}.items():
        assert given.mark(UNIONPAY, Message(request.mti, {**request.fields, number: value})) != mark
    assert len(mark) == 32, "a digest, so that no card data stays"


def test_an_answer_is_given_again_for_a_while_and_few_are_kept() -> None:
    now = Second()
    given = Given(now)
    given.keep(b"first", "main-1", replied())
    assert given.answer(b"first") == ("main-1", replied())
    assert given.answer(b"second") is None
    now.at += REPEATED_S
    assert given.answer(b"first") is None, "the number may have come round"
    for number in range(GIVEN_KEPT + 1):
        given.keep(bytes([number]), "main-2", replied())
    assert given.answer(bytes([0])) is None
    assert given.answer(bytes([1])) is not None


# --- which sale an application's reversal means ---


class Book:
    """As much of the loop as knows recorded sales."""

    def __init__(self, name: str) -> None:
        self.profile, self.request = request_of(name)
        policy = Policy(self.profile, self.profile.retry, self.request.get(41).strip(), 60, "reverse", 60)
        self._lane = Lane("main", policy, "", "000042", "156")
        self.sales: dict[str, Transaction] = {}

    def lane(self, name: str) -> Lane:
        return self._lane

    def get(self, txn_id: str) -> Transaction | None:
        return self.sales.get(txn_id)

    def by_stan(self, lane: str, stan: str) -> Transaction | None:
        return next((txn for txn in self.sales.values() if txn.stan == stan), None)

    def of_lane(self, name: str) -> Iterator[Transaction]:
        yield from self.sales.values()

    def sold(self, stan: str, **changed: str) -> Transaction:
        """Records a sale of the application."""
        fields = {**self.request.fields, 11: stan, **{int(name[1:]): value for name, value in changed.items()}}
        message = Message(self.request.mti, fields)
        order = Order(stan, "sale", int(message.get(4)), {"pan": message.get(2), "track2": message.get(35)})
        now = Now(0.0, datetime(2026, 11, 22, tzinfo=UTC))
        txn = new_transaction(self._lane, order, message, f"main-{len(self.sales) + 1}", (stan, "900001"), now)
        self.sales[txn.id] = txn
        return txn

    def meant(self, fields: dict[int, Any]) -> str:
        """The STAN of the sale that a reversal with these elements means; "" for none."""
        relay = Relay("main", Rules(), cast(Any, self), cast(Any, None), NoMac)
        common = {number: self.request.fields[number] for number in (2, 4, 41) if number in self.request.fields}
        message = Message("0400", {**common, **fields})
        found = relay._original(message)
        return found.stan if found else ""


def test_where_no_original_is_named_it_is_the_latest_sale_if_card_and_amount_are_its() -> None:
    """A dialect whose reversals bear a number of their own: terminals reverse their last sale before the next one."""
    book = Book("cmbc-like")
    book.sold("000101")
    book.sold("000102")
    assert book.meant({11: "000103"}) == "000102"
    assert book.meant({11: "000101"}) == "000102", "its own number says nothing"
    assert book.meant({11: "000103", 4: "000000000001"}) == ""
    assert book.meant({11: "000103", 2: "6200000000000005"}) == ""


def test_the_original_data_elements_have_the_last_word() -> None:
    book = Book("iso87-ascii")
    book.sold("000101")
    book.sold("000102")
    named = {stan: f"0200{stan}1122021010" + "0" * 22 for stan in ("000101", "000999")}
    assert book.meant({11: "000102", 90: named["000101"]}) == "000101"
    assert book.meant({11: "000102", 90: named["000999"]}) == "", "a sale that the agent never saw"
    assert book.meant({11: "000102", 90: "0" * 42}) == "000102", "zeros name none"
    assert book.meant({11: "000102", 95: "000000000500" + "0" * 30}) == "", "a part of the amount is no reversal of it"
    assert book.meant({11: "000102", 95: "0" * 24 + "C" + "0" * 8 + "D" + "0" * 8}) == "000102", "nothing is left"
