"""Keeps the second copy (agent/mirror.py) up to date beside the running agent, never in its way.

At start, before anything is sent, what the journal lost is brought back from the copy. Afterwards every change is
copied by a thread of its own; a slow or missing medium only makes the copy fall behind, which the status says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.journal import Journal
from agent.mirror import Mirror, MirrorError, image_of, merge
from agent.vault import Vault

# The copy may take this share of the time at most: with thousands of items it falls behind a little instead.
SHARE = 10.0

log = logging.getLogger("reversald")


class SecondCopy:
    """`path` as configured; two files grow beside it."""

    def __init__(self, path: Path, vault: Vault, journal: Journal) -> None:
        self._mirror = Mirror(path, vault)
        self._journal = journal
        self._dirty = False
        self._working = False
        self._failed = False

    def recover(self) -> None:
        """Bring back what the journal lost. A copy that cannot be read is an error in the log, not a reason to stop."""
        try:
            image = self._mirror.load()
        except MirrorError as error:
            log.error("%s", error)
            return
        if image is None:
            return
        merged = merge(self._journal, image)
        for txn_id in merged.added:
            log.error("%s was missing in the journal and is back from the second copy", txn_id)
        for txn_id in merged.doubtful:
            log.error("%s differs between journal and second copy: compare it with the host", txn_id)

    def changed(self, spawn: Callable[[Any], None]) -> None:
        """Something was stored: copy it soon."""
        self._dirty = True
        if not self._working:
            self._working = True
            spawn(self._work())

    def warnings(self) -> tuple[str, ...]:
        """For the status; empty while the copy is whole and up to date."""
        status = self._mirror.status(self._journal.health().head_seq)
        if status.error:
            return (f"W-STORE-MIRROR: {status.error}; the copy is {status.behind} records behind",)
        return ()

    async def _work(self) -> None:
        aio = asyncio.get_running_loop()
        try:
            while self._dirty:
                self._dirty = False
                began = aio.time()
                image = image_of(self._journal)
                self._report(await asyncio.to_thread(self._mirror.save, image))
                await asyncio.sleep(SHARE * (aio.time() - began))
        finally:
            self._working = False

    def _report(self, saved: bool) -> None:
        if saved and self._failed:
            log.info("the second copy can be written again")
        if not saved and not self._failed:
            log.error("%s", self._mirror.status(0).error)
        self._failed = not saved
