"""Damaged bytes are pointed at, what stands before is shown, and card data never is."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.explain import json_of, text_of
from protocol.envelope import wrap
from protocol.errors import MessageError
from protocol.explain import Explanation, explain
from protocol.iso8583 import Codec, Message
from protocol.meanings import TAGS_SHOWN
from tests.unit.protocol_samples import PAN, PIN_BLOCK, PROFILES, TRACK2, request_of, shipped


def _sale(name: str) -> bytes:
    """A chip sale with everything secret that a request can hold."""
    profile, message = request_of(name)
    return wrap(profile, profile.codec.pack(message))


def _body(name: str) -> bytes:
    profile, message = request_of(name)
    return profile.codec.pack(message)


def _everything(found: Explanation) -> str:
    return "\n".join([json.dumps(json_of([found])), text_of([found], "en"), text_of([found], "zh")])


def _assert_no_secrets(found: Explanation) -> None:
    text = _everything(found)
    joined = text.replace(" ", "")
    for secret in (PAN, TRACK2.partition("=")[2], PIN_BLOCK, PAN[6:-4]):
        assert secret not in joined
        assert secret.encode().hex() not in joined.lower()


@pytest.mark.parametrize("name", PROFILES)
def test_no_card_data_is_shown_of_a_sound_message(name: str) -> None:
    found = explain(shipped(name), _sale(name))
    assert found.fits
    assert found.kind == "sale"
    _assert_no_secrets(found)


@pytest.mark.parametrize("name", PROFILES)
def test_chip_data_is_shown_by_tags_and_the_card_number_in_it_is_masked(name: str) -> None:
    found = explain(shipped(name), _sale(name))
    assert found.chip["5A"] == "621234*********0003"
    assert found.chip["9F36"] == "0001"
    assert "5A card number (PAN): 621234*********0003" in text_of([found], "en")


def test_tags_of_tracks_names_and_pins_are_never_shown() -> None:
    assert not TAGS_SHOWN & {"56", "57", "5A", "5F20", "5F24", "99", "9F1F", "9F20", "9F6B"}


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=15, deadline=None)
@given(place=st.integers(0, 400), bit=st.integers(0, 7))
def test_one_damaged_bit_shows_no_card_data(name: str, place: int, bit: int) -> None:
    raw = bytearray(_sale(name))
    raw[place % len(raw)] ^= 1 << bit
    found = explain(shipped(name), bytes(raw))
    text = _everything(found).replace(" ", "")
    assert PAN[6:-4] not in text
    assert PAN.encode().hex()[12:-8] not in text.lower()
    assert PIN_BLOCK not in text


@pytest.mark.parametrize("name", PROFILES)
def test_a_card_number_that_slipped_into_other_elements_is_hidden_there(name: str) -> None:
    profile = shipped(name)
    body = bytearray(_body(name))
    at = profile.codec.mti_bytes
    body[at] = ord("3") if profile.mac.bitmap_form == "hex" else body[at] & ~0x40  # element 2 is said not to be there
    found = explain(profile, bytes(body))
    assert found.trouble is not None
    assert "2" not in found.fields
    assert "345678" not in _everything(found).replace(" ", "")


@pytest.mark.parametrize("cut", [0, 60])
@pytest.mark.parametrize("name", PROFILES)
def test_a_card_number_that_a_damaged_bit_takes_for_a_second_bitmap_is_hidden(name: str, cut: int) -> None:
    profile = shipped(name)
    body = bytearray(_body(name))
    at = profile.codec.mti_bytes
    body[at] = ord("F") if profile.mac.bitmap_form == "hex" else body[at] | 0x80
    found = explain(profile, bytes(body[: cut or None]))
    assert found.trouble is not None
    told = _everything(found).replace(" ", "")
    for start in range(6, len(PAN) - 9):  # no five digits in a row of its middle
        assert PAN[start : start + 5] not in told
        assert PAN[start : start + 5].encode().hex() not in told.lower()


@pytest.mark.parametrize("name", PROFILES)
def test_a_card_number_with_a_damaged_length_is_hidden_where_its_rest_went(name: str) -> None:
    profile = shipped(name)
    body = bytearray(_body(name))
    at = profile.codec.locate(bytes(body))[2][0]
    is_text = profile.codec.packings[2].coding == "ascii"
    body[at - (2 if is_text else 1) : at] = b"07" if is_text else b"\x07"
    text = _everything(explain(profile, bytes(body))).replace(" ", "")
    assert "890000" not in text
    assert "5678900" not in text


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=15, deadline=None)
@given(size=st.integers(0, 400))
def test_a_message_that_is_cut_off_shows_no_card_data_and_points_behind_what_it_shows(name: str, size: int) -> None:
    body = _body(name)
    cut = body[: size % len(body)]
    found = explain(shipped(name), cut)
    assert found.trouble is not None
    assert 0 <= found.trouble.offset <= len(cut)
    assert PAN[6:-4] not in _everything(found).replace(" ", "")


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=300))
@example(b"")
@example(b"\xff" * 64)
def test_any_bytes_are_explained_and_never_raise(name: str, data: bytes) -> None:
    found = explain(shipped(name), data)
    assert len(found.shown) == len(data)
    assert json_of([found])
    assert text_of([found], "zh")


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=15, deadline=None)
@given(place=st.integers(0, 400), value=st.integers(0, 255))
def test_explain_and_codec_agree_on_what_is_a_message(name: str, place: int, value: int) -> None:
    raw = bytearray(_body(name))
    raw[place % len(raw)] = value
    profile = shipped(name)
    found = [one for one in (explain(profile, bytes(raw)),) if one.layout == "message"]
    assert all(one.fits == _unpacks(profile.codec, bytes(raw)) for one in found)


def _unpacks(codec: Codec, body: bytes) -> bool:
    try:
        return isinstance(codec.unpack(body), Message)
    except MessageError:
        return False


def _trouble(name: str, changes: dict[int, int], cut: int | None = None) -> tuple[Explanation, list[str]]:
    raw = bytearray(_body(name))
    for place, value in changes.items():
        raw[place] = value
    found = explain(shipped(name), bytes(raw)[:cut])
    return found, text_of([found], "en").splitlines()


def test_a_letter_among_digits_is_pointed_at_with_a_marker_under_its_byte() -> None:
    at = shipped("unionpay-pos").codec.locate(_body("unionpay-pos"))[4][0] + 2
    found, lines = _trouble("unionpay-pos", {at: 0xAB})
    assert found.trouble is not None
    assert (found.trouble.offset, found.trouble.field, found.trouble.found.en) == (at, 4, "AB")
    assert found.trouble.expected.en == "only digits of class n"
    marker = next(number for number, line in enumerate(lines) if line.strip() == "^^")
    assert lines[marker].index("^^") == lines[marker - 1].index("AB")
    assert found.fields["3"] == "000000"


def test_what_stands_before_the_damage_is_shown_also_the_stan() -> None:
    at = shipped("unionpay-pos").codec.locate(_body("unionpay-pos"))[41][0]
    found, _ = _trouble("unionpay-pos", {at: 0x01})
    assert found.fields["11"] == "000007"
    assert found.fields["4"] == "000000012345"
    assert found.trouble is not None
    assert found.trouble.field == 41


def test_an_element_that_the_profile_does_not_define_is_named() -> None:
    found, lines = _trouble("unionpay-pos", {2: 0xFF})
    assert found.trouble is not None
    assert (found.trouble.field, found.trouble.offset) == (1, 2)
    assert found.trouble.found.en == "the bit of element 5"
    assert "  expected: only elements that the profile defines" in lines


def test_a_length_above_the_greatest_is_named() -> None:
    at = shipped("unionpay-pos").codec.locate(_body("unionpay-pos"))[2][0] - 1
    found, _ = _trouble("unionpay-pos", {at: 0x25})
    assert found.trouble is not None
    assert found.trouble.expected.en == "a length of 1 to 19 digits"
    assert found.trouble.found.en == "25 digits"


def test_a_wrong_filling_digit_is_named() -> None:
    at = shipped("unionpay-pos").codec.locate(_body("unionpay-pos"))[22][0] + 1
    found, _ = _trouble("unionpay-pos", {at: 0x17})
    assert found.trouble is not None
    assert found.trouble.expected.en == "the filling digit 0 or F"


def test_bytes_behind_the_message_are_counted() -> None:
    found = explain(shipped("iso93"), _body("iso93") + b"\x00\x00")
    assert found.trouble is not None
    assert found.trouble.found.en == "2 more bytes"


def test_an_announced_length_that_is_wrong_is_pointed_at() -> None:
    raw = bytearray(_sale("unionpay-pos"))
    raw[1] ^= 1
    found = explain(shipped("unionpay-pos"), bytes(raw))
    assert found.trouble is not None
    assert (found.trouble.offset, found.trouble.size, found.trouble.field) == (0, 2, None)
    assert found.fields["11"] == "000007"


def test_a_damaged_message_is_an_error_object_with_exit_65() -> None:
    found, _ = _trouble("unionpay-pos", {0: 0x99})
    told = json_of([found])
    assert list(told) == ["error"]
    assert told["error"]["exit"] == 65
    assert told["error"]["offset"] == 0
