"""The journal record by record while it is in use: a read-only view for reports, page by page, without any secret.

A page costs milliseconds of the daemon's time, so that a reader of the whole journal is never in a sale's way.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from agent.journal_archive import ArchiveLookUp, records_of
from agent.journal_check import Unreadable, readable_records
from agent.journal_contract import Row
from agent.journal_schema import READ_ERRORS, Record

# Records of one page: 5 ms here for 200 (docs/performance.md measures the rest of the daemon).
ROWS_MAX = 1_000
ROWS_USUAL = 200


def page(
    connection: sqlite3.Connection,
    after: int,
    limit: int,
    head: int,
    archive: ArchiveLookUp | None = None,
    upto: int = 0,
) -> dict[str, Any]:
    """The records after `after`, at most `limit` of them; `next` is where the following page begins.

    Those up to `upto` are archived: they come from the archive's file, or where that is not at hand, `absent` counts
    those of them that left the journal.
    """
    last = min(head, after + max(1, min(limit, ROWS_MAX)))
    if after < upto:
        last = min(last, upto)
        rows = [record.row() for record in _archived(archive, after + 1, last)]
        if len(rows) < last - after:
            rows = [item.row() for item in readable_records(connection, after + 1, last) if isinstance(item, Record)]
        return _page(rows, [], last - after - len(rows), last, head)
    items = list(readable_records(connection, after + 1, last))
    rows = [item.row() for item in items if isinstance(item, Record)]
    return _page(rows, [item.seq for item in items if isinstance(item, Unreadable)], 0, last, head)


def _archived(archive: ArchiveLookUp | None, first: int, last: int) -> list[Record]:
    """From the archive's file; none where it is missing or damaged (`archive.error` says so in the status)."""
    connection = archive.connection if archive is not None else None
    if archive is None or connection is None:
        return []
    try:
        return list(records_of(connection, first, last))
    except READ_ERRORS as error:
        archive.error = f"the archive {archive.path} cannot be read: {error}"
        return []


def _page(rows: list[Row], unreadable: list[int], absent: int, last: int, head: int) -> dict[str, Any]:
    shown = [_document(row) for row in rows]
    return {"rows": shown, "unreadable": unreadable, "absent": absent, "next": last, "head": head}


def row_of(told: dict[str, Any]) -> Row:
    """A record of a page, as the journal gives it."""
    return Row(**{name: told[name] for name in Row.__slots__})


def _document(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Row.__slots__}
