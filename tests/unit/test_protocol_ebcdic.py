"""Messages of a host that writes EBCDIC: the same rules, another code set; nothing of a card shows in a damaged one."""

from __future__ import annotations

import random

import pytest

from agent.explain import explained, text_of
from protocol.errors import MessageError
from protocol.iso8583 import Message
from protocol.matching import match_reply
from protocol.profile import load_profile
from protocol.requests import build_request
from protocol.reversal import freeze, render
from tests.dialogue import PAN, facts
from tests.unit.protocol_samples import TEST_PROFILES

LONG_PAN = "6212345678900000003"
PROFILE = load_profile("iso87-ebcdic", [TEST_PROFILES])


def _request() -> Message:
    return build_request(PROFILE, facts())


def test_types_digits_lengths_and_texts_stand_in_ebcdic() -> None:
    message = Message("0800", {7: "0102030405", 11: "000123", 42: "SHOP-1         ", 70: "301"})
    body = PROFILE.codec.pack(message)
    # By hand: digits are F0 to F9, S E2, H C8, O D6, P D7, "-" 60, blank 40 (IBM code page 500).
    assert body == bytes.fromhex(
        "F0F8F0F0" + "8220000000400000" + "0400000000000000" + "F0F1F0F2F0F3F0F4F0F5" + "F0F0F0F1F2F3"
    ) + bytes.fromhex("E2C8D6D760F1" + "40" * 9 + "F3F0F1")
    assert PROFILE.codec.unpack(body) == message


def test_a_length_indicator_stands_in_ebcdic() -> None:
    body = PROFILE.codec.pack(_request())
    at, size = PROFILE.codec.locate(body)[2]
    assert body[at - 2 : at + size] == bytes.fromhex("F1F6" + "".join(f"F{digit}" for digit in PAN))


def test_a_reversal_and_its_repeat_are_spliced_in_ebcdic() -> None:
    frozen = freeze(_request(), PROFILE, "timeout", own_stan="000124")
    again = PROFILE.codec.unpack(render(frozen, repeat=True, stamp="0102030607"))
    assert (again.mti, again.get(7)) == ("0421", "0102030607")
    reply = Message("0430", {**{n: again.get(n) for n in (3, 4, 11, 41, 42)}, 39: "00"})
    assert match_reply(frozen.identity, PROFILE.codec.unpack(PROFILE.codec.pack(reply)), PROFILE).accepted


def test_an_ascii_message_is_none_of_this_profile_and_the_other_way_round() -> None:
    ascii_profile = load_profile("iso87-ascii")
    with pytest.raises(MessageError):
        PROFILE.codec.unpack(ascii_profile.codec.pack(build_request(ascii_profile, facts())))
    with pytest.raises(MessageError):
        ascii_profile.codec.unpack(PROFILE.codec.pack(_request()))


def test_any_damage_is_a_typed_error_or_the_same_bytes_again() -> None:
    body, rng = PROFILE.codec.pack(_request()), random.Random(20261122)
    for _ in range(20_000):
        damaged = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(body))] = rng.randrange(256)
        try:
            message = PROFILE.codec.unpack(bytes(damaged))
        except MessageError:
            continue
        assert PROFILE.codec.pack(message) == damaged


def test_an_explanation_masks_the_card_also_in_damage() -> None:
    body = PROFILE.codec.pack(build_request(PROFILE, facts(pan=LONG_PAN)))
    secret = bytes.fromhex("".join(f"F{digit}" for digit in LONG_PAN[6:12])).hex(" ").upper()
    assert "621234*********0003" in text_of(explained(body, [PROFILE]), "en")
    rng = random.Random(1)
    for _ in range(300):
        damaged = bytearray(body)
        damaged[rng.randrange(20)] = rng.randrange(256)
        cut = bytes(damaged)[: rng.randrange(30, len(body))]
        assert secret not in text_of(explained(cut, [PROFILE]), "en").replace("\n", " ")
