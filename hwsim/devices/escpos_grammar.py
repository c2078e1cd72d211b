"""How long each ESC/POS command is: the grammar, without what the commands do.

Source: Epson ESC/POS command reference (the format line of each command).
"""

from __future__ import annotations

from collections.abc import Callable

HT, LF, DLE, ESC, FS, GS = 0x09, 0x0A, 0x10, 0x1B, 0x1C, 0x1D
MAX_COMMAND_BYTES = 70_000
Buffer = bytes | bytearray

# Bytes after the two (ESC x, GS x, FS x) that name the command.
FIXED: dict[int, dict[str, int]] = {
    ESC: {
        **dict.fromkeys("@2LSim<\x0c", 0),
        **dict.fromkeys("!-EGatRMdJeKr3 {VT=%?U", 1),
        **dict.fromkeys("$\\cB", 2),
        "p": 3,
        "W": 8,
    },
    GS: {
        **dict.fromkeys(":", 0),
        **dict.fromkeys("!BarIhwfH/bT", 1),
        **dict.fromkeys("LWP$\\", 2),
        "^": 3,
    },
    FS: {**dict.fromkeys("&.", 0), **dict.fromkeys("!-WC", 1), **dict.fromkeys("Sp", 2), "2": 74},
}


def _until_nul(data: Buffer) -> int | None:
    end = data.find(0, 2)
    return None if end < 0 else end + 1


def _counted(data: Buffer, at: int, size: int) -> int | None:
    """A little endian byte count of `size` bytes at `at`, then that many bytes."""
    if len(data) < at + size:
        return None
    return at + size + int.from_bytes(data[at : at + size], "little")


def _bit_image(data: Buffer) -> int | None:
    if len(data) < 5:
        return None
    columns = int.from_bytes(data[3:5], "little")
    return 5 + columns * (3 if data[2] in (32, 33) else 1)


def _raster(data: Buffer) -> int | None:
    if len(data) < 8:
        return None
    return 8 + int.from_bytes(data[4:6], "little") * int.from_bytes(data[6:8], "little")


def _cut(data: Buffer) -> int | None:
    if len(data) < 3:
        return None
    return 3 if data[2] in (0, 1, 48, 49) else 4


def _bar_code(data: Buffer) -> int | None:
    if len(data) < 4:
        return None
    if data[2] >= 65:
        return 4 + data[3]
    end = data.find(0, 3)
    return None if end < 0 else end + 1


def _downloaded_image(data: Buffer) -> int | None:
    return None if len(data) < 4 else 4 + data[2] * data[3] * 8


VARIABLE: dict[tuple[int, str], Callable[[Buffer], int | None]] = {
    (ESC, "D"): _until_nul,
    (ESC, "*"): _bit_image,
    (GS, "v"): _raster,
    (GS, "V"): _cut,
    (GS, "k"): _bar_code,
    (GS, "*"): _downloaded_image,
    (GS, "("): lambda data: _counted(data, 3, 2),
    (GS, "8"): lambda data: _counted(data, 3, 4),
    (FS, "("): lambda data: _counted(data, 3, 2),
}


def real_time_length(data: Buffer) -> int | None:
    """The length of the real-time command at the front (it begins with DLE); 1: it is none; None: not whole."""
    if len(data) < 2:
        return None
    if data[1] in (0x04, 0x05):
        return 3 if len(data) >= 3 else None
    if data[1] != 0x14:
        return 1
    if len(data) < 3:
        return None
    wanted = 10 if data[2] == 8 else 5
    return wanted if len(data) >= wanted else None


def command_length(data: Buffer) -> int | None:
    """The length of the command at the front of `data`; None: more bytes are needed."""
    if data[0] == DLE:
        return real_time_length(data)
    if data[0] not in FIXED:
        return 1
    if len(data) < 2:
        return None
    name = chr(data[1])
    variable = VARIABLE.get((data[0], name))
    length = variable(data) if variable else 2 + FIXED[data[0]].get(name, 0)
    if length is None or length > MAX_COMMAND_BYTES:
        return None if length is None else 2
    return length if len(data) >= length else None
