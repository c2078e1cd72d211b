"""Saves every readable record of a damaged journal into a new one, and lists what could not be saved.

The damaged files are only read. The new journal gets a sequence and a chain of its own; each saved record keeps its
content, and its place in the old sequence stands in the report. A record counts as saved if its columns can be read and
its body, where it has one, opens; a broken chain alone (a neighbour is lost) does not stop it, but is reported.

What SQLite hides is looked for too: a log cut short by one damaged frame still holds the pages of later commits, and
each of these is tried as if it had never been cut (journal_log.rejoin).

A transaction whose newest records are lost comes back in the last state that could be read. That is why the report
names it: a person compares it with the host. `parked` stays `parked`, pending stays pending; nothing is closed here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path

from agent.highwater import read_mark
from agent.journal import Journal
from agent.journal_check import Unreadable, last_known_seq, readable_records
from agent.journal_contract import Entry, JournalUnreadable
from agent.journal_image import image_of, reading
from agent.journal_log import rejoin
from agent.journal_open import held, log_path
from agent.journal_schema import READ_ERRORS, Record, chain_of, seal_context
from agent.vault import Vault, VaultError
from protocol.frozen import dataclass


@dataclass(slots=True)
class SalvageReport:
    """What was saved: `saved` maps old sequence numbers to new ones, `lost` old ones to the reason."""

    source: Path
    target: Path
    saved: dict[int, int] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    doubtful: dict[int, str] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for people."""
        text = [
            f"from         {self.source}",
            f"into         {self.target}",
            f"saved        {len(self.saved)} records",
            f"lost         {len(self.lost)} records",
        ]
        text += [f"  {seq:>10}  {reason}" for seq, reason in sorted(self.lost.items())]
        text += [f"DOUBTFUL {seq:>5}  {reason}" for seq, reason in sorted(self.doubtful.items())]
        return text


def salvage(
    path: Path, vault: Vault, target: Path, target_highwater: Path, highwater_path: Path | None = None
) -> SalvageReport:
    """Builds a new journal at `target` (which must not exist) from what is left at `path`.

    Raises JournalLocked while the daemon runs, JournalUnreadable if nothing at all can be read or `target` exists.
    """
    path, target = path.absolute(), target.absolute()
    if target.exists() or target_highwater.exists():
        raise JournalUnreadable("IO", target, "the target exists already", "name a new file; nothing is overwritten")
    report = SalvageReport(path, target)
    with held(path), image_of(path) as copy:
        rejoin(log_path(copy))
        with _readable(copy, path) as connection:
            last = max(last_known_seq(connection), _marked(highwater_path))
            new = Journal.open(target, vault, target_highwater, presize_bytes=0, reserve_bytes=0, create=True)
            try:
                _save_all(connection, vault, last, new, report)
            finally:
                new.close()
    return report


def _marked(highwater_path: Path | None) -> int:
    try:
        mark = read_mark(highwater_path) if highwater_path else None
    except ValueError:
        return 0  # a damaged mark is one of the reasons for a salvage
    return mark.seq if mark else 0


@contextmanager
def _readable(copy: Path, path: Path) -> Iterator[sqlite3.Connection]:
    with reading(copy) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except READ_ERRORS as error:
            hint = "restore the file from an export or from the second copy"
            raise JournalUnreadable("DAMAGED", path, f"nothing can be read: {error}", hint) from error
        yield connection


def _save_all(connection: sqlite3.Connection, vault: Vault, last: int, new: Journal, report: SalvageReport) -> None:
    chain: bytes | None = None
    follows = 1
    for item in readable_records(connection, 1, last):
        if isinstance(item, Unreadable):
            report.lost[item.seq] = item.text
            chain, follows = None, item.seq + 1
            continue
        _judge(chain if item.seq == follows else _kept_link(connection, item.seq), item, vault, report)
        _save(item, vault, new, report)
        chain = item.chain if isinstance(item.chain, bytes) else None
        follows = item.seq + 1  # any other one has lost its neighbour to the archive


def _kept_link(connection: sqlite3.Connection, seq: int) -> bytes | None:
    """The chain value before a record that stayed when its neighbours were archived."""
    try:
        found = connection.execute("SELECT chain FROM link WHERE seq = ?", (seq - 1,)).fetchone()
    except READ_ERRORS:
        return None
    return bytes(found[0]) if found else None


def _judge(before: bytes | None, record: Record, vault: Vault, report: SalvageReport) -> None:
    if before is None or not vault.knows(record.key_id):
        reason = "" if record.seq == 1 else "the record before it is lost: its chain cannot be checked"
    else:
        reason = "" if chain_of(before, record, vault) == record.chain else "it was changed"
    if reason:
        report.doubtful[record.seq] = f"transaction {record.txn_id or '-'}: {reason}"


def _save(record: Record, vault: Vault, new: Journal, report: SalvageReport) -> None:
    try:
        secret = vault.open_sealed(record.sealed, seal_context(record.txn_id, record.seq)) if record.sealed else b""
        counters = _counters(record.counters)
        entry = _entry(record, secret)
    except (VaultError, ValueError) as error:
        report.lost[record.seq] = f"transaction {record.txn_id or '-'}: {error}"
        return
    known = new.get(entry.txn_id)
    if known and (known.entry.lane, known.entry.reference) != (entry.lane, entry.reference):
        report.lost[record.seq] = f"transaction {entry.txn_id}: its lane or reference was changed"
        return
    report.saved[record.seq] = new.append([entry] if entry.txn_id else [], counters)
    report.counters.update(counters)


def _counters(text: str) -> dict[str, int]:
    return {str(name): int(value) for name, value in json.loads(text).items()} if text else {}


def _entry(record: Record, secret: bytes) -> Entry:
    row = record.row()
    texts = (row.txn_id, row.lane, row.reference, row.state, row.event, row.public, row.at_utc)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a column is damaged")
    return Entry(row.txn_id, row.lane, row.reference, row.state, row.pending, row.event, row.public, secret, row.at_utc)
