"""The tables of the journal, its chain, and the way from an older version to this one.

`record` is append-only: `seq` runs from 1 without a gap, `previous` points to the record before of the same transaction
(0: its first), `chain` is an HMAC over the chain value before and every other column, so that no byte of a record can
change, vanish or move unseen. `current` (one row a transaction) and `counter` can be derived from `record`: they exist
to be fast, and show it as of record `settled_seq` (in `meta`; what is newer, a start reads back). Every start compares.

What was archived is gone from `record` and `current`. The record named by `archived_seq` says what, with totals;
`link` keeps the chain values before the records that stayed behind, so that each of them can still be checked.

Versions: 1 wrote `current` and `counter` with every record. 2 has `settled_seq`, `archived_seq` and `link`.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.durable_file import rename_durably, replace_durably, sync_file
from agent.highwater import Mark, whole_file
from agent.journal_contract import JournalUnreadable, Row
from agent.vault import Vault

SCHEMA_VERSION = 2
APPLICATION_ID = 0x5245564A  # "REVJ", for `file` and for the refusal of foreign databases

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    seq       INTEGER PRIMARY KEY,
    previous  INTEGER NOT NULL,
    txn_id    TEXT NOT NULL,
    lane      TEXT NOT NULL,
    reference TEXT NOT NULL,
    state     TEXT NOT NULL,
    pending   INTEGER NOT NULL,
    event     TEXT NOT NULL,
    at_utc    TEXT NOT NULL,
    public    TEXT NOT NULL,
    counters  TEXT NOT NULL,
    sealed    BLOB NOT NULL,
    key_id    TEXT NOT NULL,
    chain     BLOB NOT NULL
) STRICT;
CREATE TABLE current (
    txn_id     TEXT PRIMARY KEY,
    lane       TEXT NOT NULL,
    reference  TEXT NOT NULL,
    state      TEXT NOT NULL,
    pending    INTEGER NOT NULL,
    first_seq  INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    sealed_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX current_reference ON current (lane, reference, first_seq);
CREATE INDEX current_pending ON current (first_seq) WHERE pending = 1;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE filler (body BLOB NOT NULL) STRICT;
CREATE TABLE link (seq INTEGER PRIMARY KEY, chain BLOB NOT NULL) STRICT;
"""

NAMES = frozenset({"meta", "record", "current", "current_reference", "current_pending", "counter", "filler", "link"})
COLUMNS = (
    "seq, previous, txn_id, lane, reference, state, pending, event, at_utc, public, counters, sealed, key_id, chain"
)
INSERT_RECORD = f"INSERT INTO record ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
INSERT_CURRENT = "INSERT INTO current VALUES (?,?,?,?,?,?,?,?)"
# Naming `pending` makes SQLite rewrite the index of pending ones, so it is named only when it changes: a page less.
UPDATE_CURRENT = "UPDATE current SET state = ?, last_seq = ?, sealed_seq = ? WHERE txn_id = ?"
UPDATE_PENDING = "UPDATE current SET pending = ? WHERE txn_id = ?"
UPSERT_COUNTER = """
INSERT INTO counter (name, value, seq) VALUES (?,?,?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, seq = excluded.seq
"""
PUT_META = """
INSERT INTO meta (name, value) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""

_LENGTHS = struct.Struct(f">{COLUMNS.count(',')}I")  # one for each column but `chain`

# What reading a damaged database may raise: Python cannot decode a message of SQLite that quotes damaged text, and a
# flipped type byte makes NULL or a number of what must be text or bytes (STRICT tables check that on writing only).
READ_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError, TypeError)

Migration = Callable[[sqlite3.Connection], None]


class Record(NamedTuple):
    """One row of `record`, in the order of COLUMNS."""

    seq: int
    previous: int
    txn_id: str
    lane: str
    reference: str
    state: str
    pending: int
    event: str
    at_utc: str
    public: str
    counters: str
    sealed: bytes
    key_id: str
    chain: bytes

    def row(self) -> Row:
        """The record as history shows it."""
        return Row(
            self.seq,
            self.previous,
            self.txn_id,
            self.lane,
            self.reference,
            self.state,
            bool(self.pending),
            self.event,
            self.public,
            self.at_utc,
        )


class Current(NamedTuple):
    """One row of `current`."""

    txn_id: str
    lane: str
    reference: str
    state: str
    pending: int
    first_seq: int
    last_seq: int
    sealed_seq: int


def genesis(journal_id: str) -> bytes:
    """The chain value before the first record: it binds the records to their journal."""
    return hashlib.sha256(b"pos-reversal-agent journal " + journal_id.encode()).digest()


def chain_of(before: bytes, record: Record, vault: Vault) -> bytes:
    """The chain value of `record` (its own `chain` is ignored): each column goes in with its length."""
    columns = [value if isinstance(value, bytes) else str(value).encode("utf-8", "replace") for value in record[:-1]]
    return chain_code(before, columns, record.key_id, vault)


def chain_code(before: bytes, columns: Sequence[bytes], key_id: str, vault: Vault) -> bytes:
    """The chain value of a record whose columns but `chain` are bytes already."""
    return vault.chain_code(b"".join((before, _LENGTHS.pack(*map(len, columns)), *columns)), key_id)


def seal_context(txn_id: str, seq: int) -> bytes:
    """The identity of a sealed body: it opens in its own row only."""
    return f"pos-reversal-agent record 1|{txn_id}|{seq}".encode()


def create_tables(connection: sqlite3.Connection, journal_id: str, key_id: str) -> None:
    """Creates everything in one commit."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        connection.execute(statement)
    meta = {"journal_id": journal_id, "key_id": key_id, "schema": str(SCHEMA_VERSION), "settled_seq": "0"}
    connection.executemany(PUT_META, [*meta.items(), ("archived_seq", "0")])
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    """All of `meta`."""
    return dict(connection.execute("SELECT name, value FROM meta"))


def put_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    """One value of `meta`, inside a commit of the caller."""
    connection.execute(PUT_META, (name, value))


def _two(connection: sqlite3.Connection) -> None:
    """1 -> 2: the tables were settled with every record, and nothing was archived."""
    connection.execute("CREATE TABLE link (seq INTEGER PRIMARY KEY, chain BLOB NOT NULL) STRICT")
    head = connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0]
    put_meta(connection, "settled_seq", str(head))
    put_meta(connection, "archived_seq", "0")


# version -> what makes version + 1 of it, inside one transaction that the caller holds.
MIGRATIONS: Mapping[int, Migration] = {1: _two}


def bring_up_to_date(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> Path | None:
    """Migrates to `target`, after a whole copy was made beside the journal: its path, or None if nothing was to do.

    The copy comes with the high-water mark of that moment (`.mark`): the two can be put back in place together.

    Raises JournalUnreadable for a newer version, a foreign database, or a version without a migration.
    """
    version = _version(connection, path)
    if version == target:
        return None
    _refuse_unknown(version, path, migrations, target)
    copy = path.with_name(f"{path.name}.schema{version}")
    copy_database(connection, copy)
    replace_durably(copy.with_name(copy.name + ".mark"), whole_file(_mark(connection)))
    connection.execute("BEGIN IMMEDIATE")
    for step in range(version, target):
        migrations[step](connection)
    connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(target),))
    connection.execute(f"PRAGMA user_version = {target}")
    connection.execute("COMMIT")
    return copy


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """A whole, consistent, durable copy of an open journal (mode 0600); an older file of that name is replaced."""
    draft = target.with_name(target.name + ".part")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    copy = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    sync_file(draft)
    rename_durably(draft, target)


def _mark(connection: sqlite3.Connection) -> Mark:
    journal_id = read_meta(connection)["journal_id"]
    newest = connection.execute("SELECT seq, chain FROM record ORDER BY seq DESC LIMIT 1").fetchone()
    return Mark(journal_id, *(newest or (0, genesis(journal_id))))


def _version(connection: sqlite3.Connection, path: Path) -> int:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID:
        raise JournalUnreadable(
            "DAMAGED", path, "this is not a journal of this program", "check the path in the configuration"
        )
    return version


def _refuse_unknown(version: int, path: Path, migrations: Mapping[int, Migration], target: int) -> None:
    if version > target:
        raise JournalUnreadable(
            "SCHEMA",
            path,
            f"written by a newer version (schema {version}, this program knows {target})",
            "install the newer version again; the way back stands in docs/durability.md, Upgrade and downgrade",
        )
    missing = [step for step in range(version, target) if step not in migrations]
    if missing:
        raise JournalUnreadable(
            "SCHEMA", path, f"schema {version} cannot be brought to {target}", "install the version between first"
        )
