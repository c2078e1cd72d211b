"""Recordings of a real device's traffic: JSON lines, masked before they reach the disk.

    {"kind": "reader", "made_at_utc": "2026-11-22T20:00:00Z"}
    {"at_s": 0.000, "from": "host", "hex": "03066500000000000100000061"}
    {"at_s": 0.012, "from": "device", "hex": "0306650000..."}

Masked: card numbers (packed or as text; the first six and the last four digits stay), what follows them on track
2, in PIN pad traffic every run of 16 or more hexadecimal digits (keys, PIN blocks, MACs), and the content of a card's
answers that come in several T=1 blocks. Check bytes are made right again, so that a replayed frame is a good frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path

from hwsim.devices.ccid import DATA_BLOCK, HEADER_BYTES, MAX_DATA_BYTES
from hwsim.errors import BenchError

KINDS = ("reader", "pinpad", "printer")
SIDES = ("host", "device")
DIGIT_RUN = re.compile(r"\d{13,}")
CHIP_NUMBER = re.compile(r"(5A0[789A])(\d{13,19})")  # tag and length of the application's card number
TRACK_REST = re.compile(r"(\d{13,19}[D=])\d*")
# What stands before the secret in messages 71, Z67 and 02 is kept: message number, length, status, slot.
SECRET_HEX = re.compile(rb"(\x0271\.\d{5}|\x02Z67\d|\x0f02.|)([0-9A-Fa-f]{16,})")
PACKET = re.compile(rb"(\x02[^\x02\x03]*\x03|\x0f[^\x0e\x0f]*\x0e)(.)", re.DOTALL)
T1_PROLOGUE, T1_MORE = 3, 0x20
PLACEHOLDER_EXPIRY = "4912"


@dataclass(frozen=True)
class Piece:
    """Bytes that one side said without a pause of the other."""

    at_s: float
    side: str
    data: bytes


class ChainMask:
    """Empties the pieces of a card's answer that comes in several T=1 blocks: a card number may lie across two of them,
    and neither shows it. For what the reader says, in the order in which it was said."""

    def __init__(self) -> None:
        self._chained = False

    def emptied(self, data: bytes) -> bytes:
        """Same length; check bytes of blocks and frames are made right again."""
        result = bytearray(data)
        for start, end in ccid_frames(data):
            payload = data[start + 2 + HEADER_BYTES : end - 1]
            if data[start + 2] != DATA_BLOCK or not is_t1_block(payload) or payload[1] & 0x80:
                continue
            more = bool(payload[1] & T1_MORE)
            if more or self._chained:
                at = start + 2 + HEADER_BYTES + T1_PROLOGUE
                result[at : at + payload[2]] = bytes(payload[2])
            self._chained = more
        return resealed_ccid(bytes(result), data)


def masked(kind: str, data: bytes) -> bytes:
    """`data` without what must not be kept; same length, right check bytes."""
    original = data
    if kind == "reader":  # chips pack digits two to a byte; elsewhere they are text
        data = bytes.fromhex(mask_digits(data.hex().upper()))
    data = mask_digits(data.decode("latin-1")).encode("latin-1")
    if kind == "pinpad":
        data = SECRET_HEX.sub(lambda match: match[1] + b"0" * len(match[2]), data)
        return PACKET.sub(lambda match: match[1] + bytes([reduce(xor, match[1][1:])]), data)
    return resealed_ccid(data, original) if kind == "reader" else data


def mask_digits(text: str) -> str:
    """Hides card numbers and what follows them on a track."""

    def rest(match: re.Match[str]) -> str:
        number, separator, length = match[1][:-1], match[1][-1], len(match[0]) - len(match[1])
        return hide_middle(number) + separator + PLACEHOLDER_EXPIRY.ljust(length, "0")[:length]

    text = TRACK_REST.sub(rest, text)
    text = CHIP_NUMBER.sub(lambda match: match[1] + hide_middle(match[2]), text)
    return DIGIT_RUN.sub(lambda match: mask_run(match[0]), text)


def hide_middle(number: str) -> str:
    return number[:6] + "0" * (len(number) - 10) + number[-4:]


def mask_run(digits: str) -> str:
    """Hides every card number inside a run of digits; hiding too much is harmless."""
    shown = list(digits)
    for length in range(19, 12, -1):
        for at in range(len(digits) - length + 1):
            if digits[at] in "3456" and luhn(digits[at : at + length]):
                for place in range(at + 6, at + length - 4):
                    shown[place] = "0"
    return "".join(shown)


def luhn(digits: str) -> bool:
    odd = [int(digit) for digit in digits[::-1][::2]]
    even = [sum(divmod(int(digit) * 2, 10)) for digit in digits[::-1][1::2]]
    return (sum(odd) + sum(even)) % 10 == 0


def resealed_ccid(data: bytes, original: bytes) -> bytes:
    """Makes every serial CCID frame of `original` a good frame again: its header, which may look like a card number, as
    it was; its check byte and that of a T=1 block anew."""
    result = bytearray(data)
    for start, end in ccid_frames(original):
        begin = start + 2 + HEADER_BYTES
        is_block = is_t1_block(original[begin : end - 1])
        head = begin + T1_PROLOGUE * is_block
        result[start:head] = original[start:head]
        if is_block:
            result[end - 2] = reduce(xor, result[begin : end - 2])
        result[end - 1] = reduce(xor, result[start : end - 1])
    return bytes(result)


def ccid_frames(data: bytes) -> list[tuple[int, int]]:
    """Where the serial CCID frames in `data` begin and end."""
    at, found = 0, list[tuple[int, int]]()
    while at + 2 + HEADER_BYTES < len(data):
        size = 2 + HEADER_BYTES + int.from_bytes(data[at + 3 : at + 7], "little") + 1
        is_frame = data[at] == 0x03 and data[at + 1] == 0x06 and size <= MAX_DATA_BYTES + HEADER_BYTES + 3
        if is_frame and at + size <= len(data):
            found.append((at, at + size))
            at += size
        else:
            at += 1
    return found


def is_t1_block(payload: bytes) -> bool:
    """Node address, control byte, length, so many bytes, and a check byte that fits (ISO/IEC 7816-3, 11.3)."""
    return len(payload) == T1_PROLOGUE + (payload[2] if len(payload) > 2 else 0) + 1 and reduce(xor, payload, 0) == 0


def load_recording(path: Path) -> tuple[str, list[Piece]]:
    """The kind of the device and what was said. Raises BenchError with the line."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BenchError(f"the recording {path} cannot be read") from None
    try:
        kind = str(json.loads(lines[0])["kind"])
    except (IndexError, ValueError, KeyError, TypeError):
        kind = ""
    if kind not in KINDS:
        raise BenchError(f"the recording {path} does not begin with its kind", "kinds: " + ", ".join(KINDS))
    return kind, joined(checked_piece(path, number, line) for number, line in enumerate(lines[1:], 2))


def checked_piece(path: Path, number: int, line: str) -> Piece:
    try:
        values = json.loads(line)
        piece = Piece(float(values["at_s"]), str(values["from"]), bytes.fromhex(values["hex"]))
    except (ValueError, KeyError, TypeError):
        raise BenchError(f"the recording {path}, line {number}, is damaged") from None
    if piece.side not in SIDES:
        raise BenchError(f"the recording {path}, line {number}: nobody is called '{piece.side}'")
    return piece


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring pieces of one side made one."""
    result: list[Piece] = []
    for piece in pieces:
        if result and result[-1].side == piece.side:
            result[-1] = Piece(result[-1].at_s, piece.side, result[-1].data + piece.data)
        else:
            result.append(piece)
    return result
