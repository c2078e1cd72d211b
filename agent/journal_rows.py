"""The journal record by record while it is in use: a read-only view for reports, page by page, without any secret.

A page costs milliseconds of the daemon's time, so that a reader of the whole journal is never in a sale's way.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from agent.journal_check import Unreadable, readable_records
from agent.journal_contract import Row

# Records of one page: 5 ms here for 200 (docs/performance.md measures the rest of the daemon).
ROWS_MAX = 1_000
ROWS_USUAL = 200


def page(connection: sqlite3.Connection, after: int, limit: int, head: int) -> dict[str, Any]:
    """The records after `after`, at most `limit` of them; `next` is where the following page begins."""
    last = min(head, after + max(1, min(limit, ROWS_MAX)))
    rows, unreadable = [], []
    for item in readable_records(connection, after + 1, last):
        if isinstance(item, Unreadable):
            unreadable.append(item.seq)
        else:
            rows.append(_document(item.row()))
    if not rows and not unreadable:  # archived: on to the next record that is here
        found = connection.execute("SELECT min(seq) FROM record WHERE seq > ?", (last,)).fetchone()[0]
        last = max(last, min(head, found - 1)) if found else head
    return {"rows": rows, "unreadable": unreadable, "next": last, "head": head}


def row_of(told: dict[str, Any]) -> Row:
    """A record of a page, as the journal gives it."""
    return Row(**{name: told[name] for name in Row.__slots__})


def _document(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Row.__slots__}
