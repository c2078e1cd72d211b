"""What the ESC/POS commands do to the printer. Commands without a row are taken and ignored, and counted.

Source: Epson ESC/POS command reference, one page a command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwsim.devices.escpos_grammar import ESC, FS, GS, HT, LF
from hwsim.devices.paper import Align, Code, Raster, TextLine
from hwsim.devices.printer_status import Sensors, drawer_status, paper_status

if TYPE_CHECKING:
    from hwsim.devices.printer import Printer

MAX_FEED_LINES = 20  # enough to see a gap; a real printer would feed the whole roll
ALIGNMENTS: dict[int, Align] = {0: "left", 1: "center", 2: "right", 48: "left", 49: "center", 50: "right"}
IDENTITY = {1: b"\x20", 2: b"\x02", 3: b"\x00"}
NAMES = {65: b"_1.00 SIM\x00", 66: b"_EPSON\x00", 67: b"_TM-T82\x00", 68: b"_SIM000001\x00"}


@dataclass
class CodeStore:
    """The QR code that GS ( k and the image that GS ( L are putting together."""

    data: bytes = b""
    module_dots: int = 3
    image: Raster | None = None


def execute(printer: Printer, command: bytes) -> None:
    """One whole ESC, FS or GS command."""
    handler = COMMANDS.get((command[0], chr(command[1])))
    if handler is None:
        printer.counters["commands ignored"] += 1
    else:
        handler(printer, command[2:])


def control(printer: Printer, byte: int) -> None:
    """A control byte outside commands."""
    if byte == LF:
        printer.print_line()
    elif byte == HT:
        printer.line_buffer.tab(printer.style)
    else:
        printer.counters["control bytes ignored"] += 1


def offline_answer(sensors: Sensors, mode: int) -> bytes:
    """GS ( H function 49. Assumed: the cause byte has 40 fixed, 01 cover, 02 paper, 04 error."""
    cause = 0x40 | 0x01 * sensors.cover_open | 0x02 * sensors.out | 0x04 * sensors.cutter_error
    return b"\x37\x23" + (bytes([cause]) if mode == 2 else b"") + b"\x00"


def initialise(printer: Printer, _data: bytes) -> None:
    printer.initialise()


def print_mode(printer: Printer, data: bytes) -> None:
    """ESC !: bold, double height, double width and underline in one byte."""
    bits = data[0]
    printer.style = replace(
        printer.style,
        bold=bool(bits & 0x08),
        underline=bool(bits & 0x80),
        height=2 if bits & 0x10 else 1,
        width=2 if bits & 0x20 else 1,
    )


def chinese_print_mode(printer: Printer, data: bytes) -> None:
    """FS !: double width 04, double height 08, underline 80."""
    bits = data[0]
    underline = bool(bits & 0x80)
    width, height = 2 if bits & 0x04 else 1, 2 if bits & 0x08 else 1
    printer.style = replace(printer.style, underline=underline, width=width, height=height)


def bold(printer: Printer, data: bytes) -> None:
    printer.style = replace(printer.style, bold=bool(data[0] & 1))


def underline(printer: Printer, data: bytes) -> None:
    printer.style = replace(printer.style, underline=data[0] in (1, 2, 49, 50))


def reverse(printer: Printer, data: bytes) -> None:
    printer.style = replace(printer.style, reverse=bool(data[0] & 1))


def size(printer: Printer, data: bytes) -> None:
    printer.style = replace(printer.style, width=(data[0] >> 4 & 7) + 1, height=(data[0] & 7) + 1)


def align(printer: Printer, data: bytes) -> None:
    # Ignored in the middle of a line, as on the real printer.
    if not printer.line_buffer:
        printer.align = ALIGNMENTS.get(data[0], printer.align)


def code_page(printer: Printer, data: bytes) -> None:
    printer.code_page = data[0]


def feed_lines(printer: Printer, data: bytes) -> None:
    blank = data[0]
    if printer.line_buffer:
        printer.print_line()
        blank -= 1
    for _line in range(min(blank, MAX_FEED_LINES)):
        printer.put(TextLine(()))


def feed_dots(printer: Printer, _data: bytes) -> None:
    if printer.line_buffer:
        printer.print_line()


def chinese_on(printer: Printer, _data: bytes) -> None:
    printer.chinese = True


def chinese_off(printer: Printer, _data: bytes) -> None:
    printer.chinese = False


def cut(printer: Printer, _data: bytes) -> None:
    printer.cut()


def drawer(printer: Printer, _data: bytes) -> None:
    printer.kick_drawer()


def raster(printer: Printer, data: bytes) -> None:
    """GS v 0 m xL xH yL yH, then the rows."""
    if printer.line_buffer:
        printer.print_line()
    width, height = int.from_bytes(data[2:4], "little"), int.from_bytes(data[4:6], "little")
    if width and height:
        printer.put(Raster(width, height, data[6:], printer.align))


def graphics(printer: Printer, body: bytes) -> None:
    """GS ( L and GS 8 L: function 112 stores an image, 50 prints it."""
    store = printer.code_store
    if body[:2] == b"\x30\x70" and len(body) >= 10:
        width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        store.image = Raster((width + 7) // 8, height, body[10:], printer.align)
    elif body[:2] in (b"\x30\x02", b"\x30\x32") and store.image is not None:
        printer.put(store.image)
        store.image = None


def long_graphics(printer: Printer, data: bytes) -> None:
    graphics(printer, data[5:])


def bar_code(printer: Printer, data: bytes) -> None:
    if printer.line_buffer:
        printer.print_line()
    body = data[2:] if data[0] >= 65 else data[1:-1]
    printer.put(Code("bar code", body.decode("ascii", "replace"), align=printer.align))


def parenthesis(printer: Printer, data: bytes) -> None:
    """GS ( x pL pH ...: process id (H), QR code (k), graphics (L)."""
    name, body = chr(data[0]), data[3:]
    if name == "H":
        process(printer, body)
    elif name == "k":
        qr_code(printer, body)
    elif name == "L":
        graphics(printer, body)
    else:
        printer.counters["commands ignored"] += 1


def process(printer: Printer, body: bytes) -> None:
    if body[:2] == b"\x30\x30" and len(body) == 6:
        printer.remember_process(body[2:])
    elif body[:1] == b"\x31" and len(body) == 3:
        printer.offline_response = body[2] % 48


def qr_code(printer: Printer, body: bytes) -> None:
    """GS ( k with cn 49: 67 size, 80 store, 81 print; 65 and 69 change nothing that can be seen."""
    if body[:1] != b"1" or len(body) < 3:
        return
    function = body[1]
    if function == 67:
        printer.code_store.module_dots = max(1, min(body[2], 16))
    elif function == 80:
        printer.code_store.data = body[3:]
    elif function == 81 and printer.code_store.data:
        if printer.line_buffer:
            printer.print_line()
        text = printer.code_store.data.decode("utf-8", "replace")
        printer.put(Code("QR", text, printer.code_store.module_dots, printer.align))


def automatic_status_back(printer: Printer, data: bytes) -> None:
    printer.watch(data[0])


def transmit_status(printer: Printer, data: bytes) -> None:
    if data[0] in (1, 49):
        printer.emit(paper_status(printer.sensors))
    elif data[0] in (2, 50):
        printer.emit(drawer_status(printer.sensors))


def transmit_identity(printer: Printer, data: bytes) -> None:
    number = data[0] - 48 if 49 <= data[0] <= 51 else data[0]
    answer = IDENTITY.get(number) or NAMES.get(number)
    if answer is not None:
        printer.emit(answer)


COMMANDS: dict[tuple[int, str], Callable[[Printer, bytes], None]] = {
    (ESC, "@"): initialise,
    (ESC, "!"): print_mode,
    (ESC, "E"): bold,
    (ESC, "G"): bold,
    (ESC, "-"): underline,
    (ESC, "a"): align,
    (ESC, "t"): code_page,
    (ESC, "d"): feed_lines,
    (ESC, "J"): feed_dots,
    (ESC, "p"): drawer,
    (ESC, "i"): cut,
    (ESC, "m"): cut,
    (GS, "!"): size,
    (GS, "B"): reverse,
    (GS, "V"): cut,
    (GS, "v"): raster,
    (GS, "8"): long_graphics,
    (GS, "k"): bar_code,
    (GS, "("): parenthesis,
    (GS, "a"): automatic_status_back,
    (GS, "r"): transmit_status,
    (GS, "I"): transmit_identity,
    (FS, "&"): chinese_on,
    (FS, "."): chinese_off,
    (FS, "!"): chinese_print_mode,
}
