"""The envelope reader: the same frames however the bytes come; a stream that cannot be followed is an error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.envelope import EnvelopeReader, HostFrame, wrap
from protocol.errors import FrameError
from protocol.profile import Profile, load_profile

UNIONPAY = load_profile("unionpay-pos")
BODY = bytes.fromhex("0800 0020000000C00012 000001") + b"12345678123456789012345" + bytes.fromhex("0003303031")
FRAME = wrap(UNIONPAY, BODY)


def _with(**changes: object) -> Profile:
    return replace(UNIONPAY, envelope=replace(UNIONPAY.envelope, **changes))  # type: ignore[arg-type]


def test_a_frame_is_length_tpdu_header_body() -> None:
    assert bytes([0, len(BODY) + 11]) + bytes.fromhex("6000000000 602200000000") + BODY == FRAME


def test_a_stream_gives_its_frames_whole_byte_by_byte_and_with_more_behind() -> None:
    reader = EnvelopeReader(UNIONPAY)
    assert [frame.body for frame in reader.feed(FRAME + FRAME)] == [BODY, BODY]
    assert not reader.partial
    found: list[HostFrame] = []
    for byte in FRAME:
        assert not found
        found += reader.feed(bytes([byte]))
    assert [frame.body for frame in found] == [BODY]
    assert [frame.body for frame in reader.feed(FRAME + FRAME[:7])] == [BODY]
    assert reader.partial
    assert [frame.body for frame in reader.feed(FRAME[7:])] == [BODY]
    assert reader.feed(b"") == []


@pytest.mark.parametrize("start", ["0000", "FFFF", "0014", "0801", "0040 61"])
def test_a_length_or_tpdu_that_cannot_be_ends_the_stream(start: str) -> None:
    reader = EnvelopeReader(UNIONPAY)
    with pytest.raises(FrameError):
        reader.feed(bytes.fromhex(start) + bytes(0x40))
    assert not reader.partial


def test_an_answer_before_the_damage_is_not_lost_and_the_damage_not_forgotten() -> None:
    reader = EnvelopeReader(UNIONPAY)
    assert [frame.body for frame in reader.feed(FRAME + bytes(4))] == [BODY]
    for _ in range(2):
        with pytest.raises(FrameError):
            reader.feed(FRAME)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"length_form": "ascii", "length_bytes": 4}, b"0064"),
        ({"length_form": "bcd"}, bytes.fromhex("0064")),
        ({"length_counts_itself": True}, bytes.fromhex("0042")),
        ({"length_bytes": 4, "length_counts_itself": True}, bytes.fromhex("00000044")),
    ],
)
def test_other_forms_of_length_are_written_and_read(changes: dict[str, object], start: bytes) -> None:
    profile = _with(**changes)
    body = bytes(10) + bytes(43)
    raw = wrap(profile, body)
    assert raw.startswith(start)
    assert EnvelopeReader(profile).feed(raw)[0].body == body


def test_a_length_that_is_no_number_is_an_error() -> None:
    for form, raw in (("ascii", b"00x4"), ("bcd", b"\x00\x0a\x00\x00")):
        with pytest.raises(FrameError):
            EnvelopeReader(_with(length_form=form, length_bytes=4)).feed(raw)


def test_the_requirement_is_the_nibble_that_the_profile_names() -> None:
    raw = bytearray(FRAME)
    raw[9] = 0x13
    assert EnvelopeReader(UNIONPAY).feed(bytes(raw))[0].processing_requirement == 3
    assert EnvelopeReader(_with(requirement_nibble=-1)).feed(bytes(raw))[0].processing_requirement == 0


def test_a_profile_without_tpdu_and_header_has_bare_bodies() -> None:
    profile = load_profile("iso87-ascii")
    raw = wrap(profile, b"0800" + b"0" * 16)
    (frame,) = EnvelopeReader(profile).feed(raw)
    assert (frame.tpdu, frame.header, frame.body) == (b"", b"", b"0800" + b"0" * 16)


def test_another_tpdu_is_used_when_given_and_must_fit() -> None:
    assert wrap(UNIONPAY, BODY, bytes.fromhex("6000121234"))[2:7].hex() == "6000121234"
    with pytest.raises(FrameError):
        wrap(UNIONPAY, BODY, b"\x60")
    with pytest.raises(FrameError):
        wrap(UNIONPAY, bytes(3000))


def test_a_frame_shows_its_size_and_not_its_body() -> None:
    (frame,) = EnvelopeReader(UNIONPAY).feed(FRAME)
    assert repr(frame) == f"HostFrame({len(BODY)} bytes, tpdu 6000000000, header 602200000000)"
