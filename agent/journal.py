"""The journal: what has happened, on stable storage, before anything else happens.

Rules not to break:

1. `append` returns only after the commit is on the disk (WAL, synchronous=FULL: one flush a commit).
2. Any error between BEGIN and COMMIT means that the outcome is unknown (a commit that reported an fsync error was there
   after a restart). The journal then refuses every further call; the process ends, restarts and reads back.
3. What cannot be read is never taken for empty: every doubt at start is a JournalUnreadable (journal_open.py). After
   one, or after a failure, the connection is never closed: SQLite's close would empty and delete the log.
4. One connection in one process. Nobody else opens the file, not even to read (copies are made by `export`).
5. Nothing is deleted but filler, and what an archive holds durably (journal_archive.py).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agent import archive_note
from agent import journal_space as space
from agent.highwater import Mark
from agent.journal_archive import ArchiveError, ArchiveLookUp, archive_path
from agent.journal_archiving import Step, Window, prepare, remove
from agent.journal_check import Findings, check_pending, check_record
from agent.journal_contract import (
    Entry,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalLocked,
    JournalUnreadable,
    Row,
    Store,
    Stored,
    StoreHealth,
    Waiting,
)
from agent.journal_current import SETTLE_RECORDS, after, states_of
from agent.journal_health import CommitTimes, Written
from agent.journal_open import SALVAGE_HINT, Opened, keep_for_ever, open_files, refuse_problems, start_errors
from agent.journal_read import history, record_at, stored
from agent.journal_record import COMMIT_FRAMES, NO_TRANSACTION, SETTLE_FRAMES, frames_of, make, noted
from agent.journal_room import Room
from agent.journal_rows import page
from agent.journal_schema import INSERT_RECORD, Current, Record, copy_database
from agent.vault import Vault, VaultError

__all__ = [
    "Entry",
    "Journal",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalLocked",
    "JournalUnreadable",
    "Row",
    "Store",
    "StoreHealth",
    "Stored",
]

MIB = 1 << 20
# One commit in 32 forces the mark to the disk too (docs/durability.md says what that means for a power cut).
MARK_SYNC_COMMITS = 32
# Records whose chain is walked at each start: 50 ms here. Older ones by `verify`, and at start only where pending.
CHECK_LAST = 2_000


class _InDoubt:
    """A stretch of the journal's work (`Journal._in_doubt`); a class, because every commit passes through one."""

    __slots__ = ("_journal", "_what")

    def __init__(self, journal: Journal, what: str) -> None:
        self._journal, self._what = journal, what

    def __enter__(self) -> None:
        self._journal._begin(self._what)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._journal._doubt = ""
        else:
            self._journal._fail(self._what, error)


class Journal:
    """See the module. Made by `open`; used by one thread at a time."""

    def __init__(self, path: Path, opened: Opened, vault: Vault, clock: Callable[[], float], room: Room) -> None:
        self._path = path
        self._files = opened
        self._connection = opened.connection
        self._standing = opened.standing
        self._vault = vault
        self._clock = clock
        self._head = opened.head
        self._room = room
        self._room_owed = False
        self._doubt = ""  # why no further call is answered; "" while all is well
        self._times = CommitTimes()
        self._written = Written()
        self._refused = ""  # why the last step of archiving could not be made
        self._archive = ArchiveLookUp(archive_path(path), vault)
        self._note = archive_note.newest_note(opened.connection)
        self._reserve_bytes = 0
        self._bytes_max = 0

    # -- start and end -------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: Path,
        vault: Vault,
        highwater_path: Path,
        *,
        presize_bytes: int = 4 * MIB,
        reserve_bytes: int = 16 * MIB,
        max_bytes: int = 1024 * MIB,
        create: bool = False,
        check_last: int | None = CHECK_LAST,
        pending_max: int | None = None,
        checkpoint_frames: int = space.CHECKPOINT_FRAMES,
        settle_records: int = SETTLE_RECORDS,
        room_later: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Journal:
        """Opens the journal and checks it; creates it on a first start (vault.fresh) or where `create` allows it.

        `presize_bytes` of room for acknowledgements are taken at once (0: none), `reserve_bytes` of the disk stay free
        of new sales, `max_bytes` is the most that the database may hold, `check_last` how many records are walked
        (None: all), after `checkpoint_frames` pages the log is emptied, after `settle_records` the tables are settled.
        `room_later`: where the disk is at ease the log gets its full length with `take_room`, soon.
        With more than `pending_max` pending ones the owner takes each with `checked` (None: all are checked here).
        Raises JournalUnreadable and JournalLocked.
        """
        path = path.absolute()
        opened = open_files(path, vault, highwater_path.absolute(), create, check_last, pending_max)
        try:
            with start_errors(path):
                rows = presize_bytes // space.FILLER_BYTES
                room = Room(opened.connection, path, rows, reserve_bytes, checkpoint_frames)
                journal = cls(path, opened, vault, clock, room)
                opened.standing.records_max = settle_records
                journal._reserve_bytes, journal._bytes_max = reserve_bytes, max_bytes
                journal._room_owed = room_later and room.may_wait
                if not journal._room_owed:
                    room.take(reserve_bytes)
            vault.settle()
        except BaseException:
            keep_for_ever(opened.connection)
            opened.lock.release()
            raise
        return journal

    def take_room(self) -> None:
        """What `open` left for later. Raises JournalFailed."""
        if self._room_owed:
            with self._in_doubt("room"):
                self._room.take(self._reserve_bytes)
            self._room_owed = False

    def shrink(self) -> None:
        """Gives back the pages that the checks of the start have read: up to 2 MB. Source: SQLite, its pragmas."""
        self._connection.execute("PRAGMA shrink_memory")

    def close(self) -> None:
        """Ends cleanly: the mark is forced to the disk, the log emptied. After a failure nothing is touched."""
        if self._doubt:
            return
        with self._in_doubt("close"):
            self._files.mark.sync()
            self._settle()
            self._room.checkpoint()
        self._doubt = "the journal is closed"
        self._files.mark.close()
        self._archive.close()
        self._connection.close()
        self._room.leave()
        self._files.lock.release()

    def rest(self) -> bool:
        """Work that can wait, for a moment when nothing is due: settles the tables, empties the log. One step a call.

        Whether there may be more to do. Bounded like an append; what is never done at rest is done by `append`.
        """
        if self._is_read_only():
            return False  # whoever only lists what is owed needs no write, and a failed one would end the process
        with self._in_doubt("rest"):
            self._written.begin()
            did = self._rest()
            self._written.end()
        return did

    def _rest(self) -> bool:
        if self._standing.worth_settling:
            self._settle()
            return True
        if self._room.worth_emptying:
            self._room.checkpoint()
            return True
        return self._room.restore()

    def _is_read_only(self) -> bool:
        self._refuse_in_doubt()
        try:
            return space.is_read_only(self._files.lock.path)
        except OSError:
            return True

    def _settle(self) -> None:
        """Brings the derived tables up to date in a commit of its own."""
        if not self._standing.unsettled and self._standing.settled == self._head.seq:
            return
        frames = COMMIT_FRAMES + SETTLE_FRAMES * self._standing.unsettled
        self._room.prepare(frames)
        self._connection.execute("BEGIN IMMEDIATE")
        self._standing.settle()
        self._connection.execute("COMMIT")
        self._room.note(frames)

    @property
    def journal_id(self) -> str:
        """Made at random with the journal; sequence numbers count within it."""
        return self._head.journal_id

    @property
    def commit_s(self) -> float:
        """Seconds that the last commit took; 0.0 before the first."""
        return self._times.last_s

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        """Stores entries and counters in one commit, durable on return; the last sequence number.

        Raises JournalFailed: the outcome is unknown and the process must end. Counters without entries are allowed.
        """
        if not entries and not counters:
            self._refuse_in_doubt()
            return self._head.seq
        with self._in_doubt("append"):
            self._written.begin()
            self._commit(self._prepare(entries or [NO_TRANSACTION], dict(counters or {})))
            self._written.end(len(entries))
        return self._head.seq

    def admit(self) -> None:
        """Returns if a new sale may start. Raises JournalFull where it could use up the room for acknowledgements."""
        self._refuse_in_doubt()
        directory, hint = self._path.parent, "free space on this disk; reversals go on meanwhile"
        try:
            free = space.bytes_free(directory)
            read_only = space.is_read_only(self._files.lock.path)
        except OSError as error:
            raise JournalFull(f"the disk of the journal does not answer: {error.strerror}", hint) from error
        if read_only:
            raise JournalFull("the disk of the journal is read-only", "look for disk errors in the system log")
        if free < self._reserve_bytes:
            raise JournalFull(f"{free // MIB} MiB are free, {self._reserve_bytes // MIB} MiB are kept in reserve", hint)
        if self._room.half_used_up:
            raise JournalFull("the room inside the journal is half used up", hint)
        if space.bytes_used(self._connection) > self._bytes_max:
            raise JournalFull(f"the journal holds its {self._bytes_max // MIB} MiB", "archive it, or raise the limit")

    def _prepare(self, entries: Sequence[Entry], counters: dict[str, int]) -> list[Record]:
        """The records to write, in order. Counters stand in the first one, so that the chain covers them."""
        setting = noted(counters)
        standing, chain, first = self._standing, self._head.chain, self._head.seq + 1
        known = standing.several([entry.txn_id for entry in entries])
        records: list[Record] = []
        for seq, entry in enumerate(entries, first):
            before = known.get(entry.txn_id)
            record = self._record(seq, entry, before, "" if records else setting, chain)
            chain = record.chain
            records.append(record)
            if entry.txn_id:
                now = known[entry.txn_id] = after(record, before)
                standing.put(now, before)
        standing.count(first, counters)
        standing.count(records[-1].seq, {})
        return records

    def _record(self, seq: int, entry: Entry, before: Current | None, counters: str, chain: bytes) -> Record:
        secret = entry.secret
        if before is None and entry.txn_id and self._note is not None and (again := self._again(entry.txn_id)):
            before, secret = again[0], secret or again[1]
        return make(self._vault, seq, entry, before, secret, counters, chain)

    def _again(self, txn_id: str) -> tuple[Current, bytes] | None:
        """A transaction that was archived, over for long, and for which something comes now; with its secret."""
        read = lambda old, row: (row, stored(old, self._vault, row).entry.secret)  # noqa: E731
        return self._archive.read(lambda: self._archive.current(txn_id), read)

    def _commit(self, records: list[Record]) -> None:
        """Writes them durably, and the mark behind them."""
        pages = frames_of(records)
        settles = self._standing.due
        if settles:
            pages += SETTLE_FRAMES * self._standing.unsettled
        self._room.prepare(pages)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT_RECORD, records)
        if settles:
            self._standing.settle()
        began = self._clock()
        connection.execute("COMMIT")
        self._times.note(self._clock() - began)
        self._advance(records[-1], pages)

    def _advance(self, last: Record, pages: int) -> None:
        """After a commit: the mark outside follows."""
        self._head = Mark(self._head.journal_id, last.seq, last.chain)
        self._files.mark.write(self._head)
        if self._times.commits % MARK_SYNC_COMMITS == 0:
            self._files.mark.sync()
        self._room.note(pages)

    # -- archive -------------------------------------------------------------------------------------------------

    def archive(self, window: Window, at_utc: str, least: int = 0) -> Step | None:
        """One bounded step: copies old records into the archive, then removes those whose transactions are over.

        None if nothing, or fewer than `least` records, would go. Raises ArchiveError: the journal is as it was; and
        JournalFailed.
        """
        try:
            self._refuse_to_archive()
            with self._in_doubt("archive"):
                self._settle()
            with self._reading():
                step = prepare(self._connection, self._archive.path, self.journal_id, self._vault, window, least)
        except ArchiveError as error:
            self._refused = error.text
            raise
        self._refused = ""
        if step is not None:
            with self._in_doubt("archive"):
                self._remove(step, at_utc)
        return step

    def _refuse_to_archive(self) -> None:
        """The archive grows, and the database does not shrink: together they must not eat up the reserve."""
        if self._is_read_only():
            raise ArchiveError("no archiving on a read-only disk", "look for disk errors in the system log")
        free = space.bytes_free(self._path.parent)
        if free < 2 * self._reserve_bytes:
            hint = "free space on this disk, or put the archive away: move the file to another one"
            raise ArchiveError(f"no archiving with {free // MIB} MiB free", hint)

    def _remove(self, step: Step, at_utc: str) -> None:
        counters = self._standing.counters()
        entry = Entry("", "", "", "", False, archive_note.EVENT, step.note.text(), b"", at_utc)
        record = self._record(self._head.seq + 1, entry, None, noted(counters), self._head.chain)
        frames = COMMIT_FRAMES + len(step.seqs) // 2 + 2 * len(step.over) // 10
        self._room.prepare(frames)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(INSERT_RECORD, record)
        remove(self._connection, step, record.seq)
        self._standing.count(record.seq, counters)
        self._standing.settle()
        self._connection.execute("COMMIT")
        self._standing.forget(states_of(step.over))
        self._note = step.note
        self._advance(record, frames)

    @property
    def archived_upto(self) -> int:
        """The last record of those that were archived; 0 if none."""
        return self._note.upto if self._note else 0

    def _in_doubt(self, what: str) -> _InDoubt:
        """Everything inside must succeed; otherwise the journal is unusable from then on."""
        return _InDoubt(self, what)

    def _begin(self, what: str) -> None:
        self._refuse_in_doubt()
        self._doubt = f"{what} did not come to its end"

    def _fail(self, what: str, error: BaseException) -> None:
        """Raises JournalFailed for what the disk or SQLite did; any other error is the caller's to pass on."""
        keep_for_ever(self._connection)
        if isinstance(error, (sqlite3.Error, OSError, UnicodeDecodeError)):
            self._doubt = f"{what} failed: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
            raise self._failure() from error

    def _refuse_in_doubt(self) -> None:
        if self._doubt:
            raise self._failure()

    def _failure(self) -> JournalFailed:
        return JournalFailed(f"journal {self._path}: {self._doubt}", "the agent restarts and reads back what is stored")

    # -- reading -------------------------------------------------------------------------------------------------

    def pending(self) -> list[Stored]:
        """Every transaction that is not over, oldest first."""
        with self._reading():
            return [stored(self._connection, self._vault, row) for row in self._standing.pending()]

    def waiting(self) -> Iterator[Waiting]:
        """The same without a look at their records; nothing may be appended before it has ended."""
        with self._reading():
            yield from self._standing.waiting()

    def checked(self, txn_id: str) -> Stored | None:
        """As `get`, its newest record and its body checked as a start does. Raises JournalUnreadable."""
        with self._reading():
            row = self._standing.current(txn_id)
            if row is None:
                return None
            findings = Findings(journal_id=self._head.journal_id, archived=self._note)
            check = partial(check_record, self._connection, self._vault, findings)
            try:
                found = stored(self._connection, self._vault, row, check)
            except (VaultError, LookupError):
                check_pending(self._connection, self._vault, findings, row)  # says which it is
                raise
            finally:
                if findings.problems:
                    keep_for_ever(self._connection)
                    refuse_problems(self._path, findings)
            return found

    def find(self, lane: str, reference: str) -> Stored | None:
        """The transaction with the application's own reference; the newest, should a reference have been used twice."""
        with self._reading():
            row = self._standing.by_reference(lane, reference)
            return self._stored(row, lambda: self._archive.by_reference(lane, reference))

    def get(self, txn_id: str) -> Stored | None:
        """One transaction as it stands now."""
        with self._reading():
            return self._stored(self._standing.current(txn_id), lambda: self._archive.current(txn_id))

    def _stored(self, row: Current | None, archived: Callable[[], Current | None]) -> Stored | None:
        if row is not None:
            return stored(self._connection, self._vault, row)
        if self._note is None:
            return None
        return self._archive.read(archived, lambda connection, old: stored(connection, self._vault, old))

    def history(self, txn_id: str) -> list[Row]:
        """Every entry of one transaction, oldest first, also of what is archived."""
        with self._reading():
            row = self._standing.current(txn_id)
            rows = history(self._connection, row.last_seq, row.first_seq) if row else []
            if self._note is None or (rows and not rows[0].previous):
                return rows
            find = lambda: self._archive.current(txn_id)  # noqa: E731
            older = self._archive.read(find, lambda connection, old: history(connection, old.last_seq, old.first_seq))
            kept = {one.seq for one in rows}
            return [one for one in older or [] if one.seq not in kept] + rows

    def recent(self, limit: int) -> list[Row]:
        """The latest entry of the `limit` transactions that changed last, newest first."""
        with self._reading():
            return [record_at(self._connection, seq).row() for seq in self._standing.recent(limit)]

    def rows(self, after: int, limit: int) -> dict[str, Any]:
        """A page of records for those who only look (agent/journal_rows.py)."""
        with self._reading():
            return page(self._connection, after, limit, self._head.seq, self._archive, self.archived_upto)

    def counters(self) -> dict[str, int]:
        """Every named counter."""
        with self._reading():
            return self._standing.counters()

    def counts(self) -> dict[str, int]:
        """Transactions by state; states without any are left out."""
        self._refuse_in_doubt()
        return self._standing.counts()

    def health(self) -> StoreHealth:
        """How the store does, for the status file."""
        with self._reading():
            used = space.bytes_used(self._connection)
            free = space.bytes_free(self._path.parent)
            return StoreHealth(
                self._times.commits,
                self._times.percentile_ms(50),
                self._times.percentile_ms(99),
                used,
                free,
                self._reserve_bytes,
                self._head.seq,
                tuple(self._warnings(used, free)),
                self._written.per_reversal,
            )

    def export(self, target: Path) -> None:
        """A whole, consistent copy of the database at `target` (replaced if it exists), while the journal is in use."""
        if not self._is_read_only():
            with self._in_doubt("export"):
                self._settle()  # the copy's tables are complete: it can be read without the rules of this module
        with self._reading(), start_errors(target):
            copy_database(self._connection, target)

    def _warnings(self, used: int, free: int) -> list[str]:
        found = self._times.warnings()
        if free < 2 * self._reserve_bytes:
            found.append(f"W-STORE-SPACE: {free // MIB} MiB are free, sales stop at {self._reserve_bytes // MIB} MiB")
        if used > 0.8 * self._bytes_max:
            found.append(f"W-STORE-SIZE: the journal holds {used // MIB} of at most {self._bytes_max // MIB} MiB")
        if not self._room.complete:
            found.append("W-STORE-ROOM: the room for acknowledgements is not complete: the disk was full")
        if self._refused:
            found.append(f"W-STORE-ARCHIVE: {self._refused}")
        elif self._archive.error:
            found.append(f"W-STORE-ARCHIVE: {self._archive.error}")
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._refuse_in_doubt()
        try:
            with start_errors(self._path):
                yield
        except (VaultError, LookupError) as error:
            raise JournalUnreadable("DAMAGED", self._path, str(error), SALVAGE_HINT) from error
