"""What is wrong with a journal: pages, sequence, chain, the derived tables, seals.

Used by every start of the daemon (the last records, and all that is pending) and by `verify` (everything).
Nothing here writes. What was archived is not missing: the record that says so is covered by the chain, and how many
records and transactions stayed behind stands in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import field

from agent.archive_note import ArchiveNote, archived_upto, newest_note
from agent.journal_current import Standing, counters_of, settled_seq
from agent.journal_schema import (
    COLUMNS,
    NAMES,
    READ_ERRORS,
    Current,
    Record,
    chain_of,
    genesis,
    read_meta,
    seal_context,
)
from agent.vault import Vault, VaultError
from protocol.frozen import dataclass

_EXAMPLES = 20  # rows shown of one kind of contradiction; the first one already stops a start


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it must be. `seq` 0: not about one record."""

    kind: str
    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that must exist and cannot be read."""

    seq: int
    text: str


@dataclass(slots=True)
class Findings:
    """The result of a check. `head_seq` and `head_chain` are those of the last readable record."""

    journal_id: str = ""
    head_seq: int = 0
    head_chain: bytes = b""
    checked: int = 0
    archived: ArchiveNote | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, seq: int, text: str) -> None:
        """Notes a problem."""
        self.problems.append(Problem(kind, seq, text))


def check_journal(
    connection: sqlite3.Connection, vault: Vault | None, last: int | None = None, pending_max: int | None = None
) -> Findings:
    """Everything that can be known from the database alone.

    `last`: only so many of the newest records are walked (None: all); pages and the derived tables are checked whole
    in any case. Without a vault neither chain nor seals can be checked. With more than `pending_max` pending
    transactions their bodies are left to `check_pending`, one by one.
    """
    findings = Findings()
    try:
        _check_schema(connection, vault, findings)
        _check_pages(connection, findings)
        _check_archived(connection, vault, findings)
        _check_chain(connection, vault, last, findings)
        _check_current(connection, findings)
        _check_counters(connection, findings)
        if vault is not None:
            count = connection.execute("SELECT count(*) FROM current WHERE pending = 1").fetchone()[0]
            if pending_max is None or count <= pending_max:
                for current in Standing.read_back(connection).pending():
                    check_pending(connection, vault, findings, current)
    except READ_ERRORS as error:
        findings.add("DAMAGED", 0, f"the database is damaged: {error}")
    return findings


def readable_records(connection: sqlite3.Connection, first: int, last: int) -> Iterator[Record | Unreadable]:
    """Each record of first..last, in order; what is missing or damaged comes as Unreadable, one by one.

    What is missing because it was archived does not come at all.
    """
    archived = archived_upto(connection)
    seq = first
    while seq <= last:
        try:
            for raw in connection.execute(f"SELECT {COLUMNS} FROM record WHERE seq >= ? ORDER BY seq", (seq,)):
                record = Record(*raw)
                gap = range(max(seq, archived + 1), min(record.seq, last + 1))
                yield from (Unreadable(lost, "missing") for lost in gap)
                seq = max(seq, record.seq)
                if seq > last:
                    return
                yield record
                seq += 1
            yield from (Unreadable(lost, "missing") for lost in range(max(seq, archived + 1), last + 1))
            return
        except READ_ERRORS as error:
            yield Unreadable(seq, f"damaged: {error}")
            seq += 1


def last_known_seq(connection: sqlite3.Connection) -> int:
    """The highest sequence number that any table still speaks of."""
    highest = 0
    for query in ("SELECT max(seq) FROM record", "SELECT max(last_seq) FROM current", "SELECT max(seq) FROM counter"):
        try:
            highest = max(highest, connection.execute(query).fetchone()[0] or 0)
        except READ_ERRORS:
            continue  # the other tables may still tell; what cannot be read is reported where it is walked
    return highest


def _check_schema(connection: sqlite3.Connection, vault: Vault | None, findings: Findings) -> None:
    meta = read_meta(connection)
    findings.journal_id = meta.get("journal_id", "")
    if vault is not None and not vault.knows(meta.get("key_id", "")):
        findings.add("KEY", 0, f"the journal was made with key {meta.get('key_id')}, which is not in the key file")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    needed = NAMES - {"link"} if meta.get("schema") == "1" else NAMES
    for name in sorted(needed - names):
        findings.add("DAMAGED", 0, f"table or index {name} is missing")


def _check_pages(connection: sqlite3.Connection, findings: Findings) -> None:
    answers = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_EXAMPLES})")]
    if answers != ["ok"]:
        for answer in answers:
            findings.add("DAMAGED", 0, f"integrity check: {answer}")


def _check_archived(connection: sqlite3.Connection, vault: Vault | None, findings: Findings) -> None:
    """What stayed behind when older records were archived: as many as were noted, each with its chain value."""
    note = findings.archived = newest_note(connection)
    if note is None:
        return
    for what, query in (("records", "record WHERE seq"), ("transactions", "current WHERE first_seq")):
        found = connection.execute(f"SELECT count(*) FROM {query} <= ?", (note.upto,)).fetchone()[0]
        stayed = note.kept_records if what == "records" else note.kept_transactions
        if found != stayed:
            text = f"{stayed} {what} up to record {note.upto} stayed when it was archived, {found} are here"
            findings.add("DAMAGED", 0, text)


def _check_chain(connection: sqlite3.Connection, vault: Vault | None, last: int | None, findings: Findings) -> None:
    highest = last_known_seq(connection)
    archived = findings.archived.upto if findings.archived else 0
    start = archived if last is None else max(archived, highest - last)
    if start > archived:
        query = "SELECT count(*) FROM record WHERE seq > ? AND seq <= ?"
        missing = start - archived - connection.execute(query, (archived, start)).fetchone()[0]
        if missing:
            findings.add("DAMAGED", 0, f"{missing} of the records {archived + 1}..{start} are missing")
    elif last is None:
        _check_kept(connection, vault, archived, findings)
    chain = chain_before(connection, findings.journal_id, findings.archived, start + 1)
    for item in readable_records(connection, start + 1, highest):
        findings.checked += 1
        if isinstance(item, Unreadable):
            findings.add("DAMAGED", item.seq, f"record {item.seq} is {item.text}")
            chain = None
            continue
        _check_link(chain, item, vault, findings)
        chain = item.chain
        findings.head_seq, findings.head_chain = item.seq, item.chain
    if highest == 0:
        findings.head_chain = genesis(findings.journal_id)


def _check_kept(connection: sqlite3.Connection, vault: Vault | None, archived: int, findings: Findings) -> None:
    """Records that stayed among the archived ones, one by one."""
    for item in readable_records(connection, 1, archived):
        findings.checked += 1
        if isinstance(item, Unreadable):
            findings.add("DAMAGED", item.seq, f"record {item.seq} is {item.text}")
        else:
            before = chain_before(connection, findings.journal_id, findings.archived, item.seq)
            _check_link(before, item, vault, findings)


def chain_before(connection: sqlite3.Connection, journal_id: str, note: ArchiveNote | None, seq: int) -> bytes | None:
    """The chain value that record `seq` continues; None if that is lost."""
    if seq == 1:
        return genesis(journal_id)
    if note is not None and seq == note.upto + 1:
        return note.chain
    for query in ("SELECT chain FROM record WHERE seq = ?", "SELECT chain FROM link WHERE seq = ?"):
        if note is None and "link" in query:
            break
        found = connection.execute(query, (seq - 1,)).fetchone()
        if found:
            return bytes(found[0])
    return None


def _check_link(before: bytes | None, record: Record, vault: Vault | None, findings: Findings) -> None:
    if vault is None or before is None:
        return
    if not vault.knows(record.key_id):
        findings.add("KEY", record.seq, f"record {record.seq} was made with key {record.key_id}, which is not here")
    elif chain_of(before, record, vault) != record.chain:
        findings.add("DAMAGED", record.seq, f"record {record.seq} or the chain before it was changed")


_CURRENT_CONTRADICTS = """
SELECT c.txn_id, c.last_seq FROM current c
LEFT JOIN record l ON l.seq = c.last_seq LEFT JOIN record f ON f.seq = c.first_seq
WHERE l.seq IS NULL OR f.seq IS NULL OR f.previous > ? OR f.txn_id <> c.txn_id OR l.txn_id <> c.txn_id
   OR l.lane <> c.lane OR l.reference <> c.reference OR l.state <> c.state OR l.pending <> c.pending OR c.last_seq > ?
"""
_LATEST_CONTRADICTS = """
SELECT txn_id, newest FROM (
    SELECT txn_id, max(seq) AS newest, max(iif(length(sealed) > 0, seq, 0)) AS sealed_seq
    FROM record WHERE txn_id <> '' AND seq <= ? GROUP BY txn_id
    EXCEPT SELECT txn_id, last_seq, sealed_seq FROM current
)
"""


def _check_current(connection: sqlite3.Connection, findings: Findings) -> None:
    settled = settled_seq(connection)
    archived = findings.archived.upto if findings.archived else 0  # what was archived may have been noted again since
    for query, values in ((_CURRENT_CONTRADICTS, (archived, settled)), (_LATEST_CONTRADICTS, (settled,))):
        for txn_id, seq in connection.execute(f"{query} LIMIT {_EXAMPLES}", values):
            # Only the first query names the record that should be there; the other one names what still is.
            suspect = seq if query is _CURRENT_CONTRADICTS and isinstance(seq, int) else 0
            findings.add("DAMAGED", suspect, f"the current state of transaction {txn_id} contradicts record {seq}")


def _check_counters(connection: sqlite3.Connection, findings: Findings) -> None:
    query = "SELECT c.name, c.value, c.seq, r.counters FROM counter c LEFT JOIN record r ON r.seq = c.seq"
    for name, value, seq, set_there in connection.execute(query):
        if counters_of(set_there).get(name) != value:
            findings.add("DAMAGED", seq, f"counter {name} contradicts record {seq}")
    newest: dict[str, int] = {}
    query = "SELECT counters FROM record WHERE counters <> '' AND seq <= ? ORDER BY seq"
    for (set_there,) in connection.execute(query, (settled_seq(connection),)):
        newest.update(counters_of(set_there))
    if newest != dict(connection.execute("SELECT name, value FROM counter")):
        findings.add("DAMAGED", 0, "the counters contradict the records")


def check_pending(connection: sqlite3.Connection, vault: Vault, findings: Findings, current: Current) -> None:
    """What the agent will act on: the newest record of a transaction and the one that holds its body."""
    for seq in {current.last_seq, current.sealed_seq} - {0}:
        _check_record_alone(connection, vault, seq, findings)
    if current.sealed_seq:
        _check_body(connection, vault, current, findings)


def check_record(connection: sqlite3.Connection, vault: Vault, findings: Findings, record: Record) -> None:
    """Whether this record is the one that was stored, by the chain value before it."""
    before = chain_before(connection, findings.journal_id, findings.archived, record.seq)
    _check_link(before, record, vault, findings)


def _check_record_alone(connection: sqlite3.Connection, vault: Vault, seq: int, findings: Findings) -> None:
    found = connection.execute(f"SELECT {COLUMNS} FROM record WHERE seq = ?", (seq,)).fetchone()
    if found is None:
        findings.add("DAMAGED", seq, f"record {seq} is missing")
    else:
        check_record(connection, vault, findings, Record(*found))


def _check_body(connection: sqlite3.Connection, vault: Vault, current: Current, findings: Findings) -> None:
    query = "SELECT sealed FROM record WHERE seq = ?"
    found = connection.execute(query, (current.sealed_seq,)).fetchone()
    try:
        vault.open_sealed(found[0] if found else b"", seal_context(current.txn_id, current.sealed_seq))
    except VaultError as error:
        kind = "DAMAGED" if found and vault.knows(found[0][1:5].hex()) else "KEY"
        findings.add(kind, current.sealed_seq, f"transaction {current.txn_id}: {error.text}")
