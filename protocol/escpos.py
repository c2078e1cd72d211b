"""ESC/POS: a slip as printer commands, and what the printer says back.

Sources: Epson ESC/POS command reference (DLE EOT, GS a, GS ( H fn 48, GS v 0, GS ( k, FS &); which
models have what: drivers/catalogue.toml. Two-byte Chinese is GB18030 between `FS &` and `FS .`
(Simplified Chinese models).

Rules
1. Texts come from hosts and cashiers: control characters become spaces, so that nobody can smuggle a
   command into a slip.
2. A printer executes DLE EOT, DLE ENQ and DLE DC4 even inside image data (Epson's warning): pictures are
   altered by one dot where they would spell one of them.
"""

from __future__ import annotations

import unicodedata
from binascii import crc32
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Literal

from construct import BitStruct, Bytes, Const, Flag, Int8ub, Int16ul, Padding, Struct, this

from protocol.errors import FrameError
from protocol.framing import NOISE, NOT_YET, Cut, FrameScanner, build, parse
from protocol.frozen import dataclass

DLE, EOT, ENQ, DC4, ESC, FS, GS = 0x10, 0x04, 0x05, 0x14, 0x1B, 0x1C, 0x1D

INITIALISE = bytes([ESC, 0x40])
CHINESE_ON = bytes([FS, 0x26])
ENABLE_ASB = bytes([GS, 0x61, 0x0F])  # drawer, online, error and paper (GS a)
# DLE DC4 fn 8 "clear buffers" with its fixed argument (Epson, DLE DC4 fn=8)
CLEAR_BUFFERS = bytes([DLE, DC4, 0x08, 0x01, 0x03, 0x14, 0x01, 0x06, 0x02, 0x08])
RECOVER = bytes([DLE, ENQ, 0x02])  # recover from an error after clearing the buffers

# ---------------------------------------------------------------- what a slip is

Align = Literal["left", "center", "right"]
ALIGN_CODES: dict[Align, int] = {"left": 0, "center": 1, "right": 2}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; longer ones are wrapped. `width`, `height`: 1 to 8 times."""

    text: str = ""
    align: Align = "left"
    bold: bool = False
    width: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class Pair:
    """A name at the left edge and its value at the right one, on one line where they fit."""

    left: str
    right: str
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the slip."""

    character: str = "-"


@dataclass(frozen=True, slots=True)
class Qr:
    """A QR code (model 2). `module` 1 to 16 dots, `level` L M Q H."""

    data: str
    module: int = 6
    level: Literal["L", "M", "Q", "H"] = "M"


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture: `rows` rows of ceil(width_dots / 8) bytes, highest bit left, 1 = black."""

    width_dots: int
    pixels: bytes


@dataclass(frozen=True, slots=True)
class Feed:
    """Empty lines."""

    lines: int = 1


@dataclass(frozen=True, slots=True)
class CutPaper:
    """Feed to the cutter and cut; partial leaves a point."""

    partial: bool = True


@dataclass(frozen=True, slots=True)
class OpenDrawer:
    """A pulse on drawer pin 2 (0) or 5 (1)."""

    pin: Literal[0, 1] = 0


Item = Line | Pair | Rule | Qr | Logo | Feed | CutPaper | OpenDrawer


@dataclass(frozen=True, slots=True)
class Slip:
    """What is to be printed, in order."""

    items: tuple[Item, ...] = field(default=())

    def as_copy(self) -> Slip:
        """The same slip, saying first that it is a duplicate."""
        return Slip((Line("重印 DUPLICATE", "center", bold=True, height=2), *self.items))


# ---------------------------------------------------------------- slip -> bytes

COLUMNS = 48  # 80 mm paper, font A; 32 on 58 mm
DOTS_MAX = 576
LOGO_ROWS_MAX = 1024
QR_BYTES_MAX = 1024
SLIP_BYTES_MAX = 200_000
PULSE_ON_2MS, PULSE_OFF_2MS = 50, 250  # ESC p: 100 ms on, 500 ms off

#            0   1   2   3   4  5  6  7  8 ..
#            GS  v   0   m   xL xH yL yH rows
#            1D  76  30  00  01 00 02 00 FF 81        8 dots, 2 rows
RASTER = Struct(
    Const(bytes([GS, 0x76, 0x30, 0x00])),
    "row_bytes" / Int16ul,
    "rows" / Int16ul,
    "pixels" / Bytes(this.row_bytes * this.rows),
)

#            0   1   2   3  4  5   6   7 ..
#            GS  (   k   pL pH cn  fn  parameters      pL pH counts cn, fn and parameters
#            1D  28  6B  03 00 31  43  06              module size 6
QR = Struct(
    Const(bytes([GS, 0x28, 0x6B])),
    "length" / Int16ul,
    Const(0x31, Int8ub),
    "fn" / Int8ub,
    "parameters" / Bytes(this.length - 2),
)

#            0   1   2   3  4  5   6   7 .. 10
#            GS  (   H   pL pH fn  m   process id 20..7E
#            1D  28  48  06 00 30  30  41 42 43 44
PROCESS_ID = Struct(Const(bytes([GS, 0x28, 0x48, 0x06, 0x00, 0x30, 0x30])), "id" / Bytes(4))


def columns(text: str) -> int:
    """How many columns `text` needs: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def printable(text: str) -> str:
    """`text` with control characters, and what GB18030 cannot say, replaced."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
    return clean.encode("gb18030", "replace").decode("gb18030")


def render(slip: Slip, width: int = COLUMNS) -> bytes:
    """The commands and text of the whole slip. Raises FrameError."""
    parts = [INITIALISE, CHINESE_ON]
    for item in slip.items:
        parts.append(_RENDERERS[type(item)](item, width))
    data = b"".join(parts)
    if len(data) > SLIP_BYTES_MAX:
        raise FrameError(f"a slip of {len(data)} bytes; {SLIP_BYTES_MAX} are allowed")
    return data


def _line(item: Line, width: int) -> bytes:
    if not (1 <= item.width <= 8 and 1 <= item.height <= 8):
        raise FrameError("a character size outside 1 to 8")
    start = bytes([ESC, 0x61, ALIGN_CODES[item.align], ESC, 0x45, item.bold, GS, 0x21, _size(item)])
    return start + b"".join(_encoded(piece) for piece in _wrapped(printable(item.text), width // item.width))


def _size(item: Line) -> int:
    return (item.width - 1) << 4 | (item.height - 1)


def _encoded(text: str) -> bytes:
    return text.encode("gb18030") + b"\n"


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in pieces of at most `width` columns, at least one piece."""
    pieces, piece, used = [], "", 0
    for character in text:
        size = columns(character)
        if used + size > width and piece:
            pieces.append(piece)
            piece, used = "", 0
        piece, used = piece + character, used + size
    return [*pieces, piece]


def _pair(item: Pair, width: int) -> bytes:
    left, right = printable(item.left), printable(item.right)
    gap = width - columns(left) - columns(right)
    if gap >= 1:
        return _line(Line(left + " " * gap + right, bold=item.bold), width)
    return _line(Line(left, bold=item.bold), width) + _line(Line(right, "right", item.bold), width)


def _rule(item: Rule, width: int) -> bytes:
    character = printable(item.character)[:1] or "-"
    return _line(Line(character * (width // columns(character))), width)


def _qr(item: Qr, width: int) -> bytes:
    data = item.data.encode("utf-8")
    if not 1 <= len(data) <= QR_BYTES_MAX or not 1 <= item.module <= 16:
        raise FrameError(f"a QR code of {len(data)} bytes with modules of {item.module} dots")
    if _spells_a_command(data):
        raise FrameError("a QR code whose data spells a real-time command")
    functions = (
        (65, bytes([50, 0])),
        (67, bytes([item.module])),
        (69, bytes([48 + "LMQH".index(item.level)])),
        (80, b"0" + data),
        (81, b"0"),
    )
    centre = bytes([ESC, 0x61, 1])
    return centre + b"".join(
        build(QR, {"length": len(p) + 2, "fn": fn, "parameters": p}, "QR command") for fn, p in functions
    )


def _spells_a_command(data: bytes) -> bool:
    return any(data[i] == DLE and data[i + 1] in (EOT, ENQ, DC4) for i in range(len(data) - 1))


def _logo(item: Logo, width: int) -> bytes:
    row_bytes = (item.width_dots + 7) // 8
    if not 1 <= item.width_dots <= DOTS_MAX or not item.pixels or len(item.pixels) % row_bytes:
        raise FrameError(f"a picture of {len(item.pixels)} bytes, {item.width_dots} dots wide")
    rows = len(item.pixels) // row_bytes
    if rows > LOGO_ROWS_MAX:
        raise FrameError(f"a picture of {rows} rows")
    values = {"row_bytes": row_bytes, "rows": rows, "pixels": defused(item.pixels)}
    return bytes([ESC, 0x61, 1]) + build(RASTER, values, "picture")


def defused(pixels: bytes) -> bytes:
    """The same picture with one more dot wherever two bytes spell a real-time command."""
    harmless = bytearray(pixels)
    for i in range(len(harmless) - 1):
        if harmless[i] == DLE and harmless[i + 1] in (EOT, ENQ, DC4):
            harmless[i + 1] |= 0x08
    return bytes(harmless)


def _feed(item: Feed, width: int) -> bytes:
    if not 1 <= item.lines <= 255:
        raise FrameError(f"a feed of {item.lines} lines")
    return bytes([ESC, 0x64, item.lines])


def _cut(item: CutPaper, width: int) -> bytes:
    return bytes([GS, 0x56, 0x42 if item.partial else 0x41, 0])


def _drawer(item: OpenDrawer, width: int) -> bytes:
    return bytes([ESC, 0x70, item.pin, PULSE_ON_2MS, PULSE_OFF_2MS])


_RENDERERS: dict[type, Callable[..., bytes]] = {
    Line: _line,
    Pair: _pair,
    Rule: _rule,
    Qr: _qr,
    Logo: _logo,
    Feed: _feed,
    CutPaper: _cut,
    OpenDrawer: _drawer,
}

# ---------------------------------------------------------------- proof of printing

ID_ALPHABET_START, ID_ALPHABET_SIZE = 0x20, 95  # d1..d4 are 20..7E (GS ( H fn 48)


def process_id(reference: str) -> bytes:
    """The four characters that stand for a reference, the same after a restart."""
    value = crc32(reference.encode("utf-8"))
    digits = []
    for _ in range(4):
        value, digit = divmod(value, ID_ALPHABET_SIZE)
        digits.append(ID_ALPHABET_START + digit)
    return bytes(digits)


def ask_process_id(process: bytes) -> bytes:
    """GS ( H fn 48: answered when everything before it is on paper. Raises FrameError."""
    if len(process) != 4 or any(not 0x20 <= byte <= 0x7E for byte in process):
        raise FrameError("a process id outside 20..7E")
    return build(PROCESS_ID, {"id": process}, "process id request")


# ---------------------------------------------------------------- what the printer says

# DLE EOT n answers with one byte 0xx1xx10: 12 is normal for each n.
STATUS_PRINTER, STATUS_OFFLINE, STATUS_ERROR, STATUS_PAPER = 1, 2, 3, 4
#            bit 7  6       5        4  3        2       1  0
#            n=1 0  button  waiting  1  OFFLINE  drawer  1  0
PRINTER_BITS = BitStruct(
    Padding(1), "button" / Flag, "waiting" / Flag, Padding(1), "offline" / Flag, "drawer" / Flag, Padding(2)
)
#            n=2 0  error   papstop  1  feeding  cover   1  0
OFFLINE_BITS = BitStruct(
    Padding(1), "error" / Flag, "paper_stop" / Flag, Padding(1), "feeding" / Flag, "cover" / Flag, Padding(2)
)
#            n=3 0  auto    unrecov  1  cutter   recov.  1  0
ERROR_BITS = BitStruct(
    Padding(1), "auto" / Flag, "unrecoverable" / Flag, Padding(1), "cutter" / Flag, "recoverable" / Flag, Padding(2)
)
#            n=4 0  end     end      1  near     near    1  0
PAPER_BITS = BitStruct(Padding(1), "end2" / Flag, "end1" / Flag, Padding(1), "near2" / Flag, "near1" / Flag, Padding(2))
# ASB, paper out with the cover open: 38 00 0F 00
#            byte 1  0 button cover 1 offline drawer 0 0      byte 2  0 auto unrecov 0 cutter recov feed waiting
#            byte 3  0 0 0 0 end end near near                byte 4  reserved
ASB_BITS = BitStruct(
    Padding(1), "button" / Flag, "cover" / Flag, Padding(1), "offline" / Flag, "drawer" / Flag, Padding(2),
    Padding(1), "auto" / Flag, "unrecoverable" / Flag, Padding(1),
    "cutter" / Flag, "recoverable" / Flag, "feeding" / Flag, "waiting" / Flag,
    Padding(4), "end2" / Flag, "end1" / Flag, "near2" / Flag, "near1" / Flag,
    Padding(8),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrinterStatus:
    """What the printer says of itself. `paper`: ok, near end, out, unknown. `answered` False: it said nothing."""

    answered: bool = True
    online: bool = True
    paper: Literal["ok", "near end", "out", "unknown"] = "ok"
    cover_open: bool = False
    cutter_error: bool = False
    recoverable_error: bool = False
    unrecoverable_error: bool = False
    drawer_pin_high: bool = False

    @property
    def cause(self) -> str:
        """Why it cannot print, in one word; "" = it can."""
        causes = (
            (not self.answered, "silent"),
            (self.cover_open, "cover open"),
            (self.paper == "out", "paper out"),
            (self.cutter_error, "cutter"),
            (self.unrecoverable_error, "unrecoverable"),
            (self.recoverable_error, "recoverable"),
            (not self.online, "offline"),
        )
        return next((word for true, word in causes if true), "")


def ask_status(n: int) -> bytes:
    """DLE EOT n, answered at once even offline."""
    return bytes([DLE, EOT, n])


def parse_status(answers: dict[int, int]) -> PrinterStatus:
    """The DLE EOT answers by n; missing ones count as normal, none at all as silence. Raises FrameError."""
    if not answers:
        return PrinterStatus(answered=False, online=False, paper="unknown")
    raw = {n: bytes([answers.get(n, 0x12)]) for n in (1, 2, 3, 4)}
    printer = parse(PRINTER_BITS, raw[1], "printer status")
    offline = parse(OFFLINE_BITS, raw[2], "offline status")
    error = parse(ERROR_BITS, raw[3], "error status")
    paper = parse(PAPER_BITS, raw[4], "paper status")
    return PrinterStatus(
        online=not printer.offline,
        paper=_paper(paper, STATUS_PAPER in answers, offline.paper_stop),
        cover_open=offline.cover,
        cutter_error=error.cutter,
        recoverable_error=error.recoverable or error.auto,
        unrecoverable_error=error.unrecoverable,
        drawer_pin_high=printer.drawer,
    )


def _paper(bits: object, known: bool, stopped: bool = False) -> Literal["ok", "near end", "out", "unknown"]:
    if stopped or getattr(bits, "end1", False) or getattr(bits, "end2", False):
        return "out"
    if not known:
        return "unknown"
    return "near end" if getattr(bits, "near1", False) or getattr(bits, "near2", False) else "ok"


def parse_asb(raw: bytes) -> PrinterStatus:
    """Four bytes of automatic status. Raises FrameError."""
    bits = parse(ASB_BITS, raw, "automatic status")
    return PrinterStatus(
        online=not bits.offline,
        paper=_paper(bits, True),
        cover_open=bits.cover,
        cutter_error=bits.cutter,
        recoverable_error=bits.recoverable or bits.auto,
        unrecoverable_error=bits.unrecoverable,
        drawer_pin_high=bits.drawer,
    )


@dataclass(frozen=True, slots=True)
class RealTime:
    """The answer to the oldest unanswered DLE EOT."""

    byte: int


@dataclass(frozen=True, slots=True)
class Automatic:
    """An automatic status back."""

    status: PrinterStatus


@dataclass(frozen=True, slots=True)
class Printed:
    """Everything before this process id is on paper."""

    process: bytes


PrinterEvent = RealTime | Automatic | Printed

# Process id response:  0   1   2 .. 5       6
#                       37  22  d1 d2 d3 d4  00
PRINTED = Struct(Const(b"\x37\x22"), "id" / Bytes(4), Const(b"\0"))
EVENT_BYTES_MAX = 7


def cut_event(buffer: bytes, lost: bool) -> Cut[PrinterEvent]:
    """The head of a printer's stream (see `FrameScanner`); the first byte's fixed bits say what it is."""
    first = buffer[0]
    if first == 0x37:
        return _cut_printed(buffer)
    if first & 0x93 == 0x12:
        return Cut(1, RealTime(first))
    if first & 0x93 == 0x10:
        return _cut_asb(buffer)
    return NOISE


def _cut_printed(buffer: bytes) -> Cut[PrinterEvent]:
    if len(buffer) < 2:
        return NOT_YET
    if buffer[1] != 0x22:
        return NOISE
    if len(buffer) < EVENT_BYTES_MAX:
        return NOT_YET
    try:
        return Cut(EVENT_BYTES_MAX, Printed(parse(PRINTED, buffer[:EVENT_BYTES_MAX], "process id response").id))
    except FrameError:
        return Cut(1, None, True)


def _cut_asb(buffer: bytes) -> Cut[PrinterEvent]:
    if any(byte & 0x90 for byte in buffer[1:4]):
        return Cut(1, None, True)
    if len(buffer) < 4:
        return NOT_YET
    return Cut(4, Automatic(parse_asb(buffer[:4])))


def event_scanner() -> FrameScanner[PrinterEvent]:
    """A fresh scanner for one printer."""
    return FrameScanner(cut_event, EVENT_BYTES_MAX)


# ---------------------------------------------------------------- USB printer class

USB_PAPER_EMPTY, USB_SELECTED, USB_NOT_ERROR = 0x20, 0x10, 0x08


def parse_port_status(byte: int) -> PrinterStatus:
    """GET_PORT_STATUS of the USB printer class: all that it can tell."""
    empty = bool(byte & USB_PAPER_EMPTY)
    return PrinterStatus(
        online=bool(byte & USB_SELECTED),
        paper="out" if empty else "ok",
        recoverable_error=not byte & USB_NOT_ERROR and not empty,
    )


def parse_device_id(raw: bytes) -> dict[str, str]:
    """The IEEE 1284 string's keys. Lenient: Linux's own gadget counts the length without its two bytes."""
    body = raw[2:].split(b"\0")[0].decode("ascii", "replace")
    pairs: Iterable[tuple[str, str, str]] = (part.partition(":") for part in body.split(";"))
    return {key.strip().upper(): value.strip() for key, separator, value in pairs if separator}
