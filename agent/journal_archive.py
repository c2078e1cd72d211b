"""The archive: finished transactions that left the journal, in an SQLite file beside it, sealed as they were.

It holds a copy of every record from its first one on, without a gap, so that its chain can be walked by itself; the
journal's own chain goes on behind its last one. Of these records the journal keeps those of transactions that are
pending or too young. A step (journal_archiving.py) copies first, forces the copy to the disk, reads it back and checks
it; only then one commit of the journal removes what was copied. A copy that reaches further than the journal says is
what a crash between the two left; the next step writes it anew.

To put an archive away, move the file: the next step begins a new one. Look-ups end where the file at hand begins.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from agent.durable_file import sync_directory
from agent.journal_contract import JournalError
from agent.journal_read import record_at
from agent.journal_schema import COLUMNS, READ_ERRORS, Current, Record, chain_of, seal_context
from agent.vault import Vault, VaultError
from protocol.frozen import dataclass

SCHEMA = 1
APPLICATION_ID = 0x52455641  # "REVA"
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    seq INTEGER PRIMARY KEY, previous INTEGER NOT NULL, txn_id TEXT NOT NULL, lane TEXT NOT NULL,
    reference TEXT NOT NULL, state TEXT NOT NULL, pending INTEGER NOT NULL, event TEXT NOT NULL, at_utc TEXT NOT NULL,
    public TEXT NOT NULL, counters TEXT NOT NULL, sealed BLOB NOT NULL, key_id TEXT NOT NULL, chain BLOB NOT NULL
) STRICT;
CREATE INDEX record_txn ON record (txn_id, seq);
CREATE INDEX record_reference ON record (lane, reference, seq);
"""
_INSERT = f"INSERT INTO record ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_CURRENT = """
SELECT txn_id, lane, reference, state, pending, (SELECT min(seq) FROM record WHERE txn_id = r.txn_id), seq,
       (SELECT coalesce(max(seq), 0) FROM record WHERE txn_id = r.txn_id AND length(sealed) > 0)
FROM record r WHERE txn_id = ? ORDER BY seq DESC LIMIT 1
"""


Found = TypeVar("Found")


class ArchiveError(JournalError):
    """The archive cannot be written or is not what it should be. The journal itself is not concerned."""

    code = "E-ARCHIVE"


@dataclass(frozen=True, slots=True)
class Extent:
    """Records `first`..`last` are in the file; `before` is the chain value that `first` continues."""

    journal_id: str
    first: int
    before: bytes
    last: int


def archive_path(journal: Path) -> Path:
    """The archive of the journal at `journal`."""
    return journal.with_name(journal.name + ".archive")


class ArchiveLookUp:
    """Finds archived transactions, each record checked against the chain.

    A file that is missing or damaged only finds nothing; `error` says why.
    """

    def __init__(self, path: Path, vault: Vault) -> None:
        self.path = path
        self._vault = vault
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self.error = ""

    @property
    def connection(self) -> sqlite3.Connection | None:
        """The file at hand, open; None if there is none."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError:
            self.close()
            self.error = ""
            return None
        if self._connection is None or inode != self._inode:
            self.close()
            self._connection, self._inode, self.error = _connect(self.path), inode, ""
        return self._connection

    def close(self) -> None:
        """Lets go of the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def current(self, txn_id: str) -> Current | None:
        """A transaction as it was archived."""
        return self._one(_CURRENT, (txn_id,))

    def by_reference(self, lane: str, reference: str) -> Current | None:
        """The newest one with the application's own reference."""
        query = "SELECT txn_id FROM record WHERE lane = ? AND reference = ? AND previous = 0 ORDER BY seq DESC LIMIT 1"
        return self._one(_CURRENT.replace("txn_id = ? ORDER", f"txn_id = ({query}) ORDER"), (lane, reference))

    def read(
        self, find: Callable[[], Current | None], read: Callable[[sqlite3.Connection, Current], Found]
    ) -> Found | None:
        """What `read` makes of the transaction that `find` finds; None where the file does not have it whole."""
        row = find()
        if row is None or self._connection is None:
            return None
        try:
            self._check(self._connection, row)
            return read(self._connection, row)
        except (*READ_ERRORS, LookupError, ArchiveError, VaultError) as error:
            self.error = f"the archive {self.path} cannot be read: {error}"
            return None

    def _check(self, connection: sqlite3.Connection, row: Current) -> None:
        """Every record of a transaction is the one that was archived. Raises ArchiveError, LookupError, VaultError."""
        held = extent(connection, self.path)
        seq = row.last_seq
        while held is not None and seq >= row.first_seq:
            record = record_at(connection, seq)
            before = held.before if seq == held.first else record_at(connection, seq - 1).chain
            if chain_of(before, record, self._vault) != record.chain:
                raise LookupError(f"record {seq} or the chain before it was changed")
            seq = record.previous

    def _one(self, query: str, values: tuple[str, ...]) -> Current | None:
        try:
            connection = self.connection
            found = connection.execute(query, values).fetchone() if connection is not None else None
        except READ_ERRORS as error:
            self.error = f"the archive {self.path} cannot be read: {error}"
            return None
        return Current(*found) if found else None


def extent(connection: sqlite3.Connection, path: Path) -> Extent | None:
    """What an archive holds; None if it is empty. Raises ArchiveError, sqlite3.Error."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return None
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ArchiveError(f"{path} is not an archive of this program", "move it away")
    if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
        raise ArchiveError(f"the archive {path} was written by another version", "move it away; nothing is lost")
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0]
    try:
        return Extent(meta["journal_id"], int(meta["first"]), bytes.fromhex(meta["before"]), last)
    except (KeyError, ValueError) as error:
        raise ArchiveError(f"the archive {path} is damaged: {error}", "move it away; keep it") from error


def write_copy(path: Path, journal_id: str, upto: int, before: bytes, records: Iterable[Record]) -> None:
    """Makes the archive end with `records`, which follow record `upto` (chain value `before`). Durable on return.

    Raises ArchiveError; then the journal still holds everything.
    """
    with _errors(path), _writing(path) as connection:
        known = extent(connection, path)
        if known is not None and known.journal_id != journal_id:
            raise ArchiveError(f"the archive {path} belongs to another journal", "move it away; keep it")
        if known is not None and (known.last < upto or known.first > upto + 1):
            raise ArchiveError(f"the archive {path} does not reach record {upto}", "move it away; keep it")
        connection.execute("BEGIN IMMEDIATE")
        if known is None:
            _create(connection, journal_id, upto + 1, before)
        connection.execute("DELETE FROM record WHERE seq > ?", (upto,))
        connection.executemany(_INSERT, records)
        connection.execute("COMMIT")


def check_copy(path: Path, vault: Vault, before: bytes, first: int, last: int) -> bytes:
    """Reads records `first`..`last` back, checks chain and seals; gives the last chain value. Raises ArchiveError."""
    with looking(path) as connection:
        chain, seq = before, first - 1
        for record in records_of(connection, first, last):
            seq += 1
            problem = problem_of(record, seq, chain, vault)
            if problem:
                raise ArchiveError(f"the archive {path}: {problem}", "nothing was removed from the journal")
            chain = record.chain
        if seq != last:
            raise ArchiveError(f"the archive {path} ends with record {seq}, not {last}", "nothing was removed")
        return chain


def records_of(connection: sqlite3.Connection, first: int, last: int) -> Iterator[Record]:
    """Records `first`..`last` of a journal or an archive, in order. Raises sqlite3.Error."""
    query = f"SELECT {COLUMNS} FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq"
    return (Record(*raw) for raw in connection.execute(query, (first, last)))


def problem_of(record: Record, seq: int, before: bytes | None, vault: Vault | None) -> str:
    """What is wrong with a record that should be number `seq` and continue the chain `before`; "" if nothing is."""
    if record.seq != seq:
        return f"record {seq} is missing"
    if vault is None:
        return ""
    if not vault.knows(record.key_id):
        return f"record {seq} was made with key {record.key_id}, which is not here"
    if before is None or chain_of(before, record, vault) != record.chain:
        return f"record {seq} or the chain before it was changed"
    try:
        if record.sealed and not vault.was_destroyed(record.sealed):
            vault.open_sealed(record.sealed, seal_context(record.txn_id, record.seq))
    except VaultError as error:
        return f"record {seq}: {error.text}"
    return ""


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for looks alone. Raises ArchiveError, also for what goes wrong inside."""
    with _errors(path), contextlib.closing(_connect(path)) as connection:
        yield connection


def _create(connection: sqlite3.Connection, journal_id: str, first: int, before: bytes) -> None:
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    meta = {"journal_id": journal_id, "first": str(first), "before": before.hex()}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA}")


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that loses nothing it has committed (journal DELETE, synchronous EXTRA), to a file of mode 0600."""
    if not path.exists():
        path.touch(mode=0o600)
        sync_directory(path.parent)
    with contextlib.closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        yield connection


def _connect(path: Path) -> sqlite3.Connection:
    # Read and write even to look: a crash may have left a rollback journal, which the first reader plays back.
    address = f"file:{quote(str(path))}?mode=rw&psow=0"
    return sqlite3.connect(address, uri=True, timeout=5, isolation_level=None, check_same_thread=False)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as error:
        raise ArchiveError(f"the archive {path}: {error}", "check the disk; the journal still holds it") from error
    except OSError as error:
        raise ArchiveError(f"the archive {path}: {error.strerror}", "check the disk and its rights") from error
