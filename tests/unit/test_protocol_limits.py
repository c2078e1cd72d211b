"""What is too long, too deep or cut short is refused by name; what holds secrets shows its size only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol import ccid, emv, neo2, notices
from protocol.envelope import wrap
from protocol.errors import FrameError, MessageError
from protocol.escpos import cut_event
from protocol.explain import explain
from protocol.framing import NOT_YET
from protocol.frozen import dataclass, replace
from protocol.iso7816 import T1_INF_MAX, Apdu, T1Block, build_t1
from protocol.iso8583 import Message
from protocol.profile import load_profile
from protocol.reversal import Learnt, freeze, learn
from tests.unit.protocol_samples import request_of

UNIONPAY = load_profile("unionpay-pos")


def nested(depth: int) -> bytes:
    """So many templates, one in another, around one object."""
    data = emv.build_tlv("5A", b"\x62")
    for _ in range(depth):
        data = emv.build_tlv("70", data)
    return data


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda: list(emv.walk(nested(emv.TREE_DEPTH_MAX + 1))), "nested deeper"),
        (lambda: emv.build_tlv("5A", bytes(0x10000)), "65536 bytes"),
        (lambda: emv.parse_processing_options(emv.build_tlv("77", b"")), "names no records"),
        (lambda: Apdu(0, 0xA4, 4, 0, bytes(256)).encode(), "longer than a short one"),
        (lambda: build_t1(T1Block(0, bytes(T1_INF_MAX + 1))), "T=1 block of 255 bytes"),
        (lambda: wrap(UNIONPAY, b"", tpdu=b"\x60"), "TPDU does not fit"),
        (lambda: wrap(UNIONPAY, b"", header=b"\x60"), "header does not fit"),
        (lambda: neo2.parse_command(neo2.build_command(neo2.PING)[:-1] + b"\x00"), "CRC is wrong"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(attempt: Callable[[], object], text: str) -> None:
    with pytest.raises(FrameError, match=text):
        attempt()


def test_as_deep_as_allowed_and_as_long_as_two_bytes_say_is_read() -> None:
    long = emv.build_tlv("5A", bytes(0x1234))
    assert long[:4] == bytes.fromhex("5A821234")
    assert [item.tag for item in emv.walk(nested(emv.TREE_DEPTH_MAX))][-1] == "5A"


@pytest.mark.parametrize(
    "cut", [lambda: ccid.serial_scanner().feed(ccid.NAK_FRAME[:2]), lambda: cut_event(b"\x37", False)]
)
def test_the_beginning_of_a_frame_waits_for_its_rest(cut: Callable[[], object]) -> None:
    assert cut() in ([], NOT_YET)


@pytest.mark.parametrize("secret", [emv.Tlv("5A", bytes.fromhex("6200000000000005")), neo2.NeoResponse(2, 0, b"6200")])
def test_what_holds_card_data_shows_its_size_only(secret: object) -> None:
    assert "bytes)" in repr(secret)
    assert "6200" not in repr(secret)


def test_a_script_result_needs_a_profile_with_that_message_and_data_that_hold_one() -> None:
    with pytest.raises(MessageError, match="no message for script results"):
        notices.build_script_result(load_profile("iso87-ascii"), b"", "", {})
    with pytest.raises(MessageError, match="no script result"):
        notices.build_script_result(UNIONPAY, b"", "9F2601FF", {})


def test_a_second_bitmap_that_announces_nothing_is_pointed_at() -> None:
    body = bytes.fromhex("0800") + bytes.fromhex("8000000000000000") + bytes(8)
    trouble = explain(UNIONPAY, wrap(UNIONPAY, body), lambda amount, currency: "").trouble
    assert trouble is not None
    assert "second bitmap" in trouble.expected.en


class Stricter:
    """The codec, which takes no message at all."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def unpack(self, body: bytes) -> Message:
        raise MessageError("the last digit is no filler", field=11, offset=30)


def test_what_only_the_codec_refuses_is_pointed_at_too() -> None:
    profile, request = request_of("unionpay-pos")
    frame = wrap(profile, profile.codec.pack(request))
    strict = replace(profile, codec=Stricter(profile.codec))
    assert explain(profile, frame, lambda amount, currency: "").trouble is None
    trouble = explain(strict, frame, lambda amount, currency: "").trouble
    assert trouble is not None
    assert (trouble.field, trouble.offset) == (11, 30 + len(wrap(profile, b"")))
    assert trouble.found.en == "the last digit is no filler"


def test_chip_data_that_comes_with_the_approval_goes_into_the_reversal_by_its_listed_tags() -> None:
    profile, request = request_of("unionpay-pos")
    frozen = freeze(request, profile, "timeout", own_stan="000124")
    learnt = learn(frozen, profile, "sale", Learnt(chip_data="950511223344559F0201FF"))
    assert profile.codec.unpack(learnt.body).get(55) == "95051122334455"


@dataclass(frozen=True)
class WithoutSlots:
    """As the standard decorator makes it."""

    name: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class WithSlots:
    """The usual one."""

    name: str
    size: int = 0


@pytest.mark.parametrize("made", [WithoutSlots("a"), WithSlots("a")])
def test_a_copy_with_other_values_is_made_of_every_class_and_knows_its_fields(made: WithSlots) -> None:
    assert (replace(made, size=3).size, replace(made, size=3).name, made.size) == (3, "a", 0)
    with pytest.raises(TypeError, match="colour"):
        replace(made, colour="red")
