"""Reading transactions out of the tables. Raises sqlite3.Error, LookupError (a record is missing), VaultError."""

from __future__ import annotations

import sqlite3

from agent.journal_contract import Entry, Row, Stored
from agent.journal_schema import COLUMNS, Current, Record, seal_context
from agent.vault import Vault

_RECENT = f"""
SELECT {", ".join(f"r.{name}" for name in COLUMNS.split(", "))}
FROM record r JOIN current c ON c.txn_id = r.txn_id AND c.last_seq = r.seq ORDER BY r.seq DESC LIMIT ?
"""


def current_of(connection: sqlite3.Connection, txn_id: str) -> Current | None:
    """The current state of one transaction."""
    found = connection.execute("SELECT * FROM current WHERE txn_id = ?", (txn_id,)).fetchone()
    return Current(*found) if found else None


def stored(connection: sqlite3.Connection, vault: Vault, current: Current) -> Stored:
    """The latest entry of a transaction, its secret opened wherever that stands; b"" where its key was destroyed."""
    record = _record(connection, current.last_seq)
    secret = b""
    if current.sealed_seq:
        sealed = record if current.sealed_seq == record.seq else _record(connection, current.sealed_seq)
        if not vault.was_destroyed(sealed.sealed):
            secret = vault.open_sealed(sealed.sealed, seal_context(current.txn_id, sealed.seq))
    row = record.row()
    entry = Entry(
        row.txn_id, row.lane, row.reference, row.state, row.pending, row.event, row.public, secret, row.at_utc
    )
    return Stored(entry, row.seq)


def history(connection: sqlite3.Connection, txn_id: str) -> list[Row]:
    """Every entry of one transaction, oldest first, along `previous`."""
    current = current_of(connection, txn_id)
    seq = current.last_seq if current else 0
    rows: list[Row] = []
    while seq:
        rows.append(_record(connection, seq).row())
        seq = rows[-1].previous
    return rows[::-1]


def recent(connection: sqlite3.Connection, limit: int) -> list[Row]:
    """The latest entry of the transactions that changed last, newest first."""
    return [Record(*raw).row() for raw in connection.execute(_RECENT, (limit,))]


def _record(connection: sqlite3.Connection, seq: int) -> Record:
    found = connection.execute(f"SELECT {COLUMNS} FROM record WHERE seq = ?", (seq,)).fetchone()
    if found is None:
        raise LookupError(f"record {seq} is missing")
    return Record(*found)
