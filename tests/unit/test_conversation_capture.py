"""Captures to what each side sent: every link type, doubled, swapped and missing segments, and any bytes at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture import CaptureError, read_capture
from agent.streams import Chunk, reassemble
from tests.unit.capture_files import FIN, RST, SYN, cooked, ethernet, ipv4, ipv6, pcap, pcapng, tcp

TERMINAL, HOST = "10.0.0.5", "10.0.0.9"
QUESTION, ANSWER = b"question " * 30, b"answer " * 20


def _out(seq: int, payload: bytes = b"", flags: int = 0x10) -> bytes:
    return ipv4(TERMINAL, HOST, tcp(50000, 8583, seq, payload, flags), padding=6)


def _back(seq: int, payload: bytes = b"", flags: int = 0x10) -> bytes:
    return ipv4(HOST, TERMINAL, tcp(8583, 50000, seq, payload, flags))


def _talk() -> list[bytes]:
    """Handshake, question in three segments, answer in two, close; sequence numbers pass 2^32."""
    start = (1 << 32) - 100
    packets = [_out(start, flags=SYN), _back(7, flags=SYN | 0x10)]
    packets += [_out(start + 1 + at, QUESTION[at : at + 100]) for at in range(0, len(QUESTION), 100)]
    packets += [_back(8 + at, ANSWER[at : at + 70]) for at in range(0, len(ANSWER), 70)]
    return [*packets, _out(start + 1 + len(QUESTION), flags=FIN | 0x10)]


def _timed(packets: list[bytes]) -> list[tuple[float, bytes]]:
    return [(1000.0 + number / 4, packet) for number, packet in enumerate(packets)]


def _said(chunks: list[Chunk], direction: str) -> bytes:
    return b"".join(chunk.data for chunk in chunks if chunk.direction == direction)


def _heard(data: bytes) -> tuple[bytes, bytes, list[Chunk]]:
    chunks = reassemble(read_capture(data).segments)
    return _said(chunks, "to-host"), _said(chunks, "from-host"), chunks


FILES = {
    "pcap": lambda frames: pcap([(at, ethernet(frame)) for at, frame in frames]),
    "pcap big-endian": lambda frames: pcap([(at, ethernet(frame)) for at, frame in frames], order=">"),
    "pcap nanoseconds": lambda frames: pcap([(at, ethernet(frame)) for at, frame in frames], nanoseconds=True),
    "pcap VLAN": lambda frames: pcap([(at, ethernet(frame, vlan=True)) for at, frame in frames]),
    "pcap cooked": lambda frames: pcap([(at, cooked(frame)) for at, frame in frames], link=113),
    "pcap raw": lambda frames: pcap(frames, link=101),
    "pcap loopback": lambda frames: pcap([(at, b"\x02\0\0\0" + frame) for at, frame in frames], link=0),
    "pcapng": lambda frames: pcapng([(at, ethernet(frame)) for at, frame in frames]),
    "pcapng big-endian": lambda frames: pcapng([(at, ethernet(frame)) for at, frame in frames], order=">"),
}


@pytest.mark.parametrize("form", FILES)
def test_both_sides_are_read_from_every_kind_of_file(form: str) -> None:
    to_host, from_host, chunks = _heard(FILES[form](_timed(_talk())))
    assert (to_host, from_host) == (QUESTION, ANSWER)
    assert chunks[0].at == pytest.approx(1000.5)
    assert chunks[0].connection == "10.0.0.5:50000 - 10.0.0.9:8583"
    assert [chunk.event for chunk in chunks if chunk.event != "data"] == ["closed"]


@pytest.mark.parametrize("options", [False, True])
def test_ipv6_is_read_with_and_without_extension_headers(options: bool) -> None:
    segment = tcp(50000, 8583, 1, QUESTION)
    to_host, _, _ = _heard(pcap([(1.0, ethernet(ipv6(segment, to_host=True, options=options)))]))
    assert to_host == QUESTION


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_doubled_and_swapped_segments_change_nothing(chance: random.Random) -> None:
    packets = _talk()
    head, body = packets[:2], packets[2:]
    body += chance.sample(body, k=chance.randint(0, len(body)))
    for _ in range(6):
        at = chance.randrange(len(body) - 1)
        body[at], body[at + 1] = body[at + 1], body[at]
    to_host, from_host, _ = _heard(pcap([(at, ethernet(frame)) for at, frame in _timed([*head, *body])]))
    assert (to_host, from_host) == (QUESTION, ANSWER)


def test_a_retransmission_with_other_borders_gives_each_byte_once() -> None:
    packets = [_out(1, b"abc"), _out(3, b"cdef"), _out(1, b"abcdef"), _out(7, b"g")]
    assert _heard(pcap(_timed(packets), link=101))[0] == b"abcdefg"


def test_a_segment_that_never_came_is_said_and_reading_goes_on() -> None:
    _, _, chunks = _heard(pcap(_timed([_out(1, b"abc"), _out(9, b"xyz")]), link=101))
    assert [(chunk.event, chunk.data) for chunk in chunks] == [("data", b"abc"), ("lost", b""), ("data", b"xyz")]


def test_a_reset_closes_at_once() -> None:
    _, _, chunks = _heard(pcap(_timed([_out(1, b"abc"), _back(1, flags=RST)]), link=101))
    assert [(chunk.event, chunk.direction) for chunk in chunks] == [("data", "to-host"), ("closed", "from-host")]


def test_ports_that_are_used_again_are_a_new_stream() -> None:
    packets = [_out(1, flags=SYN), _out(2, b"one"), _out(90_000, flags=SYN), _out(90_001, b"two")]
    assert _heard(pcap(_timed(packets), link=101))[0] == b"onetwo"


def test_the_host_can_be_named_by_its_port() -> None:
    segments = read_capture(pcap(_timed([_out(1, b"abc")]), link=101)).segments
    assert reassemble(segments, host_port=50000)[0].direction == "from-host"


def test_packets_that_are_no_tcp_are_counted() -> None:
    found = read_capture(pcap([(1.0, ethernet(_out(1, b"abc"))), (2.0, bytes(60)), (3.0, b"")]))
    assert (len(found.segments), found.skipped) == (1, 2)


def test_a_file_that_is_cut_gives_what_is_there() -> None:
    data = pcap([(1.0, ethernet(_out(1, b"abc"))), (2.0, ethernet(_out(4, b"def")))])
    found = read_capture(data[:-5])
    assert found.is_cut
    assert [segment.payload for segment in found.segments] == [b"abc"]


@pytest.mark.parametrize("data", [b"", b"hello", bytes.fromhex("D4C3B2A1") + bytes(3)])
def test_what_is_no_capture_is_refused(data: bytes) -> None:
    with pytest.raises(CaptureError):
        read_capture(data)


_HEADS = st.sampled_from([pcap([])[:24], pcap([], link=113)[:24], pcap([], link=101, order=">")[:24], pcapng([])])


@given(_HEADS, st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes_behind_a_file_head_are_read_without_failure(head: bytes, rest: bytes) -> None:
    assert reassemble(read_capture(head + rest).segments) is not None


@given(st.binary(max_size=120), st.sampled_from([0, 1, 12, 101, 113, 276, 147]))
@settings(deadline=None)
def test_any_packet_is_read_or_counted(packet: bytes, link: int) -> None:
    found = read_capture(pcap([(1.0, packet)], link=link))
    assert len(found.segments) + found.skipped == 1


@given(st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_damaged_capture_never_fails(place: int, value: int) -> None:
    for make in (FILES["pcap"], FILES["pcapng"]):
        data = bytearray(make(_timed(_talk())))
        data[4 + place % (len(data) - 4)] = value
        assert reassemble(read_capture(bytes(data)).segments) is not None
