"""TCP segments back to what each side sent: retransmissions dropped, order restored, holes noticed.

A capture lies: packets are doubled, swapped or missing. What is missing for good is said ("lost") and reading goes on
behind it. A segment with RST or FIN closes the side that sent it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Literal

from agent.capture import FIN, RST, SYN, Endpoint, Segment
from protocol.frozen import dataclass

Direction = Literal["to-host", "from-host"]

_MODULUS = 1 << 32
# Bytes of one side that wait for a missing segment; beyond it the missing one counts as lost.
_WAITING_MAX = 1 << 20
_WAITING_SEGMENTS_MAX = 512


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """Something on one connection. `event`: "data", "lost" (a hole before what follows), "closed". `data` is SECRET.

    `at`: seconds, None where the source has no time.
    """

    at: float | None
    connection: str
    direction: Direction
    event: Literal["data", "lost", "closed"]
    data: bytes = b""


@dataclass(slots=True)
class _Side:
    """One direction of one connection."""

    connection: str
    direction: Direction
    first_seq: int | None = None
    next_seq: int | None = None
    end_seq: int | None = None
    waiting: dict[int, tuple[float, bytes]] = field(default_factory=dict)
    is_closed: bool = False

    def take(self, segment: Segment) -> list[Chunk]:
        """What becomes readable with this segment."""
        start = segment.seq
        if segment.flags & SYN:
            start = (start + 1) % _MODULUS
            if start != self.first_seq:  # not the same SYN once more: the ports are used again
                self.first_seq = self.next_seq = start
                self.end_seq, self.is_closed = None, False
                self.waiting.clear()
        if self.next_seq is None:
            self.next_seq = start
        chunks: list[Chunk] = []
        if segment.payload and _distance(start, self.next_seq) + len(segment.payload) > 0:
            known = self.waiting.get(start)
            if known is None or len(known[1]) < len(segment.payload):
                self.waiting[start] = (segment.at, segment.payload)
            chunks = self._ready(segment.at)
            if self._too_much():
                chunks += self.flush(segment.at)
        if segment.flags & FIN:
            self.end_seq = (start + len(segment.payload)) % _MODULUS
        if segment.flags & RST:
            chunks += [*self.flush(segment.at), *self._close(segment.at)]
        elif self.end_seq is not None and self.next_seq == self.end_seq:
            chunks += self._close(segment.at)
        return chunks

    def _close(self, at: float) -> list[Chunk]:
        """The end of this side, once."""
        if self.is_closed:
            return []
        self.is_closed = True
        return [Chunk(at, self.connection, self.direction, "closed")]

    def flush(self, at: float) -> list[Chunk]:
        """What waits behind holes, each hole said."""
        chunks: list[Chunk] = []
        while self.waiting:
            assert self.next_seq is not None
            base = self.next_seq
            first = min(self.waiting, key=lambda seq: _distance(seq, base))
            if _distance(first, base) > 0:
                chunks.append(Chunk(at, self.connection, self.direction, "lost"))
                self.next_seq = first
            chunks += self._ready(at)
        return chunks

    def _ready(self, at: float) -> list[Chunk]:
        chunks: list[Chunk] = []
        assert self.next_seq is not None
        while True:
            base = self.next_seq
            found = next((seq for seq in self.waiting if _distance(seq, base) <= 0), None)
            if found is None:
                return chunks
            _, payload = self.waiting.pop(found)
            if fresh := payload[-_distance(found, base) :] if found != base else payload:
                chunks.append(Chunk(at, self.connection, self.direction, "data", fresh))
                self.next_seq = (base + len(fresh)) % _MODULUS

    def _too_much(self) -> bool:
        waiting = self.waiting.values()
        return len(waiting) > _WAITING_SEGMENTS_MAX or sum(len(payload) for _, payload in waiting) > _WAITING_MAX


def _distance(seq: int, base: int) -> int:
    """How far a sequence number lies ahead of another, modulo 2^32: negative when behind."""
    ahead = (seq - base) % _MODULUS
    return ahead if ahead < _MODULUS // 2 else ahead - _MODULUS


def reassemble(segments: Iterable[Segment], host_port: int = 0) -> list[Chunk]:
    """What both sides of every connection sent, in the order of the capture.

    The host is the side with `host_port`; else the one that was called (SYN); else the one with the lower port.
    """
    sides: dict[tuple[Endpoint, Endpoint], _Side] = {}
    chunks: list[Chunk] = []
    last = 0.0
    for segment in segments:
        key = (segment.source, segment.target)
        if key not in sides:
            _open(sides, segment, host_port)
        chunks += sides[key].take(segment)
        last = segment.at
    for side in sides.values():
        chunks += side.flush(last)
    return chunks


def _open(sides: dict[tuple[Endpoint, Endpoint], _Side], segment: Segment, host_port: int) -> None:
    """Makes both sides of a connection and says which one is the host."""
    source, target = segment.source, segment.target
    if host_port and host_port in (source[1], target[1]):
        host = target if target[1] == host_port else source
    elif segment.flags & SYN:
        host = source if segment.flags & 0x10 else target  # SYN with ACK comes from the one that was called
    else:
        host = min(source, target, key=lambda endpoint: endpoint[1])
    terminal = source if host == target else target
    name = f"{terminal[0]}:{terminal[1]} - {host[0]}:{host[1]}"
    sides[terminal, host] = _Side(name, "to-host")
    sides[host, terminal] = _Side(name, "from-host")
