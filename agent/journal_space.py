"""Room for what must still be written when the disk is full.

An acknowledgement that cannot be stored would be repeated for ever, so its room is taken beforehand, three ways:

* the write-ahead log is brought to its full length at each start (a full disk then only overwrites it), and emptied
  (checkpoint) before it would grow past it;
* filler rows of zeros inside the database: while the disk is short, one is given up whenever free pages run short;
* a ballast file: SQLite deletes the log at a clean end, and others may take its room before the next start. The ballast
  is given up for the log in that case, or for the database, should the disk fill up between two checkpoints.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

PAGE_BYTES = 4096
FRAME_BYTES = PAGE_BYTES + 24  # SQLite file format, section 4.1: frame header of 24 bytes
# SQLite's own default is 1,000; measured: 200 doubles the p99 of a commit.
CHECKPOINT_FRAMES = 800
FILLER_PAGES = 128
FILLER_BYTES = FILLER_PAGES * (PAGE_BYTES - 4)  # an overflow page holds 4 bytes of pointer (file format, 1.6)
# A commit of the engine takes at most a handful of new pages; measured: 0.4 on average.
FREE_PAGES_LOW = 32


def bytes_free(directory: Path) -> int:
    """Bytes that this process may still take; 0 on a read-only file system. Raises OSError."""
    status = os.statvfs(directory)
    return 0 if status.f_flag & os.ST_RDONLY else status.f_bavail * status.f_frsize


def is_read_only(witness: Path) -> bool:
    """Whether the file system of `witness`, a file that nobody minds to be opened, takes no writes. Raises OSError.

    After an error of its disk ext4 turns read-only under the open files (errors=remount-ro). Up to Linux 6.11 statvfs
    says so; later ones only refuse: to open for writing is the one refusal to be had without writing anything.
    """
    if os.statvfs(witness.parent).f_flag & os.ST_RDONLY:
        return True
    try:
        os.close(os.open(witness, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return True
    return False


def free_pages(connection: sqlite3.Connection) -> int:
    """Pages inside the database that hold nothing yet."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def bytes_used(connection: sqlite3.Connection) -> int:
    """Bytes of the database that hold something other than filler."""
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0]) - free_pages(connection)
    return (pages - filler_rows(connection) * FILLER_PAGES) * PAGE_BYTES


def filler_rows(connection: sqlite3.Connection) -> int:
    """How many filler rows are left."""
    return int(connection.execute("SELECT count(*) FROM filler").fetchone()[0])


def refill(connection: sqlite3.Connection, rows: int) -> None:
    """Writes all filler anew, in one commit: the log reaches its full length. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM filler")
    connection.executemany("INSERT INTO filler VALUES (zeroblob(?))", [(FILLER_BYTES,)] * rows)
    connection.execute("COMMIT")


def give_up_filler(connection: sqlite3.Connection) -> bool:
    """Turns one filler row into free pages, in one commit; whether there was one. Raises sqlite3.Error."""
    oldest = connection.execute("SELECT min(rowid) FROM filler").fetchone()[0]
    if oldest is None:
        return False
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM filler WHERE rowid = ?", (oldest,))
    connection.execute("COMMIT")
    return True


def add_filler(connection: sqlite3.Connection) -> None:
    """One filler row more, in one commit. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (FILLER_BYTES,))
    connection.execute("COMMIT")


def log_bytes(path: Path) -> int:
    """Length of the write-ahead log of the database at `path`; 0 if there is none."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def ballast_path(path: Path) -> Path:
    """The ballast file of the journal at `path`."""
    return path.with_name(path.name + ".ballast")


class Ballast:
    """A file that does nothing but hold room beside the journal at `path`."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = ballast_path(path)
        self._size_bytes = size_bytes

    def take(self, keep_free_bytes: int) -> bool:
        """Holds the room, unless less than `keep_free_bytes` would be left. Whether it is held. Raises OSError."""
        if self.held:
            return True
        if bytes_free(self._path.parent) < self._size_bytes + keep_free_bytes:
            return False
        return self._allocate()

    def give_up(self) -> None:
        """Makes its room free. Raises OSError."""
        self._path.unlink(missing_ok=True)

    @property
    def held(self) -> bool:
        """Whether it is there, whole."""
        try:
            return os.stat(self._path).st_size >= self._size_bytes
        except FileNotFoundError:
            return False

    def _allocate(self) -> bool:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.give_up()
            return False
        finally:
            os.close(descriptor)
        return True
