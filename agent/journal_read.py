"""Reading transactions out of the tables. Raises sqlite3.Error, LookupError (a record is missing), VaultError."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from agent.journal_contract import Entry, Row, Stored
from agent.journal_schema import COLUMNS, Current, Record, seal_context
from agent.vault import Vault


def stored(
    connection: sqlite3.Connection, vault: Vault, current: Current, seen: Callable[[Record], None] | None = None
) -> Stored:
    """The latest entry of a transaction, its secret opened wherever that stands; b"" where its key was destroyed.

    `seen` gets each record that is read.
    """
    record = record_at(connection, current.last_seq)
    if seen is not None:
        seen(record)
    secret = b""
    if current.sealed_seq:
        sealed = record if current.sealed_seq == record.seq else record_at(connection, current.sealed_seq)
        if seen is not None and sealed is not record:
            seen(sealed)
        if not vault.was_destroyed(sealed.sealed):
            secret = vault.open_sealed(sealed.sealed, seal_context(current.txn_id, sealed.seq))
    row = record.row()
    entry = Entry(
        row.txn_id, row.lane, row.reference, row.state, row.pending, row.event, row.public, secret, row.at_utc
    )
    return Stored(entry, row.seq)


def history(connection: sqlite3.Connection, last_seq: int, first_seq: int) -> list[Row]:
    """Every entry of the transaction with these first and last records, oldest first, along `previous`."""
    seq = last_seq
    rows: list[Row] = []
    while seq >= first_seq:
        rows.append(record_at(connection, seq).row())
        seq = rows[-1].previous
    return rows[::-1]


def record_at(connection: sqlite3.Connection, seq: int) -> Record:
    """One record."""
    found = connection.execute(f"SELECT {COLUMNS} FROM record WHERE seq = ?", (seq,)).fetchone()
    if found is None:
        raise LookupError(f"record {seq} is missing")
    return Record(*found)
