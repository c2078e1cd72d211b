"""The codec is strict: what it accepts it writes back to the same bytes, and what is wrong has a place and a reason."""

from __future__ import annotations

import pickle
import traceback

import pytest

from protocol.elements import Packing, element, parse_format
from protocol.errors import MessageError
from protocol.iso8583 import Codec, Message
from protocol.profile import load_profile
from tests.unit.protocol_samples import PAN, TRACK2, request_of

UNIONPAY = load_profile("unionpay-pos").codec
ASCII = load_profile("iso87-ascii").codec


def _refused(codec: Codec, body: bytes) -> MessageError:
    with pytest.raises(MessageError) as caught:
        codec.unpack(body)
    return caught.value


def test_a_message_of_every_coding_is_packed_as_the_rules_say() -> None:
    # MTI 0200; bitmap: 2 → 40.., 3 → 20.., 22 → byte 3 bit 6, 35 → byte 5 bit 3, 39 → byte 5 bit 7, 55 → byte 7 bit 7
    # F2 19 digits: LL 19, pad 0 on the right. F22 051 → 0510. F35 LL 21, D for "=", 21 digits, pad. F55 LLL 0002.
    body = bytes.fromhex(
        "0200 6000 0400 2200 0200 19 62123456789000000030 000000 0510 21 6200000000000005D30120 3030 0002 AABB"
    )
    message = UNIONPAY.unpack(body)
    assert message == Message(
        "0200", {2: PAN, 3: "000000", 22: "051", 35: "6200000000000005=3012", 39: "00", 55: "AABB"}
    )
    assert UNIONPAY.pack(message) == body


def test_places_of_elements_leave_the_length_out() -> None:
    body = bytes.fromhex("0200 6000 0000 0000 0000 04 1234 000000")
    assert UNIONPAY.locate(body) == {0: (0, 2), 1: (2, 8), 2: (11, 2), 3: (13, 3)}
    assert UNIONPAY.fields_in(body) == ([2, 3], 10)


def test_places_with_a_second_bitmap_count_both() -> None:
    profile, request = request_of("iso87-ascii", "void")
    places = ASCII.locate(ASCII.pack(request))
    assert places[0] == (0, 4)
    assert places[1] == (4, 32)
    assert places[90][1] == 42
    assert profile.codec.fields_in(ASCII.pack(request))[1] == 36


@pytest.mark.parametrize(
    ("body", "field", "offset", "reason"),
    [
        ("", 1, 2, "ends in the bitmap"),
        ("0200", 1, 2, "ends in the bitmap"),
        ("0200 60000000000000", 1, 2, "ends in the bitmap"),
        ("F200 2000000000000000 000000", 0, 0, "message type"),
        ("0000 2000000000000000 000000", 0, 0, "message type"),
        ("0200 0000000001000000 00", 40, 6, "element 40, which the profile does not define"),
        ("0200 8000000000000000 0000000000000000", 1, 10, "announced and empty"),
        ("0200 2000000000000000 00000A", 3, 10, "class 'n'"),
        ("0200 2000000000000000 0000", 3, 10, "expecting"),
        ("0200 2000000000000000 000000 00", 3, 13, "extra data"),
        ("0200 4000000000000000 20 0000", 2, 10, "larger than maximum"),
        ("0200 4000000000000000 0A 0000", 2, 10, "length"),
        ("0200 4000000000000000 00", 2, 10, "at most 19 digits"),
        ("0200 0000040000000000 0211", 22, 10, "nibbles"),
        ("0200 0000000002000000 3000", 39, 10, "class 'an'"),
        ("0200 0000000002000000 30E9", 39, 10, "invalid data"),
        ("0200 0000000020000000 04 1A34", 35, 10, "class 'z'"),
    ],
)
def test_a_damaged_message_is_an_error_with_its_place(body: str, field: int, offset: int, reason: str) -> None:
    error = _refused(UNIONPAY, bytes.fromhex(body))
    assert (error.field, error.offset) == (field, offset)
    assert reason in error.text.lower()


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"0800a220000000000000", 1, "upper-case"),  # pyiso8583 takes lower-case bitmaps
        (b"0800 20000000000000 ", 1, "upper-case"),  # ... and blanks in them
        (b"02004000000000000000+512345", 2, "right way"),  # ... and lengths that int() takes
        (b"02004000000000000000 512345", 2, "right way"),
        (b"020000000000000000021_01234567890", 63, "right way"),
        (b"02000000000000000002 101234567890", 63, "right way"),
        (b"0200000000000000000201x1234567890", 63, "length"),
        (b"02002000000000000000" + "１".encode() * 2, 3, "invalid data"),
        (b"0200E000000000000000", 1, "ends in the bitmap"),
        (b"02000000000000000001" + b"00112233445566ff", 64, "class 'b'"),
    ],
)
def test_what_pyiso8583_lets_through_in_text_messages_is_refused(body: bytes, field: int, reason: str) -> None:
    error = _refused(ASCII, body)
    assert error.field == field
    assert reason in error.text.lower()


def test_an_accepted_pad_nibble_is_read_and_another_is_not() -> None:
    assert UNIONPAY.unpack(bytes.fromhex("0800 0000000000000010 0011 00000172003F")).get(60) == "00000172003"
    assert _refused(UNIONPAY, bytes.fromhex("0800 0000000000000010 0011 00000172003A")).field == 60
    # Both kinds of nibble in one message: 35 with F, 60 with 0.
    mixed = bytes.fromhex("0200 0000000020000010 03 123F 0011 000001720030")
    assert UNIONPAY.unpack(mixed).get(35) == "123"


def test_a_profile_that_accepts_one_nibble_refuses_the_other() -> None:
    form = parse_format("n..11")
    assert form is not None
    codec = Codec([Packing(60, form, "bcd", "bcd", "right", "F")])
    assert codec.unpack(bytes.fromhex("0800 0000000000000010 03 123F")).get(60) == "123"
    assert _refused(codec, bytes.fromhex("0800 0000000000000010 03 1230")).field == 60


def test_left_padding_and_binary_lengths_are_written_and_read() -> None:
    track, text = parse_format("z..37"), parse_format("ans...999")
    assert track is not None
    assert text is not None
    codec = Codec([Packing(35, track, "bcd", "binary", "left"), Packing(63, text, "ascii", "binary")])
    body = bytes.fromhex("0200 0000000020000002 05 0123D4 0003 414243")
    message = codec.unpack(body)
    assert dict(message.fields) == {35: "123=4", 63: "ABC"}
    assert codec.pack(message) == body


def test_a_value_that_fits_the_format_but_not_the_length_indicator_is_an_error() -> None:
    form = parse_format("b...999")
    assert form is not None
    codec = Codec([Packing(55, form, "hex", "ascii")], "ascii", "hex")
    with pytest.raises(MessageError) as caught:
        codec.pack(Message("0200", {55: "AA" * 999}))
    assert caught.value.field == 55


@pytest.mark.parametrize(
    ("mti", "fields", "field", "reason"),
    [
        ("02", {}, 0, "four digits"),
        ("9x00", {}, 0, "four digits"),
        ("0200", {40: "1"}, 40, "does not define"),
        ("0200", {3: "12345"}, 3, "must be 6 digits, has 5"),
        ("0200", {3: "12345a"}, 3, "class 'n'"),
        ("0200", {2: "1" * 20}, 2, "at most 19 digits, has 20"),
        ("0200", {2: ""}, 2, "at most 19 digits, has 0"),
        ("0200", {52: "aabbccddeeff0011"}, 52, "class 'b'"),
        ("0200", {52: "AABB"}, 52, "must be 8 bytes as upper-case hexadecimal, has 2"),
        ("0200", {55: "A"}, 55, "at most 255 bytes"),
        ("0200", {35: "123D456"}, 35, "class 'z'"),
        ("0200", {41: "1234567é"}, 41, "class 'ans'"),
    ],
)
def test_a_value_that_does_not_fit_is_named_but_not_shown(
    mti: str, fields: dict[int, str], field: int, reason: str
) -> None:
    with pytest.raises(MessageError) as caught:
        UNIONPAY.pack(Message(mti, fields))
    assert caught.value.field == field
    assert reason in caught.value.text


def test_credit_and_debit_amounts_have_their_sign() -> None:
    assert ASCII.unpack(ASCII.pack(Message("0200", {28: "D00000100"}))).get(28) == "D00000100"
    with pytest.raises(MessageError):
        ASCII.pack(Message("0200", {28: "X00000100"}))


def test_host_text_of_any_bytes_is_kept() -> None:
    # A Chinese text (GBK) cut in the middle of a character: D6 D0 B9.
    body = bytes.fromhex("0210 0000000000000002 0003 D6D0B9")
    assert UNIONPAY.pack(UNIONPAY.unpack(body)) == body


def test_no_error_carries_the_message_it_is_about() -> None:
    profile, request = request_of("unionpay-pos", "sale")
    body = profile.codec.pack(request)
    for damaged in (body[:-9], body + b"\x00", body[:14]):
        error = _refused(UNIONPAY, damaged)
        assert error.__context__ is None
        assert error.__cause__ is None
        shown = "".join(traceback.format_exception(error)) + repr(vars(error))
        assert PAN not in shown
        assert TRACK2 not in shown


def test_a_message_shows_masks_and_can_be_changed_only_by_copy() -> None:
    message = Message("0200", {2: PAN, 35: TRACK2, 4: "000000012345"})
    assert PAN not in repr(message)
    assert "3012201" not in repr(message)
    assert "4='000000012345'" in repr(message)
    changed = message.with_fields({35: None, 11: "000001"})
    assert dict(changed.fields) == {2: PAN, 4: "000000012345", 11: "000001"}
    with pytest.raises(TypeError):
        message.fields[2] = ""  # type: ignore[index]
    assert message.get(35) == TRACK2
    assert message.get(90, "none") == "none"
    assert pickle.loads(pickle.dumps(message)) == message


@pytest.mark.parametrize("text", ["", "n", "n0", "x6", "n..100", "b....", "an-5", "n.....9"])
def test_what_is_no_format_means_none(text: str) -> None:
    assert parse_format(text) is None


def test_an_element_without_a_row_is_shown_only_scrubbed() -> None:
    assert element(104).secrecy == "text"
    assert element(2).name_zh == "主账号"
