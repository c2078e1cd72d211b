"""CCID messages, serial frames, ATR, T=1 blocks and APDUs against bytes from the documents and libccid traces."""

from __future__ import annotations

import pytest

from protocol import ccid
from protocol import iso7816 as iso
from protocol.errors import FrameError

h = bytes.fromhex


def test_power_on_and_its_serial_frame_are_the_documented_bytes() -> None:
    raw = ccid.build_command(ccid.Command(ccid.ICC_POWER_ON, 1, b"\1\0\0"))
    assert raw == h("62 00 00 00 00 00 01 01 00 00")
    assert ccid.serial_frame(raw) == h("03 06 62 00 00 00 00 00 01 01 00 00 67")


def test_a_response_tells_card_and_outcome() -> None:
    response = ccid.parse_response(h("80 00 00 00 00 00 07 42 FE 00"))
    assert (response.icc, response.outcome) == (ccid.ICC_ABSENT, ccid.COMMAND_FAILED)
    assert ccid.error_name(response.error) == "ICC_MUTE"
    assert ccid.error_name(0x0A) == "PARAMETER_BYTE_10"
    assert ccid.error_name(0x90) == "VENDOR_90"


def test_messages_come_back_as_they_were_built() -> None:
    command = ccid.Command(ccid.XFR_BLOCK, 9, b"\0\0\0", h("00A40400"))
    assert ccid.parse_command(ccid.build_command(command)) == command
    response = ccid.Response(ccid.DATA_BLOCK, 9, 0, 0, 0, h("6A82"))
    assert ccid.parse_response(ccid.build_response(response)) == response


def test_unframed_bytes_are_slot_changes_and_time_requests() -> None:
    scanner = ccid.serial_scanner()
    assert scanner.feed(h("50 03 50 02 85 03 15 16")) == [
        ccid.SlotChange(True),
        ccid.SlotChange(False),
        ccid.TimeRequest(0x85),
        ccid.SerialNak(),
    ]


def test_in_noise_no_byte_is_taken_for_a_time_request() -> None:
    scanner = ccid.serial_scanner()
    assert scanner.feed(h("00 85 90 50 02")) == []
    assert scanner.quiet() == []
    assert scanner.feed(h("85")) == [ccid.TimeRequest(0x85)]


def test_a_wrong_lrc_is_counted_and_the_next_frame_is_read() -> None:
    scanner = ccid.serial_scanner()
    good = h("03 06 81 00 00 00 00 00 05 00 00 00 81")
    items = scanner.feed(good[:-1] + b"\x00" + good)
    assert [item.message for item in items if isinstance(item, ccid.SerialMessage)] == [good[2:-1]]
    assert scanner.damaged_frames == 1


def test_an_echo_is_no_response() -> None:
    assert not ccid.SerialMessage(h("65 00 00 00 00 00 05 00 00 00")).is_response
    assert ccid.SerialMessage(h("81 00 00 00 00 00 05 00 00 00")).is_response


def test_unframe_wants_exactly_one_frame() -> None:
    good = h("03 06 81 00 00 00 00 00 05 00 00 00 81")
    assert ccid.unframe(good) == good[2:-1]
    for wrong in (good + b"\0", good[:-1], b""):
        with pytest.raises(FrameError):
            ccid.unframe(wrong)


def test_interrupt_messages_tell_slot_0() -> None:
    assert ccid.parse_interrupt(h("50 03")) is True
    assert ccid.parse_interrupt(h("50 02")) is False
    assert ccid.parse_interrupt(h("51 00")) is None


def test_parameters_are_the_ones_libccid_sends() -> None:
    assert ccid.t0_parameters(0x11, 0, 10, False) == h("11 00 00 0A 00")
    assert ccid.t1_parameters(0x11, 0, 0x4D, 32, False) == h("11 10 00 4D 00 20 00")


def test_no_repr_shows_card_data() -> None:
    secret = h("6212345678901232")
    shown = repr([ccid.Response(0x80, 1, data=secret), ccid.SerialMessage(secret), iso.ApduAnswer(secret, 0x9000)])
    shown += repr([iso.Apdu(0, 0xA4, 4, 0, secret), iso.T1Block(0, secret), ccid.Command(0x6F, 1, data=secret)])
    assert "6212" not in shown
    assert "b'" not in shown


# ---------------------------------------------------------------- ATR


def test_a_t0_atr() -> None:
    #              TS T0 TB1 TC1 historical
    atr = iso.parse_atr(h("3B 68 00 00 00 73 C8 40 12 00 90 00"))
    assert (atr.convention, atr.protocol, atr.ta1, atr.guard_time) == ("direct", 0, 0x11, 0)
    assert atr.historical == h("00 73 C8 40 12 00 90 00")
    assert not atr.negotiable


def test_a_t1_atr_names_ifsc_and_waiting_times() -> None:
    #               TS T0 TA1 TD1 TD2 TA3 TB3 TCK
    body = h("3B 90 95 81 31 FE 45")
    atr = iso.parse_atr(body + bytes([_tck(body)]))
    assert (atr.protocol, atr.ta1, atr.ifsc, atr.bwi_cwi, atr.crc) == (1, 0x95, 0xFE, 0x45, False)
    assert atr.negotiable


def _tck(body: bytes) -> int:
    value = 0
    for byte in body[1:]:
        value ^= byte
    return value


def test_ta2_binds_the_protocol() -> None:
    body = h("3B 80 91 00 01")  # TD1: TA2 TD2, T=1; TA2 = 00: specific mode T=0; TD2: T=1 and no more
    atr = iso.parse_atr(body + bytes([_tck(body)]))
    assert (atr.protocols, atr.specific_mode, atr.protocol, atr.negotiable) == ((1,), 0, 0, False)


@pytest.mark.parametrize(
    "raw",
    ["", "3B", "3C 00", "3B 68 00", "3B 90 95 81 31 FE 45 00", "3B 00 00 00", "3B F0 11", "3B" + "00" * 33],
)
def test_a_damaged_atr_is_a_frame_error(raw: str) -> None:
    with pytest.raises(FrameError):
        iso.parse_atr(h(raw))


# ---------------------------------------------------------------- APDU and T=1


def test_apdus_of_all_four_cases() -> None:
    assert iso.Apdu(0, 0x82, 0, 0).encode() == h("00 82 00 00")
    assert iso.Apdu(0, 0x82, 0, 0).tpdu() == h("00 82 00 00 00")
    assert iso.Apdu(0, 0xB2, 1, 0x0C, b"", 0).tpdu() == h("00 B2 01 0C 00")
    assert iso.Apdu(0, 0x20, 0, 0x80, b"\x24").tpdu() == h("00 20 00 80 01 24")
    select = iso.Apdu(0, 0xA4, 4, 0, b"\xa0\0", 0)
    assert (select.encode(), select.tpdu()) == (h("00 A4 04 00 02 A0 00 00"), h("00 A4 04 00 02 A0 00"))


def test_a_pps_is_accepted_only_when_echoed() -> None:
    request = iso.pps_request(1, 0x95)
    assert request == h("FF 11 95 7B")
    assert iso.pps_accepted(request, h("FF 11 95 7B"))
    assert not iso.pps_accepted(request, h("FF 01 FE"))


def test_t1_blocks() -> None:
    block = iso.i_block(1, h("00A4"), True)
    assert iso.build_t1(block) == h("00 60 02 00 A4 C6")
    assert iso.parse_t1(h("00 60 02 00 A4 C6")) == block
    assert (block.kind, block.sequence, block.more) == ("I", 1, True)
    assert (iso.r_block(1).kind, iso.r_block(1).sequence) == ("R", 1)
    assert iso.T1Block(iso.S_WTX, b"\1").kind == "S"
    with pytest.raises(FrameError):
        iso.parse_t1(h("00 60 02 00 A4 C7"))
    with pytest.raises(FrameError):
        iso.parse_t1(h("00 60 03 00 A4 C6"))
