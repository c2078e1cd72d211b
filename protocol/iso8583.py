"""Pack and unpack ISO 8583 messages by profile, over pyiso8583, strictly.

Rules:
1. What `unpack` accepts, `pack` turns into exactly the same bytes (but for a second pad nibble, where a profile accepts
   one): every element that could be written in more than one way is written again by this file's own encoder and
   compared, every value is checked character by character. pyiso8583 accepts lower-case and blank-filled bitmaps,
   lengths like "+5" or " 5" or "1_0", an announced second bitmap that is empty, letters among BCD digits, control
   characters in text; an element without a definition is a KeyError.
2. Every value is text. Binary elements are upper-case hexadecimal; the track separator is "=".
3. Whatever is wrong is one MessageError with field, offset and reason, never a value. pyiso8583's errors hold the raw
   message: they are read and dropped before ours is raised, so that no traceback carries them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import iso8583

from protocol import masking
from protocol.elements import CLASSES, EBCDIC, Packing
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.mti import is_valid

_UPPER_HEX = re.compile(rb"[0-9A-F]+")
_SECOND = 1 << 63  # first bit of the first bitmap: a second bitmap follows
_ENCODINGS = {"bcd": "b", "binary": "b", "hex": "ascii", "ascii": "ascii", "ebcdic": EBCDIC}


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One message: its type and its elements as text; what `repr` shows is masked."""

    mti: str
    fields: Mapping[int, str]
    # What it was packed to, and by whom: a request is packed to be checked, to be reversed and to be sent.
    _packed: tuple[Codec, bytes] | None = dataclasses.field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))

    def get(self, field: int, default: str = "") -> str:
        """Gives the value of an element, or `default` where the message has none."""
        return self.fields.get(field, default)

    def with_fields(self, changes: Mapping[int, str | None]) -> Message:
        """Gives a message with some elements set, or removed where the value is None."""
        merged = {**self.fields, **changes}
        return Message(self.mti, {field: value for field, value in merged.items() if value is not None})

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={masking.show(field, self.fields[field])!r}" for field in sorted(self.fields))
        return f"Message({self.mti}: {shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (self.mti, dict(self.fields))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything about one element that can be worked out once."""

    packing: Packing
    field: int
    key: str
    check: Callable[[str], object]
    wire: Callable[[str], bytes] | None  # None: fixed length, whole bytes, one spelling for each value
    spec: Mapping[str, Any]
    is_track: bool
    other: _Plan | None  # the same element with the other pad nibble that is accepted


class Codec:
    """Packs and unpacks the messages of one profile."""

    def __init__(self, packings: Iterable[Packing], mti_coding: str = "bcd", bitmap_coding: str = "binary") -> None:
        """`mti_coding` is "bcd", "ascii" or "ebcdic"; `bitmap_coding` is "binary" or "hex"."""
        self.mti_coding = mti_coding
        self.mti_charset = EBCDIC if mti_coding == "ebcdic" else "ascii"  # where it stands as four characters
        self.packings = MappingProxyType({packing.field: packing for packing in packings})
        self.mti_bytes = 2 if mti_coding == "bcd" else 4
        self._bitmap_bytes = 8 if bitmap_coding == "binary" else 16
        self._plans = {field: _plan(packing) for field, packing in self.packings.items()}
        self._by_key = {plan.key: plan for plan in self._plans.values()}
        self._known = sum(1 << (128 - field) for field in self._plans)
        self._spec: dict[str, Mapping[str, Any]] = {plan.key: plan.spec for plan in self._plans.values()}
        self._spec["h"] = _fixed(0, "ascii")
        self._spec["t"] = _fixed(self.mti_bytes, _ENCODINGS[mti_coding])
        self._spec["p"] = self._spec["1"] = _fixed(self._bitmap_bytes, _ENCODINGS[bitmap_coding])

    def pack(self, message: Message) -> bytes:
        """Gives the bytes from the MTI to the last element. Raises MessageError when a value does not fit."""
        if message._packed is None or message._packed[0] is not self:
            object.__setattr__(message, "_packed", (self, self._pack(message)))
        assert message._packed is not None
        return message._packed[1]

    def _pack(self, message: Message) -> bytes:
        if not is_valid(message.mti):
            raise MessageError("message type must be four digits of ISO 8583", field=0)
        document = {"t": message.mti}
        for field, value in message.fields.items():
            plan = self._plans.get(field)
            if plan is None:
                raise MessageError(f"the profile does not define element {field}", field=field)
            if not plan.check(value):
                raise MessageError(_complaint(plan, value), field=field)
            document[plan.key] = value if not plan.is_track else value.replace("=", "D")
        try:
            return bytes(iso8583.encode(document, self._spec)[0])
        except iso8583.EncodeError as error:
            reason, key = error.msg, error.field
        raise MessageError(reason[:1].lower() + reason[1:], field=_number(key))

    def unpack(self, body: bytes) -> Message:
        """Gives the message that these bytes are, to the last byte. Raises MessageError when they are none."""
        return self._message(*self._decode(body))

    def locate(self, body: bytes) -> dict[int, tuple[int, int]]:
        """Gives offset and length in bytes of each element's data, its length indicator excluded; 0: MTI, 1: bitmap.

        Raises MessageError when the bytes are no message.
        """
        return _places(self._decode(body)[1])

    def unpack_and_locate(self, body: bytes) -> tuple[Message, dict[int, tuple[int, int]]]:
        """Gives both. Raises MessageError."""
        decoded, encoded, plans = self._decode(body)
        return self._message(decoded, encoded, plans), _places(encoded)

    def _message(
        self, decoded: dict[str, str], encoded: Mapping[str, Mapping[str, bytes]], plans: Mapping[str, _Plan]
    ) -> Message:
        mti = decoded.pop("t")
        if not is_valid(mti):
            raise MessageError("no message type of ISO 8583", field=0)
        del decoded["p"]
        decoded.pop("1", None)
        fields = {}
        for key, value in decoded.items():
            plan = plans[key]
            text = value.replace("D", "=") if plan.is_track else value
            if not plan.check(text):
                raise MessageError(_complaint(plan, text), plan.field, _offset(encoded, key))
            if plan.wire is not None:
                raw = encoded[key]
                if plan.wire(text) != raw["len"] + raw["data"]:
                    raise MessageError("is not written the one right way", plan.field, _offset(encoded, key))
            fields[plan.field] = text
        return Message(mti, fields)

    def fields_in(self, body: bytes) -> tuple[list[int], int]:
        """Gives the elements that the bitmap of a message names, and the offset where the first of them starts.

        Raises MessageError when the bitmap is cut, not written the one right way, or names an unknown element.
        """
        bits, end = self._bits(body)
        return [field for field in range(2, 129) if bits >> (128 - field) & 1], end

    def _bits(self, body: bytes) -> tuple[int, int]:
        """Gives the bitmaps as one number of 128 bits, without the bit that announces the second, and their end."""
        start, size = self.mti_bytes, self._bitmap_bytes
        end = start + size
        primary = self._bitmap(body[start:end], start)
        bits = (primary & ~_SECOND) << 64
        if primary & _SECOND:
            secondary = self._bitmap(body[end : end + size], end)
            if not secondary:
                raise MessageError("the second bitmap is announced and empty", field=1, offset=end)
            bits |= secondary
            end += size
        if unknown := bits & ~self._known:
            field = 129 - unknown.bit_length()
            text = f"the bitmap names element {field}, which the profile does not define"
            raise MessageError(text, field=field, offset=start + (field - 1) * size // 64)
        return bits, end

    def _bitmap(self, raw: bytes, offset: int) -> int:
        if len(raw) != self._bitmap_bytes:
            raise MessageError("the message ends in the bitmap", field=1, offset=offset)
        if self._bitmap_bytes == 8:
            return int.from_bytes(raw, "big")
        if not _UPPER_HEX.fullmatch(raw):
            raise MessageError("the bitmap must be upper-case hexadecimal", field=1, offset=offset)
        return int(raw, 16)

    def _decode(self, body: bytes) -> tuple[dict[str, str], dict[str, dict[str, bytes]], Mapping[str, _Plan]]:
        """Gives pyiso8583's two documents and the plans that fit: an element with the other pad nibble has another."""
        self._bits(body)
        spec, plans = self._spec, self._by_key
        while True:
            try:
                decoded, encoded = iso8583.decode(body, spec)
            except iso8583.DecodeError as error:
                reason, key, offset = error.msg, error.field, error.pos
            else:
                return decoded, encoded, plans
            plan = plans.get(key)
            if plan is None or plan.other is None:
                raise MessageError(reason[:1].lower() + reason[1:], _number(key), offset)
            spec = {**spec, key: plan.other.spec}
            plans = {**plans, key: plan.other}


def _places(encoded: Mapping[str, Mapping[str, bytes]]) -> dict[int, tuple[int, int]]:
    """Gives offset and length of each element's data."""
    found: dict[int, tuple[int, int]] = {}
    offset = 0
    for key, raw in encoded.items():
        offset += len(raw["len"])
        size = len(raw["data"])
        if key == "1":
            found[1] = (found[1][0], found[1][1] + size)
        else:
            found[_number(key)] = (offset, size)
        offset += size
    return found


def _number(key: str) -> int:
    """Gives the number of an element from pyiso8583's key: "t" is 0 (MTI), "p" 1 (bitmap)."""
    number = {"t": 0, "p": 1}.get(key)
    return int(key) if number is None else number


def _offset(encoded: Mapping[str, Mapping[str, bytes]], wanted: str) -> int:
    """Gives the offset at which an element (with its length indicator) starts."""
    before = takewhile(lambda item: item[0] != wanted, encoded.items())
    return sum(len(raw["len"]) + len(raw["data"]) for _, raw in before)


def _plan(packing: Packing) -> _Plan:
    """Works out how one element is checked, written by us, and described to pyiso8583."""
    form = packing.format
    other = _plan(dataclasses.replace(packing, pad=packing.pad_accept, pad_accept="")) if packing.pad_accept else None
    return _Plan(
        packing=packing,
        field=packing.field,
        key=str(packing.field),
        check=re.compile(_value_pattern(packing)).fullmatch,
        wire=_writer(packing) if _needs_writer(packing) else None,
        spec=_spec(packing),
        is_track=form.kind == "z" and packing.coding == "bcd",  # "=" is the nibble D there
        other=other,
    )


def _value_pattern(packing: Packing) -> str:
    """Gives the regular expression of the values: characters of the class, in the right number."""
    form = packing.format
    if form.kind == "xn":
        return f"[CD][0-9]{{{form.length - 1}}}"
    shortest = form.length if not form.indicator else int(form.kind in "nz")
    unit = "(?:[0-9A-F]{2})" if form.kind == "b" else f"[{CLASSES[form.kind]}]"
    return f"{unit}{{{shortest},{form.length}}}"


def _needs_writer(packing: Packing) -> bool:
    """Tells whether one value could stand on the wire in several ways: a length indicator or a pad nibble is there."""
    return bool(packing.format.indicator or (packing.coding == "bcd" and packing.format.length % 2))


def _writer(packing: Packing) -> Callable[[str], bytes]:
    """Gives our own encoder of one element: the value as text to the bytes on the wire."""
    form = packing.format
    if packing.coding == "bcd":
        body = _bcd_writer(packing)
    elif packing.coding == "binary":
        body = bytes.fromhex
    elif packing.coding == "ebcdic":
        body = _ebcdic
    else:
        body = str.encode if form.kind != "t" else _latin
    if not form.indicator:
        return body
    indicators = _indicators(form.indicator, packing.indicator_coding)
    if form.kind == "b":
        return lambda value: indicators[len(raw := body(value))] + raw
    return lambda value: indicators[len(value)] + body(value)


def _bcd_writer(packing: Packing) -> Callable[[str], bytes]:
    pad, is_left = packing.pad, packing.pad_side == "left"

    def write(value: str) -> bytes:
        if len(value) & 1:
            value = pad + value if is_left else value + pad
        return bytes.fromhex(value)

    if packing.format.kind == "z":
        return lambda value: write(value.replace("=", "D"))
    return write


@cache
def _indicators(digits: int, coding: str) -> tuple[bytes, ...]:
    """Gives every length indicator of so many digits, by length."""
    size = (digits + 1) // 2
    if coding == "ascii":
        return tuple(b"%0*d" % (digits, length) for length in range(10**digits))
    if coding == "ebcdic":
        return tuple(f"{length:0{digits}d}".encode(EBCDIC) for length in range(10**digits))
    if coding == "bcd":
        return tuple(bytes.fromhex(f"{length:0{2 * size}d}") for length in range(10**digits))
    return tuple(length.to_bytes(size, "big") for length in range(min(10**digits, 256**size)))


def _latin(value: str) -> bytes:
    return value.encode("latin-1")


def _ebcdic(value: str) -> bytes:
    return value.encode(EBCDIC)


def _spec(packing: Packing) -> Mapping[str, Any]:
    """Gives pyiso8583's description of one element."""
    form = packing.format
    digits = form.indicator
    spec = {
        "data_enc": "latin-1" if form.kind == "t" and packing.coding == "ascii" else _ENCODINGS[packing.coding],
        "len_enc": {"binary": "b", "ebcdic": EBCDIC}.get(packing.indicator_coding, packing.indicator_coding),
        "len_type": digits if packing.indicator_coding in ("ascii", "ebcdic") else (digits + 1) // 2,
        "max_len": form.length * 2 if packing.coding == "hex" else form.length,
        "len_count": "nibbles" if packing.coding == "bcd" else "bytes",
        "desc": "",
    }
    if packing.coding == "bcd":
        spec[f"{packing.pad_side}_pad"] = packing.pad
    return spec


def _fixed(length: int, encoding: str) -> Mapping[str, Any]:
    return {"data_enc": encoding, "len_enc": "ascii", "len_type": 0, "max_len": length, "desc": ""}


def _complaint(plan: _Plan, value: str) -> str:
    """Says what is wrong with a value without showing any of it."""
    form = plan.packing.format
    size = len(value) // 2 if form.kind == "b" else len(value)
    unit = {"n": "digits", "z": "digits or =", "b": "bytes as upper-case hexadecimal"}.get(form.kind, "characters")
    wanted = f"{form.length} {unit}" if not form.indicator else f"at most {form.length} {unit}"
    if size == form.length or (form.indicator and 0 < size < form.length):
        return f"has a character that class {form.kind!r} does not allow"
    return f"must be {wanted}, has {size}"
