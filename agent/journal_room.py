"""How the journal keeps its room while it works: the log within its length, free pages at hand when the disk is short.

While the disk has room, the database simply grows: its new pages stand in the log until the next checkpoint, and the
ballast holds more room than they can need, should the disk be full by then. When the disk is short, filler is given up
for free pages instead, so that nothing grows any more. Raises sqlite3.Error and OSError.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agent import journal_space as space

MIB = 1 << 20
# The disk is asked anew after so many pages (0.5 MiB); the ballast holds more than can grow between two checkpoints.
ASK_PAGES = 128
# At rest: so many pages in the log are worth two syncs.
REST_FRAMES = 200


class Room:
    """Of the journal at `path`."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, rows: int, reserve_bytes: int, checkpoint_frames: int
    ) -> None:
        self._connection = connection
        self._directory = path.parent
        self._path = path
        self.rows = rows  # of filler, when complete
        self._log_bytes = rows * space.FILLER_PAGES * space.FRAME_BYTES
        self._keep_bytes = max(reserve_bytes, MIB)
        self._ballast = space.Ballast(path, self._log_bytes + MIB // 4)
        self._frames = 0
        self._unasked = 0  # pages by which the database may grow before the disk is asked again
        # A quarter of the log is left for what comes in one piece: filler, a large entry.
        limit = rows * space.FILLER_PAGES * 3 // 4
        self._frames_max = min(checkpoint_frames, limit) if rows else checkpoint_frames

    def take(self, reserve_bytes: int) -> None:
        """Brings log, filler and ballast to full size, as far as the disk has room."""
        missing = self.rows - space.filler_rows(self._connection)
        if missing > 0 or space.log_bytes(self._path) < self._log_bytes:
            self._fill(max(0, missing) * space.FILLER_BYTES + self._log_bytes + MIB // 4)
        if self.rows:
            self._ballast.take(reserve_bytes)

    @property
    def may_wait(self) -> bool:
        """Whether `take` has time: the ballast holds the log's room, and the disk has more than enough."""
        return self._ballast.held and space.bytes_free(self._directory) >= 2 * self._keep_bytes + self._log_bytes

    def _fill(self, needed_bytes: int) -> None:
        if space.bytes_free(self._directory) < needed_bytes:
            self._ballast.give_up()
        if space.bytes_free(self._directory) >= needed_bytes:
            space.refill(self._connection, self.rows)
            self.checkpoint()

    def prepare(self, pages: int) -> None:
        """Before a commit that may need so many new pages."""
        if self._frames + 2 * pages > self._frames_max:
            self.checkpoint()
        self._unasked -= pages
        if not self.rows or self._unasked > 0:
            return
        if self._may_grow():
            self._unasked = ASK_PAGES
            return
        while space.free_pages(self._connection) < space.FREE_PAGES_LOW + pages:
            if not space.give_up_filler(self._connection):
                return
            self._frames += 4  # pages of the free list, and the commit's own

    def note(self, frames: int) -> None:
        """A commit wrote about so many pages to the log."""
        self._frames += frames
        if self._frames >= self._frames_max:
            self.checkpoint()

    @property
    def worth_emptying(self) -> bool:
        """Whether a quiet moment should be used to empty the log."""
        return self._frames >= REST_FRAMES or (self._frames > 0 and self._frames * 3 >= self._frames_max)

    def restore(self) -> bool:
        """In a quiet moment, with the disk at ease again: takes back a part of what was given up. Whether it did."""
        if not self.rows or space.bytes_free(self._directory) < 2 * self._keep_bytes + self._log_bytes:
            return False
        if not self._ballast.held:
            return self._ballast.take(self._keep_bytes)
        if space.filler_rows(self._connection) >= self.rows:
            return False
        space.add_filler(self._connection)
        self.checkpoint()
        return True

    def checkpoint(self) -> None:
        """Empties the log into the database. Unlike SQLite's own, its errors count."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            self._ballast.give_up()  # the log still holds everything: with this room it is written again from the start
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._frames = 0

    def leave(self) -> None:
        """After the end of the connection: SQLite has deleted the log, and the ballast holds its room meanwhile."""
        if self.rows and not self._ballast.held:
            self._ballast.take(0)

    @property
    def half_used_up(self) -> bool:
        """Whether more than half of the filler was given up."""
        return 2 * space.filler_rows(self._connection) < self.rows

    @property
    def complete(self) -> bool:
        """Whether nothing was given up."""
        return space.filler_rows(self._connection) >= self.rows

    def _may_grow(self) -> bool:
        return self._ballast.held and space.bytes_free(self._directory) >= self._keep_bytes
