"""Bytes to characters as a Simplified Chinese receipt printer reads them.

In Chinese mode (FS &) a byte 81..FE begins a GB18030 code of two bytes, or of four when the second is 30..39;
otherwise bytes from 80 are of the code page that ESC t chose. Sources: GB 18030-2005; Epson's FS & and ESC t.
"""

from __future__ import annotations

CODE_PAGES = {0: "cp437", 2: "cp850", 3: "cp860", 4: "cp863", 5: "cp865"}
CODE_PAGES |= {16: "cp1252", 17: "cp866", 18: "cp852", 19: "cp858"}


def character_length(data: bytes | bytearray, chinese: bool) -> int | None:
    """How many bytes the character at the front has; None: the rest has not arrived."""
    if not chinese or not 0x81 <= data[0] <= 0xFE:
        return 1
    if len(data) < 2:
        return None
    if not 0x30 <= data[1] <= 0x39:
        return 2 if data[1] >= 0x40 else 1
    return 4 if len(data) >= 4 else None


def decode(data: bytes, chinese: bool, code_page: int) -> str:
    """One character; U+FFFD where the bytes mean nothing."""
    encoding = "gb18030" if chinese and len(data) > 1 else CODE_PAGES.get(code_page, "cp437")
    return data.decode(encoding, errors="replace")
