"""What the gateway makes itself, and how it reads what it is given."""

from __future__ import annotations

import asyncio

import pytest

from agent.gateway_answers import answer, refusal, swapped
from agent.gateway_lane import _is_answer, _type_of
from agent.macs import NoMac, SoftwareMac
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
