"""NEO 2 frames as printed in ID TECH's manual, and the reader's dialogues."""

from __future__ import annotations

import pytest

from drivers.errors import CardUnreadable, DeviceGarbled, DeviceRefused, DeviceTimeout, NoCard
from drivers.port import deadline_in
from drivers.reader_neo2 import NeoReader
from protocol import neo2
from protocol.errors import FrameError
from protocol.neo2 import NeoCommand, NeoResponse
from tests.unit.scripted_port import ScriptedPort, Turn

h = bytes.fromhex
HEAD = "56 69 56 4F 74 65 63 68 32 00 "


def test_the_manuals_frames() -> None:
    assert neo2.build_command(neo2.PING) == h(HEAD + "18 01 00 00 B3 CD")
    assert neo2.build_response(NeoResponse(0x18, 0)) == h(HEAD + "18 00 00 00 FA 83")
    assert neo2.parse_response(h(HEAD + "18 00 00 00 FA 83")) == NeoResponse(0x18, 0)
    assert neo2.build_command(NeoCommand(0x03, 0x02)) == h(HEAD + "03 02 00 00 5B 91")


def test_pass_through_frames_have_their_crc_big_endian() -> None:
    raw = neo2.build_command(NeoCommand(0x2C, 0x13, b"\0"))
    assert raw[-2:] == int(neo2.CRC(raw[:-2])).to_bytes(2, "big")
    assert neo2.parse_command(raw) == NeoCommand(0x2C, 0x13, b"\0")


@pytest.mark.parametrize(
    "raw", ["", HEAD, HEAD + "18 00 00 00 FA 84", HEAD + "18 00 00 01 FA 83", HEAD + "18 00 00 00 FA 83 00"]
)
def test_damaged_responses_are_frame_errors(raw: str) -> None:
    with pytest.raises(FrameError):
        neo2.parse_response(h(raw))


def test_the_scanner_finds_a_frame_behind_noise_and_behind_half_a_frame() -> None:
    good = h(HEAD + "18 00 00 00 FA 83")
    scanner = neo2.response_scanner()
    assert scanner.feed(b"Vi\x00" + good[:12] + good) + scanner.quiet() == [NeoResponse(0x18, 0)]
    for position in range(len(good) - 1):
        assert scanner.feed(good[position : position + 1]) == []
    assert scanner.feed(good[-1:] + b"V") == [NeoResponse(0x18, 0)]


def test_what_does_not_fit_cannot_be_built() -> None:
    for build in (
        lambda: neo2.activate(0, 1, "260101"),
        lambda: neo2.activate(30, -1, "260101"),
        lambda: neo2.activate(30, 1, "2601"),
        lambda: neo2.lcd_text("密码"),
        lambda: neo2.build_command(NeoCommand(256, 0)),
        lambda: neo2.build_command(NeoCommand(1, 0, bytes(3000))),
    ):
        with pytest.raises(FrameError):
            build()


def answered(command: NeoCommand, *responses: NeoResponse) -> Turn:
    return Turn(neo2.build_command(command), b"".join(neo2.build_response(r) for r in responses))


GREETING = (
    answered(neo2.PING, NeoResponse(0x18, 0)),
    answered(neo2.FIRMWARE, NeoResponse(0x29, 0, b"VP5300 FW v1.01\0")),
    answered(neo2.poll_mode(1), NeoResponse(0x01, 0)),
)
ACTIVATE = neo2.activate(1, 1250, "260101")


def opened(*turns: Turn) -> tuple[NeoReader, ScriptedPort]:
    port = ScriptedPort(*GREETING, *turns)
    reader = NeoReader("scripted:", lambda: port)
    reader.open(deadline_in(2))
    return reader, port


def test_opening_pings_and_learns_the_firmware() -> None:
    reader, port = opened()
    assert reader.firmware == "VP5300 FW v1.01"
    assert port.finished


def test_a_presented_card_gives_its_tracks() -> None:
    track2 = b";6212345678901232=25122010000?"
    data = b"\0" + bytes([len(track2)]) + track2 + b"\0\1" + h("9F3602002A")
    reader, port = opened(answered(ACTIVATE, NeoResponse(0x02, 0x23, data)))
    activation = reader.activate(1, 1250, "260101")
    assert (activation.track1, activation.track2) == ("", track2.decode())
    assert activation.chip_data == h("9F3602002A")
    assert "6212" not in repr(activation)
    assert port.finished


def test_no_card_is_a_typed_error() -> None:
    reader, _ = opened(answered(ACTIVATE, NeoResponse(0x02, 0x08)))
    with pytest.raises(NoCard):
        reader.activate(1, 1250, "260101")


def test_a_refusal_carries_the_status() -> None:
    reader, _ = opened(answered(ACTIVATE, NeoResponse(0x02, 0x0B)))
    with pytest.raises(DeviceRefused) as caught:
        reader.activate(1, 1250, "260101")
    assert caught.value.reason == "0B"


@pytest.mark.parametrize("data", [b"", b"\x05ab", b"\x01\xff\x00\x00"])
def test_card_data_that_make_no_sense_are_a_typed_error(data: bytes) -> None:
    reader, _ = opened(answered(ACTIVATE, NeoResponse(0x02, 0, data)))
    with pytest.raises(CardUnreadable):
        reader.activate(1, 1250, "260101")


def test_an_event_and_a_late_answer_are_skipped() -> None:
    reader, port = opened(answered(neo2.CANCEL, NeoResponse(0x05, 0x0E), NeoResponse(0x02, 0x08), NeoResponse(0x05, 0)))
    reader.cancel()
    assert reader.counters["other_answers"] == 2
    assert port.finished


def test_an_activation_is_never_sent_twice_but_ended_when_its_answer_was_damaged() -> None:
    broken = Turn(neo2.build_command(ACTIVATE), h(HEAD + "02 00 00 00 00 00"))
    reader, port = opened(broken, answered(neo2.CANCEL, NeoResponse(0x05, 0)))
    with pytest.raises(DeviceGarbled):
        reader.activate(1, 1250, "260101")
    assert port.finished


def test_a_reader_that_still_waits_for_a_card_is_told_to_stop() -> None:
    reader, port = opened(
        answered(neo2.PING, NeoResponse(0x18, neo2.STATUS_NOT_ALLOWED)),
        answered(neo2.CANCEL, NeoResponse(0x05, 0)),
        answered(neo2.PING, NeoResponse(0x18, 0)),
    )
    assert "answers" in reader.test(deadline_in(2))
    assert reader.counters["stale_activations"] == 1
    assert port.finished


def test_a_silent_reader_is_a_time_out() -> None:
    reader = NeoReader("scripted:", lambda: ScriptedPort(*[Turn(neo2.build_command(neo2.PING))] * 2))
    with pytest.raises(DeviceTimeout):
        reader.open(deadline_in(0.2))


def test_results_of_automatic_polling_and_the_display() -> None:
    reader, port = opened(
        answered(neo2.poll_mode(0), NeoResponse(0x01, 0)),
        answered(neo2.get_result(), NeoResponse(0x03, 0)),
        answered(neo2.get_result(), NeoResponse(0x03, 0, b"\0\0\0\0")),
        answered(neo2.lcd_text("PAY ??"), NeoResponse(0x83, 0)),
    )
    reader.poll_automatically(True)
    with pytest.raises(NoCard):
        reader.last_result()
    assert reader.last_result().track2 == ""
    reader.show("PAY 支付")
    assert port.finished
