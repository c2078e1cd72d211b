"""CCID messages and the serial frame around them.

Sources: USB-IF "Smart Card CCID" rev 1.1 chapters 6.1 to 6.3 (messages), 6.2.6 (error codes);
libccid ccid_serial.c (the GemPC Twin's serial frame, its echo and its unframed bytes).

Rule: a message's data can be card data, so no repr shows it.
"""

from __future__ import annotations

from construct import Bytes, Int8ub, Int32ul, Struct, this

from protocol.errors import FrameError
from protocol.framing import DAMAGED, NOISE, NOT_YET, Cut, FrameScanner, build, lrc, parse
from protocol.frozen import dataclass

# ---------------------------------------------------------------- messages

# PC_to_RDR_IccPowerOn, slot 0, sequence 1, automatic voltage:
#            0     1  2  3  4   5     6    7  8  9   10 ..
#            type  dwLength LE  slot  seq  specific  abData
#            62    00 00 00 00  00    01   00 00 00
COMMAND = Struct(
    "type" / Int8ub,
    "length" / Int32ul,
    "slot" / Int8ub,
    "seq" / Int8ub,
    "specific" / Bytes(3),
    "data" / Bytes(this.length),
)

# RDR_to_PC_DataBlock with an ATR of two bytes:
#            0     1  2  3  4   5     6    7       8      9         10 ..
#            type  dwLength LE  slot  seq  status  error  specific  abData
#            80    02 00 00 00  00    01   00      00     00        3B 00
RESPONSE = Struct(
    "type" / Int8ub,
    "length" / Int32ul,
    "slot" / Int8ub,
    "seq" / Int8ub,
    "status" / Int8ub,
    "error" / Int8ub,
    "specific" / Int8ub,
    "data" / Bytes(this.length),
)

HEADER_BYTES = 10
MESSAGE_BYTES_MAX = 271  # dwMaxCCIDMessageLength of the GemPC Twin, and of most short-APDU readers

ICC_POWER_ON, ICC_POWER_OFF, GET_SLOT_STATUS = 0x62, 0x63, 0x65
XFR_BLOCK, SET_PARAMETERS, ESCAPE, ABORT = 0x6F, 0x61, 0x6B, 0x72
DATA_BLOCK, NOTIFY_SLOT_CHANGE = 0x80, 0x50

ICC_ABSENT = 2  # 0: active, 1: inactive
COMMAND_OK, COMMAND_FAILED, COMMAND_TIME_EXTENSION = 0, 1, 2

# CCID rev 1.1 table 6.2-2; E0 by the same table, not seen on a device.
ERROR_NAMES = {
    0x00: "COMMAND_NOT_SUPPORTED",
    0xE0: "CMD_SLOT_BUSY",
    0xEF: "PIN_CANCELLED",
    0xF0: "PIN_TIMEOUT",
    0xF2: "BUSY_WITH_AUTO_SEQUENCE",
    0xF3: "DEACTIVATED_PROTOCOL",
    0xF4: "PROCEDURE_BYTE_CONFLICT",
    0xF5: "ICC_CLASS_NOT_SUPPORTED",
    0xF6: "ICC_PROTOCOL_NOT_SUPPORTED",
    0xF7: "BAD_ATR_TCK",
    0xF8: "BAD_ATR_TS",
    0xFB: "HW_ERROR",
    0xFC: "XFR_OVERRUN",
    0xFD: "XFR_PARITY_ERROR",
    0xFE: "ICC_MUTE",
    0xFF: "CMD_ABORTED",
}


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """PC to reader."""

    type: int
    seq: int
    specific: bytes = b"\0\0\0"
    data: bytes = b""
    slot: int = 0

    def __repr__(self) -> str:
        return f"Command({self.type:02X}, seq {self.seq}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """Reader to PC."""

    type: int
    seq: int
    status: int = 0
    error: int = 0
    specific: int = 0
    data: bytes = b""
    slot: int = 0

    def __repr__(self) -> str:
        return (
            f"Response({self.type:02X}, seq {self.seq}, status {self.status:02X}, "
            f"error {self.error:02X}, {len(self.data)} bytes)"
        )

    @property
    def icc(self) -> int:
        """ICC_ACTIVE, ICC_INACTIVE or ICC_ABSENT."""
        return self.status & 0x03

    @property
    def outcome(self) -> int:
        """COMMAND_OK, COMMAND_FAILED or COMMAND_TIME_EXTENSION."""
        return self.status >> 6


def error_name(code: int) -> str:
    """The document's word for bError of a failed command; 01..7F is the index of a refused byte."""
    if 0x01 <= code <= 0x7F:
        return f"PARAMETER_BYTE_{code}"
    return ERROR_NAMES.get(code, f"VENDOR_{code:02X}")


def build_command(command: Command) -> bytes:
    """Raises FrameError."""
    values = {
        "type": command.type,
        "length": len(command.data),
        "slot": command.slot,
        "seq": command.seq,
        "specific": command.specific,
        "data": command.data,
    }
    return build(COMMAND, values, "CCID command")


def parse_command(raw: bytes) -> Command:
    """Raises FrameError: short, long, or a length that lies."""
    v = parse(COMMAND, raw, "CCID command")
    return Command(v.type, v.seq, v.specific, v.data, v.slot)


def build_response(response: Response) -> bytes:
    """Raises FrameError."""
    values = {
        "type": response.type,
        "length": len(response.data),
        "slot": response.slot,
        "seq": response.seq,
        "status": response.status,
        "error": response.error,
        "specific": response.specific,
        "data": response.data,
    }
    return build(RESPONSE, values, "CCID response")


def parse_response(raw: bytes) -> Response:
    """Raises FrameError: short, long, or a length that lies."""
    v = parse(RESPONSE, raw, "CCID response")
    return Response(v.type, v.seq, v.status, v.error, v.specific, v.data, v.slot)


def parse_interrupt(raw: bytes) -> bool | None:
    """A card is in slot 0 (True, False), or None: not a slot change (a hardware error, another slot)."""
    if len(raw) < 2 or raw[0] != NOTIFY_SLOT_CHANGE:
        return None
    return bool(raw[1] & 0x01)


# T=0 parameters (5 bytes): Fi/Di 11, TCCKS 00, guard 00, WI 0A, clock stop 00
T0_PARAMETERS = Struct("fi_di" / Int8ub, "tccks" / Int8ub, "guard" / Int8ub, "waiting" / Int8ub, "clock_stop" / Int8ub)
# T=1 parameters (7 bytes): Fi/Di 11, TCCKS 10 (LRC, direct), guard 00, BWI/CWI 4D, clock stop 00, IFSC 20, NAD 00
T1_PARAMETERS = Struct(
    "fi_di" / Int8ub,
    "tccks" / Int8ub,
    "guard" / Int8ub,
    "waiting" / Int8ub,
    "clock_stop" / Int8ub,
    "ifsc" / Int8ub,
    "nad" / Int8ub,
)


def t0_parameters(fi_di: int, guard: int, waiting: int, inverse: bool) -> bytes:
    """abData of SetParameters for T=0."""
    values = {"fi_di": fi_di, "tccks": 2 if inverse else 0, "guard": guard, "waiting": waiting, "clock_stop": 0}
    return build(T0_PARAMETERS, values, "T=0 parameters")


def t1_parameters(fi_di: int, guard: int, bwi_cwi: int, ifsc: int, inverse: bool) -> bytes:
    """abData of SetParameters for T=1 with LRC."""
    values = {
        "fi_di": fi_di,
        "tccks": 0x10 | (2 if inverse else 0),
        "guard": guard,
        "waiting": bwi_cwi,
        "clock_stop": 0,
        "ifsc": ifsc,
        "nad": 0,
    }
    return build(T1_PARAMETERS, values, "T=1 parameters")


# ---------------------------------------------------------------- serial frame

SYNC, CTRL_ACK, CTRL_NAK = 0x03, 0x06, 0x15
NAK_FRAME = bytes([SYNC, CTRL_NAK, SYNC ^ CTRL_NAK])


@dataclass(frozen=True, slots=True, repr=False)
class SerialMessage:
    """A whole CCID message that came in a serial frame: a response, or the echo of our command."""

    message: bytes

    def __repr__(self) -> str:
        return f"SerialMessage({len(self.message)} bytes)"

    @property
    def is_response(self) -> bool:
        """Types from 80 on come from the reader; below is the echo of a command."""
        return self.message[0] >= 0x80


@dataclass(frozen=True, slots=True)
class SerialNak:
    """The other side could not read our frame."""


@dataclass(frozen=True, slots=True)
class SlotChange:
    """A card was put in or taken out (two unframed bytes)."""

    present: bool


@dataclass(frozen=True, slots=True)
class TimeRequest:
    """The reader needs longer (one unframed byte 80..FF)."""

    value: int


SerialEvent = SerialMessage | SerialNak | SlotChange | TimeRequest

# GetSlotStatus, sequence 5, as a serial frame:
#            0     1     2 .. 11                        12
#            sync  ctrl  CCID message                   LRC (of everything before)
#            03    06    65 00 00 00 00 00 05 00 00 00  65
# NAK:       03    15    16
# unframed:  50 03 (card in), 50 02 (card out), 80..FF (time request)


def serial_frame(message: bytes) -> bytes:
    """One CCID message as the wire carries it."""
    framed = bytes([SYNC, CTRL_ACK]) + message
    return framed + bytes([lrc(framed)])


def cut_serial(buffer: bytes, lost: bool) -> Cut[SerialEvent]:
    """The head of a serial CCID stream (see `FrameScanner`)."""
    first = buffer[0]
    if first == SYNC:
        return _cut_frame(buffer)
    if lost:
        return NOISE
    if first == NOTIFY_SLOT_CHANGE:
        if len(buffer) < 2:
            return NOT_YET
        return Cut(2, SlotChange(buffer[1] == 0x03)) if buffer[1] in (0x02, 0x03) else NOISE
    return Cut(1, TimeRequest(first)) if first >= 0x80 else NOISE


def _cut_frame(buffer: bytes) -> Cut[SerialEvent]:
    if len(buffer) < 2:
        return NOT_YET
    if buffer[1] == CTRL_NAK:
        if len(buffer) < 3:
            return NOT_YET
        return Cut(3, SerialNak()) if buffer[:3] == NAK_FRAME else DAMAGED
    if buffer[1] != CTRL_ACK:
        return NOISE
    if len(buffer) < 2 + HEADER_BYTES:
        return NOT_YET
    length = HEADER_BYTES + int.from_bytes(buffer[3:7], "little")
    if length > MESSAGE_BYTES_MAX:
        return DAMAGED
    if len(buffer) < length + 3:
        return NOT_YET
    if lrc(buffer[: length + 3]) != 0:
        return DAMAGED
    return Cut(length + 3, SerialMessage(buffer[2 : length + 2]))


def serial_scanner() -> FrameScanner[SerialEvent]:
    """A fresh scanner for one serial reader."""
    return FrameScanner(cut_serial, MESSAGE_BYTES_MAX + 3)


def unframe(frame: bytes) -> bytes:
    """The message of exactly one serial frame. Raises FrameError."""
    cut = cut_serial(frame, False) if frame else NOT_YET
    if not isinstance(cut.item, SerialMessage) or cut.used != len(frame):
        raise FrameError("not one whole serial CCID frame", cut.used)
    return cut.item.message
