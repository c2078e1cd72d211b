"""The PIN pad against dialogues written from the PP791 and MX800 manuals."""

from __future__ import annotations

import time

import pytest

from drivers.errors import (
    DeviceGarbled,
    DeviceRefused,
    DeviceTimeout,
    KeyMissing,
    PinCancelled,
    PinTimeout,
)
from drivers.pinpad_ipp import IppPinPad
from drivers.port import deadline_in
from protocol import pinpad
from protocol.errors import FrameError
from protocol.pinpad import Packet
from tests.unit.scripted_port import ScriptedPort, Turn, turn

ACK, NAK, EOT = b"\x06", b"\x15", b"\x04"
ACCOUNT, KEY = "6212345678901232", "0123456789ABCDEF"
BLOCK = "8877665544332211"
HELLO = turn("02 37 32 03 06", "06")  # 72: the idle pad acknowledges


def packet(text: str, admin: bool = False) -> bytes:
    """A packet with its LRC."""
    return pinpad.build_packet(Packet(text, admin))


def opened(*turns: Turn) -> tuple[IppPinPad, ScriptedPort]:
    port = ScriptedPort(HELLO, *turns)
    pad = IppPinPad("scripted:", lambda: port)
    pad.open(deadline_in(2))
    return pad, port


REQUEST = packet(f"70.{ACCOUNT}\x1c{KEY}\x1c1")
ANSWER = packet(f"71.00401{BLOCK}")


def test_the_frames_are_the_manuals() -> None:
    assert packet("72") == bytes.fromhex("02 37 32 03 06")
    assert packet("041", admin=True) == bytes.fromhex("0F 30 34 31 0E 3B")
    #              MX800 guide p. 337, but with a flag of its table and its LRC counted by hand
    example = packet(f"Z666002\x1c{KEY}\x1c\x1c{KEY}")
    assert example[:8] == b"\x02Z666002"
    assert example[-2:-1] == b"\x03"


def test_opening_ends_an_older_session() -> None:
    port = ScriptedPort(turn("02 37 32 03 06", "04"))
    IppPinPad("scripted:", lambda: port).open(deadline_in(2))
    assert port.finished


def test_a_pad_that_never_answers_is_a_time_out() -> None:
    pad = IppPinPad("scripted:", lambda: ScriptedPort(*[turn("02 37 32 03 06")] * 3))
    with pytest.raises(DeviceTimeout):
        pad.open(deadline_in(0.2))


def test_a_pin_block_comes_back() -> None:
    pad, port = opened(Turn(REQUEST, ACK + ANSWER), Turn(ACK))
    assert pad.enter_pin(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert port.finished


def test_z60_asks_after_its_prompt_and_without_a_time_out() -> None:
    prompt = Turn(packet("Z2\x1aENTER PIN"), ACK)
    pad, port = opened(prompt, Turn(packet(f"Z60.{ACCOUNT}\x1c{KEY}"), ACK + ANSWER), Turn(ACK))
    assert pad.enter_pin_z60(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert port.finished


def test_the_cancel_key_is_a_typed_error() -> None:
    pad, _ = opened(Turn(REQUEST, ACK + EOT))
    with pytest.raises(PinCancelled):
        pad.enter_pin(ACCOUNT, KEY, 30)


def test_nobody_at_the_pad_is_a_typed_error_and_the_pad_is_told_to_stop() -> None:
    pad, port = opened(Turn(REQUEST, ACK), Turn(packet("72"), EOT))
    with pytest.raises(PinTimeout):
        pad.enter_pin(ACCOUNT, KEY, 0.2)
    assert port.finished


@pytest.mark.parametrize(("code", "kind"), [("1", KeyMissing), ("4", DeviceRefused)])
def test_a_refused_pin_entry_carries_the_pads_code(code: str, kind: type[DeviceRefused]) -> None:
    pad, _ = opened(Turn(REQUEST, ACK + packet("71" + code)), Turn(ACK))
    with pytest.raises(kind) as caught:
        pad.enter_pin(ACCOUNT, KEY, 30)
    assert caught.value.reason == code


def test_a_nak_is_answered_by_sending_again_three_times_in_all() -> None:
    pad, port = opened(Turn(REQUEST, NAK), Turn(REQUEST, NAK), Turn(REQUEST, ACK + ANSWER), Turn(ACK))
    assert pad.enter_pin(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert pad.counters["retransmissions"] == 2
    assert port.finished
    pad, port = opened(*[Turn(REQUEST, NAK)] * 3, Turn(EOT))
    with pytest.raises(DeviceGarbled):
        pad.enter_pin(ACCOUNT, KEY, 30)
    assert port.finished


def test_a_damaged_answer_is_refused_by_nak_and_comes_again() -> None:
    damaged = ANSWER[:-1] + b"\x00"
    pad, port = opened(Turn(REQUEST, ACK + damaged), Turn(NAK, ANSWER), Turn(ACK))
    assert pad.enter_pin(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert port.finished


def test_after_three_damaged_answers_the_session_is_ended() -> None:
    damaged = ANSWER[:-1] + b"\x00"
    pad, port = opened(Turn(REQUEST, ACK + damaged), Turn(NAK, damaged), Turn(NAK, damaged), Turn(NAK), Turn(EOT))
    with pytest.raises(DeviceGarbled):
        pad.enter_pin(ACCOUNT, KEY, 30)
    assert port.finished


def test_an_answer_that_breaks_off_is_asked_for_long_before_the_deadline() -> None:
    pad, port = opened(Turn(REQUEST, ACK + ANSWER[:-3]), Turn(NAK, ANSWER), Turn(ACK))
    started = time.monotonic()
    assert pad.enter_pin(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert time.monotonic() - started < 2
    assert port.finished


def test_a_lost_ack_does_not_lose_the_answer() -> None:
    pad, port = opened(Turn(REQUEST, ANSWER), Turn(ACK))
    assert pad.enter_pin(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert pad.counters["acks_missing"] == 1
    assert port.finished


@pytest.mark.parametrize("noise", [b"\x00\x7f", b"\x41\x06\x15", b"\x02\x41"])
def test_stale_bytes_before_a_command_are_thrown_away(noise: bytes) -> None:
    pad, port = opened(Turn(REQUEST, ACK + ANSWER), Turn(ACK))
    port.say(noise)
    assert pad.enter_pin(ACCOUNT, KEY, 30) == bytes.fromhex(BLOCK)
    assert port.finished


# ---------------------------------------------------------------- keys


def test_a_master_key_is_stored_only_when_the_pad_echoes_it() -> None:
    load = packet("021" + KEY, admin=True)
    pad, port = opened(Turn(load, ACK + load), Turn(ACK, EOT))
    pad.load_master_key(1, KEY)
    assert port.finished
    other = packet("021" + KEY[::-1], admin=True)
    pad, port = opened(Turn(load, ACK + other), Turn(EOT))
    with pytest.raises(DeviceRefused):
        pad.load_master_key(1, KEY)
    assert port.finished


def test_key_presence_is_asked() -> None:
    ask = packet("041", admin=True)
    pad, _ = opened(Turn(ask, ACK + packet("04F", admin=True)), Turn(ACK, EOT))
    assert pad.has_master_key(1) is True
    pad, _ = opened(Turn(ask, ACK + packet("040", admin=True)), Turn(ACK, EOT))
    assert pad.has_master_key(1) is False


@pytest.mark.parametrize("answer", [packet("080", admin=True), EOT])
def test_a_key_is_selected_with_or_without_an_answering_packet(answer: bytes) -> None:
    turns = [Turn(packet("083", admin=True), ACK + answer)]
    turns += [Turn(ACK, EOT)] if answer != EOT else []
    pad, port = opened(*turns)
    pad.select_key(3)
    assert port.finished
    assert pad.detail == "master key 3"


def test_a_key_that_cannot_be_selected_is_missing() -> None:
    pad, _ = opened(Turn(packet("083", admin=True), ACK + packet("08F", admin=True)), Turn(ACK, EOT))
    with pytest.raises(KeyMissing):
        pad.select_key(3)


# ---------------------------------------------------------------- MAC and display


def test_a_short_mac_is_one_packet() -> None:
    request = packet(f"Z666000\x1c{KEY}\x1c\x1c0102030405060708")
    pad, port = opened(Turn(request, ACK + packet(f"Z670{BLOCK}")), Turn(ACK))
    assert pad.mac(bytes(range(1, 9)), KEY) == bytes.fromhex(BLOCK)
    assert port.finished


def test_a_long_mac_goes_in_chunks_of_224_characters() -> None:
    data = bytes(range(256))
    packets = pinpad.mac_packets(data, KEY, 2)
    assert [p.text[:7] for p in packets] == ["Z667002", "Z667012", "Z666022"]
    assert all(len(p.text.rpartition("\x1c")[2]) <= 224 for p in packets)
    assert "".join(p.text.rpartition("\x1c")[2] for p in packets) == data.hex().upper()
    turns = []
    for number, p in enumerate(packets):
        answer = f"Z670{BLOCK}" if number == 2 else "Z671"
        turns += [Turn(pinpad.build_packet(p), ACK + packet(answer)), Turn(ACK)]
    pad, port = opened(*turns)
    assert pad.mac(data, KEY, 2) == bytes.fromhex(BLOCK)
    assert port.finished


@pytest.mark.parametrize(
    ("status", "kind"), [("3", KeyMissing), ("8", KeyMissing), ("2", DeviceRefused), ("5", DeviceRefused)]
)
def test_a_refused_mac_ends_the_session_and_carries_the_status(status: str, kind: type[DeviceRefused]) -> None:
    request = packet(f"Z666000\x1c{KEY}\x1c\x1c00")
    pad, port = opened(Turn(request, ACK + packet("Z67" + status)), Turn(ACK), Turn(packet("72"), ACK))
    with pytest.raises(kind) as caught:
        pad.mac(b"\0", KEY)
    assert caught.value.reason == status
    assert port.finished


def test_an_answer_of_the_wrong_kind_is_a_typed_error() -> None:
    request = packet(f"Z666000\x1c{KEY}\x1c\x1c00")
    pad, _ = opened(Turn(request, ACK + ANSWER), Turn(ACK))
    with pytest.raises(DeviceGarbled):
        pad.mac(b"\0", KEY)


def test_the_display_shows_plain_text_only() -> None:
    pad, port = opened(Turn(packet("Z2\x1aPIN ?\x3f"), ACK))
    pad.display("PIN 密\x03")
    assert port.finished


def test_cancel_works_on_a_waiting_and_on_an_idle_pad() -> None:
    pad, port = opened(Turn(packet("72"), EOT), Turn(packet("72"), ACK))
    pad.cancel()
    pad.cancel()
    assert port.finished


def test_a_pad_without_its_key_fails_the_test_and_says_what_to_do() -> None:
    pad, _ = opened(
        Turn(packet("72"), ACK), Turn(packet("040", admin=True), ACK + packet("040", admin=True)), Turn(ACK)
    )
    with pytest.raises(KeyMissing) as caught:
        pad.test(deadline_in(2))
    assert "load the master key" in str(caught.value)


# ---------------------------------------------------------------- what cannot be built


@pytest.mark.parametrize(
    "build",
    [
        lambda: pinpad.load_master_key(10, KEY),
        lambda: pinpad.load_master_key(1, "12"),
        lambda: pinpad.pin_entry("12", KEY),
        lambda: pinpad.pin_entry(ACCOUNT, "x" * 16),
        lambda: pinpad.pin_entry(ACCOUNT, KEY, "1.234"),
        lambda: pinpad.pin_entry(ACCOUNT, KEY, "", 10),
        lambda: pinpad.display("x" * 65),
        lambda: pinpad.mac_packets(b"", KEY, 0),
        lambda: pinpad.mac_packets(bytes(112 * 100 + 1), KEY, 0),
        lambda: pinpad.build_packet(Packet("")),
        lambda: pinpad.build_packet(Packet("a\x03b")),
        lambda: pinpad.build_packet(Packet("密")),
        lambda: pinpad.parse_packet(b""),
        lambda: pinpad.parse_packet(b"\x02\x03"),
        lambda: pinpad.parse_packet(bytes.fromhex("02 37 32 03 06 00")),
        lambda: pinpad.parse_packet(bytes.fromhex("02 B7 32 03 86")),
    ],
)
def test_what_does_not_fit_is_a_frame_error(build: object) -> None:
    with pytest.raises(FrameError):
        build()  # type: ignore[operator]


def test_no_error_and_no_repr_shows_account_key_or_block() -> None:
    shown = repr([Packet(f"70.{ACCOUNT}\x1c{KEY}"), pinpad.PinAnswer(bytes.fromhex(BLOCK))])
    for text in (ACCOUNT[:6], KEY[:6], "\\x88", BLOCK[:6]):
        assert text not in shown
    with pytest.raises(FrameError) as caught:
        pinpad.pin_entry(ACCOUNT + "X", KEY)
    assert ACCOUNT[:6] not in str(caught.value)
