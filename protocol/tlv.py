"""Chip data (element 55) as tags: BER-TLV, just enough to keep some and drop the rest. Source: EMV book 3 annex B."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocol.errors import MessageError


def pick_tags(chip_data: str, tags: Sequence[str]) -> str:
    """Gives the chip data (hexadecimal) with only these tags, in the order of `tags`.

    Raises MessageError when the data cannot be read: nothing of unknown shape is kept.
    """
    found = dict(read_tags(chip_data))
    return "".join(_write(tag, found[tag]) for tag in tags if tag in found)


def read_tags(chip_data: str) -> Iterator[tuple[str, str]]:
    """Gives the tags of the outermost level with their values, both hexadecimal. Raises MessageError when cut."""
    data = bytes.fromhex(chip_data)
    offset = 0
    while offset < len(data):
        if data[offset] in (0x00, 0xFF):  # filler between data objects
            offset += 1
            continue
        start = offset
        offset = _tag_end(data, offset)
        tag = data[start:offset].hex().upper()
        length, offset = _length(data, offset)
        if offset + length > len(data):
            raise MessageError(f"chip data ends in tag {tag}", field=55)
        yield tag, data[offset : offset + length].hex().upper()
        offset += length


def _tag_end(data: bytes, offset: int) -> int:
    """Gives the offset after a tag: more bytes follow a first byte whose low five bits are set."""
    more = data[offset] & 0x1F == 0x1F
    offset += 1
    while more and offset < len(data):
        more = bool(data[offset] & 0x80)
        offset += 1
    return offset


def _length(data: bytes, offset: int) -> tuple[int, int]:
    """Gives a length and the offset after it: one byte, or 81 nn, or 82 nn nn."""
    first = data[offset] if offset < len(data) else 0x80
    if first < 0x80:
        return first, offset + 1
    count = first - 0x80
    end = offset + 1 + count
    if count not in (1, 2) or end > len(data):
        raise MessageError("chip data ends in a length", field=55)
    return int.from_bytes(data[offset + 1 : end], "big"), end


def _write(tag: str, value: str) -> str:
    size = len(value) // 2
    length = f"{size:02X}" if size < 0x80 else f"81{size:02X}" if size < 0x100 else f"82{size:04X}"
    return tag + length + value
