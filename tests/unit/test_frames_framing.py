"""Every family's scanner reads whole, byte by byte, with trailing bytes, and with noise around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol import ccid, escpos, pinpad
from protocol.errors import FrameError
from protocol.framing import FrameScanner

SLOT_STATUS = bytes.fromhex("03 06 81 00 00 00 00 00 05 00 00 00 81")
CANCEL = bytes.fromhex("02 37 32 03 06")
PRINTED = bytes.fromhex("37 22 41 42 43 44 00")

FAMILIES: dict[str, tuple[Callable[[], FrameScanner[Any]], bytes, Any]] = {
    "ccid": (ccid.serial_scanner, SLOT_STATUS, SLOT_STATUS[2:-1]),
    "pinpad": (pinpad.packet_scanner, CANCEL, "72"),
    "escpos": (escpos.event_scanner, PRINTED, b"ABCD"),
}


def content(item: Any) -> Any:
    """What the family's item carries."""
    for name in ("message", "text", "process"):
        if hasattr(item, name):
            return getattr(item, name)
    return item


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> tuple[FrameScanner[Any], bytes, Any]:
    make, frame, inside = FAMILIES[request.param]
    return make(), frame, inside


Family = tuple[FrameScanner[Any], bytes, Any]


def test_a_whole_frame_is_read_at_once(family: Family) -> None:
    scanner, frame, inside = family
    assert [content(item) for item in scanner.feed(frame)] == [inside]
    assert not scanner.partial
    assert scanner.noise_bytes == 0


def test_a_frame_byte_by_byte_is_read_with_its_last_byte(family: Family) -> None:
    scanner, frame, inside = family
    for position in range(len(frame) - 1):
        assert scanner.feed(frame[position : position + 1]) == []
        assert scanner.partial
    assert [content(item) for item in scanner.feed(frame[-1:])] == [inside]


def test_trailing_bytes_belong_to_the_next_frame(family: Family) -> None:
    scanner, frame, inside = family
    assert [content(item) for item in scanner.feed(frame + frame[:3])] == [inside]
    assert [content(item) for item in scanner.feed(frame[3:])] == [inside]


def test_noise_before_and_after_a_frame_is_counted_and_skipped(family: Family) -> None:
    scanner, frame, inside = family
    items = scanner.feed(b"\x00\x7f\x41" + frame + b"\x00\x7f")
    assert inside in [content(item) for item in items]
    scanner.quiet()
    assert scanner.noise_bytes >= 5
    assert [content(item) for item in scanner.feed(frame)] == [inside]


def test_a_frame_behind_half_a_frame_is_found_when_the_line_falls_silent(family: Family) -> None:
    scanner, frame, inside = family
    items = scanner.feed(frame[:-2] + frame) + scanner.quiet()
    assert [content(item) for item in items].count(inside) == 1


def test_the_buffer_never_grows_above_its_cap(family: Family) -> None:
    scanner, frame, _ = family
    scanner.feed(frame[:2] + b"\x41" * 100_000)
    assert len(scanner._buffer) <= scanner._cap


def test_clear_forgets_half_a_frame(family: Family) -> None:
    scanner, frame, inside = family
    scanner.feed(frame[:3])
    scanner.clear()
    assert [content(item) for item in scanner.feed(frame)] == [inside]
    assert scanner.noise_bytes == 0


def test_a_lying_length_is_an_error_and_not_a_short_field() -> None:
    with pytest.raises(FrameError):
        ccid.parse_response(bytes.fromhex("80 05 00 00 00 00 01 00 00 00 90 00"))
    with pytest.raises(FrameError):
        ccid.parse_response(bytes.fromhex("80 01 00 00 00 00 01 00 00 00 90 00"))


def test_a_value_that_does_not_fit_is_a_frame_error() -> None:
    with pytest.raises(FrameError):
        ccid.build_command(ccid.Command(0x62, 256))
    with pytest.raises(FrameError):
        ccid.build_command(ccid.Command(0x62, 1, b"too long"))
