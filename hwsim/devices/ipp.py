"""Frames of VeriFone IPP / UIC PP791 PIN pads.

    <STX>text<ETX>LRC   transactions          02 ... 03 LRC
    <SI>text<SO>LRC     administration        0F ... 0E LRC
    ACK 06, NAK 15, EOT 04 stand alone between frames

LRC is the XOR of every byte after STX or SI, up to and including ETX or SO.
Sources: UIC PP791 Programmer's Manual rev 06 p.26; VeriFone MX800 guide, appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor

STX, ETX, EOT, ACK, SO, SI, NAK = 0x02, 0x03, 0x04, 0x06, 0x0E, 0x0F, 0x15
FS, SUB, GS, RS = "\x1c", "\x1a", "\x1d", "\x1e"
CLOSING = {STX: ETX, SI: SO}
MAX_TEXT_BYTES = 300  # the longest packet (Z66) has 270 bytes


@dataclass(frozen=True, repr=False)
class Packet:
    """A whole packet with a right LRC. `repr` shows the message number only: the rest may be secret."""

    admin: bool
    text: str

    def __repr__(self) -> str:
        return f"Packet({self.text[:2]!r}, {len(self.text)} characters)"

    def encode(self) -> bytes:
        opening, closing = (SI, SO) if self.admin else (STX, ETX)
        body = self.text.encode("latin-1") + bytes([closing])
        return bytes([opening]) + body + bytes([reduce(xor, body)])


@dataclass(frozen=True)
class Control:
    """ACK, NAK or EOT."""

    byte: int


@dataclass(frozen=True)
class Damaged:
    """A packet whose LRC is wrong."""


class PacketReader:
    """Bytes in, packets and control bytes out; noise is counted and skipped."""

    def __init__(self) -> None:
        self._buffer = b""
        self.noise_bytes = 0

    @property
    def partial(self) -> bool:
        return bool(self._buffer)

    def forget(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Packet | Control | Damaged]:
        self._buffer += data
        found: list[Packet | Control | Damaged] = []
        while self._buffer:
            first = self._buffer[0]
            if first in (ACK, NAK, EOT):
                found.append(Control(first))
                self._buffer = self._buffer[1:]
            elif first not in CLOSING:
                self._skip(1)
            elif not self._take_packet(found):
                break
        return found

    def _take_packet(self, found: list[Packet | Control | Damaged]) -> bool:
        """Takes the packet at the front; false when more bytes are needed."""
        closing = CLOSING[self._buffer[0]]
        end = self._buffer.find(closing, 1)
        text = self._buffer[1 : end if end >= 0 else None]
        again = min((at for at in (text.find(STX), text.find(SI)) if at >= 0), default=-1)
        if again >= 0:  # texts hold neither STX nor SI: the packet before was cut off
            self._skip(1 + again)
            return True
        if len(text) > MAX_TEXT_BYTES:
            self._skip(1)
            return True
        if end < 0 or len(self._buffer) < end + 2:
            return False
        body, check = self._buffer[1 : end + 1], self._buffer[end + 1]
        good = reduce(xor, body) == check
        found.append(Packet(self._buffer[0] == SI, text.decode("latin-1")) if good else Damaged())
        self._buffer = self._buffer[end + 2 :]
        return True

    def _skip(self, count: int) -> None:
        self.noise_bytes += count
        self._buffer = self._buffer[count:]
