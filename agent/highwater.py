"""The high-water mark: the last sequence number and chain value, outside the database.

SQLite ends its log at the first damaged frame without a word: what stood behind it is gone, and the rest looks whole.
The mark notices. It is written after each commit, never before, so an honest disk can never show a mark ahead of the
journal: a mark ahead always means lost records, a mark behind is normal after a crash.

The file has two slots in two blocks of 4 KiB. One holds the mark of the last `sync`, the other takes every write since
then; `sync` changes their parts. So whatever a power cut makes of unforced writes, one slot is whole. A write goes to
the page cache at once (it outlives the process); `sync` comes every few commits, at start and at close, because a
forced write a commit would double the flushes. What that means for a power cut stands in docs/durability.md.

    slot   magic "RHWM" | version 01 | 3 zero bytes | journal id (16) | seq (8) | chain (32) | CRC-32 of all before (4)
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from agent.durable_file import create_durably
from protocol.frozen import dataclass

MAGIC = b"RHWM\x01\0\0\0"
SLOT_SPACING_BYTES = 4096
SLOTS = 2
_BODY = struct.Struct(">8s16sQ32s")
_CRC = struct.Struct(">I")
SLOT_BYTES = _BODY.size + _CRC.size


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest record that was acknowledged, as far as the mark got to the disk."""

    journal_id: str
    seq: int
    chain: bytes


class HighWater:
    """The mark's file, open for writing."""

    def __init__(self, descriptor: int, slot: int) -> None:
        self._descriptor = descriptor
        self._slot = slot

    @classmethod
    def open(cls, path: Path, mark: Mark) -> HighWater:
        """Opens (or creates) the file and writes `mark` durably into it. Raises OSError."""
        if not path.exists():
            create_durably(path, whole_file(mark))
        high_water = cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), _slot_after_newest(_read_slots(path)))
        high_water.write(mark)
        high_water.sync()
        return high_water

    def write(self, mark: Mark) -> None:
        """Writes the mark to the page cache, beside the last one that was forced to the disk. Raises OSError."""
        data = encode(mark)
        if os.pwrite(self._descriptor, data, self._slot * SLOT_SPACING_BYTES) != len(data):
            raise OSError(0, "short write of the high-water mark")

    def sync(self) -> None:
        """Forces the mark to the disk. Raises OSError."""
        os.fdatasync(self._descriptor)
        self._slot = (self._slot + 1) % SLOTS

    def close(self) -> None:
        """Closes without a sync."""
        os.close(self._descriptor)


def read_mark(path: Path) -> Mark | None:
    """The newest valid mark; None if the file does not exist. Raises ValueError if it holds no valid mark, OSError."""
    if not path.exists():
        return None
    marks = [mark for mark in _read_slots(path) if mark is not None]
    if not marks:
        raise ValueError("no slot of the high-water file is valid")
    return max(marks, key=lambda mark: mark.seq)


def encode(mark: Mark) -> bytes:
    """One slot."""
    body = _BODY.pack(MAGIC, bytes.fromhex(mark.journal_id), mark.seq, mark.chain)
    return body + _CRC.pack(zlib.crc32(body))


def whole_file(mark: Mark) -> bytes:
    """A file that holds this mark alone."""
    return encode(mark).ljust(SLOTS * SLOT_SPACING_BYTES, b"\0")


def decode(data: bytes) -> Mark | None:
    """The mark of one slot; None if it is damaged or was never written."""
    if len(data) < SLOT_BYTES or data[:8] != MAGIC:
        return None
    body = data[: _BODY.size]
    if _CRC.unpack_from(data, _BODY.size)[0] != zlib.crc32(body):
        return None
    _, journal_id, seq, chain = _BODY.unpack(body)
    return Mark(journal_id.hex(), seq, chain)


def _read_slots(path: Path) -> list[Mark | None]:
    data = path.read_bytes()
    return [decode(data[slot * SLOT_SPACING_BYTES :]) for slot in range(SLOTS)]


def _slot_after_newest(slots: list[Mark | None]) -> int:
    newest = max(range(SLOTS), key=lambda slot: mark.seq if (mark := slots[slot]) else -1)
    return (newest + 1) % SLOTS
