"""EMV data: BER-TLV, data object lists, file locator, track 2, and the chip data of a message (DE 55).

This is the data side of an EMV-like card session for test cards. It is NOT a certified EMV kernel: no
offline data authentication, no terminal risk management, no cardholder verification by the card.

Sources: EMV 4.3 Book 3 annex A and B (tags, BER-TLV), 5.4 (DOL), 10.2 (AFL); Book 1 12.2 (PSE).

Rule: values are card data; no error text and no repr shows one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from protocol.errors import FrameError
from protocol.frozen import dataclass

PSE_NAME = b"1PAY.SYS.DDF01"

# EMV 4.3 Book 3 annex A1
TAG_AID, TAG_LABEL, TAG_TRACK2, TAG_PAN = "4F", "50", "57", "5A"
TAG_TEMPLATE, TAG_SFI, TAG_PRIORITY = "61", "88", "87"
TAG_EXPIRY, TAG_SEQUENCE = "5F24", "5F34"
TAG_CDOL1, TAG_CDOL2, TAG_PDOL = "8C", "8D", "9F38"
TAG_AIP, TAG_AFL, TAG_ARC, TAG_ISSUER_AUTH = "82", "94", "8A", "91"
TAG_CID, TAG_CRYPTOGRAM, TAG_ATC, TAG_IAD = "9F27", "9F26", "9F36", "9F10"
TAG_LAST_ONLINE_ATC = "9F13"
TAG_SCRIPT_71, TAG_SCRIPT_72, TAG_SCRIPT_COMMAND = "71", "72", "86"

# The data elements of DE 55 in an online request. UnionPay's list (Q/CUP 006 part 1, F55 usage 1) as the
# common open terminals send it; assumed complete for test hosts.
ONLINE_TAGS = (
    *("9F26", "9F27", "9F10", "9F37", "9F36", "95", "9A", "9C", "9F02", "5F2A"),
    *("82", "9F1A", "9F03", "9F33", "9F34", "9F35", "9F1E", "84", "9F09", "9F41"),
)

TREE_DEPTH_MAX = 8


@dataclass(frozen=True, slots=True, repr=False)
class Tlv:
    """One data object; `tag` is upper-case hex."""

    tag: str
    value: bytes

    def __repr__(self) -> str:
        return f"Tlv({self.tag}, {len(self.value)} bytes)"

    @property
    def constructed(self) -> bool:
        """Its value is a list of data objects (bit 6 of the first tag byte)."""
        return bool(int(self.tag[:2], 16) & 0x20)


def parse_tlv(data: bytes) -> list[Tlv]:
    """The data objects of one level; 00 and FF between objects is padding (Book 3, B1). Raises FrameError."""
    objects, position = [], 0
    while position < len(data):
        if data[position] in (0x00, 0xFF):
            position += 1
            continue
        tag, position = _tag(data, position)
        length, position = _length(data, position)
        if position + length > len(data):
            raise FrameError(f"data object {tag} ends behind its template", position)
        objects.append(Tlv(tag, data[position : position + length]))
        position += length
    return objects


def _tag(data: bytes, position: int) -> tuple[str, int]:
    end = position + 1
    if data[position] & 0x1F == 0x1F:
        while end < len(data) and data[end] & 0x80:
            end += 1
        end += 1
    if end > len(data) or end - position > 4:
        raise FrameError("a data object's tag is cut off or too long", position)
    return data[position:end].hex().upper(), end


def _length(data: bytes, position: int) -> tuple[int, int]:
    if position >= len(data):
        raise FrameError("a data object has no length", position)
    first = data[position]
    if first < 0x80:
        return first, position + 1
    count = first & 0x7F
    if not 1 <= count <= 2 or position + 1 + count > len(data):
        raise FrameError("a data object's length is cut off or too long", position)
    return int.from_bytes(data[position + 1 : position + 1 + count], "big"), position + 1 + count


def walk(data: bytes, depth: int = 0) -> Iterator[Tlv]:
    """All data objects, templates before their content. Raises FrameError."""
    if depth > TREE_DEPTH_MAX:
        raise FrameError(f"templates nested deeper than {TREE_DEPTH_MAX}")
    for item in parse_tlv(data):
        yield item
        if item.constructed:
            yield from walk(item.value, depth + 1)


def values(data: bytes) -> dict[str, bytes]:
    """Tag -> value of every data object in the tree; the first of equal tags counts. Raises FrameError."""
    found: dict[str, bytes] = {}
    for item in walk(data):
        found.setdefault(item.tag, item.value)
    return found


def build_tlv(tag: str, value: bytes) -> bytes:
    """Tag, shortest length, value. Raises FrameError."""
    size = len(value)
    if size > 0xFFFF:
        raise FrameError(f"data object {tag} of {size} bytes")
    return bytes.fromhex(tag) + _encoded_length(size) + value


def _encoded_length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    return bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")


def chip_data(tags: Iterable[str], known: Mapping[str, bytes]) -> str:
    """DE 55 as upper-case hex: the known ones of `tags`, in their order."""
    return b"".join(build_tlv(tag, known[tag]) for tag in tags if tag in known).hex().upper()


def parse_dol(data: bytes) -> list[tuple[str, int]]:
    """The (tag, length) entries of a data object list. Raises FrameError."""
    entries, position = [], 0
    while position < len(data):
        tag, position = _tag(data, position)
        length, position = _length(data, position)
        entries.append((tag, length))
    return entries


# Numeric (n) elements are cut and padded at the left, all others at the right (Book 3, 5.4).
NUMERIC_TAGS = frozenset({"9F02", "9F03", "9F1A", "5F2A", "9A", "9C", "9F21", "9F35", "9F41", "5F36"})


def fill_dol(dol: bytes, known: Mapping[str, bytes]) -> bytes:
    """The concatenated values that the card asks for; unknown ones are zeros. Raises FrameError."""
    return b"".join(_fit(tag, known.get(tag, b""), length) for tag, length in parse_dol(dol))


def _fit(tag: str, value: bytes, length: int) -> bytes:
    if tag in NUMERIC_TAGS:
        return value[-length:].rjust(length, b"\0") if length else b""
    return value[:length].ljust(length, b"\0")


@dataclass(frozen=True, slots=True)
class FileRange:
    """Records `first`..`last` of one short file."""

    sfi: int
    first: int
    last: int


def parse_afl(data: bytes) -> list[FileRange]:
    """Raises FrameError: not a multiple of four, SFI 0 or 31, records that run backwards."""
    if len(data) % 4 or len(data) > 252:
        raise FrameError(f"a file locator of {len(data)} bytes", len(data))
    ranges = [FileRange(data[i] >> 3, data[i + 1], data[i + 2]) for i in range(0, len(data), 4)]
    for entry in ranges:
        if not 1 <= entry.sfi <= 30 or not 1 <= entry.first <= entry.last:
            raise FrameError("a file locator entry that names no records")
    return ranges


def parse_processing_options(raw: bytes) -> tuple[bytes, list[FileRange]]:
    """AIP and file ranges of a GET PROCESSING OPTIONS answer, format 1 (80) or 2 (77). Raises FrameError."""
    found = values(raw)
    if "80" in found:
        return found["80"][:2], parse_afl(found["80"][2:])
    if TAG_AFL not in found:
        raise FrameError("the card names no records to read")
    return found.get(TAG_AIP, b""), parse_afl(found[TAG_AFL])


def parse_cryptogram(raw: bytes) -> dict[str, bytes]:
    """9F27, 9F36, 9F26, 9F10 of a GENERATE AC answer, format 1 (80) or 2 (77). Raises FrameError."""
    found = values(raw)
    packed = found.get("80")
    if packed is not None and len(packed) >= 11:
        parts = (packed[:1], packed[1:3], packed[3:11], packed[11:])
        found = dict(zip((TAG_CID, TAG_ATC, TAG_CRYPTOGRAM, TAG_IAD), parts, strict=True))
    missing = [tag for tag in (TAG_CID, TAG_ATC, TAG_CRYPTOGRAM) if tag not in found]
    if missing:
        raise FrameError(f"the card's cryptogram lacks {', '.join(missing)}")
    return {tag: found[tag] for tag in (TAG_CID, TAG_ATC, TAG_CRYPTOGRAM, TAG_IAD) if found.get(tag)}


CRYPTOGRAM_NAMES = {0x00: "AAC", 0x40: "TC", 0x80: "ARQC"}


def cryptogram_name(cid: int) -> str:
    """AAC (declined), TC (approved) or ARQC (ask the host), from 9F27."""
    return CRYPTOGRAM_NAMES.get(cid & 0xC0, "RFU")


@dataclass(frozen=True, slots=True)
class Application:
    """One entry of the payment system's directory. Lower priority number first; 0 = none given."""

    aid: str
    label: str
    priority: int


def parse_directory_record(raw: bytes) -> list[Application]:
    """The applications (61) of one directory record. Raises FrameError."""
    found = []
    for item in walk(raw):
        entry = {child.tag: child.value for child in parse_tlv(item.value)} if item.tag == TAG_TEMPLATE else {}
        if TAG_AID in entry:
            priority = entry.get(TAG_PRIORITY, b"\0")[:1] or b"\0"
            found.append(Application(entry[TAG_AID].hex().upper(), text(entry.get(TAG_LABEL, b"")), priority[0] & 0x0F))
    return found


def choose(applications: Sequence[Application], accepted: Sequence[str]) -> list[Application]:
    """Those whose AID begins with an accepted one (empty: all), the card's priority first."""
    fit = [a for a in applications if not accepted or any(a.aid.startswith(prefix) for prefix in accepted)]
    return sorted(fit, key=lambda a: a.priority or 16)


def text(value: bytes) -> str:
    """A label's printable characters."""
    return "".join(chr(byte) for byte in value if 0x20 <= byte < 0x7F)


@dataclass(frozen=True, slots=True, repr=False)
class Track2:
    """SECRET. Track 2 equivalent data; `text` has '=' as separator and no padding."""

    text: str
    pan: str
    expiry: str  # YYMM


def parse_track2(value: bytes) -> Track2:
    """Tag 57: PAN, D, YYMM, service code, discretionary data, F padding. Raises FrameError."""
    digits = value.hex().upper().rstrip("F")
    pan, separator, rest = digits.partition("D")
    if not separator or not 8 <= len(pan) <= 19 or not (pan + rest).isdecimal() or len(rest) < 4 or len(digits) > 37:
        raise FrameError("track 2 equivalent data of a wrong shape")
    return Track2(f"{pan}={rest}", pan, rest[:4])


def parse_pan(value: bytes) -> str:
    """SECRET. Tag 5A: digits, F padding. Raises FrameError."""
    pan = value.hex().upper().rstrip("F")
    if not 8 <= len(pan) <= 19 or not pan.isdecimal():
        raise FrameError("a card number of a wrong shape")
    return pan
