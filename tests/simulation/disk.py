"""A simulated disk, and the journal's contract kept on it.

What the disk may do, and nothing else:
* Written and synced bytes stay, until a bit flips; a flipped bit is found when the journal is opened.
* Written bytes that were not synced survive the death of the process. At a power cut each sector of them is kept,
  lost (zeros) or filled with noise, each by itself: torn and reordered writes.
* A sync may fail; then nobody knows what of it is on the disk, and the process must end.
* A full disk refuses new sales by `admit`; acknowledgements still have room. A read-only disk refuses every write.
The high-water mark stands in another file: fewer commits than it says is a lost tail, never "empty".
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from zlib import crc32

from agent.journal_contract import Entry, JournalUnreadable
from tests.simulation.memory_journal import Image, MemoryJournal

SECTOR_BYTES = 512
HEAD_BYTES = 8

Commit = tuple[tuple[tuple[object, ...], ...], dict[str, int]]


class SimulatedDisk:
    """One file that only grows, and the mark beside it."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.unsynced = b""
        self.mark = 0
        self.full = False
        self.read_only = False
        self.flipped: tuple[int, int] | None = None
        self.chain = 0

    def write(self, frame: bytes) -> None:
        """Into the cache of the system: a power cut may lose it."""
        self.unsynced += frame

    def sync(self) -> None:
        """Everything written is on the medium."""
        self.synced += self.unsynced
        self.unsynced = b""

    def process_ends(self) -> None:
        """The system keeps what a dead process wrote, and the next start forces it out before it is believed."""
        self.sync()

    def power_ends(self, draw: Random) -> None:
        """Each unsynced sector is kept, lost or filled with noise."""
        for start in range(0, len(self.unsynced), SECTOR_BYTES):
            sector = self.unsynced[start : start + SECTOR_BYTES]
            fate = draw.random()
            if fate < 0.5:
                self.synced += sector
            elif fate < 0.8:
                self.synced += bytes(len(sector))
            else:
                self.synced += draw.randbytes(len(sector))
        self.unsynced = b""

    def flip(self, draw: Random) -> bool:
        """One bit of what was synced; whether there was any."""
        if not self.synced or self.flipped:
            return False
        self.flipped = (draw.randrange(len(self.synced)), 1 << draw.randrange(8))
        self.synced[self.flipped[0]] ^= self.flipped[1]
        return True

    def restore(self) -> None:
        """A technician puts the second copy back."""
        if self.flipped:
            self.synced[self.flipped[0]] ^= self.flipped[1]
        self.flipped = None

    def commits(self) -> list[Commit]:
        """All whole commits from the start; what follows the first damaged one is cut off. Raises JournalUnreadable."""
        found: list[Commit] = []
        at = self.chain = 0
        while at + HEAD_BYTES <= len(self.synced):
            size = int.from_bytes(self.synced[at : at + 4], "big")
            body = bytes(self.synced[at + HEAD_BYTES : at + HEAD_BYTES + size])
            chain = crc32(body, self.chain)
            if not size or len(body) < size or int.from_bytes(self.synced[at + 4 : at + HEAD_BYTES], "big") != chain:
                break
            self.chain = chain
            found.append(marshal.loads(body))
            at += HEAD_BYTES + size
        if len(found) < self.mark:
            what = f"{self.mark} commits were stored, {len(found)} can be read"
            raise JournalUnreadable("DAMAGED", Path("simulated"), what, "restore the second copy")
        del self.synced[at:]
        self.flipped = None  # what can be read to its end is whole: the bit was in a tail that was cut off
        return found


def _nothing(_: str) -> None:
    """No step is watched."""


class DiskJournal(MemoryJournal):
    """The journal's contract on a simulated disk. `step` is told where a process may die; `sync_fails` may say so."""

    def __init__(
        self,
        disk: SimulatedDisk,
        step: Callable[[str], None] = _nothing,
        sync_fails: Callable[[], bool] = lambda: False,
    ) -> None:
        commits = disk.commits()
        super().__init__(_image(commits))
        self._disk = disk
        self._step = step
        self._sync_fails = sync_fails
        self._chain = disk.chain
        self._written = len(commits)
        disk.mark = self._written

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        """One commit: written, synced, then believed."""
        self._refuse_in_doubt()
        self._step("before the commit")
        if self._disk.read_only:
            self._fail()
        self._disk.write(self._frame(entries, dict(counters or {})))
        self._step("within the commit")
        if self._sync_fails():
            self._fail()
        self._disk.sync()
        self._written += 1
        self._store(entries, dict(counters or {}))
        self._step("after the commit")
        self._disk.mark = self._written
        return self._head

    def admit(self) -> None:
        """Refused while the disk is full or read-only."""
        self.full = self._disk.full or self._disk.read_only
        super().admit()

    def _frame(self, entries: Sequence[Entry], counters: dict[str, int]) -> bytes:
        body = marshal.dumps((tuple(_plain(entry) for entry in entries), counters))
        self._chain = crc32(body, self._chain)
        return len(body).to_bytes(4, "big") + self._chain.to_bytes(4, "big") + body


def _plain(one: Entry) -> tuple[object, ...]:
    return (
        one.txn_id,
        one.lane,
        one.reference,
        one.state,
        one.pending,
        one.event,
        one.public,
        one.secret,
        one.at_utc,
    )


def _image(commits: Sequence[Commit]) -> Image:
    entries: list[tuple[int, int, Entry]] = []
    counters: dict[str, int] = {}
    newest: dict[str, int] = {}
    head = 0
    for plain, counted in commits:
        counters |= counted
        head += 0 if plain else 1
        for values in plain:
            entry = Entry(*values)  # type: ignore[arg-type]
            head += 1
            entries.append((head, newest.get(entry.txn_id, 0), entry))
            newest[entry.txn_id] = head
    return Image(tuple(entries), tuple(counters.items()), head)
