"""What every journal gives: its data, its errors and its operations. No storage in here.

AgentError
└── JournalError
    ├── JournalUnreadable     at start: what is there is not the whole truth. Never the same as empty.
    │   └── JournalLocked     at start: another process holds it
    ├── JournalFailed         a commit whose outcome is unknown: the process ends, restarts and reads back
    └── JournalFull           a new sale may not start; acknowledgements still fit
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import NamedTuple, Protocol

from protocol.errors import AgentError
from protocol.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a transaction, as the engine gives it and gets it back.

    `public` is JSON without card data; `secret` is sealed at rest, and b"" means unchanged since the last entry of
    this transaction. `lane` and `reference` never change within a transaction.
    """

    txn_id: str
    lane: str
    reference: str
    state: str
    pending: bool
    event: str
    public: str
    secret: bytes = field(repr=False)
    at_utc: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The latest entry of a transaction; `entry.secret` is opened, also where an earlier entry brought it."""

    entry: Entry
    seq: int


class Waiting(NamedTuple):
    """A pending transaction before its records are read."""

    txn_id: str
    lane: str
    state: str


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as history: without its secret. `previous` is the entry before of the same transaction, or 0."""

    seq: int
    previous: int
    txn_id: str
    lane: str
    reference: str
    state: str
    pending: bool
    event: str
    public: str
    at_utc: str


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What the store knows about itself. Latencies are of COMMIT alone, over the last commits of this run.

    `bytes_per_reversal`: what the journal made the kernel send to the medium for four records (begun, two tries,
    acknowledged), on average over this run; 0 before the first commit, and on a memory disk.
    """

    commits: int
    commit_p50_ms: float
    commit_p99_ms: float
    bytes_used: int
    bytes_free: int
    reserve_bytes: int
    head_seq: int
    warnings: tuple[str, ...]
    bytes_per_reversal: int = 0


class Store(Protocol):
    """The operations of a journal; every implementation passes tests/contract/test_journal_contract.py."""

    @property
    def journal_id(self) -> str: ...

    @property
    def archived_upto(self) -> int: ...

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] = ...) -> int: ...

    def admit(self) -> None: ...

    def pending(self) -> list[Stored]: ...

    def waiting(self) -> Iterator[Waiting]: ...

    def checked(self, txn_id: str) -> Stored | None: ...

    def find(self, lane: str, reference: str) -> Stored | None: ...

    def get(self, txn_id: str) -> Stored | None: ...

    def history(self, txn_id: str) -> list[Row]: ...

    def recent(self, limit: int) -> list[Row]: ...

    def counters(self) -> dict[str, int]: ...

    def counts(self) -> dict[str, int]: ...

    def health(self) -> StoreHealth: ...

    def close(self) -> None: ...


class JournalError(AgentError):
    """Root of what a journal may raise."""

    code = "E-JOURNAL"


class JournalUnreadable(JournalError):
    """The journal at `path` cannot be trusted as it stands.

    `code` says the kind: E-JOURNAL-MISSING, -DAMAGED, -TAIL (lost records), -MARK, -KEY, -SCHEMA, -IO, -LOCKED.
    `first_seq`..`last_seq` are the records concerned, where that is known (0: not known).
    """

    def __init__(self, kind: str, path: Path, what: str, hint: str, first_seq: int = 0, last_seq: int = 0) -> None:
        super().__init__(f"journal {path}: {what}", hint)
        self.code = f"E-JOURNAL-{kind}"
        self.path = path
        self.what = what
        self.first_seq = first_seq
        self.last_seq = last_seq


class JournalLocked(JournalUnreadable):
    """Another process holds the journal; `holder` says which."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            "LOCKED", path, f"in use by {holder}", "stop that process; one process alone may use a journal"
        )
        self.holder = holder


class JournalFailed(JournalError):
    """A write failed and its outcome is unknown. The process must end; the next start reads what is true."""

    code = "E-JOURNAL-FAILED"


class JournalFull(JournalError):
    """The reserve for acknowledgements begins here: no new sale."""

    code = "E-JOURNAL-FULL"
