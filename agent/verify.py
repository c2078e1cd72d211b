"""Is anything missing? Walks a whole journal and balances its books.

Works on a closed journal (on a private copy of its files) and, while the daemon runs, on an export. Nothing is changed.
The balance counts every transaction that was ever begun against the states that all of them are in now.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import field
from pathlib import Path

from agent.archive_note import ArchiveNote
from agent.archive_walk import ArchiveReport, walk_archive
from agent.currency import money as amount
from agent.highwater import Mark, read_mark
from agent.journal_archive import archive_path
from agent.journal_archiving import money
from agent.journal_check import Findings, Problem, Unreadable, check_journal, last_known_seq, readable_records
from agent.journal_contract import JournalUnreadable
from agent.journal_image import image_of, reading
from agent.journal_log import commits_behind, hidden_pages
from agent.journal_open import held, log_path, mark_problem, start_errors
from agent.journal_schema import READ_ERRORS, Record, seal_context
from agent.vault import Vault, VaultError
from protocol.frozen import dataclass

ARCHIVED = "archived"  # stands for the batch: the archive's totals are by lane, currency and state


@dataclass(frozen=True, slots=True)
class BatchSum:
    """Transactions of one lane, batch, currency and state: how many, and how much in minor units."""

    lane: str
    batch: str
    currency: str
    state: str
    count: int
    amount_minor: int


@dataclass(slots=True)
class VerifyReport:
    """What a walk over the whole journal found. `whole`: nothing is missing, changed or unreadable."""

    path: Path
    journal_id: str = ""
    head_seq: int = 0
    records: int = 0
    begun: int = 0
    states: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    sealed: int = 0
    seals_checked: bool = False
    mark_seq: int | None = None
    sums: list[BatchSum] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    archive: ArchiveReport | None = None
    archived: int = 0  # transactions that are in the archive alone
    again: int = 0  # of those here: archived before, and noted again since
    exported: bool = False

    @property
    def whole(self) -> bool:
        """No problem, and every transaction begun is in exactly one state."""
        return not self.problems and self.begun + self.again == sum(self.states.values())

    @property
    def first_bad_seq(self) -> int:
        """The lowest record with a problem; 0 if there is none, or none that has a number."""
        return min((problem.seq for problem in self.problems if problem.seq), default=0)

    def lines(self) -> list[str]:
        """The report for people."""
        states = " + ".join(f"{count} {state}" for state, count in self.states.items()) or "0"
        known = "none" if self.mark_seq is None else str(self.mark_seq)
        text = [
            f"journal      {self.path}",
            f"records      {self.records}, the last is {self.head_seq}, high-water mark {known}",
            f"seals        {self.sealed}" + ("" if self.seals_checked else " (not checked: no key)"),
            f"balance      {self.begun} begun = {states}; {self.pending} pending",
        ]
        if self.exported:
            text.insert(
                0, "the agent is running: this is the check of a copy that it has just made, and of its archive"
            )
        text += self.archive.lines(self.archived) if self.archive else []
        text += [
            f"  {one.lane} batch {one.batch or '-'}: {one.count} {one.state}, {amount(one.amount_minor, one.currency)}"
            for one in self.sums
            if one.currency  # sessions and batches are records too, and no money
        ]
        text += [f"PROBLEM      {problem.text}" for problem in self.problems]
        return [*text, "whole: nothing is missing" if self.whole else "NOT WHOLE"]


def walk(path: Path, vault: Vault | None, highwater_path: Path | None = None) -> VerifyReport:
    """Verifies a closed journal or an export, and the archive beside it.

    Raises JournalLocked while the daemon runs on `path`, JournalUnreadable if there is no such file. Without a vault
    neither chain nor seals are checked.
    """
    path = path.absolute()
    if not path.exists():
        raise JournalUnreadable("MISSING", path, "the file is missing", "check the path")
    with held(path), image_of(path) as copy:
        report = VerifyReport(path)
        hidden = hidden_pages(log_path(copy), copy)
        if hidden:
            report.problems.append(Problem("DAMAGED", 0, f"the log's header is damaged; it hides {hidden} pages"))
        with reading(copy) as connection:
            _walk_copy(connection, copy, vault, report, archive_path(path))
            _compare_mark(connection, highwater_path, report)
    return report


def walk_export(
    path: Path, vault: Vault | None, highwater_path: Path | None = None, archive: Path | None = None
) -> VerifyReport:
    """Verifies a copy that `export` made while the daemon went on: mark and archive may be ahead of it by then."""
    report = VerifyReport(path)
    with start_errors(path), image_of(path) as copy, reading(copy) as connection:
        _walk_copy(connection, copy, vault, report, archive or archive_path(path))
        mark = read_mark(highwater_path) if highwater_path else None
        if mark and mark.seq <= report.head_seq:
            _compare_mark(connection, highwater_path, report)
    return report


def _walk_copy(
    connection: sqlite3.Connection, copy: Path, vault: Vault | None, report: VerifyReport, archive: Path
) -> None:
    findings = check_journal(connection, vault)
    report.journal_id, report.head_seq = findings.journal_id, findings.head_seq
    report.problems += findings.problems
    report.seals_checked = vault is not None
    newest: dict[str, Record] = {}
    try:
        for item in readable_records(connection, 1, last_known_seq(connection)):
            if isinstance(item, Unreadable):
                continue  # check_journal has reported it
            report.records += 1
            _note(item, vault, report, newest)
        _check_log(connection, copy, report)
    except READ_ERRORS as error:
        report.problems.append(Problem("DAMAGED", 0, f"the database is damaged: {error}"))
    _balance(newest, report)
    _add_archived(connection, findings.archived, archive, vault, report)


def _add_archived(
    connection: sqlite3.Connection, note: ArchiveNote | None, path: Path, vault: Vault | None, report: VerifyReport
) -> None:
    """The books go on where the archive begins: its totals stand in the journal, and must be those of the file."""
    if note is None:
        return
    report.archived = sum(note.states.values())
    report.begun += report.archived
    report.states = dict(sorted((Counter(report.states) + Counter(note.states)).items()))
    report.sums = sorted(
        [*report.sums, *(BatchSum(s.lane, ARCHIVED, s.currency, s.state, s.count, s.amount_minor) for s in note.sums)],
        key=lambda one: (one.lane, one.batch, one.currency, one.state),
    )
    report.archive = walk_archive(connection, path, report.journal_id, note, vault)
    report.problems += [Problem("ARCHIVE", 0, text) for text in report.archive.problems]


def _note(record: Record, vault: Vault | None, report: VerifyReport, newest: dict[str, Record]) -> None:
    if record.txn_id:
        report.begun += record.previous == 0
        report.again += record.previous != 0 and record.txn_id not in newest
        newest[record.txn_id] = record
    if not record.sealed:
        return
    report.sealed += 1
    try:
        if vault is not None and not vault.was_destroyed(record.sealed):
            vault.open_sealed(record.sealed, seal_context(record.txn_id, record.seq))
    except VaultError as error:
        report.problems.append(Problem("DAMAGED", record.seq, f"record {record.seq}: {error.text}"))


def _check_log(connection: sqlite3.Connection, copy: Path, report: VerifyReport) -> None:
    if not log_path(copy).exists():
        return
    frames = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    lost = commits_behind(log_path(copy), max(frames, 0)) if log_path(copy).exists() else 0
    if lost > 1:
        text = f"the log is damaged after {frames} frames; {lost} later commits cannot be read"
        report.problems.append(Problem("DAMAGED", 0, text))


def _balance(newest: dict[str, Record], report: VerifyReport) -> None:
    report.states = dict(sorted(Counter(record.state for record in newest.values()).items()))
    report.pending = sum(bool(record.pending) for record in newest.values())
    counts: Counter[tuple[str, str, str, str]] = Counter()
    amounts: Counter[tuple[str, str, str, str]] = Counter()
    for record in newest.values():
        batch, currency, amount = money(record.public)
        group = (record.lane, batch, currency, record.state)
        counts[group] += 1
        amounts[group] += amount
    report.sums = [BatchSum(*group, counts[group], amounts[group]) for group in sorted(counts)]


def _compare_mark(connection: sqlite3.Connection, highwater_path: Path | None, report: VerifyReport) -> None:
    if highwater_path is None:
        return
    try:
        mark: Mark | None = read_mark(highwater_path)
    except ValueError as error:
        report.problems.append(Problem("MARK", 0, f"{highwater_path}: {error}"))
        return
    report.mark_seq = mark.seq if mark else None
    findings = Findings(report.journal_id, report.head_seq)
    try:
        problem = mark_problem(connection, findings, mark)
    except READ_ERRORS as error:
        report.problems.append(Problem("DAMAGED", 0, f"the mark cannot be compared: {error}"))
        return
    if problem is not None:
        kind, text, first, _ = problem
        report.problems.append(Problem(kind, first, text))
