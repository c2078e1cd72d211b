"""Verifying an archive: its own chain, the place where it joins the journal, and its books."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from dataclasses import field
from pathlib import Path

from agent.archive_note import ArchiveNote
from agent.journal_archive import ArchiveError, extent, looking, problem_of, records_of
from agent.journal_schema import genesis
from agent.vault import Vault
from protocol.frozen import dataclass

_NEWEST = """
SELECT state, count(*) FROM (SELECT txn_id, state, max(seq) FROM record WHERE seq <= ? AND txn_id <> '' GROUP BY txn_id)
GROUP BY state
"""
_KEPT = """
SELECT c.txn_id, r.previous FROM current c JOIN record r ON r.seq = c.first_seq WHERE c.first_seq <= ?
"""
_NEWEST_OF = "SELECT state FROM record WHERE txn_id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"


@dataclass(slots=True)
class ArchiveReport:
    """What a walk over the archive found. `records` 0: the file is not at hand."""

    path: Path
    upto: int
    first: int = 0
    records: int = 0
    problems: list[str] = field(default_factory=list)

    def lines(self, transactions: int) -> list[str]:
        """The report for people."""
        said = f"{transactions} transactions, records up to {self.upto}"
        if not self.records and not self.problems:
            return [f"archive      {said}; the file is not here ({self.path}): its totals are those of the journal"]
        text = [f"archive      {said}; {self.records} records walked in {self.path}"]
        if self.first > 1:
            text.append(f"             it begins with record {self.first}: the ones before are in a file put away")
        if not self.problems:
            text.append("             its chain is whole and joins the journal's")
        return text


def walk_archive(
    journal: sqlite3.Connection, path: Path, journal_id: str, note: ArchiveNote, vault: Vault | None
) -> ArchiveReport:
    """Walks what the journal says is archived. A file that was put away is no problem: the journal holds its totals."""
    report = ArchiveReport(path, note.upto)
    if not path.exists():
        return report
    try:
        with looking(path) as connection:
            _walk(connection, journal, journal_id, note, vault, report)
    except ArchiveError as error:
        report.problems.append(error.text)
    return report


def _walk(
    connection: sqlite3.Connection,
    journal: sqlite3.Connection,
    journal_id: str,
    note: ArchiveNote,
    vault: Vault | None,
    report: ArchiveReport,
) -> None:
    held = extent(connection, report.path)
    if held is None or held.journal_id != journal_id:
        report.problems.append(f"the archive {report.path} belongs to another journal, or to none")
        return
    report.first = held.first
    answers = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    report.problems += [f"archive: integrity check: {answer}" for answer in answers if answer != "ok"]
    chain, seq = held.before, held.first - 1
    if held.first == 1 and chain != genesis(journal_id):
        report.problems.append("archive: it does not begin where the journal began")
    for record in records_of(connection, held.first, note.upto):
        seq, report.records = seq + 1, report.records + 1
        if problem := problem_of(record, seq, chain, vault):
            report.problems.append(f"archive: {problem}")
            return
        chain = record.chain
    if seq != note.upto or chain != note.chain:
        report.problems.append(f"archive: it ends with record {seq}, and the journal goes on after {note.upto}")
        return
    _compare_kept(connection, journal, held.first, note, report)
    if held.first == 1:
        _compare_books(connection, journal, note, report)


def _compare_kept(
    connection: sqlite3.Connection, journal: sqlite3.Connection, first: int, note: ArchiveNote, report: ArchiveReport
) -> None:
    """What stayed in the journal is the same there and here."""
    kept = journal.execute("SELECT seq, chain FROM record WHERE seq BETWEEN ? AND ?", (first, note.upto))
    for seq, chain in kept:
        found = connection.execute("SELECT chain FROM record WHERE seq = ?", (seq,)).fetchone()
        if found != (chain,):
            report.problems.append(f"archive: record {seq} is another one than in the journal")


def _compare_books(
    connection: sqlite3.Connection, journal: sqlite3.Connection, note: ArchiveNote, report: ArchiveReport
) -> None:
    states = Counter(dict(connection.execute(_NEWEST, (note.upto,))))
    with contextlib.closing(journal.execute(_KEPT, (note.upto,))) as kept:
        for txn_id, previous in kept:
            states.subtract(row[0] for row in connection.execute(_NEWEST_OF, (txn_id, note.upto)))
            if previous:  # noted again after it was archived: the books have it as it stood then
                states.update(row[0] for row in connection.execute(_NEWEST_OF, (txn_id, previous)))
    if +states != Counter(note.states):
        told = " + ".join(f"{count} {state}" for state, count in sorted((+states).items())) or "nothing"
        report.problems.append(f"archive: it holds {told}, the journal says otherwise")
