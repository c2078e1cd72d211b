"""The write-ahead log of SQLite, read only to notice damage about which SQLite is silent.

SQLite takes the log up to its first invalid frame and ignores the rest: right after a power cut (the rest was one
commit, never acknowledged), but one flipped byte in the middle makes every later commit vanish without an error. The
difference can be seen: behind the invalid frame there is at most one unacknowledged commit, so frames of two or more
commits of the same generation (salt) mean that acknowledged ones are lost. A damaged header hides the whole log; then
its pages must at least stand in the database already.

Source: SQLite file format (sqlite.org/fileformat2.html), section 4: header of 32 bytes (magic, version, page size,
checkpoint number, salt 1, salt 2, checksum 1, 2), frames of 24 bytes (page, pages after commit or 0, salts, checksums)
plus a page; all big-endian words, the checksums in the byte order that the last bit of the magic names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from agent.journal_space import FRAME_BYTES, PAGE_BYTES

HEADER_BYTES = 32
# What SQLite takes for a sector on unix (SQLITE_DEFAULT_SECTOR_SIZE) and pads each commit to with psow=0 (wal.c).
SECTOR_BYTES = 4096
_FRAME_HEADER = struct.Struct(">II8sII")
_SALTS = slice(16, 24)
_MAGIC_LITTLE = 0x377F0682  # checksums over little-endian words
_VERSION = 3007000


class Frame(NamedTuple):
    """The header of one frame; `commit_pages` is not 0 where a commit ends."""

    number: int
    page: int
    commit_pages: int
    salts: bytes


def commits_behind(log: Path, valid_frames: int) -> int:
    """Commits of the log's own generation behind the frames that SQLite accepts: more than one cannot be honest.

    0 if the header is not valid: it may be the torn start of a new generation, and `hidden_pages` judges the old one.
    """
    with log.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not _header_is_valid(header):
            return 0
        commits = list(_commits(_frames(stream, 0), header[_SALTS]))
        return sum(number >= valid_frames for number in commits)


def hidden_pages(log: Path, database: Path) -> int:
    """Pages of a log with a damaged header which the database does not hold: 0 if header or database is whole.

    Must run before SQLite opens the database: closing a second descriptor of a file drops SQLite's locks on it.
    """
    if not log.exists() or not database.exists():
        return 0
    with log.open("rb") as stream, database.open("rb") as pages:
        header = stream.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not any(header) or _header_is_valid(header):
            return 0
        generation = list(_first_generation(stream))
        if len(list(_commits(generation, generation[0].salts if generation else b""))) < 2:
            return 0
        newest = {frame.page: frame.number for frame in generation}
        return sum(_page(stream, index) != _database_page(pages, page) for page, index in newest.items())


def rejoin(log: Path) -> int:
    """Makes every frame of a damaged log valid again, for a salvage on a private copy; returns how many there are.

    An honest log (at most one unacknowledged commit behind its valid frames) stays as it is: 0.
    """
    if not log.exists():
        return 0
    data = bytearray(log.read_bytes())
    count = (len(data) - HEADER_BYTES) // FRAME_BYTES
    if count < 1:
        return 0
    sound = _header_is_valid(bytes(data[:HEADER_BYTES]))
    if sound and commits_behind(log, _valid_frames(data, count)) < 2:
        return 0
    salts = bytes(data[_SALTS] if sound else data[HEADER_BYTES + 8 : HEADER_BYTES + 16])
    frames = max((i + 1 for i in range(count) if bytes(_frame(data, i)[8:16]) == salts), default=0)
    _rewrite(data, frames, salts)
    log.write_bytes(data[: HEADER_BYTES + frames * FRAME_BYTES])
    return frames


def _rewrite(data: bytearray, frames: int, salts: bytes) -> None:
    """A header with these salts, and the salts and checksums of the first `frames` frames anew."""
    struct.pack_into(">4I", data, 0, _MAGIC_LITTLE, _VERSION, PAGE_BYTES, 0)
    data[_SALTS] = salts
    sums = checksum(bytes(data[:24]), False)
    struct.pack_into(">2I", data, 24, *sums)
    for index in range(frames):
        start = HEADER_BYTES + index * FRAME_BYTES
        data[start + 8 : start + 16] = salts
        sums = _frame_checksum(data, index, False, sums)
        struct.pack_into(">2I", data, start + 16, *sums)


def _valid_frames(data: bytearray, count: int) -> int:
    """Frames that SQLite accepts, whether or not a commit ends with the last one."""
    magic, *_, one, two = struct.unpack_from(">8I", data)
    sums = (one, two)
    for index in range(count):
        sums = _frame_checksum(data, index, bool(magic & 1), sums)
        frame = _frame(data, index)
        if frame[8:16] != data[_SALTS] or struct.unpack_from(">2I", frame, 16) != sums:
            return index
    return count


def _frame(data: bytearray, index: int) -> bytearray:
    start = HEADER_BYTES + index * FRAME_BYTES
    return data[start : start + FRAME_BYTES]


def _frame_checksum(data: bytearray, index: int, big_endian: bool, before: tuple[int, int]) -> tuple[int, int]:
    frame = _frame(data, index)
    return checksum(bytes(frame[24:]), big_endian, checksum(bytes(frame[:8]), big_endian, before))


def checksum(data: bytes, big_endian: bool, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """SQLite's log checksum over `data` (a multiple of 8 bytes), continued from `before`."""
    one, two = before
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _header_is_valid(header: bytes) -> bool:
    magic, *_, one, two = struct.unpack(">8I", header)
    return magic & ~1 == _MAGIC_LITTLE and checksum(header[:24], bool(magic & 1)) == (one, two)


def _frames(stream: BinaryIO, start: int) -> Iterator[Frame]:
    index = start
    while True:
        stream.seek(HEADER_BYTES + index * FRAME_BYTES)
        header = stream.read(_FRAME_HEADER.size)
        if len(header) < _FRAME_HEADER.size:
            return
        page, commit_pages, salts, _, _ = _FRAME_HEADER.unpack(header)
        yield Frame(index, page, commit_pages, salts)
        index += 1


def _first_generation(stream: BinaryIO) -> Iterator[Frame]:
    salts = b""
    for frame in _frames(stream, 0):
        salts = salts or frame.salts
        if frame.salts != salts or not frame.page:
            return
        yield frame


def _commits(frames: Iterable[Frame], salts: bytes) -> Iterator[int]:
    """Numbers of the frames of this generation with which commits end; `frames` are those from the first one on.

    Behind the last frame of a commit stands a copy of it, unless the commit ends with a sector (psow=0). Its place
    tells it: the next commit often consists of one frame too, of the same page; and a copy may be half written.
    """
    padding = -1
    for frame in frames:
        if frame.number == padding or frame.salts != salts or not frame.commit_pages:
            continue
        yield frame.number
        if (HEADER_BYTES + (frame.number + 1) * FRAME_BYTES) % SECTOR_BYTES:
            padding = frame.number + 1


def _page(stream: BinaryIO, index: int) -> bytes:
    stream.seek(HEADER_BYTES + index * FRAME_BYTES + _FRAME_HEADER.size)
    return stream.read(PAGE_BYTES)


def _database_page(pages: BinaryIO, number: int) -> bytes:
    pages.seek((number - 1) * PAGE_BYTES)
    return pages.read(PAGE_BYTES)
