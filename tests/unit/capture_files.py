"""Captures made by hand from RFC 791, 8200, 9293 and the pcap and pcapng drafts, independent of agent/capture.py."""

from __future__ import annotations

import struct
from collections.abc import Iterable

SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04


def tcp(source: int, target: int, seq: int, payload: bytes = b"", flags: int = ACK) -> bytes:
    """A TCP segment without options."""
    return struct.pack(">HHIIBBHHH", source, target, seq % (1 << 32), 0, 0x50, flags, 1024, 0, 0) + payload


def ipv4(source: str, target: str, segment: bytes, padding: int = 0) -> bytes:
    """An IPv4 packet; `padding`: bytes that Ethernet adds behind a short one."""
    addresses = bytes(int(part) for address in (source, target) for part in address.split("."))
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, 6, 0)
    return head + addresses + segment + bytes(padding)


def ipv6(segment: bytes, to_host: bool, options: bool = False) -> bytes:
    """An IPv6 packet from ::1 to ::2 or back, with a hop-by-hop header where wanted."""
    ends = [bytes(15) + b"\x01", bytes(15) + b"\x02"]
    extra = bytes([6, 0]) + bytes(6) if options else b""
    head = struct.pack(">IHBB", 0x60000000, len(extra) + len(segment), 0 if options else 6, 64)
    return head + b"".join(ends if to_host else ends[::-1]) + extra + segment


def ethernet(packet: bytes, vlan: bool = False) -> bytes:
    """An Ethernet frame, with a VLAN tag where wanted."""
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return bytes(12) + (struct.pack(">HH", 0x8100, 7) if vlan else b"") + struct.pack(">H", kind) + packet


def cooked(packet: bytes) -> bytes:
    """A Linux cooked frame (SLL)."""
    return bytes(14) + struct.pack(">H", 0x0800 if packet[0] >> 4 == 4 else 0x86DD) + packet


def pcap(frames: Iterable[tuple[float, bytes]], link: int = 1, order: str = "<", nanoseconds: bool = False) -> bytes:
    """A classic capture."""
    parts = 1_000_000_000 if nanoseconds else 1_000_000
    data = struct.pack(order + "IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for at, frame in frames:
        data += struct.pack(order + "IIII", int(at), int(at % 1 * parts), len(frame), len(frame)) + frame
    return data


def pcapng(frames: Iterable[tuple[float, bytes]], link: int = 1, order: str = "<") -> bytes:
    """A pcapng capture with one interface of microseconds, and a block of a kind that nobody knows."""
    data = _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    data += _block(order, 1, struct.pack(order + "HHI", link, 0, 65535)) + _block(order, 0x0BAD, b"abcd")
    for at, frame in frames:
        stamp = round(at * 1_000_000)
        head = struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), len(frame))
        data += _block(order, 6, head + frame + bytes(-len(frame) % 4))
    return data


def _block(order: str, kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)
