"""A journal in memory for the simulator: the contract of agent.journal without a disk.

`image()` is what a disk would hold after the last commit; `MemoryJournal(image)` is the start after a power cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.journal_contract import Entry, JournalFailed, JournalFull, Row, Stored, StoreHealth, Waiting


@dataclass(frozen=True)
class Image:
    """Everything that was committed."""

    entries: tuple[tuple[int, int, Entry], ...] = ()  # seq, previous, entry
    counters: tuple[tuple[str, int], ...] = ()
    head: int = 0


class MemoryJournal:
    """See the module. `fail_next`: the next append raises JournalFailed, "before" or "after" it took effect."""

    def __init__(self, image: Image = Image()) -> None:
        self._rows = {seq: (previous, entry) for seq, previous, entry in image.entries}
        self._counters = dict(image.counters)
        self._head = image.head
        self._newest = {entry.txn_id: seq for seq, _, entry in image.entries}
        self._doubt = ""
        self._commits = 0
        self.fail_next = ""
        self.full = False

    @property
    def journal_id(self) -> str:
        return "00" * 16

    @property
    def archived_upto(self) -> int:
        return 0

    def image(self) -> Image:
        """What is committed, also after a failure."""
        entries = tuple((seq, previous, entry) for seq, (previous, entry) in self._rows.items())
        return Image(entries, tuple(self._counters.items()), self._head)

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        self._refuse_in_doubt()
        mode, self.fail_next = self.fail_next, ""
        if mode == "before":
            self._fail()
        self._store(entries, dict(counters or {}))
        if mode == "after":
            self._fail()
        return self._head

    def _store(self, entries: Sequence[Entry], counters: dict[str, int]) -> None:
        for entry in entries:
            before = self._newest.get(entry.txn_id, 0)
            known = self._rows[before][1] if before else entry
            if (entry.lane, entry.reference) != (known.lane, known.reference):
                self._doubt = "append did not come to its end"
                raise ValueError(f"transaction {entry.txn_id} cannot change its lane or reference")
            self._head += 1
            self._rows[self._head] = (before, entry)
            self._newest[entry.txn_id] = self._head
        if counters and not entries:
            self._head += 1  # the record that only holds counters
        self._commits += 1 if entries or counters else 0
        self._counters.update(counters)

    def admit(self) -> None:
        self._refuse_in_doubt()
        if self.full:
            raise JournalFull("the simulated disk is full", "free space")

    def pending(self) -> list[Stored]:
        self._refuse_in_doubt()
        every = [self._stored(txn_id) for txn_id in self._newest]
        return sorted((one for one in every if one.entry.pending), key=lambda one: self._first(one.entry.txn_id))

    def waiting(self) -> Iterator[Waiting]:
        return (Waiting(one.entry.txn_id, one.entry.lane, one.entry.state) for one in self.pending())

    def checked(self, txn_id: str) -> Stored | None:
        return self.get(txn_id)

    def find(self, lane: str, reference: str) -> Stored | None:
        self._refuse_in_doubt()
        same = [
            txn_id
            for txn_id, seq in self._newest.items()
            if (self._rows[seq][1].lane, self._rows[seq][1].reference) == (lane, reference)
        ]
        return self._stored(max(same, key=self._first)) if same else None

    def get(self, txn_id: str) -> Stored | None:
        self._refuse_in_doubt()
        return self._stored(txn_id) if txn_id in self._newest else None

    def history(self, txn_id: str) -> list[Row]:
        self._refuse_in_doubt()
        return [self._row(seq) for seq in self._seqs(txn_id)]

    def recent(self, limit: int) -> list[Row]:
        self._refuse_in_doubt()
        return [self._row(seq) for seq in sorted(self._newest.values(), reverse=True)[:limit]]

    def counters(self) -> dict[str, int]:
        self._refuse_in_doubt()
        return dict(sorted(self._counters.items()))

    def counts(self) -> dict[str, int]:
        self._refuse_in_doubt()
        return dict(sorted(Counter(self._rows[seq][1].state for seq in self._newest.values()).items()))

    def health(self) -> StoreHealth:
        self._refuse_in_doubt()
        return StoreHealth(self._commits, 0.1, 0.1, 4096 * self._head, 1 << 30, 0, self._head, ())

    def close(self) -> None:
        self._doubt = self._doubt or "the journal is closed"

    def _fail(self) -> None:
        self._doubt = "append failed: simulated"
        self._refuse_in_doubt()

    def _refuse_in_doubt(self) -> None:
        if self._doubt:
            raise JournalFailed(self._doubt, "restart")

    def _seqs(self, txn_id: str) -> list[int]:
        seqs, seq = [], self._newest.get(txn_id, 0)
        while seq:
            seqs.append(seq)
            seq = self._rows[seq][0]
        return seqs[::-1]

    def _first(self, txn_id: str) -> int:
        return self._seqs(txn_id)[0]

    def _stored(self, txn_id: str) -> Stored:
        seqs = self._seqs(txn_id)
        secrets = [self._rows[seq][1].secret for seq in seqs if self._rows[seq][1].secret]
        return Stored(replace(self._rows[seqs[-1]][1], secret=secrets[-1] if secrets else b""), seqs[-1])

    def _row(self, seq: int) -> Row:
        previous, one = self._rows[seq]
        return Row(
            seq,
            previous,
            one.txn_id,
            one.lane,
            one.reference,
            one.state,
            one.pending,
            one.event,
            one.public,
            one.at_utc,
        )
