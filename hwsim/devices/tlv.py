"""BER-TLV and data object lists as EMV cards write them. Source: EMV Book 3, annex B and section 5.4."""

from __future__ import annotations


def tlv(tag: str, value: bytes) -> bytes:
    """One object; `tag` in hex, value up to 255 bytes."""
    length = bytes([len(value)]) if len(value) < 0x80 else bytes([0x81, len(value)])
    return bytes.fromhex(tag) + length + value


def object_list(data: bytes) -> list[tuple[str, int]]:
    """The (tag, length) pairs of a PDOL or CDOL."""
    pairs = []
    at = 0
    while at < len(data):
        end = at + (2 if data[at] & 0x1F == 0x1F else 1)
        pairs.append((data[at:end].hex().upper(), data[end]))
        at = end + 1
    return pairs


def list_length(data: bytes) -> int:
    """How many bytes the terminal has to give for this PDOL or CDOL."""
    return sum(length for _tag, length in object_list(data))


def list_value(data: bytes, tag: str, values: bytes) -> bytes:
    """The value of `tag` among `values` given for the list `data`; empty when the list does not ask for it."""
    at = 0
    for name, length in object_list(data):
        if name == tag:
            return values[at : at + length]
        at += length
    return b""
