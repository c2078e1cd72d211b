"""Recordings hold no card data and no keys, and replay as good frames."""

from __future__ import annotations

from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.devices.replay import ReplayDevice
from hwsim.errors import BenchError
from hwsim.recording import ChainMask, Piece, is_t1_block, load_recording, luhn, masked

PAN = "6212345678900000003"
QUESTION, ANSWER = bytes.fromhex("03066500000000000100000061"), bytes.fromhex("03068100000000000102000186")


def framed(data: bytes) -> bytes:
    body = b"\x03\x06\x80" + len(data).to_bytes(4, "little") + bytes(5) + data
    return body + bytes([reduce(xor, body)])


def packet(text: str) -> bytes:
    body = text.encode() + b"\x03"
    return b"\x02" + body + bytes([reduce(xor, body)])


def good_luhn_pan() -> str:
    return next(PAN[:-1] + digit for digit in "0123456789" if luhn(PAN[:-1] + digit))


def test_a_card_number_in_a_chip_record_is_hidden_and_the_frame_stays_good() -> None:
    pan = good_luhn_pan()
    frame = framed(bytes.fromhex(f"5A0A{pan}F"))
    hidden = masked("reader", frame)
    assert pan[6:15] not in hidden.hex()
    assert hidden.hex()[28:34] == pan[:6]
    assert len(hidden) == len(frame)
    assert reduce(xor, hidden) == 0


def test_what_follows_the_card_number_on_a_track_is_hidden() -> None:
    hidden = masked("reader", framed(bytes.fromhex(f"5712{good_luhn_pan()}D301222012345678F")))
    assert "12345678" not in hidden.hex()
    assert "d4912000" in hidden.hex()


def test_keys_and_pin_blocks_of_a_pin_pad_are_hidden_and_the_packet_stays_good() -> None:
    hidden = masked("pinpad", packet("71.00601" + "1122334455667788"))
    assert b"1122334455667788" not in hidden
    assert hidden == packet("71.00601" + "0" * 16)


@given(st.binary(max_size=200), st.sampled_from(["reader", "pinpad", "printer"]))
def test_masking_twice_changes_nothing_more_and_keeps_the_length(data: bytes, kind: str) -> None:
    once = masked(kind, data)
    assert len(once) == len(data)
    assert masked(kind, once) == once


@pytest.mark.parametrize(("number", "good"), [("4111111111111111", True), ("4111111111111112", False)])
def test_the_check_digit(number: str, good: bool) -> None:
    assert luhn(number) is good


def test_a_replayed_device_answers_after_the_recorded_pause() -> None:
    device = ReplayDevice("reader", [Piece(1.0, "host", QUESTION), Piece(1.5, "device", ANSWER)])
    assert device.feed(QUESTION[:5], 10.0) == b""
    assert device.feed(QUESTION[5:], 10.1) == b""
    assert device.tick(10.6) == ANSWER


def test_a_replayed_device_takes_questions_in_another_order() -> None:
    pieces = [Piece(0, "host", b"a"), Piece(0, "device", b"1"), Piece(0, "host", b"b"), Piece(0, "device", b"2")]
    device = ReplayDevice("printer", pieces)
    said = [device.feed(question, float(at)) + device.tick(float(at)) for at, question in enumerate((b"b", b"a", b"b"))]
    assert said == [b"2", b"1", b"2"]


def test_an_unknown_question_is_counted_and_the_next_known_one_answered() -> None:
    device = ReplayDevice("printer", [Piece(0, "host", b"a"), Piece(0, "device", b"1")])
    assert device.feed(b"zzz", 0.0) == b""
    assert device.feed(b"a", 5.0) + device.tick(5.0) == b"1"
    assert device.counters["unknown questions"] == 1


def test_pieces_of_one_side_are_joined(tmp_path: Path) -> None:
    lines = (
        '{"kind": "printer"}\n{"at_s": 0, "from": "host", "hex": "10"}\n'
        '{"at_s": 1, "from": "host", "hex": "0401"}\n{"at_s": 2, "from": "device", "hex": "12"}\n'
    )
    (tmp_path / "r.jsonl").write_text(lines)
    assert load_recording(tmp_path / "r.jsonl") == (
        "printer",
        [Piece(0.0, "host", b"\x10\x04\x01"), Piece(2.0, "device", b"\x12")],
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "does not begin with its kind"),
        ('{"kind": "toaster"}', "does not begin with its kind"),
        ('{"kind": "reader"}\nnonsense', "line 2, is damaged"),
        ('{"kind": "reader"}\n{"at_s": 0, "from": "cat", "hex": ""}', "nobody is called 'cat'"),
    ],
)
def test_a_damaged_recording_is_a_clear_error(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(BenchError, match=problem):
        load_recording(tmp_path / "r.jsonl")


def t1(pcb: int, inf: bytes) -> bytes:
    body = bytes([0, pcb, len(inf)]) + inf
    return framed(body + bytes([reduce(xor, body)]))


def test_a_card_number_across_two_t1_blocks_is_in_neither() -> None:
    whole = bytes.fromhex(f"57135A{PAN}D30122010000000000F"[: 2 * 19])
    chains = ChainMask()
    for cut in range(1, len(whole)):
        said = [t1(0x20, whole[:cut]), t1(0x40, whole[cut:]), t1(0x00, b"\x90\x00")]
        kept = [chains.emptied(frame) for frame in said]
        assert kept[0][15:-2] == bytes(cut)
        assert kept[1][15:-2] == bytes(len(whole) - cut)
        assert kept[2] == said[2]
        for frame in [*kept, *(masked("reader", frame) for frame in kept)]:
            assert reduce(xor, frame) == 0
            assert is_t1_block(frame[12:-1])


def test_a_card_number_in_one_t1_block_is_hidden_and_the_block_stays_good() -> None:
    pan = good_luhn_pan()
    frame = t1(0x00, bytes.fromhex(f"5A0A{pan}F9000"))
    hidden = masked("reader", ChainMask().emptied(frame))
    assert pan[6:15] not in hidden.hex()
    assert is_t1_block(hidden[12:-1])
    assert reduce(xor, hidden) == 0


def test_a_header_that_looks_like_a_card_number_is_left_alone() -> None:
    """03 06 80 12 and zeros: nineteen digits with a right check digit begin in it."""
    frame = framed(bytes.fromhex("00000E") + bytes(14) + b"\x0e")
    assert masked("reader", frame) == frame
