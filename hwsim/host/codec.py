"""The simulated host's own reading of ISO 8583: bytes <-> `HostMessage`, by a table of elements.

Rules not to break:
1. This codec shares nothing with `protocol/`: the product and the bench must be able to disagree.
2. It is strict: a wrong digit, a length above the maximum, bytes left over are one `MessageError`
   with field and offset, and the error never quotes the bytes.
3. A `HostMessage` shows no card number: first six and last four digits only.

Source of the packing rules: facts on UnionPay POS messages and published samples (odd digits in a
variable element stand left with one pad nibble behind; n3 element 22 stands left, 23 and 24 right).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from protocol.errors import MessageError

Style = Literal["bcd", "ascii"]
_ELEMENT = re.compile(r"(n|z|x|b|t)(\.{0,3})(\d+)([<>]?)")
_NIBBLES = "0123456789ABCDEF"


@dataclass(frozen=True, slots=True)
class Element:
    """How one data element is written.

    `form`: n digits, z track data, t text, x text with a leading sign, b binary (a value in hex).
    `prefix`: digits of the length in front (0 fixed, 2, 3). `size` counts digits, characters or, for b, bytes.
    """

    form: str
    prefix: int
    size: int
    left: bool

    @classmethod
    def parse(cls, text: str) -> Element:
        """Read 'n6', 'n..19', 'b...255', 'n3<': two dots are LL, three are LLL, '<' aligns odd digits left."""
        found = _ELEMENT.fullmatch(text)
        if found is None:
            raise ValueError(f"element notation {text!r}")
        form, dots, size, side = found.groups()
        return cls(form, len(dots), int(size), side == "<" if side else bool(dots))


def elements(table: Mapping[int, str]) -> dict[int, Element]:
    return {number: Element.parse(text) for number, text in table.items()}


def mask_card(number: str) -> str:
    """First six and last four digits; a short or empty number shows nothing."""
    return f"{number[:6]}{'*' * (len(number) - 10)}{number[-4:]}" if len(number) > 12 else "*" * len(number)


@dataclass(frozen=True, slots=True, repr=False)
class HostMessage:
    """One decoded message. Binary elements are upper-case hex; the track separator is '='."""

    mti: str
    fields: Mapping[int, str]

    def get(self, number: int, default: str = "") -> str:
        return self.fields.get(number, default)

    def changed(self, changes: Mapping[int, str | None], mti: str = "") -> HostMessage:
        """A copy with some elements replaced; None removes one."""
        merged = {**self.fields, **changes}
        kept = {number: value for number, value in sorted(merged.items()) if value is not None}
        return replace(self, mti=mti or self.mti, fields=kept)

    @property
    def card(self) -> str:
        """The card number from element 2 or track 2; '' when the message carries none."""
        return self.get(2) or self.get(35).partition("=")[0]

    def __repr__(self) -> str:
        present = ",".join(str(number) for number in self.fields)
        return (
            f"HostMessage({self.mti} stan {self.get(11)} terminal {self.get(41)} amount {self.get(4)} "
            f"card {mask_card(self.card)} code {self.get(39)} elements {present})"
        )


@dataclass(frozen=True, slots=True)
class HostCodec:
    """Packs and unpacks by a table. `style` bcd: digits and lengths in BCD, bitmap binary; ascii: all as text."""

    style: Style
    table: Mapping[int, Element]

    def pack(self, message: HostMessage) -> bytes:
        numbers = sorted(message.fields)
        body = b"".join(self._pack_element(number, message.fields[number]) for number in numbers)
        return self._digits(message.mti, left=False) + self._bitmap(numbers) + body

    def unpack(self, body: bytes) -> HostMessage:
        cursor = _Cursor(body, self.style)
        mti = cursor.digits(4, left=False)
        fields = {number: self._unpack_element(cursor, number) for number in cursor.bitmap()}
        cursor.at(None)
        if cursor.rest:
            raise MessageError(f"{cursor.rest} bytes after the last element", None, cursor.offset)
        return HostMessage(mti, fields)

    def _element(self, number: int, offset: int = 0) -> Element:
        if number not in self.table:
            raise MessageError(f"element {number} is not known to this dialect", number, offset)
        return self.table[number]

    def _pack_element(self, number: int, value: str) -> bytes:
        element = self._element(number)
        count = len(value) // 2 if element.form == "b" and self.style == "bcd" else len(value)
        limit = element.size * 2 if element.form == "b" and self.style == "ascii" else element.size
        if count > limit or (not element.prefix and count != limit):
            raise MessageError(f"element {number} has length {count}, the dialect says {limit}", number)
        indicator = self._digits(str(count).zfill(element.prefix), left=False) if element.prefix else b""
        return indicator + self._pack_value(element, value)

    def _pack_value(self, element: Element, value: str) -> bytes:
        if self.style == "ascii" or element.form in "tx":
            return value.encode("ascii")
        if element.form == "b":
            return bytes.fromhex(value)
        return self._digits(value.replace("=", "D"), element.left)

    def _unpack_element(self, cursor: _Cursor, number: int) -> str:
        cursor.at(number)
        element = self._element(number, cursor.offset)
        hex_text = element.form == "b" and self.style == "ascii"
        limit = element.size * 2 if hex_text else element.size
        count = int(cursor.digits(element.prefix, left=False)) if element.prefix else limit
        if count > limit:
            raise cursor.wrong(f"length {count} is above the maximum {limit}")
        return _check(cursor, element, self._read_value(cursor, element, count))

    def _read_value(self, cursor: _Cursor, element: Element, count: int) -> str:
        if self.style == "ascii" or element.form in "tx":
            return cursor.text(count)
        if element.form == "b":
            return cursor.take(count).hex().upper()
        return cursor.digits(count, element.left, "D" if element.form == "z" else "").replace("D", "=")

    def _digits(self, text: str, left: bool) -> bytes:
        if self.style == "ascii":
            return text.encode("ascii")
        even = text if len(text) % 2 == 0 else (text + "0" if left else "0" + text)
        return bytes.fromhex(even)

    def _bitmap(self, numbers: list[int]) -> bytes:
        size = 128 if numbers and numbers[-1] > 64 else 64
        bits = sum(1 << (size - number) for number in numbers)
        if size == 128:
            bits |= 1 << 127
        raw = bits.to_bytes(size // 8, "big")
        return raw if self.style == "bcd" else raw.hex().upper().encode("ascii")


def _check(cursor: _Cursor, element: Element, value: str) -> str:
    """Character classes that the reading itself has not checked."""
    if element.form == "n" and not (value.isascii() and value.isdigit()) and value:
        raise cursor.wrong("a character is not a digit")
    if element.form == "z" and value.strip("0123456789="):
        raise cursor.wrong("a character does not belong in track data")
    if element.form == "b" and value.strip(_NIBBLES):
        raise cursor.wrong("a character is not upper-case hex")
    return value


class _Cursor:
    """Walks through a message body; every error it makes names the element and the offset."""

    def __init__(self, body: bytes, style: Style) -> None:
        self._body = body
        self._style = style
        self.offset = 0
        self._number: int | None = 0

    @property
    def rest(self) -> int:
        return len(self._body) - self.offset

    def at(self, number: int | None) -> None:
        self._number = number

    def wrong(self, text: str) -> MessageError:
        return MessageError(f"element {self._number}: {text}", self._number, self.offset)

    def take(self, count: int) -> bytes:
        if count > self.rest:
            raise self.wrong(f"{count} bytes expected, {self.rest} left")
        self.offset += count
        return self._body[self.offset - count : self.offset]

    def text(self, count: int) -> str:
        text = self.take(count).decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise self.wrong("a byte is not printable ASCII")
        return text

    def digits(self, count: int, left: bool, also: str = "") -> str:
        """Digits (and the nibbles in `also`) of a number, the pad nibble (0 or F) taken off."""
        if self._style == "ascii":
            text = self.text(count)
            if not text.isdigit() and count:
                raise self.wrong("a character is not a digit")
            return text
        nibbles = self.take((count + 1) // 2).hex().upper()
        pad = "" if count % 2 == 0 else (nibbles[-1] if left else nibbles[0])
        if pad and pad not in "0F":
            raise self.wrong("the pad nibble is neither 0 nor F")
        value = nibbles if not pad else (nibbles[:-1] if left else nibbles[1:])
        if value.strip("0123456789" + also):
            raise self.wrong("a nibble is not a digit")
        return value

    def bitmap(self) -> list[int]:
        """Numbers of the elements present; bit 1 announces the secondary bitmap and is no element."""
        self.at(1)
        bits = self._bitmap_half()
        numbers = [number for number in range(2, 65) if bits >> (64 - number) & 1]
        if bits >> 63:
            second = self._bitmap_half()
            numbers += [number for number in range(65, 129) if second >> (128 - number) & 1]
        return numbers

    def _bitmap_half(self) -> int:
        if self._style == "bcd":
            return int.from_bytes(self.take(8), "big")
        text = self.text(16)
        if text.strip(_NIBBLES):
            raise self.wrong("the bitmap is not upper-case hex")
        return int(text, 16)
