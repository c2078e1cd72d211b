"""Hex dumps as people have them, to bytes: plain, with 0x, and with offsets (hexdump -C, xxd, tcpdump -x, od).

    004E 6003010000 602200000000 0400                  plain, blanks and line breaks where you like
    0x00, 0x4E, 0x60 ...  \\x00\\x4e\\x60 ...              as in source code
    00000000  00 4e 60 03 01 00 00 60  |.N`....`|      hexdump -C; "*" repeats the line above
    00000000: 004e 6003 0100 0060  .N`....`            xxd; tcpdump writes 0x0000:

Rule: an error names line and column and what was expected; it never shows what was found but for one character that is
no hexadecimal digit.
"""

from __future__ import annotations

import re

from protocol.errors import ProtocolError

# A message on a stream has at most 65535 bytes (2-byte length); what is larger is a capture, not a message.
BYTES_MAX = 65_537
TEXT_MAX = 16 * BYTES_MAX

_OFFSET_LINE = re.compile(r"[ \t]*(?:0x)?([0-9A-Fa-f]{4,16})(:[ \t]*|[ \t]{1,8})(.*)")
_OFFSET_ONLY = re.compile(r"[ \t]*(?:0x)?([0-9A-Fa-f]{4,16}):?[ \t]*")
_GROUP = re.compile(r"[ \t]*((?:[0-9A-Fa-f]{2})+)(?![^ \t|])")
_NOISE = re.compile(r"0[xX]|\\x|[\s,:;{}()\[\]\"'<>_-]")
_BAD = re.compile(r"[^0-9A-Fa-f]")


class DumpError(ProtocolError):
    """A text is no hex dump. `line` and `column` count from 1."""

    code = "E-DUMP"

    def __init__(self, text: str, text_zh: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {text}")
        self.text_zh = f"第 {line} 行第 {column} 列：{text_zh}"
        self.line = line
        self.column = column


def read_dump(text: str) -> bytes:
    """Gives the bytes of a hex dump, at least one. Raises DumpError."""
    if len(text) > TEXT_MAX:
        raise DumpError("the text is longer than any message", "文本超过任何报文的长度")
    lines = [line for line in text.splitlines() if line.strip()]
    data = _with_offsets(lines)
    if data is None:
        data = _plain(text)
    if not data:
        raise DumpError("there are no hexadecimal digits", "没有十六进制数字")
    if len(data) > BYTES_MAX:
        raise DumpError("more bytes than any message has", "字节数超过任何报文的长度")
    return data


def _plain(text: str) -> bytes:
    """Digits with anything harmless between them."""
    digits, last = [], (1, 1)
    for number, line in enumerate(text.splitlines(), 1):
        cleared = _NOISE.sub(lambda found: " " * len(found[0]), line)
        for column, character in enumerate(cleared, 1):
            if character == " ":
                continue
            if _BAD.match(character):
                shown = character if character.isprintable() else "?"
                raise DumpError(
                    f"expected a hexadecimal digit, found {shown!r}",
                    f"应为十六进制数字，实为 {shown!r}",
                    number,
                    column,
                )
            digits.append(character)
            last = (number, column)
    if len(digits) % 2:
        raise DumpError("the last byte has only one digit", "最后一个字节只有一位数字", *last)
    return bytes.fromhex("".join(digits))


def _with_offsets(lines: list[str]) -> bytes | None:
    """The bytes of a dump with offsets; None when the lines do not begin with offsets that count up."""
    for base in (16, 8, 10):
        found = _lined(lines, base)
        if found is not None:
            return found
    return None


def _lined(lines: list[str], base: int) -> bytes | None:
    data, row, repeated = bytearray(), b"", False
    for place, line in enumerate(lines):
        if line.strip() == "*" and row:
            repeated = True
            continue
        start = _offset(line, base)
        if start is None or start > BYTES_MAX or (place == 0 and (start != 0 or not _surely_offset(line, lines))):
            return None
        while repeated and len(data) < start:
            data += row
        repeated = False
        if start != len(data):
            return None
        if _OFFSET_ONLY.fullmatch(line):
            continue
        end = _offset(lines[place + 1], base) if place + 1 < len(lines) else None
        row = _row(line, None if end is None else end - start, len(row))
        if not row:
            return None
        data += row
    return bytes(data) or None


def _offset(line: str, base: int) -> int | None:
    match = _OFFSET_LINE.fullmatch(line) or _OFFSET_ONLY.fullmatch(line)
    if match is None:
        return None
    try:
        return int(match[1], base)
    except ValueError:
        return None


def _surely_offset(line: str, lines: list[str]) -> bool:
    """Whether zeros at the start are an offset: marked as one, of seven or more digits, or followed by another."""
    match = _OFFSET_LINE.fullmatch(line) or _OFFSET_ONLY.fullmatch(line)
    assert match is not None
    marked = line.strip().startswith("0x") or ":" in line[: match.end(1) + 1]
    return marked or len(match[1]) >= 7 or len(lines) > 1


def _row(line: str, size: int | None, usual: int) -> bytes:
    """The bytes of one line. `size`: told by the next offset; else up to the characters at its end."""
    match = _OFFSET_LINE.fullmatch(line)
    if match is None:
        return b""
    rest = match[3].split("|")[0]
    wanted = size if size is not None and 0 < size <= 256 else usual or 16
    found, position = b"", 0
    while len(found) < wanted:
        group = _GROUP.match(rest, position)
        # Two blanks part the bytes from their characters; hexdump -C has two in its middle as well.
        if group is None or (size is None and ":" in match[2] and found and rest[position : position + 2] == "  "):
            break
        found += bytes.fromhex(group[1])
        position = group.end()
    return found[:wanted] if size is None or len(found) == size else found
