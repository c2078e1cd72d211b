"""Captures to TCP segments: classic pcap and pcapng, over Ethernet, Linux cooked, loopback and raw IP. Hostile bytes.

Sources: IETF draft-ietf-opsawg-pcap (classic), draft-ietf-opsawg-pcapng; tcpdump.org/linktypes.html; RFC 791, 8200,
9293.

Rules:
1. Whatever the bytes are: a CaptureError for a file that is no capture, everything else is counted in `skipped`.
2. No length in the file is believed before it is compared with the bytes that are there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import field

from protocol.errors import ProtocolError
from protocol.frozen import dataclass

# A capture for a terminal's day is far smaller; what is larger must be filtered first (tcpdump -r in -w out host ...).
FILE_BYTES_MAX = 64 * 1024 * 1024
PACKETS_MAX = 200_000

_ETHERNET, _COOKED, _COOKED_2 = 1, 113, 276
_RAW = frozenset({12, 14, 101, 228, 229})
_LOOPBACK = frozenset({0, 108})
_VLAN = frozenset({0x8100, 0x88A8, 0x9100})
_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6
# IPv6 extension headers that may stand before TCP: hop-by-hop, routing, destination options.
_EXTENSIONS = frozenset({0, 43, 60})
FIN, SYN, RST = 0x01, 0x02, 0x04


class CaptureError(ProtocolError):
    """A file is no capture that can be read."""

    code = "E-CAPTURE"

    def __init__(self, text: str, text_zh: str, hint: str = "") -> None:
        super().__init__(text, hint)
        self.text_zh = text_zh


Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True, repr=False)
class Segment:
    """One TCP segment: `at` in seconds of the capture's clock, `payload` SECRET."""

    at: float
    source: Endpoint
    target: Endpoint
    seq: int
    flags: int
    payload: bytes


@dataclass(slots=True)
class Packets:
    """What a capture holds: its TCP segments, and how many packets were no TCP, damaged or cut short."""

    segments: list[Segment] = field(default_factory=list)
    skipped: int = 0
    is_cut: bool = False


def is_capture(data: bytes) -> bool:
    """Whether these bytes begin like a capture (and not like a text)."""
    return data[:4] in _MAGICS or data[:4] == _PCAPNG


def read_capture(data: bytes) -> Packets:
    """The TCP segments of a capture in the order of the file. Raises CaptureError."""
    if len(data) > FILE_BYTES_MAX:
        raise CaptureError(
            "the capture is too large", "抓包文件过大", "filter it first: tcpdump -r in -w out host ADDRESS"
        )
    packets = Packets()
    if data[:4] == _PCAPNG:
        frames = _pcapng(data, packets)
    elif data[:4] in _MAGICS:
        frames = _classic(data, packets)
    else:
        raise CaptureError("this is no pcap or pcapng file", "不是 pcap 或 pcapng 文件")
    for count, (at, link, raw) in enumerate(frames):
        if count >= PACKETS_MAX:
            packets.is_cut = True
            break
        segment = _segment(at, link, raw)
        if segment is None:
            packets.skipped += 1
        else:
            packets.segments.append(segment)
    return packets


# --- files -------------------------------------------------------------------------------------

_Frames = Iterator[tuple[float, int, bytes]]

# Magic number: byte order and parts of a second.
_MAGICS = {
    bytes.fromhex("A1B2C3D4"): (">", 1e6),
    bytes.fromhex("D4C3B2A1"): ("<", 1e6),
    bytes.fromhex("A1B23C4D"): (">", 1e9),
    bytes.fromhex("4D3CB2A1"): ("<", 1e9),
}
_PCAPNG = bytes.fromhex("0A0D0D0A")
_INTERFACE, _SIMPLE, _ENHANCED = 1, 3, 6


def _classic(data: bytes, packets: Packets) -> _Frames:
    order, parts = _MAGICS[data[:4]]
    if len(data) < 24:
        raise CaptureError("the capture ends in its header", "抓包文件头不完整")
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at < len(data):
        if len(data) - at < 16:
            packets.is_cut = True
            return
        seconds, fraction, kept, _ = struct.unpack_from(order + "IIII", data, at)
        raw = data[at + 16 : at + 16 + kept]
        if len(raw) < kept:
            packets.is_cut = True
            return
        yield seconds + fraction / parts, link, raw
        at += 16 + kept


def _pcapng(data: bytes, packets: Packets) -> _Frames:
    """Sections, interfaces and packets; other blocks are passed over."""
    order, interfaces, at = "<", [(0, 1e6)], 0
    while at < len(data):
        if data[at : at + 4] == _PCAPNG:
            order = ">" if data[at + 8 : at + 12] == b"\x1a\x2b\x3c\x4d" else "<"
            interfaces = []
        if len(data) - at < 12:
            packets.is_cut = True
            return
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or size % 4 or size > len(data) - at:
            packets.is_cut = True
            return
        body = data[at + 8 : at + size - 4]
        if kind == _INTERFACE:
            interfaces.append(_interface(order, body))
        elif kind in (_ENHANCED, _SIMPLE):
            frame = _block(order, kind, body, interfaces)
            if frame is None:
                packets.skipped += 1
            else:
                yield frame
        at += size


def _interface(order: str, body: bytes) -> tuple[int, float]:
    """Link type, and how many parts a second has in its time stamps."""
    if len(body) < 8:
        return -1, 1e6
    link = struct.unpack_from(order + "H", body)[0]
    parts, at = 1e6, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            break
        if code == 9 and size == 1 and at + 4 < len(body):  # if_tsresol
            value = body[at + 4]
            parts = float(2 ** (value & 0x7F)) if value & 0x80 else 10.0 ** (value & 0x7F)
        at += 4 + (size + 3) // 4 * 4
    return link, parts


def _block(order: str, kind: int, body: bytes, interfaces: list[tuple[int, float]]) -> tuple[float, int, bytes] | None:
    if kind == _SIMPLE:
        return (0.0, interfaces[0][0], body[4:]) if interfaces and len(body) >= 4 else None
    if len(body) < 20:
        return None
    number, high, low, kept, _ = struct.unpack_from(order + "IIIII", body)
    if number >= len(interfaces) or kept > len(body) - 20:
        return None
    link, parts = interfaces[number]
    return ((high << 32) + low) / parts, link, body[20 : 20 + kept]


# --- packets -----------------------------------------------------------------------------------


def _segment(at: float, link: int, raw: bytes) -> Segment | None:
    """The TCP segment in a link frame; None for anything else."""
    try:
        packet = _network(link, raw)
        return None if packet is None else _internet(at, packet)
    except (struct.error, IndexError):
        return None


def _network(link: int, raw: bytes) -> bytes | None:
    """The IP packet in a link frame."""
    if link in _RAW:
        return raw
    if link in _LOOPBACK:
        return raw[4:]
    if link == _COOKED:
        return raw[16:] if struct.unpack_from(">H", raw, 14)[0] in (_IPV4, _IPV6) else None
    if link == _COOKED_2:
        return raw[20:] if struct.unpack_from(">H", raw)[0] in (_IPV4, _IPV6) else None
    if link != _ETHERNET:
        return None
    start = 12
    kind = struct.unpack_from(">H", raw, start)[0]
    while kind in _VLAN:
        start += 4
        kind = struct.unpack_from(">H", raw, start)[0]
    return raw[start + 2 :] if kind in (_IPV4, _IPV6) else None


def _internet(at: float, packet: bytes) -> Segment | None:
    version = packet[0] >> 4
    if version == 4:
        return _ipv4(at, packet)
    return _ipv6(at, packet) if version == 6 else None


def _ipv4(at: float, packet: bytes) -> Segment | None:
    head = (packet[0] & 0x0F) * 4
    total, fragment = struct.unpack_from(">H", packet, 2)[0], struct.unpack_from(">H", packet, 6)[0]
    # A total length of zero: the network card cuts the segments (offload); the bytes that are there count.
    end = total or len(packet)
    if head < 20 or end > len(packet) or fragment & 0x3FFF or packet[9] != _TCP:
        return None
    source, target = (".".join(map(str, packet[start : start + 4])) for start in (12, 16))
    return _tcp(at, source, target, packet[head:end])


def _ipv6(at: float, packet: bytes) -> Segment | None:
    size, following = struct.unpack_from(">H", packet, 4)[0], packet[6]
    start, end = 40, (40 + size) if size else len(packet)
    if end > len(packet):
        return None
    while following in _EXTENSIONS:
        following, start = packet[start], start + 8 + packet[start + 1] * 8
    if following != _TCP:
        return None
    source, target = (":".join(f"{group:x}" for group in struct.unpack_from(">8H", packet, place)) for place in (8, 24))
    return _tcp(at, source, target, packet[start:end])


def _tcp(at: float, source: str, target: str, raw: bytes) -> Segment | None:
    from_port, to_port, seq = struct.unpack_from(">HHI", raw)
    head = (raw[12] >> 4) * 4
    if head < 20 or head > len(raw):
        return None
    return Segment(at, (source, from_port), (target, to_port), seq, raw[13], raw[head:])
