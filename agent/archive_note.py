"""What the journal itself says of its archive: a record for each step, covered by the chain, with totals of all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from agent.journal_schema import READ_ERRORS
from protocol.frozen import dataclass

EVENT = "archived"


@dataclass(frozen=True, slots=True)
class Sum:
    """Archived transactions of one lane, currency and state: how many, and how much in minor units."""

    lane: str
    currency: str
    state: str
    count: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class ArchiveNote:
    """Records 1..`upto` are in the archive; of them, so many stayed here too, because their transactions are not over
    or too young. `chain` is the chain value of record `upto`; `sums` count every transaction that is only there.
    """

    upto: int
    chain: bytes
    kept_records: int
    kept_transactions: int
    sums: tuple[Sum, ...]

    @property
    def states(self) -> Mapping[str, int]:
        """Archived transactions by state."""
        found: dict[str, int] = {}
        for one in self.sums:
            found[one.state] = found.get(one.state, 0) + one.count
        return found

    def text(self) -> str:
        """As it stands in the record."""
        facts = {
            "upto": self.upto,
            "chain": self.chain.hex(),
            "kept_records": self.kept_records,
            "kept_transactions": self.kept_transactions,
            "sums": [[one.lane, one.currency, one.state, one.count, one.amount_minor] for one in self.sums],
        }
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def newest_note(connection: sqlite3.Connection) -> ArchiveNote | None:
    """The newest note of a journal; None where nothing was archived. Raises sqlite3.Error.

    That it is the newest, and unaltered, is for the chain to prove: another one contradicts what stayed.
    """
    found = connection.execute("SELECT value FROM meta WHERE name = 'archived_seq'").fetchone()
    if found is None or found[0] == "0":
        return None
    if not found[0].isdigit():
        raise sqlite3.DatabaseError("the place of the record that says what was archived is damaged")
    row = connection.execute("SELECT public FROM record WHERE seq = ? AND event = ?", (int(found[0]), EVENT)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"record {found[0]}, which says what was archived, is missing")
    return parse(row[0])


def archived_upto(connection: sqlite3.Connection) -> int:
    """The last archived record; 0 where nothing was archived, or where that cannot be read (the check tells)."""
    try:
        note = newest_note(connection)
    except READ_ERRORS:
        return 0
    return note.upto if note else 0


def parse(text: str) -> ArchiveNote:
    """The note in a record. Raises sqlite3.DatabaseError if it is damaged."""
    try:
        facts = json.loads(text)
        sums = tuple(Sum(str(a), str(b), str(c), int(d), int(e)) for a, b, c, d, e in facts["sums"])
        counts = (int(facts["kept_records"]), int(facts["kept_transactions"]))
        return ArchiveNote(int(facts["upto"]), bytes.fromhex(facts["chain"]), *counts, sums)
    except (ValueError, KeyError, TypeError) as error:
        raise sqlite3.DatabaseError(f"the record that says what was archived is damaged: {error}") from error
