"""The real SQLite journal under a simulated run: its files are copied at each crash and opened again.

A process that dies leaves what it wrote; so does a power cut here, because what was not synced cannot be taken back
from the kernel's cache (tests/crash does that, write by write).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

from agent.journal import Journal
from agent.journal_contract import Entry, JournalFailed, JournalFull, Store
from agent.vault import Vault
from agent.verify import VerifyReport, walk
from tests.simulation.disk import SimulatedDisk
from tests.simulation.world import World


class RealStorage:
    """See `tests.simulation.process.Storage`."""

    def __init__(self, world: World, directory: Path) -> None:
        self.disk = SimulatedDisk()
        self._world = world
        self._images = (directory / f"image-{number}" for number in count())
        self._here = next(self._images)
        self._here.mkdir(parents=True)
        self._journal: Journal | None = None

    def open(self, journal_step: Callable[[str], None]) -> Store:
        """The journal of the newest image."""
        here = self._here
        vault = Vault.open_or_create(here / "data.key", (here / "journal.db", here / "highwater"))
        self._journal = Journal.open(here / "journal.db", vault, here / "highwater", presize_bytes=0, reserve_bytes=0)
        return _Stepped(self._journal, self.disk, journal_step, self._world)  # type: ignore[return-value]

    def verified(self) -> VerifyReport:
        """The whole chain of the last image, with its seals and its high-water mark."""
        self.close()
        here = self._here
        vault = Vault.open_or_create(here / "data.key", (here / "journal.db", here / "highwater"))
        return walk(here / "journal.db", vault, here / "highwater")

    def process_ends(self, *, power: bool) -> None:
        """What the files hold now is what the next process finds."""
        image = next(self._images)
        shutil.copytree(self._here, image)
        self.close()
        self._here = image

    def close(self) -> None:
        """Let go of the files of the process that ended."""
        if self._journal is not None:
            self._journal._connection.close()
            self._journal._files.mark.close()
            self._journal._files.lock.release()
        self._journal = None


class _Stepped:
    """The real journal; the process may die before and after each commit, and a sync may fail."""

    def __init__(self, journal: Journal, disk: SimulatedDisk, step: Callable[[str], None], world: World) -> None:
        self._journal = journal
        self._disk = disk
        self._step = step
        self._world = world
        self._failed = False

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        """One commit of the real journal."""
        if self._failed:
            raise JournalFailed("a write failed before", "restart")
        self._step("before the commit")
        if self._disk.read_only:
            self._fail()
        seq = self._journal.append(entries, counters or {})
        if self._world.swarm.strikes("sync-fails"):
            self._fail()
        self._step("after the commit")
        return seq

    def admit(self) -> None:
        """The simulated disk's word, then the journal's own."""
        if self._disk.full or self._disk.read_only:
            raise JournalFull("the simulated disk is full", "free space")
        self._journal.admit()

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)

    def _fail(self) -> None:
        self._failed = True
        raise JournalFailed("simulated: outcome unknown", "restart")
