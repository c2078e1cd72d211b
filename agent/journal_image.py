"""Looking at a journal without touching it: on a private copy of its files.

Nobody but the daemon opens the journal itself (a reader would take part in its locking, and SQLite's close could empty
a damaged log). A copy of database and log can be opened, recovered and closed at will. While the daemon runs, the files
change under a copy: use its `export` then.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.journal_open import log_path, start_errors


@contextmanager
def image_of(path: Path) -> Iterator[Path]:
    """A private copy of database and log, deleted afterwards; its bodies are sealed as in the original."""
    with tempfile.TemporaryDirectory(prefix="journal-") as directory, start_errors(path):
        copy = Path(directory, "journal.db")
        shutil.copyfile(path, copy)
        if log_path(path).exists():
            shutil.copyfile(log_path(path), log_path(copy))
        yield copy


@contextmanager
def reading(copy: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy."""
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
