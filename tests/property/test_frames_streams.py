"""Whatever bytes come: nothing but typed errors, and the next good frame after a quiet line is understood."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ccid, emv, escpos, iso7816, neo2, pinpad
from protocol.errors import FrameError
from protocol.framing import FrameScanner

GOOD: dict[str, tuple[Callable[[], FrameScanner[Any]], bytes, Any]] = {
    "ccid": (
        ccid.serial_scanner,
        bytes.fromhex("03 06 81 00 00 00 00 00 05 00 00 00 81"),
        ccid.SerialMessage(bytes.fromhex("81 00 00 00 00 00 05 00 00 00")),
    ),
    "pinpad": (pinpad.packet_scanner, bytes.fromhex("02 37 32 03 06"), pinpad.Packet("72")),
    "escpos": (escpos.event_scanner, bytes.fromhex("37 22 41 42 43 44 00"), escpos.Printed(b"ABCD")),
    "neo2": (
        neo2.response_scanner,
        bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 18 00 00 00 FA 83"),
        neo2.NeoResponse(0x18, 0),
    ),
}
families = st.sampled_from(sorted(GOOD))
# Noise that looks like frames is the hard kind: start bytes, lengths, half headers.
shapes = st.sampled_from(
    [b"\x03\x06", b"\x02", b"\x0f", b"\x03", b"\x37\x22", b"\x18", b"ViVOtech2\0", b"\x50", b"\xff\xff", b"\x10\x04"]
)
noise = st.lists(st.one_of(st.binary(max_size=40), shapes), max_size=12).map(b"".join)


@given(family=families, data=noise)
def test_any_bytes_and_a_quiet_line_leave_the_scanner_able_to_read_the_next_frame(family: str, data: bytes) -> None:
    make, frame, item = GOOD[family]
    scanner = make()
    scanner.feed(data)
    scanner.quiet()
    assert scanner.feed(frame) == [item]
    assert not scanner.partial


@given(family=families, data=noise)
def test_a_good_frame_in_the_middle_of_noise_is_found_once_the_line_is_quiet(family: str, data: bytes) -> None:
    make, frame, item = GOOD[family]
    scanner = make()
    items = scanner.feed(data)
    items += scanner.quiet()
    items += scanner.feed(frame + data)
    items += scanner.quiet()
    assert item in items


@given(family=families, data=noise, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_it_does_not_matter_how_the_bytes_are_cut_into_reads(family: str, data: bytes, cuts: list[int]) -> None:
    make, frame, _ = GOOD[family]
    whole, pieces = make(), make()
    stream = data + frame + data
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    found = [item for a, b in itertools.pairwise(bounds) for item in pieces.feed(stream[a:b])]
    assert found == whole.feed(stream)


@given(family=families, data=st.binary(max_size=3000))
def test_no_buffer_grows_above_its_cap_and_every_byte_is_accounted_for(family: str, data: bytes) -> None:
    scanner = GOOD[family][0]()
    scanner.feed(data)
    assert len(scanner._buffer) <= scanner._cap
    scanner.quiet()
    assert scanner.noise_bytes <= len(data)


def _parsers() -> dict[str, Callable[[bytes], object]]:
    def packet(data: bytes) -> object:
        return pinpad.Packet(data.decode("latin-1"))

    return {
        "ccid command": ccid.parse_command,
        "ccid response": ccid.parse_response,
        "ccid frame": ccid.unframe,
        "ccid interrupt": ccid.parse_interrupt,
        "atr": iso7816.parse_atr,
        "apdu answer": iso7816.parse_apdu_answer,
        "t1 block": iso7816.parse_t1,
        "tlv": emv.values,
        "dol": emv.parse_dol,
        "filled dol": lambda data: emv.fill_dol(data, {}),
        "afl": emv.parse_afl,
        "processing options": emv.parse_processing_options,
        "cryptogram": emv.parse_cryptogram,
        "directory": emv.parse_directory_record,
        "track 2": emv.parse_track2,
        "pan": emv.parse_pan,
        "pin pad packet": pinpad.parse_packet,
        "pin answer": lambda data: pinpad.parse_pin_answer(packet(data)),  # type: ignore[arg-type]
        "mac answer": lambda data: pinpad.parse_mac_answer(packet(data)),  # type: ignore[arg-type]
        "key check": lambda data: pinpad.parse_key_check(packet(data)),  # type: ignore[arg-type]
        "automatic status": escpos.parse_asb,
        "device id": escpos.parse_device_id,
        "neo response": neo2.parse_response,
        "neo command": neo2.parse_command,
        "neo activation": neo2.parse_activation,
    }


@pytest.mark.parametrize("name", sorted(_parsers()))
@given(data=st.one_of(st.binary(max_size=300), noise))
def test_a_parser_raises_nothing_but_frame_errors(name: str, data: bytes) -> None:
    with suppress(FrameError):
        _parsers()[name](data)


@given(tag=st.sampled_from(["57", "5A", "9F36", "5F2A", "DF31"]), value=st.binary(max_size=400))
def test_data_objects_come_back_as_they_were_built(tag: str, value: bytes) -> None:
    assert emv.parse_tlv(emv.build_tlv(tag, value)) == [emv.Tlv(tag, value)]


@given(text=st.text(max_size=60), width=st.integers(2, 60))
def test_no_text_breaks_a_slip_or_smuggles_a_command(text: str, width: int) -> None:
    data = escpos.render(escpos.Slip((escpos.Line(text),)), width)
    body = data.partition(b"\x1d\x21\x00")[2]
    decoded = body.decode("gb18030")
    assert not any(character < " " and character != "\n" for character in decoded)
    assert all(escpos.columns(line) <= width for line in decoded.split("\n"))


@given(answers=st.dictionaries(st.integers(1, 4), st.integers(0, 255)))
def test_any_status_answer_has_one_word(answers: dict[int, int]) -> None:
    status = escpos.parse_status(answers)
    assert isinstance(status.cause, str)
    assert status.paper in ("ok", "near end", "out", "unknown")


@given(data=st.binary(min_size=1, max_size=600), key_index=st.integers(0, 9))
def test_mac_packets_carry_the_data_whole_in_order_and_in_time(data: bytes, key_index: int) -> None:
    packets = pinpad.mac_packets(data, "0123456789ABCDEF", key_index)
    chunks = [packet.text.rpartition("\x1c")[2] for packet in packets]
    assert "".join(chunks) == data.hex().upper()
    assert all(len(chunk) == pinpad.MAC_CHUNK_CHARACTERS for chunk in chunks[:-1])
    assert [packet.text[3] for packet in packets] == [pinpad.MAC_MORE] * (len(packets) - 1) + [pinpad.MAC_LAST]
    for packet in packets:
        assert pinpad.parse_packet(pinpad.build_packet(packet)) == packet
