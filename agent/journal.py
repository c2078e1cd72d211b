"""The journal: what has happened, on stable storage, before anything else happens.

Rules not to break:

1. `append` returns only after the commit is on the disk (WAL, synchronous=FULL: one flush a commit).
2. Any error between BEGIN and COMMIT means that the outcome is unknown (a commit that reported an fsync error was there
   after a restart). The journal then refuses every further call; the process ends, restarts and reads back.
3. What cannot be read is never taken for empty: every doubt at start is a JournalUnreadable (journal_open.py). After
   one, or after a failure, the connection is never closed: SQLite's close would empty and delete the log.
4. One connection in one process. Nobody else opens the file, not even to read (copies are made by `export`).
5. Nothing is deleted but filler.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent import journal_space as space
from agent.highwater import Mark
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
)
from agent.journal_health import CommitTimes
from agent.journal_open import SALVAGE_HINT, Opened, keep_for_ever, open_files, start_errors
from agent.journal_read import current_of, history, recent, stored
from agent.journal_schema import (
    INSERT_CURRENT,
    INSERT_RECORD,
    UPDATE_CURRENT,
    UPDATE_PENDING,
    UPSERT_COUNTER,
    Current,
    Record,
    chain_of,
    copy_database,
    seal_context,
)
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
# Pages that one entry writes to the log besides its own bytes: record, current, indexes, counter, free list, padding.
# Measured: 6 on average over a reversal, 8 where every entry begins a transaction.
_FRAMES_PER_ENTRY = 9
_NO_TRANSACTION = Entry("", "", "", "", False, "counters", "", b"", "")


class Journal:
    """See the module. Made by `open`; used by one thread at a time."""

    def __init__(self, path: Path, opened: Opened, vault: Vault, clock: Callable[[], float]) -> None:
        self._path = path
        self._files = opened
        self._connection = opened.connection
        self._vault = vault
        self._clock = clock
        self._head = opened.head
        self._doubt = ""  # why no further call is answered; "" while all is well
        self._times = CommitTimes()
        self._log_frames = 0
        self._filler_rows = 0
        self._checkpoint_frames = space.CHECKPOINT_FRAMES
        self._reserve_bytes = 0
        self._bytes_max = 0
        self._ballast = space.Ballast(path, 0)
        self._states: Counter[str] = Counter(
            dict(self._connection.execute("SELECT state, count(*) FROM current GROUP BY state"))
        )

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
        checkpoint_frames: int = space.CHECKPOINT_FRAMES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Journal:
        """Opens the journal and checks it; creates it on a first start (vault.fresh) or where `create` allows it.

        `presize_bytes` of room for acknowledgements are taken at once (0: none), `reserve_bytes` of the disk stay free
        of new sales, `max_bytes` is the most that the database may hold, `check_last` how many records are walked
        (None: all), after `checkpoint_frames` pages the log is emptied. Raises JournalUnreadable and JournalLocked.
        """
        path = path.absolute()
        opened = open_files(path, vault, highwater_path.absolute(), create, check_last)
        try:
            with start_errors(path):
                journal = cls(path, opened, vault, clock)
                journal._reserve_bytes, journal._bytes_max = reserve_bytes, max_bytes
                journal._checkpoint_frames = checkpoint_frames
                journal._take_room(presize_bytes // space.FILLER_BYTES)
            vault.settle()
        except BaseException:
            keep_for_ever(opened.connection)
            opened.lock.release()
            raise
        return journal

    def close(self) -> None:
        """Ends cleanly: the mark is forced to the disk, the log emptied. After a failure nothing is touched."""
        if self._doubt:
            return
        with self._in_doubt("close"):
            self._files.mark.sync()
            self._checkpoint()
        self._doubt = "the journal is closed"
        self._files.mark.close()
        self._connection.close()
        self._files.lock.release()

    def _take_room(self, rows: int) -> None:
        """Brings log, filler and ballast to full size, as far as the disk has room."""
        log_bytes = rows * space.FILLER_PAGES * space.FRAME_BYTES
        self._filler_rows = rows
        if rows:  # a quarter of the log is left for what comes in one piece: filler, a large entry
            self._checkpoint_frames = min(self._checkpoint_frames, rows * space.FILLER_PAGES * 3 // 4)
        self._ballast = space.Ballast(self._path, log_bytes + MIB // 4)
        missing = rows - space.filler_rows(self._connection)
        if missing > 0 or space.log_bytes(self._path) < log_bytes:
            self._fill(rows, max(0, missing) * space.FILLER_BYTES + log_bytes + MIB // 4)
        if rows:
            self._ballast.take(self._reserve_bytes)

    def _fill(self, rows: int, needed_bytes: int) -> None:
        directory = self._path.parent
        if space.bytes_free(directory) < needed_bytes:
            self._ballast.give_up()
        if space.bytes_free(directory) >= needed_bytes:
            space.refill(self._connection, rows)
            self._checkpoint()

    @property
    def journal_id(self) -> str:
        """Made at random with the journal; sequence numbers count within it."""
        return self._head.journal_id

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        """Stores entries and counters in one commit, durable on return; the last sequence number.

        Raises JournalFailed: the outcome is unknown and the process must end. Counters without entries are allowed.
        """
        if not entries and not counters:
            self._refuse_in_doubt()
            return self._head.seq
        with self._in_doubt("append"):
            steps = self._prepare(entries or [_NO_TRANSACTION], dict(counters or {}))
            self._commit(steps, counters or {})
            self._advance(steps)
            self._tend(steps)
        return self._head.seq

    def admit(self) -> None:
        """Returns if a new sale may start. Raises JournalFull where it could use up the room for acknowledgements."""
        self._refuse_in_doubt()
        directory, hint = self._path.parent, "free space on this disk; reversals go on meanwhile"
        try:
            free = space.bytes_free(directory)
        except OSError as error:
            raise JournalFull(f"the disk of the journal does not answer: {error.strerror}", hint) from error
        if space.is_read_only(directory):
            raise JournalFull("the disk of the journal is read-only", "look for disk errors in the system log")
        if free < self._reserve_bytes:
            raise JournalFull(f"{free // MIB} MiB are free, {self._reserve_bytes // MIB} MiB are kept in reserve", hint)
        if 2 * space.filler_rows(self._connection) < self._filler_rows:
            raise JournalFull("the room inside the journal is half used up", hint)
        if space.bytes_used(self._connection) > self._bytes_max:
            raise JournalFull(f"the journal holds its {self._bytes_max // MIB} MiB", "archive it, or raise the limit")

    def _prepare(self, entries: Sequence[Entry], counters: dict[str, int]) -> list[_Step]:
        """The rows to write. Counters stand in the first record, so that the chain covers them."""
        noted = json.dumps(counters, sort_keys=True, separators=(",", ":")) if counters else ""
        steps: list[_Step] = []
        newest: dict[str, Current] = {}
        chain = self._head.chain
        for seq, entry in enumerate(entries, self._head.seq + 1):
            before = newest.get(entry.txn_id) or current_of(self._connection, entry.txn_id)
            record = self._record(seq, entry, before, "" if steps else noted)
            chain = chain_of(chain, record, self._vault)
            steps.append(_Step(before, record._replace(chain=chain)))
            newest[entry.txn_id] = steps[-1].after
        return steps

    def _record(self, seq: int, entry: Entry, before: Current | None, counters: str) -> Record:
        if before and (entry.lane, entry.reference) != (before.lane, before.reference):
            raise ValueError(f"transaction {entry.txn_id} cannot change its lane or reference")
        sealed = self._vault.seal(entry.secret, seal_context(entry.txn_id, seq)) if entry.secret else b""
        return Record(
            seq,
            before.last_seq if before else 0,
            entry.txn_id,
            entry.lane,
            entry.reference,
            entry.state,
            int(entry.pending),
            entry.event,
            entry.at_utc,
            entry.public,
            counters,
            sealed,
            self._vault.key_id,
            b"",
        )

    def _commit(self, steps: list[_Step], counters: Mapping[str, int]) -> None:
        connection, first = self._connection, steps[0].record.seq
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT_RECORD, [step.record for step in steps])
        for step in steps:
            self._put_current(step)
        connection.executemany(UPSERT_COUNTER, [(name, value, first) for name, value in counters.items()])
        began = self._clock()
        connection.execute("COMMIT")
        self._times.note(self._clock() - began)

    def _put_current(self, step: _Step) -> None:
        before, after, execute = step.before, step.after, self._connection.execute
        if not after.txn_id:
            return
        if before is None:
            execute(INSERT_CURRENT, after)
            return
        execute(UPDATE_CURRENT, (after.state, after.last_seq, after.sealed_seq, after.txn_id))
        if after.pending != before.pending:
            execute(UPDATE_PENDING, (after.pending, after.txn_id))

    def _advance(self, steps: list[_Step]) -> None:
        """After the commit: the mark outside, and the counts by state."""
        last = steps[-1].record
        self._head = Mark(self._head.journal_id, last.seq, last.chain)
        self._files.mark.write(self._head)
        if self._times.commits % MARK_SYNC_COMMITS == 0:
            self._files.mark.sync()
        for step in steps:
            if step.before:
                self._states[step.before.state] -= 1
            if step.record.txn_id:
                self._states[step.after.state] += 1

    def _tend(self, steps: list[_Step]) -> None:
        """Keeps free pages at hand and the log within its length; does something only now and then."""
        body_bytes = sum(len(step.record.public) + len(step.record.sealed) for step in steps)
        self._log_frames += _FRAMES_PER_ENTRY * len(steps) + body_bytes // space.PAGE_BYTES
        due = self._log_frames >= self._checkpoint_frames
        low = space.FREE_PAGES_DUE if due else space.FREE_PAGES_LOW
        if self._filler_rows and space.free_pages(self._connection) < low:
            due = self._exchange_filler() or due  # the growth is real only once the database file has it
        if due:
            self._checkpoint()

    def _exchange_filler(self) -> bool:
        grow = space.bytes_free(self._path.parent) > max(self._reserve_bytes, MIB)
        left = space.filler_rows(self._connection) > 0
        if left:
            space.exchange_filler(self._connection, grow)
        return left and grow

    def _checkpoint(self) -> None:
        """Empties the log into the database. Unlike SQLite's own, its errors count."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            self._ballast.give_up()  # the log still holds everything: with this room it is written again from the start
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._log_frames = 0

    @contextmanager
    def _in_doubt(self, what: str) -> Iterator[None]:
        """Everything inside must succeed; otherwise the journal is unusable from then on."""
        self._refuse_in_doubt()
        self._doubt = f"{what} did not come to its end"
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            keep_for_ever(self._connection)
            self._doubt = f"{what} failed: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
            raise self._failure() from error
        except BaseException:
            keep_for_ever(self._connection)
            raise
        self._doubt = ""

    def _refuse_in_doubt(self) -> None:
        if self._doubt:
            raise self._failure()

    def _failure(self) -> JournalFailed:
        return JournalFailed(f"journal {self._path}: {self._doubt}", "the agent restarts and reads back what is stored")

    # -- reading -------------------------------------------------------------------------------------------------

    def pending(self) -> list[Stored]:
        """Every transaction that is not over, oldest first."""
        with self._reading():
            rows = self._connection.execute("SELECT * FROM current WHERE pending = 1 ORDER BY first_seq").fetchall()
            return [stored(self._connection, self._vault, Current(*row)) for row in rows]

    def find(self, lane: str, reference: str) -> Stored | None:
        """The transaction with the application's own reference; the newest, should a reference have been used twice."""
        query = "SELECT * FROM current WHERE lane = ? AND reference = ? ORDER BY first_seq DESC LIMIT 1"
        with self._reading():
            row = self._connection.execute(query, (lane, reference)).fetchone()
            return stored(self._connection, self._vault, Current(*row)) if row else None

    def get(self, txn_id: str) -> Stored | None:
        """One transaction as it stands now."""
        with self._reading():
            current = current_of(self._connection, txn_id)
            return stored(self._connection, self._vault, current) if current else None

    def history(self, txn_id: str) -> list[Row]:
        """Every entry of one transaction, oldest first."""
        with self._reading():
            return history(self._connection, txn_id)

    def recent(self, limit: int) -> list[Row]:
        """The latest entry of the `limit` transactions that changed last, newest first."""
        with self._reading():
            return recent(self._connection, limit)

    def counters(self) -> dict[str, int]:
        """Every named counter."""
        with self._reading():
            return dict(self._connection.execute("SELECT name, value FROM counter ORDER BY name"))

    def counts(self) -> dict[str, int]:
        """Transactions by state; states without any are left out."""
        self._refuse_in_doubt()
        return {state: count for state, count in sorted(self._states.items()) if count}

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
            )

    def export(self, target: Path) -> None:
        """A whole, consistent copy of the database at `target` (replaced if it exists), while the journal is in use."""
        with self._reading(), start_errors(target):
            copy_database(self._connection, target)

    def _warnings(self, used: int, free: int) -> list[str]:
        found = self._times.warnings()
        if free < 2 * self._reserve_bytes:
            found.append(f"W-STORE-SPACE: {free // MIB} MiB are free, sales stop at {self._reserve_bytes // MIB} MiB")
        if used > 0.8 * self._bytes_max:
            found.append(f"W-STORE-SIZE: the journal holds {used // MIB} of at most {self._bytes_max // MIB} MiB")
        if space.filler_rows(self._connection) < self._filler_rows:
            found.append("W-STORE-ROOM: the room for acknowledgements is not complete: the disk was full")
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._refuse_in_doubt()
        try:
            with start_errors(self._path):
                yield
        except (VaultError, LookupError) as error:
            raise JournalUnreadable("DAMAGED", self._path, str(error), SALVAGE_HINT) from error


class _Step:
    """One record to write, and the current state before and after it."""

    __slots__ = ("after", "before", "record")

    def __init__(self, before: Current | None, record: Record) -> None:
        self.before = before
        self.record = record
        self.after = Current(
            record.txn_id,
            record.lane,
            record.reference,
            record.state,
            record.pending,
            before.first_seq if before else record.seq,
            record.seq,
            record.seq if record.sealed else (before.sealed_seq if before else 0),
        )
