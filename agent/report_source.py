"""Where a report's rows come from: a copy of the journal, the journal of a stopped agent, or a fresh copy of a running
one's. The journal itself is never opened (agent/journal_image.py); sealed card data stays sealed, no key is needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.journal_check import Unreadable, last_known_seq, readable_records
from agent.journal_contract import JournalUnreadable, Row
from agent.journal_image import held, image_of, reading
from agent.journal_open import start_errors
from agent.report_stories import Reading, read


def read_copy(path: Path) -> Reading:
    """Everything in a copy that `reversalctl export` made. Raises JournalUnreadable."""
    _must_exist(path)
    with start_errors(path), image_of(path) as copy, reading(copy) as connection:
        return _read(connection, path)


def read_stopped(path: Path) -> Reading:
    """Everything in the journal of a stopped agent. Raises JournalLocked while one runs on it, JournalUnreadable."""
    _must_exist(path)
    with held(path):
        return read_copy(path)


@contextmanager
def passing(path: Path) -> Iterator[Path]:
    """A file that is deleted afterwards: the running agent's copy holds sealed card data and is not left behind."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise JournalUnreadable("MISSING", path, "the file is missing", "check the path")


def _read(connection: sqlite3.Connection, path: Path) -> Reading:
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'record'").fetchone()[0] == 0:
        raise JournalUnreadable("DAMAGED", path, "this is not a journal of this program", "check the path")
    return read(_rows(connection))


def _rows(connection: sqlite3.Connection) -> Iterator[Row | None]:
    for item in readable_records(connection, 1, last_known_seq(connection)):
        yield None if isinstance(item, Unreadable) else item.row()
