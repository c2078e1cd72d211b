"""What stands now: the newest record of each transaction, and every counter.

The tables `current` and `counter` show it as of record `settled`; what is newer is kept in memory and is read back from
the records themselves at a start. So a commit writes its records and nothing else, and many changes of one transaction
cost its row once. `settle` is bounded: at the latest after SETTLE_TRANSACTIONS or SETTLE_RECORDS it is due.

Raises sqlite3.Error.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from sys import intern

from agent.journal_contract import Waiting
from agent.journal_schema import (
    INSERT_CURRENT,
    UPDATE_CURRENT,
    UPDATE_PENDING,
    UPSERT_COUNTER,
    Current,
    Record,
    put_meta,
    read_meta,
)

# Rows that one settling may touch: together with their indexes they must fit the log at its full length (768 pages).
SETTLE_TRANSACTIONS = 128
# Records that a start may have to read back; far below those whose chain it walks anyway.
SETTLE_RECORDS = 512
# At rest: fewer are not worth a commit.
REST_RECORDS = 32

_TAIL = """
SELECT seq, txn_id, lane, reference, state, pending, length(sealed), counters FROM record WHERE seq > ? ORDER BY seq
"""
_SEVERAL = "SELECT * FROM current WHERE txn_id IN (SELECT value FROM json_each(?))"
_BY_REFERENCE = "SELECT * FROM current WHERE lane = ? AND reference = ? ORDER BY first_seq DESC LIMIT 1"
_RECENT = """
SELECT c.txn_id, r.seq FROM record r JOIN current c ON c.txn_id = r.txn_id AND c.last_seq = r.seq
WHERE r.seq <= ? ORDER BY r.seq DESC
"""


class Standing:
    """See the module. Used by one thread at a time, like the journal."""

    def __init__(self, connection: sqlite3.Connection, settled: int) -> None:
        self._connection = connection
        self.records_max = SETTLE_RECORDS
        self.settled = settled
        self._head = settled
        self._newer: dict[str, Current] = {}
        self._before: dict[str, Current | None] = {}  # of those in _newer: the row that the table holds
        self._references: dict[tuple[str, str], str] = {}
        self._counters: dict[str, tuple[int, int]] = {}  # value and the record that set it
        rows = connection.execute("SELECT state, count(*) FROM current GROUP BY state")
        self._states: Counter[str] = Counter(dict(rows))

    @classmethod
    def read_back(cls, connection: sqlite3.Connection) -> Standing:
        """With everything that the records after the last settling say."""
        settled = settled_seq(connection)
        standing = cls(connection, settled)
        for seq, txn_id, lane, reference, state, pending, sealed, counters in connection.execute(_TAIL, (settled,)):
            if txn_id:
                before = standing.current(txn_id)
                first, sealed_seq = (before.first_seq, before.sealed_seq) if before else (seq, 0)
                sealed_seq = seq if sealed else sealed_seq
                standing.put(Current(txn_id, lane, reference, state, pending, first, seq, sealed_seq), before)
            standing.count(seq, counters_of(counters))
        return standing

    # -- changes ---------------------------------------------------------------------------------------------------

    def put(self, after: Current, before: Current | None) -> None:
        """The newest row of a transaction; `before` is what `current` or `several` gave of it."""
        txn_id = after.txn_id
        if txn_id not in self._newer:
            self._before[txn_id] = before
        if before is not None:
            self._states[before.state] -= 1
        else:
            self._references[after.lane, after.reference] = txn_id
        self._states[after.state] += 1
        self._newer[txn_id] = after

    def count(self, seq: int, counters: dict[str, int]) -> None:
        """Record `seq` was the last one, and set these counters."""
        self._head = seq
        for name, value in counters.items():
            self._counters[name] = (value, seq)

    @property
    def due(self) -> bool:
        """Whether the tables must be settled with the next commit."""
        return len(self._newer) >= SETTLE_TRANSACTIONS or self._head - self.settled >= self.records_max

    @property
    def worth_settling(self) -> bool:
        """Whether a quiet moment should be used for it."""
        return self._head - self.settled >= REST_RECORDS

    @property
    def unsettled(self) -> int:
        """Transactions that settling would write."""
        return len(self._newer)

    def settle(self) -> None:
        """Brings the tables up to date, inside a commit of the caller."""
        if self._head == self.settled:
            return
        newer, before, many = self._newer, self._before, self._connection.executemany
        many(INSERT_CURRENT, [row for txn_id, row in newer.items() if before[txn_id] is None])
        changed = [(row, old) for txn_id, row in newer.items() if (old := before[txn_id]) is not None]
        many(UPDATE_CURRENT, [(row.state, row.last_seq, row.sealed_seq, row.txn_id) for row, _ in changed])
        many(UPDATE_PENDING, [(row.pending, row.txn_id) for row, old in changed if row.pending != old.pending])
        many(UPSERT_COUNTER, [(name, value, seq) for name, (value, seq) in self._counters.items()])
        put_meta(self._connection, "settled_seq", str(self._head))
        self.settled = self._head
        for kept in (self._newer, self._before, self._references, self._counters):
            kept.clear()

    def forget(self, states: Counter[str]) -> None:
        """So many transactions left the tables for the archive."""
        self._states.subtract(states)

    # -- looks -----------------------------------------------------------------------------------------------------

    def current(self, txn_id: str) -> Current | None:
        """One transaction as it stands."""
        newer = self._newer.get(txn_id)
        if newer is not None:
            return newer
        found = self._connection.execute("SELECT * FROM current WHERE txn_id = ?", (txn_id,)).fetchone()
        return Current(*found) if found else None

    def several(self, txn_ids: Sequence[str]) -> dict[str, Current]:
        """Those of the transactions that exist, in one query."""
        if len(txn_ids) == 1:
            one = self.current(txn_ids[0])
            return {one.txn_id: one} if one else {}
        newer = self._newer
        found = {txn_id: newer[txn_id] for txn_id in txn_ids if txn_id in newer}
        unknown = [txn_id for txn_id in txn_ids if txn_id not in newer]
        if unknown:
            rows = self._connection.execute(_SEVERAL, (json.dumps(unknown),))
            found.update((row[0], Current(*row)) for row in rows)
        return found

    def by_reference(self, lane: str, reference: str) -> Current | None:
        """The newest transaction with the application's own reference."""
        newer = self._newer.get(self._references.get((lane, reference), ""))
        if newer is not None:  # it began after everything that the table holds
            return newer
        found = self._connection.execute(_BY_REFERENCE, (lane, reference)).fetchone()
        return self._newer.get(found[0], Current(*found)) if found else None

    def pending(self) -> list[Current]:
        """Every transaction that is not over, oldest first."""
        rows = self._connection.execute("SELECT * FROM current WHERE pending = 1")
        found = [Current(*row) for row in rows if row[0] not in self._newer]
        found += [row for row in self._newer.values() if row.pending]
        return sorted(found, key=lambda row: row.first_seq)

    def waiting(self) -> Iterator[Waiting]:
        """The same without what only readers need, one by one: there may be tens of thousands."""
        newer, before = self._newer, self._before
        query = "SELECT txn_id, lane, state FROM current WHERE pending = 1 ORDER BY first_seq"
        for txn_id, lane, state in self._connection.execute(query):
            row = newer.get(txn_id)
            if row is None:
                yield Waiting(txn_id, intern(lane), intern(state))
            elif row.pending:
                yield Waiting(txn_id, intern(lane), intern(row.state))
        for row in sorted(newer.values(), key=lambda row: row.first_seq):
            old = before[row.txn_id]
            if row.pending and not (old and old.pending):  # the table does not show it as pending
                yield Waiting(row.txn_id, intern(row.lane), intern(row.state))

    def recent(self, limit: int) -> list[int]:
        """The newest record of the transactions that changed last, newest first."""
        newest = sorted((row.last_seq for row in self._newer.values()), reverse=True)[:limit]
        older = self._settled_ones()
        while len(newest) < limit and (seq := next(older, 0)):
            newest.append(seq)
        return newest

    def _settled_ones(self) -> Iterator[int]:
        for txn_id, seq in self._connection.execute(_RECENT, (self.settled,)):
            if txn_id not in self._newer:
                yield seq

    def counters(self) -> dict[str, int]:
        """Every named counter, by name."""
        found = dict(self._connection.execute("SELECT name, value FROM counter"))
        found.update((name, value) for name, (value, _) in self._counters.items())
        return dict(sorted(found.items()))

    def counts(self) -> dict[str, int]:
        """Transactions by state; states without any are left out."""
        return {state: count for state, count in sorted(self._states.items()) if count}


def settled_seq(connection: sqlite3.Connection) -> int:
    """The record as of which the tables show what stands; before schema 2 that was always the last one."""
    text = read_meta(connection).get("settled_seq", "")
    if text.isdigit():
        return int(text)
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0])


def after(record: Record, before: Current | None) -> Current:
    """How a transaction stands after one more record."""
    first, sealed = (before.first_seq, before.sealed_seq) if before else (record.seq, 0)
    if record.sealed:
        sealed = record.seq
    return Current(
        record.txn_id, record.lane, record.reference, record.state, record.pending, first, record.seq, sealed
    )


def counters_of(text: str | None) -> dict[str, int]:
    """The counters that a record sets; none where that cannot be read (the chain tells)."""
    try:
        return dict(json.loads(text)) if text else {}
    except (ValueError, TypeError):  # TypeError: a damaged row may hold a number, or JSON that is no object
        return {}


def states_of(rows: Iterable[Current]) -> Counter[str]:
    """How many of them are in each state."""
    return Counter(row.state for row in rows)
