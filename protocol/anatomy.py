"""A message cut into its elements one by one, as far as it goes: for people who look for the damaged byte.

`Codec.unpack` is the judge of what is a message; it gives all or nothing. This walk reads the same packings by itself
and gives every element before the first damage, and the damage with offset, what was expected and what was found.
What the walk accepts and the codec refuses is reported with the codec's words (`explain` does that).

Rules:
1. No exception but the codec's own leaves `dissect`, whatever the bytes are.
2. Pieces and damages hold raw bytes: only `explain` decides what of them may be shown.
"""

from __future__ import annotations

import re

from protocol.elements import CLASSES, EBCDIC, Packing
from protocol.frozen import dataclass
from protocol.meanings import Both
from protocol.mti import is_valid
from protocol.rules import Profile

_UNITS = {
    "n": Both("digits", "位数字"),
    "z": Both("track digits", "位磁道数字"),
    "b": Both("bytes", "字节"),
    "xn": Both("characters", "个字符"),
}
_CHARACTERS = Both("characters", "个字符")


@dataclass(frozen=True, slots=True, repr=False)
class Piece:
    """One element: `offset` of its first byte (length indicator included), its bytes, its value as text (SECRET)."""

    field: int
    offset: int
    indicator: bytes
    data: bytes
    value: str

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return len(self.indicator) + len(self.data)


@dataclass(frozen=True, slots=True, repr=False)
class Damage:
    """Where a message stops being one. `field`: 0 MTI, 1 bitmap, None envelope or message as a whole.

    `found` is None where the bytes themselves are to be shown: `size` of them at `offset`, masked by the caller.
    """

    offset: int
    size: int
    field: int | None
    expected: Both
    found: Both | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Anatomy:
    """What of a message could be read: type, elements named by the bitmap, the elements in their order, the damage."""

    mti: str
    bits: tuple[int, ...]
    pieces: tuple[Piece, ...]
    end: int
    damage: Damage | None


class _StopError(Exception):
    """The walk has met a damage."""

    def __init__(self, damage: Damage) -> None:
        super().__init__()
        self.damage = damage


def dissect(profile: Profile, body: bytes) -> Anatomy:
    """Gives everything that can be read of a message from its MTI on."""
    walk = _Walk(profile, body)
    damage: Damage | None = None
    try:
        walk.run()
    except _StopError as stop:
        damage = stop.damage
    return Anatomy(walk.mti, tuple(walk.bits), tuple(walk.pieces), walk.at, damage)


class _Walk:
    """The state of one walk: `at` is the offset of the next byte."""

    def __init__(self, profile: Profile, body: bytes) -> None:
        self._codec = profile.codec
        self._hex_bitmap = profile.mac.bitmap_form == "hex"
        self._body = body
        self.at = 0
        self.mti = ""
        self.bits: list[int] = []
        self.pieces: list[Piece] = []

    def run(self) -> None:
        """The whole message; raises _StopError at the damage."""
        self._read_mti()
        self._read_bitmaps()
        unknown = next((field for field in self.bits if field not in self._codec.packings), None)
        try:
            for field in self.bits:
                if field == unknown:
                    break
                self._read_element(self._codec.packings[field])
        except _StopError:
            if unknown is None:
                raise
        if unknown is not None:
            raise self._unknown(unknown)  # certainly wrong; what else is wrong may follow from it
        if rest := len(self._body) - self.at:
            expected = Both("the end of the message", "报文结束")
            found = Both(f"{rest} more bytes", f"多出 {rest} 字节")
            raise _StopError(Damage(self.at, rest, None, expected, found))

    def _take(self, size: int, field: int, what: Both) -> bytes:
        raw = self._body[self.at : self.at + size]
        if len(raw) < size:
            expected = Both(f"{what.en}: {size} bytes", f"{what.zh}：{size} 字节")
            found = Both(
                f"{len(raw)} bytes, then the end" if raw else "the end of the bytes",
                f"仅 {len(raw)} 字节后结束" if raw else "数据已结束",
            )
            raise _StopError(Damage(self.at, max(1, len(raw)), field, expected, found))
        return raw

    def _read_mti(self) -> None:
        raw = self._take(self._codec.mti_bytes, 0, Both("the message type", "报文类型"))
        text = raw.hex() if len(raw) == 2 else _text(raw, self._codec.mti_coding)
        if not is_valid(text):
            expected = Both("a message type such as 0200, 0210, 0400", "报文类型，如 0200、0210、0400")
            raise _StopError(Damage(self.at, len(raw), 0, expected))
        self.mti = text
        self.pieces.append(Piece(0, self.at, b"", raw, text))
        self.at += len(raw)

    def _read_bitmaps(self) -> None:
        start = self.at
        first = self._bitmap()
        bits = (first & ~(1 << 63)) << 64
        if first >> 63:
            second_at = self.at
            second = self._bitmap()
            if not second:
                expected = Both("at least one element in the second bitmap", "第二位图中至少有一个域")
                raise _StopError(Damage(second_at, self.at - second_at, 1, expected))
            bits |= second
        self.bits = [field for field in range(2, 129) if bits >> (128 - field) & 1]
        raw = self._body[start : self.at]
        self.pieces.append(Piece(1, start, b"", raw, raw.decode("latin-1") if self._hex_bitmap else raw.hex().upper()))

    def _bitmap(self) -> int:
        raw = self._take(16 if self._hex_bitmap else 8, 1, Both("a bitmap", "位图"))
        if self._hex_bitmap:
            for place, byte in enumerate(raw):
                if byte not in b"0123456789ABCDEF":
                    expected = Both("an upper-case hexadecimal character", "大写十六进制字符")
                    raise _StopError(Damage(self.at + place, 1, 1, expected))
        self.at += len(raw)
        return int(raw, 16) if self._hex_bitmap else int.from_bytes(raw, "big")

    def _unknown(self, field: int) -> _StopError:
        start = self.pieces[1].offset
        offset = start + ((field - 1) // 4 if self._hex_bitmap else (field - 1) // 8)
        expected = Both("only elements that the profile defines", "仅含配置文件中定义的域")
        found = Both(f"the bit of element {field}", f"第 {field} 域的位")
        return _StopError(Damage(offset, 1, 1, expected, found))

    def _read_element(self, packing: Packing) -> None:
        start, field = self.at, packing.field
        units = self._length(packing) if packing.format.indicator else _units(packing)
        indicator = self._body[start : self.at]
        size = (units + 1) // 2 if packing.coding == "bcd" else units
        try:
            data = self._take(size, field, Both(f"data of element {field}", f"第 {field} 域的数据"))
            value = self._value(packing, data, units)
        except _StopError:
            self.at = start
            raise
        self.pieces.append(Piece(field, start, indicator, data, value))
        self.at += size

    def _length(self, packing: Packing) -> int:
        """Reads the length indicator: in digits, characters or bytes, as the element counts."""
        digits, coding, field = packing.format.indicator, packing.indicator_coding, packing.field
        raw = self._take(
            digits if coding in ("ascii", "ebcdic") else (digits + 1) // 2,
            field,
            Both(f"length of element {field}", "长度"),
        )
        text = _text(raw, coding) if coding in ("ascii", "ebcdic") else raw.hex()
        most = _units(packing)
        least = 1 if packing.format.kind in "nz" else 0
        unit = _UNITS.get(packing.format.kind, _CHARACTERS)
        expected = Both(f"a length of {least} to {most} {unit.en}", f"长度 {least} 至 {most} {unit.zh}")
        if coding != "binary" and not re.fullmatch("[0-9]+", text):
            raise _StopError(Damage(self.at, len(raw), field, expected))
        number = int.from_bytes(raw, "big") if coding == "binary" else int(text)
        odd = packing.coding == "hex" and number % 2
        if not least <= number <= most or odd:
            found = Both(f"{number} {unit.en}", f"{number} {unit.zh}")
            raise _StopError(Damage(self.at, len(raw), field, expected, found))
        self.at += len(raw)
        return number

    def _value(self, packing: Packing, data: bytes, units: int) -> str:
        if packing.coding == "binary":
            return data.hex().upper()
        if packing.coding == "bcd":
            return self._digits(packing, data, units)
        text = _text(data, packing.coding)
        allowed = re.compile(f"[{CLASSES[packing.format.kind]}]", re.DOTALL)
        for place, character in enumerate(text):
            credit = packing.format.kind == "xn" and place == 0
            if not (character in "CD" if credit else allowed.fullmatch(character)):
                raise self._wrong(packing, place)
        return text

    def _digits(self, packing: Packing, data: bytes, units: int) -> str:
        text = data.hex().upper()
        allowed = "0123456789D" if packing.format.kind == "z" else "0123456789"
        left = units % 2 and packing.pad_side == "left"
        value = text[len(text) - units :] if left else text[:units]
        for place, digit in enumerate(value):
            if digit not in allowed:
                raise self._wrong(packing, (place + (1 if left else 0)) // 2)
        if units % 2:
            pad = text[0] if left else text[-1]
            accepted = packing.pad + packing.pad_accept
            if pad not in accepted:
                expected = Both(f"the filling digit {' or '.join(accepted)}", f"填充位 {' 或 '.join(accepted)}")
                place = 0 if left else len(data) - 1
                raise _StopError(Damage(self.at + place, 1, packing.field, expected))
        return value.replace("D", "=")

    def _wrong(self, packing: Packing, place: int) -> _StopError:
        kind = packing.format.kind
        unit = _UNITS.get(kind, _CHARACTERS)
        expected = Both(f"only {unit.en} of class {kind}", f"仅限 {kind} 类{unit.zh.lstrip('位个')}")
        return _StopError(Damage(self.at + place, 1, packing.field, expected))


def _text(raw: bytes, coding: str) -> str:
    """Characters, one a byte."""
    return raw.decode(EBCDIC if coding == "ebcdic" else "latin-1")


def _units(packing: Packing) -> int:
    """The greatest length as it is counted on the wire: hexadecimal text has two characters a byte."""
    return packing.format.length * (2 if packing.coding == "hex" else 1)
