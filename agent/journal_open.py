"""The start of a journal: lock, create or open, check everything, compare with the high-water mark.

After a refusal the connection is left open for ever (`keep_for_ever`): closing it would let SQLite empty and delete a
log of which it has understood only a part.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from agent import journal_space as space
from agent.durable_file import LockFile, sync_directory
from agent.highwater import HighWater, Mark, read_mark
from agent.journal_check import Findings, check_journal
from agent.journal_contract import JournalLocked, JournalUnreadable
from agent.journal_current import Standing
from agent.journal_log import commits_behind, hidden_pages
from agent.journal_schema import bring_up_to_date, create_tables
from agent.vault import Vault
from protocol.frozen import dataclass

SALVAGE_HINT = "stop sales, keep all files as they are, run: reversalctl salvage"
RESTORE_HINT = "restore the file from its copy, or run: reversalctl salvage"
_DISK_ERRORS = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN")

# One connection, one process: no shared memory file, no second reader, no memory map. psow=0 (in the address): a power
# cut during a write may damage the sector around it; psow=1, the default, lost acknowledged commits in 63 of 2,150
# modelled cuts.
_PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA mmap_size = 0",
    "PRAGMA cache_size = -500",  # KiB; the system keeps the file anyway: with four times as much no drain is faster
    "PRAGMA cache_spill = OFF",  # a page goes to the log once a commit: that is what its room is reckoned by
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA secure_delete = OFF",  # nothing secret is ever deleted, and freed filler must not cost writes
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",  # SQLite ignores errors of its own checkpoints; ours are checked
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A checked journal, ready to be used."""

    connection: sqlite3.Connection
    lock: LockFile
    mark: HighWater
    head: Mark
    standing: Standing


def open_files(
    path: Path,
    vault: Vault,
    highwater_path: Path,
    create: bool,
    check_last: int | None,
    pending_max: int | None = None,
) -> Opened:
    """Opens, creates or refuses. Raises JournalUnreadable or JournalLocked; then nothing was changed."""
    lock = _take_lock(path)
    try:
        with start_errors(path):
            return _open_locked(path, vault, highwater_path, create, (check_last, pending_max), lock)
    except BaseException:
        lock.release()
        raise


@contextmanager
def start_errors(path: Path) -> Iterator[None]:
    """Turns the errors of SQLite and of the disk into the one that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise JournalLocked(path, "another program (perhaps the sqlite3 tool)") from error
        if name.startswith(_DISK_ERRORS):
            raise JournalUnreadable("IO", path, f"{error} ({name})", "check the disk: space, mount, cable") from error
        raise JournalUnreadable("DAMAGED", path, f"{error} ({name})", SALVAGE_HINT) from error
    except UnicodeDecodeError as error:
        raise JournalUnreadable("DAMAGED", path, "the database holds damaged text", SALVAGE_HINT) from error
    except OSError as error:
        raise JournalUnreadable(
            "IO", path, f"{error.strerror} ({error.filename})", "check the disk and rights"
        ) from error


def keep_for_ever(connection: sqlite3.Connection) -> None:
    """Keeps a connection from ever being closed, even by the end of the interpreter."""
    import ctypes  # heavy, and needed only on the way down

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """No other process works on this journal meanwhile. Raises JournalLocked if one does."""
    lock = _take_lock(path)
    try:
        yield
    finally:
        lock.release()


def _take_lock(path: Path) -> LockFile:
    with start_errors(path):
        lock = LockFile.take(path.with_name(path.name + ".lock"))
    if isinstance(lock, str):
        raise JournalLocked(path, lock)
    return lock


def _force_to_disk(path: Path) -> None:
    """Forces what a killed process wrote and did not sync: from here on it counts as there, so it must be.

    Before SQLite has the files: closing a descriptor of ours later would drop its locks (howtocorrupt.html, 2.2).
    """
    with start_errors(path):
        for file in (path, path.with_name(path.name + "-wal")):
            if file.exists():
                with file.open("rb") as stream:
                    os.fdatasync(stream.fileno())


def _open_locked(
    path: Path, vault: Vault, highwater_path: Path, create: bool, bounds: tuple[int | None, int | None], lock: LockFile
) -> Opened:
    known = _read_mark(path, highwater_path)
    may_create = (create or vault.fresh) and known is None
    _prepare_file(path, known, may_create)
    _refuse_hidden_log(path)
    _force_to_disk(path)
    connection = _connect(path)
    try:
        _set_up(connection, path, vault, may_create)
        findings = check_journal(connection, vault, *bounds)
        refuse_problems(path, findings)
        _compare_with_mark(connection, path, findings, known)
        _refuse_torn_log(connection, path)
        head = Mark(findings.journal_id, findings.head_seq, findings.head_chain)
        standing = Standing.read_back(connection)
        return Opened(connection, lock, HighWater.open(highwater_path, head), head, standing)
    except BaseException:
        keep_for_ever(connection)
        raise


def _read_mark(path: Path, highwater_path: Path) -> Mark | None:
    try:
        return read_mark(highwater_path)
    except ValueError as error:
        raise JournalUnreadable("MARK", path, f"{highwater_path}: {error}", RESTORE_HINT) from error


def _prepare_file(path: Path, known: Mark | None, may_create: bool) -> None:
    """Makes sure that there is a file to open: an existing one, or an empty one where a new journal is allowed."""
    if path.exists() and path.stat().st_size:
        return
    what = "the file is empty" if path.exists() else "the file is missing"
    if known is not None:
        what += f", but the high-water file knows {known.seq} records"
    elif space.log_bytes(path):
        what += ", but its log exists"
    elif may_create:
        path.touch(mode=0o600)
        sync_directory(path.parent)
        return
    else:
        what += ", but its key file exists: there was a journal"
    raise JournalUnreadable("MISSING", path, what, RESTORE_HINT, 1 if known else 0, known.seq if known else 0)


def _refuse_hidden_log(path: Path) -> None:
    hidden = hidden_pages(log_path(path), path)
    if hidden:
        what = f"the header of the log is damaged, and {hidden} of its pages are not in the database"
        raise JournalUnreadable("DAMAGED", path, what, SALVAGE_HINT)


def _connect(path: Path) -> sqlite3.Connection:
    # check_same_thread: the owner decides which one thread at a time uses the journal.
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw&psow=0", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )


def _set_up(connection: sqlite3.Connection, path: Path, vault: Vault, may_create: bool) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty and not may_create:
        raise JournalUnreadable("DAMAGED", path, "the database holds no tables", RESTORE_HINT)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise JournalUnreadable("IO", path, f"journal mode is {mode}, not wal", "use a local file system")
    if empty:
        create_tables(connection, secrets.token_hex(16), vault.key_id)
    else:
        bring_up_to_date(connection, path)


def refuse_problems(path: Path, findings: Findings) -> None:
    """Raises JournalUnreadable with the first problem, if there is any."""
    if not findings.problems:
        return
    first, more = findings.problems[0], len(findings.problems) - 1
    what = first.text + (f", and {more} more" if more else "")
    hint = "restore the key file from its backup" if first.kind == "KEY" else SALVAGE_HINT
    raise JournalUnreadable(first.kind, path, what, hint, first.seq, first.seq)


def _compare_with_mark(connection: sqlite3.Connection, path: Path, findings: Findings, known: Mark | None) -> None:
    problem = mark_problem(connection, findings, known)
    if problem is not None:
        kind, what, first, last = problem
        raise JournalUnreadable(kind, path, what, SALVAGE_HINT if kind != "MARK" else RESTORE_HINT, first, last)


def mark_problem(
    connection: sqlite3.Connection, findings: Findings, known: Mark | None
) -> tuple[str, str, int, int] | None:
    """What the outside mark says against the journal: (kind, text, first and last record concerned), or None."""
    if known is None:
        missing = ("MARK", "the high-water file is missing: lost records would not be noticed", 0, 0)
        return missing if findings.head_seq else None
    if known.journal_id != findings.journal_id:
        return "MARK", "the high-water file belongs to another journal", 0, 0
    if known.seq > findings.head_seq:
        text = f"records {findings.head_seq + 1} to {known.seq} were stored and are gone"
        return "TAIL", text, findings.head_seq + 1, known.seq
    found = connection.execute("SELECT chain FROM record WHERE seq = ?", (known.seq,)).fetchone()
    if found and found[0] != known.chain:
        return "DAMAGED", f"record {known.seq} is not the one that was stored", known.seq, known.seq
    return None


def _refuse_torn_log(connection: sqlite3.Connection, path: Path) -> None:
    """Empties what SQLite accepts of the log into the database, and looks at what it does not accept."""
    if space.bytes_free(path.parent) < space.FILLER_BYTES:
        space.ballast_path(path).unlink(missing_ok=True)
    frames = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    lost = commits_behind(log_path(path), frames) if space.log_bytes(path) else 0
    if lost > 1:
        what = f"the log is damaged after {frames} frames; {lost} later commits cannot be read"
        raise JournalUnreadable("DAMAGED", path, what, SALVAGE_HINT)


def log_path(path: Path) -> Path:
    """The write-ahead log of the database at `path`."""
    return path.with_name(path.name + "-wal")
