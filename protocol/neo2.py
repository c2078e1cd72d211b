"""ID TECH NEO 2 frames (ViVOpay protocol 2): contactless, magnetic stripe and contact reader.

Source: ID TECH "NEO 2 Interface Developer's Guide" (2019), pages given below.

Rules
1. The CRC covers everything before it. It stands little endian in commands and BIG endian in responses;
   pass-through frames (2C-xx) have it big endian both ways (p. 60).
2. Response data can be track data: no repr shows it.
"""

from __future__ import annotations

import crcmod
from construct import Bytes, Const, Int8ub, Int16ub, Struct, this

from protocol.errors import FrameError
from protocol.framing import DAMAGED, NOISE, NOT_YET, Cut, FrameScanner, build, parse
from protocol.frozen import dataclass

HEADER = b"ViVOtech2\0"
DATA_BYTES_MAX = 2048  # longer than any answer of the commands used here; the field allows 65535
OVERHEAD = len(HEADER) + 4 + 2

# CRC-16/CCITT-FALSE: polynomial 1021, start FFFF, not reflected, no final exclusive or (p. 28)
CRC = crcmod.mkCrcFun(0x11021, initCrc=0xFFFF, rev=False)

# Ping and its answer, as printed in the manual:
#            0 .. 9                         10   11   12 13  14 ..   n+14 n+15
#            header                         cmd  sub  length data    crc low, high
#            56 69 56 4F 74 65 63 68 32 00  18   01   00 00          B3 CD
COMMAND = Struct(
    Const(HEADER), "command" / Int8ub, "sub" / Int8ub, "length" / Int16ub, "data" / Bytes(this.length), "crc" / Bytes(2)
)
#            header                         cmd  stat length data    crc high, low
#            56 69 56 4F 74 65 63 68 32 00  18   00   00 00          FA 83
RESPONSE = Struct(
    Const(HEADER),
    "command" / Int8ub,
    "status" / Int8ub,
    "length" / Int16ub,
    "data" / Bytes(this.length),
    "crc" / Bytes(2),
)

PASS_THROUGH = 0x2C
STATUS_OK, STATUS_TIMEOUT, STATUS_NOT_ALLOWED, STATUS_EVENT, STATUS_ONLINE = 0x00, 0x08, 0x0B, 0x0E, 0x23
STATUS_NAMES = {  # p. 28
    0x00: "OK",
    0x01: "bad header",
    0x02: "unknown command",
    0x03: "unknown sub-command",
    0x04: "CRC error",
    0x05: "bad parameter",
    0x06: "parameter not supported",
    0x07: "malformed",
    0x08: "time-out",
    0x0A: "failed",
    0x0B: "command not allowed",
    0x0C: "sub-command not allowed",
    0x0D: "buffer overflow",
    0x0E: "user interface event",
    0x11: "communication type not supported",
    0x12: "secure interface not functional",
    0x13: "data not a multiple of 8",
    0x23: "online authorisation requested",
}


@dataclass(frozen=True, slots=True, repr=False)
class NeoCommand:
    """To the reader."""

    command: int
    sub: int
    data: bytes = b""

    def __repr__(self) -> str:
        return f"NeoCommand({self.command:02X}-{self.sub:02X}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class NeoResponse:
    """From the reader. SECRET data: no repr."""

    command: int
    status: int
    data: bytes = b""

    def __repr__(self) -> str:
        return f"NeoResponse({self.command:02X}, {status_name(self.status)}, {len(self.data)} bytes)"


def status_name(status: int) -> str:
    """In the manual's words."""
    return STATUS_NAMES.get(status, f"status {status:02X}")


def _crc(head: bytes, big: bool) -> bytes:
    return int(CRC(head)).to_bytes(2, "big" if big else "little")


def build_command(command: NeoCommand) -> bytes:
    """Raises FrameError."""
    if len(command.data) > DATA_BYTES_MAX:
        raise FrameError(f"a NEO command with {len(command.data)} bytes of data")
    values = {"command": command.command, "sub": command.sub, "length": len(command.data), "data": command.data}
    head = build(COMMAND, {**values, "crc": b"\0\0"}, "NEO command")[:-2]
    return head + _crc(head, big=command.command == PASS_THROUGH)


def build_response(response: NeoResponse) -> bytes:
    """As a reader sends it. Raises FrameError."""
    values = {"command": response.command, "status": response.status, "length": len(response.data)}
    head = build(RESPONSE, {**values, "data": response.data, "crc": b"\0\0"}, "NEO response")[:-2]
    return head + _crc(head, big=True)


def parse_response(raw: bytes) -> NeoResponse:
    """Exactly one response. Raises FrameError: shape, CRC."""
    values = parse(RESPONSE, raw, "NEO response")
    if values.crc != _crc(raw[:-2], big=True):
        raise FrameError("the NEO response's CRC is wrong", len(raw) - 2)
    return NeoResponse(values.command, values.status, values.data)


def parse_command(raw: bytes) -> NeoCommand:
    """Exactly one command. Raises FrameError: shape, CRC."""
    values = parse(COMMAND, raw, "NEO command")
    if values.crc != _crc(raw[:-2], big=values.command == PASS_THROUGH):
        raise FrameError("the NEO command's CRC is wrong", len(raw) - 2)
    return NeoCommand(values.command, values.sub, values.data)


def cut_response(buffer: bytes, lost: bool) -> Cut[NeoResponse]:
    """The head of a reader's stream (see `FrameScanner`)."""
    if not HEADER.startswith(buffer[: len(HEADER)]):
        return NOISE
    if len(buffer) < len(HEADER) + 4:
        return NOT_YET
    size = int.from_bytes(buffer[12:14], "big")
    if size > DATA_BYTES_MAX:
        return DAMAGED
    if len(buffer) < size + OVERHEAD:
        return NOT_YET
    try:
        return Cut(size + OVERHEAD, parse_response(buffer[: size + OVERHEAD]))
    except FrameError:
        return DAMAGED


def response_scanner() -> FrameScanner[NeoResponse]:
    """A fresh scanner for one reader."""
    return FrameScanner(cut_response, DATA_BYTES_MAX + OVERHEAD)


# ---------------------------------------------------------------- commands

PING = NeoCommand(0x18, 0x01)
CANCEL = NeoCommand(0x05, 0x01)  # p. 221: after it, send nothing until the answer
FIRMWARE = NeoCommand(0x29, 0x00)
POLL_AUTO, POLL_ON_DEMAND = 0, 1


def poll_mode(mode: int) -> NeoCommand:
    """01-01 (the sub-number stands in a table heading only: assumed): 0 automatic, 1 on demand."""
    return NeoCommand(0x01, 0x01, bytes([mode & 1]))


def activate(timeout_s: int, amount_minor: int, date: str) -> NeoCommand:
    """02-01: time-out in seconds, then 9F02 and 9A. Raises FrameError."""
    if not 1 <= timeout_s <= 255 or not 0 <= amount_minor < 10**12 or len(date) != 6 or not date.isdecimal():
        raise FrameError("an activation with a wrong time-out, amount or date")
    tlvs = bytes.fromhex(f"9F0206{amount_minor:012d}9A03{date}")
    return NeoCommand(0x02, 0x01, bytes([timeout_s]) + tlvs)


def get_result() -> NeoCommand:
    """03-00: the result of the last transaction in automatic poll mode."""
    return NeoCommand(0x03, 0x00)


def lcd_text(text: str) -> NeoCommand:
    """83-01 (assumed: the pages on the display were not read): plain ASCII. Raises FrameError."""
    if len(text) > 64 or not all(" " <= character <= "~" for character in text):
        raise FrameError("a display text that is too long or not plain ASCII")
    return NeoCommand(0x83, 0x01, text.encode("ascii") + b"\0")


@dataclass(frozen=True, slots=True, repr=False)
class Activation:
    """SECRET. What a presented card gave: track data and the chip's data objects (raw TLV)."""

    track1: str
    track2: str
    chip_data: bytes


def parse_activation(data: bytes) -> Activation:
    """02-01's answer: length-prefixed tracks 1, 2 and 3, a DE 55 flag, TLVs (p. 212). Raises FrameError."""
    tracks, position = [], 0
    for number in (1, 2, 3):
        if position >= len(data) or position + 1 + data[position] > len(data):
            raise FrameError(f"track {number} ends behind the answer", position)
        tracks.append(data[position + 1 : position + 1 + data[position]])
        position += 1 + data[position]
    try:
        first, second = (track.decode("ascii") for track in tracks[:2])
    except UnicodeDecodeError:
        raise FrameError("a track holds bytes outside ASCII") from None
    return Activation(first, second, data[position + 1 :])
