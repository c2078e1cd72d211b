"""One step of archiving: what may go, the copy, and the commit that removes it.

Rules not to break:

1. Only transactions that are over and whose newest record is old go. What is pending or parked stays, however old.
2. A record is removed only after the archive holds it durably, read back and checked.
3. The removal is one commit with the record that says what went (archive_note.py): no crash can show half of it.
4. Counters never go: the note's record sets each of them anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

from agent import journal_archive as archive
from agent.archive_note import ArchiveNote, Sum, newest_note
from agent.journal_schema import COLUMNS, Current, genesis, put_meta
from agent.vault import Vault
from protocol.frozen import dataclass

# What one step copies and removes at most: 60 ms here, and far less than the log may hold.
STEP_RECORDS = 200
_YOUNG = """
SELECT min(seq) FROM record WHERE seq > :upto AND seq <= :last AND at_utc >= :before AND at_utc <= :future
"""
# Sessions, outboxes and uploads have a colon in their ids and are never over.
_OVER = """
SELECT * FROM current WHERE pending = 0 AND instr(txn_id, ':') = 0 AND last_seq <= ? ORDER BY first_seq LIMIT ?
"""
_LINK = """
INSERT OR REPLACE INTO link SELECT seq, chain FROM record
WHERE seq = ? AND EXISTS (SELECT 1 FROM record WHERE seq = ?)
"""
_ROWS = f"SELECT {COLUMNS} FROM record WHERE seq IN (SELECT value FROM json_each(?))"
_GROUP = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Window:
    """Which records are old: everything before `before_utc`, and what a wrong clock dated later than `future_utc`."""

    before_utc: str
    future_utc: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit removes: the transactions, all their records, and what the journal says of it from then on."""

    over: tuple[Current, ...]
    seqs: tuple[int, ...]
    note: ArchiveNote
    more: bool


def prepare(
    connection: sqlite3.Connection,
    path: Path,
    journal_id: str,
    vault: Vault,
    window: Window,
    least: int,
) -> Step | None:
    """Copies what is old into the archive at `path` and says what may be removed now; None if nothing.

    Nothing is done for fewer than `least` new records. The tables of `connection` must be settled. Raises ArchiveError.
    """
    before = newest_note(connection)
    upto = before.upto if before else 0
    last = _newest_old(connection, upto, window)
    if last - upto < least or (last == upto and not path.exists()):
        return None
    if last - upto < STEP_RECORDS and not connection.execute(_OVER, (last, 1)).fetchone():
        return None
    chain = _copied(connection, path, journal_id, vault, before, last)
    with archive.looking(path) as copy:
        over, seqs = _going(connection, copy, last)
        if not seqs and last == upto:
            return None
        note = _note(connection, copy, over, seqs, before, last, chain)
    return Step(tuple(over), tuple(sorted(seqs)), note, bool(over) or last - upto == STEP_RECORDS)


def _newest_old(connection: sqlite3.Connection, upto: int, window: Window) -> int:
    head = connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0]
    last = min(head, upto + STEP_RECORDS)
    facts = {"upto": upto, "last": last, "before": window.before_utc, "future": window.future_utc}
    young = connection.execute(_YOUNG, facts).fetchone()[0]
    return young - 1 if young else int(last)


def _copied(
    connection: sqlite3.Connection, path: Path, journal_id: str, vault: Vault, note: ArchiveNote | None, last: int
) -> bytes:
    upto, before = (note.upto, note.chain) if note else (0, genesis(journal_id))
    if last > upto:
        archive.write_copy(path, journal_id, upto, before, archive.records_of(connection, upto + 1, last))
    return archive.check_copy(path, vault, before, upto + 1, last)


def _going(connection: sqlite3.Connection, copy: sqlite3.Connection, last: int) -> tuple[list[Current], list[int]]:
    """What the archive holds byte by byte as the journal does, also where it was copied by an earlier step.

    So what stands in an archive that was put away stays: nobody can see here that it holds it.
    """
    rows = [Current(*raw) for raw in connection.execute(_OVER, (last, STEP_RECORDS))]
    own = {row.txn_id: _records(connection, row) for row in rows}
    loose = [seq for (seq,) in connection.execute("SELECT seq FROM record WHERE seq <= ? AND txn_id = ''", (last,))]
    wanted = [*loose, *(seq for seqs in own.values() for seq in seqs)]
    here, there = (set(table.execute(_ROWS, (json.dumps(wanted),))) for table in (connection, copy))
    present = {row[0] for row in here & there}
    over = [row for row in rows if present.issuperset(own[row.txn_id])]
    return over, [*present.intersection(loose), *(seq for row in over for seq in own[row.txn_id])]


def _records(connection: sqlite3.Connection, current: Current) -> list[int]:
    seqs, seq = [], current.last_seq
    while seq >= current.first_seq:
        seqs.append(seq)
        seq = connection.execute("SELECT previous FROM record WHERE seq = ?", (seq,)).fetchone()[0]
    return seqs


def _note(
    connection: sqlite3.Connection,
    copy: sqlite3.Connection,
    over: list[Current],
    seqs: list[int],
    before: ArchiveNote | None,
    last: int,
    chain: bytes,
) -> ArchiveNote:
    records = connection.execute("SELECT count(*) FROM record WHERE seq <= ?", (last,)).fetchone()[0] - len(seqs)
    stayed = connection.execute("SELECT count(*) FROM current WHERE first_seq <= ?", (last,)).fetchone()[0] - len(over)
    counts: Counter[_GROUP] = Counter()
    amounts: Counter[_GROUP] = Counter()
    for one in before.sums if before else ():
        counts[one.lane, one.currency, one.state] += one.count
        amounts[one.lane, one.currency, one.state] += one.amount_minor
    for row in over:
        first = connection.execute("SELECT previous FROM record WHERE seq = ?", (row.first_seq,)).fetchone()[0]
        # Archived before, and noted again since: it is counted already, as it stood then.
        for table, seq, sign in ((copy, first, -1), (connection, row.last_seq, 1)):
            found = table.execute("SELECT lane, state, public FROM record WHERE seq = ?", (seq,)).fetchone()
            if found:
                _, currency, amount = money(found[2])
                counts[found[0], currency, found[1]] += sign
                amounts[found[0], currency, found[1]] += sign * amount
    sums = tuple(Sum(*group, counts[group], amounts[group]) for group in sorted(counts) if counts[group])
    return ArchiveNote(last, chain, records, stayed, sums)


def remove(connection: sqlite3.Connection, step: Step, note_seq: int) -> None:
    """Inside the commit that holds the note: removes what went, keeps the chain values that what stays needs."""
    gone = set(step.seqs)
    connection.executemany(_LINK, [(seq, seq + 1) for seq in step.seqs if seq + 1 not in gone])
    connection.executemany("DELETE FROM record WHERE seq = ?", [(seq,) for seq in step.seqs])
    connection.executemany("DELETE FROM link WHERE seq = ?", [(seq - 1,) for seq in step.seqs])
    connection.executemany("DELETE FROM current WHERE txn_id = ?", [(one.txn_id,) for one in step.over])
    put_meta(connection, "archived_seq", str(note_seq))


def money(public: str) -> tuple[str, str, int]:
    """Batch, currency and amount, where the public part of a record tells them."""
    try:
        facts = json.loads(public)
    except ValueError:
        return "", "", 0
    if not isinstance(facts, dict):
        return "", "", 0
    amount = facts.get("amount_minor", 0)
    return str(facts.get("batch", "")), str(facts.get("currency", "")), amount if isinstance(amount, int) else 0
