"""The simulated host's codec, framing and MACs against published messages, and against damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwsim.host import macs
from hwsim.host.codec import Element, HostMessage, elements, mask_card
from hwsim.host.dialects import DIALECTS, DialectUnknown, dialect
from hwsim.host.framing import FrameReader, HostEnvelope, open_envelope
from protocol.errors import FrameError, MacError, MessageError

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "published.json"
"""Published samples, kept beside the repository."""

NOT_OURS = {
    "nac_like_0800_zoukankan": "its length counts hex characters and it has a 2-byte header",
    "up_0800_signin_epoint": "published without its 2-byte length",
}
"""Vectors whose framing no dialect here has; their bodies are still decoded where they can be."""
LAB_FORMATS = {"1993_1420_fluidpay": {62: "t6", 63: "t4"}}
"""Private elements that a sample writes with a fixed length where the standard has LLL."""

MAC_NAMES = {
    "ECB": "up-ecb",
    "hex text": "x919-hex8",
    "padding 2": "iso9797-3-pad2",
    "X9.9 DES": "x99",
    "padding 1": "x919",
}
"""Words of a vector's description -> the host's algorithm, first match."""


def vectors(kind: str) -> list[dict[str, Any]]:
    if not PUBLISHED.exists():
        return []
    return [vector for vector in json.loads(PUBLISHED.read_text()) if vector["kind"] == kind]


def by_name(found: list[dict[str, Any]]) -> list[Any]:
    if not found:
        reason = f"{PUBLISHED.name} is not beside the repository"
        return [pytest.param({}, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(vector, id=vector["name"]) for vector in found]


def bcd_dialect(vector: dict[str, Any]) -> str:
    return "nac-edc" if vector["name"].startswith("nac") else "unionpay"


def stated(vector: dict[str, Any]) -> dict[int, str]:
    return {int(number): field["value"] for number, field in vector["fields"].items()}


@pytest.mark.parametrize("vector", by_name(vectors("iso8583-binary-bcd")))
def test_published_bcd_messages_decode_to_the_stated_values_and_encode_to_the_same_bytes(
    vector: dict[str, Any],
) -> None:
    if vector["name"] == "nac_like_0800_zoukankan":
        pytest.skip(NOT_OURS[vector["name"]])
    raw = bytes.fromhex(vector["hex"])
    speech = dialect(bcd_dialect(vector))
    payload = raw if vector["name"] in NOT_OURS else raw[2:]
    envelope = open_envelope(payload, speech.tpdu_bytes, speech.header_bytes)
    message = speech.codec.unpack(envelope.body)
    assert message.mti == vector["mti"]
    assert dict(message.fields) == stated(vector)
    assert speech.codec.pack(message) == envelope.body
    assert envelope.tpdu.hex().upper() == vector["tpdu"]


@pytest.mark.parametrize("vector", by_name(vectors("iso8583-ascii")))
def test_published_ascii_messages_decode_to_the_stated_values_and_encode_to_the_same_bytes(
    vector: dict[str, Any],
) -> None:
    body = bytes.fromhex(vector["hex"])
    codec = dialect("iso93" if vector["mti"].startswith("1") else "iso87").codec
    codec = replace(codec, table={**codec.table, **elements(LAB_FORMATS.get(vector["name"], {}))})
    message = codec.unpack(body)
    assert message.mti == vector["mti"]
    assert dict(message.fields) == stated(vector)
    assert codec.pack(message) == body


@pytest.mark.parametrize("vector", by_name([v for v in vectors("mac") if "hex" in v]))
def test_published_macs_come_out(vector: dict[str, Any]) -> None:
    said = {name: field["value"] for name, field in vector["fields"].items()}
    name = next(name for words, name in MAC_NAMES.items() if words in said["algorithm"])
    mac = macs.compute(name, bytes.fromhex(said["key"]), bytes.fromhex(vector["hex"]))
    assert said["expected"] in (mac.hex().upper(), mac.decode("latin-1"))


def test_unionpay_ecb_mac_by_hand() -> None:
    """pgate's vector: XOR B9F9B96AA4FDB57F, first step 9FDE90A34CF73B2E, result E267B6E2."""
    data = bytes.fromhex("1234567890ABCDEFABCDEF1234567890")
    assert macs.up_ecb(bytes.fromhex("2222222222222222"), data) == b"E267B6E2"


def test_a_double_length_key_of_equal_halves_gives_the_single_length_mac() -> None:
    key = bytes.fromhex("0E329232EA6D0D73")
    data = bytes(range(40))
    assert macs.up_ecb(key * 2, data) == macs.up_ecb(key, data)


def test_x919_of_the_iso_9797_example() -> None:
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    assert macs.x919(key, b"Now is the time for all ").hex().upper() == "A1C72E74EA3FA9B6"


def test_mac_errors_name_no_key() -> None:
    with pytest.raises(MacError, match="not 8"):
        macs.compute("x919", bytes.fromhex("0123456789ABCDEF"), b"data")
    with pytest.raises(MacError, match="not 5"):
        macs.compute("up-ecb", b"short", b"data")
    with pytest.raises(MacError, match="unknown MAC algorithm"):
        macs.compute("rot13", b"12345678", b"data")


def test_element_notation() -> None:
    assert Element.parse("n..19") == Element("n", 2, 19, True)
    assert Element.parse("b...255") == Element("b", 3, 255, True)
    assert Element.parse("n3") == Element("n", 0, 3, False)
    assert Element.parse("n3<") == Element("n", 0, 3, True)
    with pytest.raises(ValueError, match="notation"):
        Element.parse("q7")


def test_bcd_bytes_written_by_hand() -> None:
    """F22 021 stands left (02 10), F23 right (00 01), F60 with 11 digits ends with a pad nibble 0."""
    message = HostMessage("0800", {11: "000172", 22: "021", 23: "001", 60: "00000172003"})
    expected = "0800" + "0020060000000010" + "000172" + "0210" + "0001" + "0011" + "000001720030"
    assert dialect("unionpay").codec.pack(message).hex().upper() == expected


def test_nac_pads_element_22_on_the_left() -> None:
    body = dialect("nac-edc").codec.pack(HostMessage("0200", {22: "022"}))
    assert body.hex().upper() == "0200" + "0000040000000000" + "0022"


def test_secondary_bitmap_appears_with_an_element_above_64() -> None:
    codec = dialect("iso87").codec
    body = codec.pack(HostMessage("0800", {7: "0921073300", 11: "000200", 70: "301"}))
    assert body == b"0800822000000000000004000000000000000921073300000200301"
    assert codec.unpack(body).get(70) == "301"


SALE = {
    2: "6200000000000005",
    3: "000000",
    4: "000000001000",
    11: "000001",
    22: "021",
    35: "6200000000000005=30121010000012345",
    41: "10000001",
    42: "123456789012345",
    49: "156",
    55: "9F2608AABBCCDDEEFF0011",
    60: "22000001",
    64: "3132333435363738",
}


def test_every_cut_of_a_message_is_an_error() -> None:
    codec = dialect("unionpay").codec
    body = codec.pack(HostMessage("0200", SALE))
    assert dict(codec.unpack(body).fields) == SALE
    for length in range(len(body)):
        with pytest.raises(MessageError):
            codec.unpack(body[:length])


def test_a_byte_too_many_is_an_error() -> None:
    codec = dialect("unionpay").codec
    with pytest.raises(MessageError, match="1 bytes after the last element"):
        codec.unpack(codec.pack(HostMessage("0200", SALE)) + b"\x00")


@pytest.mark.parametrize(
    ("name", "body", "field", "says"),
    [
        ("unionpay", "0200 0020000000000000 00000A", 11, "nibble is not a digit"),
        ("unionpay", "0200 0000040000000000 0211", 22, "pad nibble"),
        ("unionpay", "0200 4000000000000000 20 62000000000000000000", 2, "above the maximum"),
        ("unionpay", "0200 0000000000800000 00313233343536 FF", 41, "printable"),
        ("unionpay", "0200 0200000000000000 00", 7, "not known"),
        ("unionpay", "0200 0000000010000000 02 0D", 36, "nibble is not a digit"),
    ],
)
def test_damage_is_named_with_its_element(name: str, body: str, field: int, says: str) -> None:
    with pytest.raises(MessageError, match=says) as caught:
        dialect(name).codec.unpack(bytes.fromhex(body))
    assert caught.value.field == field
    assert caught.value.offset > 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"02000020000000000000" + b"00000A", "not a digit"),
        (b"0200002000000000000g" + b"000001", "bitmap"),
        (b"02000000000020000000" + b"0462A=", "track"),
        (b"02000000000000001000" + b"12345678zz345678", "hex"),
        (b"0200000000000080000A", "expected|known|length"),
    ],
)
def test_damage_in_text_messages(body: bytes, says: str) -> None:
    with pytest.raises(MessageError, match=says):
        dialect("iso87").codec.unpack(body)


def test_a_value_that_does_not_fit_cannot_be_packed() -> None:
    with pytest.raises(MessageError, match="element 11 has length 3"):
        dialect("unionpay").codec.pack(HostMessage("0200", {11: "123"}))


def test_no_card_number_is_shown() -> None:
    message = HostMessage("0200", SALE)
    assert "6200000000000005" not in repr(message)
    assert "620000******0005" in repr(message)
    assert mask_card("6212345678900000003") == "621234*********0003"
    assert mask_card("123456") == "******"
    assert mask_card("") == ""


def test_the_card_is_found_in_track_2() -> None:
    assert HostMessage("0200", {35: "4111111111111111=3012"}).card == "4111111111111111"


def test_errors_hold_no_card_data() -> None:
    codec = dialect("unionpay").codec
    body = codec.pack(HostMessage("0200", SALE))
    with pytest.raises(MessageError) as caught:
        codec.unpack(body[:-3])
    assert "62000000" not in str(caught.value)


def test_the_reply_goes_back_where_the_request_came_from() -> None:
    """60 destination source: the reply has source and destination swapped, the requirement in the sixth digit."""
    envelope = open_envelope(bytes.fromhex("6000058381" + "602200000000" + "0200"), 5, 6)
    answer = envelope.answer(b"\x02\x10", 7)
    assert answer.tpdu.hex() == "6083810005"
    assert answer.header.hex() == "602207000000"
    assert answer.frame().hex() == "000d" + "6083810005" + "602207000000" + "0210"


@pytest.mark.parametrize("payload", ["", "60", "7000030000" + "603100310000" + "0200"])
def test_an_envelope_that_cannot_be_is_refused(payload: str) -> None:
    with pytest.raises(FrameError):
        open_envelope(bytes.fromhex(payload), 5, 6)


FRAMES = [HostEnvelope(b"", b"", b"one").frame(), HostEnvelope(b"", b"", b"twoo").frame()]


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_frames_are_cut_however_they_arrive(step: int) -> None:
    reader, stream = FrameReader(), b"".join(FRAMES) + b"\x00"
    payloads = [found for start in range(0, len(stream), step) for found in reader.feed(stream[start : start + step])]
    assert payloads == [b"one", b"twoo"]
    assert reader.partial


def test_a_frame_of_length_zero_ends_the_stream() -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(b"\x00\x00\x01")


def test_an_unknown_dialect_names_those_that_exist() -> None:
    with pytest.raises(DialectUnknown, match="unionpay, iso87"):
        dialect("morse")
    assert set(DIALECTS) == {"unionpay", "iso87", "nac-edc", "iso93"}
