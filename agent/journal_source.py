"""Where a report or a reconciliation gets the journal's records: of the running agent, of a stopped one, of a copy.

The running agent gives them page by page (`journal.rows`), which needs no more than the right to look; the journal
itself is never opened (agent/journal_image.py). Sealed card data stays sealed, no key is needed.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from agent.archive_note import archived_upto
from agent.cli_place import CommandError, Place
from agent.journal_check import Unreadable, last_known_seq, readable_records
from agent.journal_contract import JournalUnreadable, Row
from agent.journal_image import image_of, reading
from agent.journal_open import held, start_errors
from agent.journal_rows import row_of
from agent.progress import Progress
from agent.texts_operations import phrase


class Caller(Protocol):
    """What reading needs of the command line (agent/cli.py's Command)."""

    place: Place

    def call(self, method: str, **params: Any) -> Any: ...
    @property
    def language(self) -> str: ...


Watched = Callable[[int, int], None]


class Records:
    """Every record in its order; None stands for one that cannot be read. How far it is stands on the terminal.

    `absent`: how many were archived into a file that is not at hand, known after the last. Iterating raises
    CommandError, JournalUnreadable.
    """

    def __init__(self, command: Caller, copy: Path | None) -> None:
        self._command = command
        self._copy = copy
        self.absent = 0

    def __iter__(self) -> Iterator[Row | None]:
        for item in _items(self._command, self._copy):
            if isinstance(item, int):
                self.absent += item
            else:
                yield item


def _items(command: Caller, copy: Path | None) -> Iterator[Row | int | None]:
    """Records; a number says how many archived ones are not at hand."""
    progress = Progress(sys.stderr, lambda done, total: _words(command.language, done, total))
    try:
        if copy is not None:
            yield from _of_file(copy, progress.at)
            return
        try:
            yield from _of_agent(command, progress.at)
        except CommandError as error:
            if error.code != "C-NO-DAEMON":
                raise
            journal = _journal_of(command)
            _must_exist(journal)
            with held(journal):
                yield from _of_file(journal, progress.at)
    finally:
        progress.end()


def _of_file(path: Path, watched: Watched) -> Iterator[Row | int | None]:
    _must_exist(path)
    with start_errors(path), image_of(path) as copy, reading(copy) as connection:
        yield from _rows(connection, path, watched)


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise JournalUnreadable("MISSING", path, "the file is missing", "check the path")


def _of_agent(command: Caller, watched: Watched) -> Iterator[Row | int | None]:
    """Up to the record that was the last one at the beginning."""
    after, head = 0, None
    while head is None or after < head:
        page = command.call("journal.rows", after=after)
        head = page["head"] if head is None else head
        for told in page["rows"]:
            if told["seq"] <= head:
                yield row_of(told)
        yield from (None for _ in page["unreadable"])
        yield page["absent"]
        if page["next"] <= after:
            return
        after = page["next"]
        watched(min(after, head), head)


def _journal_of(command: Caller) -> Path:
    from agent import config as settings  # 100 ms that a running agent's records do not need

    return settings.load(command.place.configuration_file).journal.path


def _rows(connection: sqlite3.Connection, path: Path, watched: Watched) -> Iterator[Row | int | None]:
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'record'").fetchone()[0] == 0:
        raise JournalUnreadable("DAMAGED", path, "this is not a journal of this program", "check the path")
    last, upto = last_known_seq(connection), archived_upto(connection)
    kept = 0
    for item in readable_records(connection, 1, last):
        watched(item.seq, last)
        kept += item.seq <= upto
        yield None if isinstance(item, Unreadable) else item.row()
    yield upto - kept


def _words(language: str, done: int, total: int) -> str:
    return phrase("reading-records", language, done=str(done), total=str(total))
