"""What is pending on every lane, and when something of it is due: looked at here, changed nowhere.

Most of it is in memory (agent/book.py). After a start with thousands of pending items most of those wait in the journal
(agent/backlog.py); whoever asks finds them here all the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import cast

from agent.backlog import Backlog
from agent.book import Book
from agent.clock import Clock
from agent.journal_contract import Store, Stored
from agent.lane import Lane, RefusedError
from agent.records import OWED, Transaction
from agent.stored_form import is_transaction, loaded
from protocol.errors import ProtocolError


class Queue:
    """All pending transactions of all lanes."""

    def __init__(self, journal: Store, lanes: Iterable[Lane], clock: Clock) -> None:
        self._journal = journal
        self.lanes = {lane.name: lane for lane in lanes}
        self._clock = clock
        self._book = Book()
        self._backlog = Backlog(self._as_stored)
        self._started_mono = 0.0
        self.unreadable: dict[str, tuple[str, str]] = {}

    # --- lanes ---------------------------------------------------------------------------------

    def lane(self, name: str) -> Lane:
        """A lane by its name. Raises: RefusedError."""
        try:
            return self.lanes[name]
        except KeyError:
            known = ", ".join(sorted(self.lanes)) or "none"
            raise RefusedError("A-NO-LANE", f"there is no lane {name!r}", f"configured lanes: {known}") from None

    def put_lane(self, lane: Lane) -> None:
        """Add a lane, or give it new rules while it is idle; its pending items stay its own."""
        before = self.lanes.get(lane.name)
        assert before is None or before.busy is None, f"lane {lane.name} is in an exchange"
        if before is not None:
            lane.requests, lane.due, lane.stans = before.requests, before.due, before.stans
            lane.frames, lane.chip_answers = before.frames, before.chip_answers
            lane.reserved, lane.closed = before.reserved, before.closed
        self.lanes[lane.name] = lane

    def drop_lane(self, name: str) -> None:
        """Forget a lane without pending items."""
        assert name not in self.lanes_pending(), f"lane {name} has pending items"
        del self.lanes[name]

    def orphaned_lanes(self) -> set[str]:
        """Lanes that have pending items and are not configured any more."""
        return self.lanes_pending() - set(self.lanes)

    def lanes_pending(self) -> set[str]:
        """Lanes that have pending items."""
        return self._book.lanes_pending() | {name for name, share in self._backlog.lanes.items() if len(share)}

    def lanes_owed(self) -> set[str]:
        """Lanes on which a reversal waits for its host."""
        live = {txn.lane for txn in self._book.live.values() if txn.state in OWED and not txn.held}
        return live | {name for name, share in self._backlog.lanes.items() if len(share)}

    # --- items ---------------------------------------------------------------------------------

    def pending(self) -> list[Transaction]:
        """Everything that the agent or a person still owes, oldest first; what waits in the journal as sketches."""
        return [*self._book.live.values(), *cast(Iterator[Transaction], self._backlog.sketches())]

    def of_lane(self, name: str) -> Iterator[Transaction]:
        """The same of one lane."""
        yield from self._book.of_lane(name)
        yield from cast(Iterator[Transaction], self._backlog.sketches(name))

    def get(self, txn_id: str) -> Transaction | None:
        """One transaction by its id, however old."""
        txn = self._book.get(txn_id)
        if txn is not None:
            return txn
        stored = self._journal.get(txn_id) if is_transaction(txn_id) else None
        return loaded(stored) if stored else None

    def find(self, lane: str, reference: str) -> Transaction | None:
        """One transaction by the application's own reference."""
        stored = self._journal.find(lane, reference)
        if stored is None:
            return None
        return self.get(stored.entry.txn_id)

    def by_stan(self, lane_name: str, stan: str) -> Transaction | None:
        """The latest transaction under this number."""
        sketch = self._backlog.lane(lane_name).at(stan)
        txn_id = sketch.id if sketch else self._book.by_stan(lane_name, stan)
        return self.get(txn_id) if txn_id else None

    def unreadable_lanes(self) -> set[str]:
        """Lanes with a record that cannot be read: what they owe is not known, and no rule about it allows a sale."""
        return {name for name, _ in self.unreadable.values()}

    def objection(self, lane: Lane) -> str:
        """Why no new sale may start now because of what is owed; "" if it may."""
        unreadable = [text for name, text in self.unreadable.values() if name == lane.name]
        if unreadable:
            return f"{unreadable[0]}; run reversalctl verify and call the service desk"
        book, waiting = self._book.lane(lane.name), self._backlog.lane(lane.name)
        oldest = self._started_mono if len(waiting) else book.oldest()
        if oldest is None:
            return ""
        owed, amount_minor = len(book.owed) + len(waiting), book.amount_minor + waiting.amount_minor
        return lane.gate.objection(owed, amount_minor, self._clock.now().mono - oldest)

    # --- times ---------------------------------------------------------------------------------

    def next_wake(self) -> float | None:
        """The monotonic second of the next due timer; None: only an event can change anything."""
        times = [lane.due[0][0] for lane in self.lanes.values() if self._clean(lane) and not self._blocked(lane)]
        for name, share in self._backlog.lanes.items():
            lane = self.lanes.get(name)
            if lane is not None and lane.busy is None and not lane.reserved and share.may_draw:
                times.append(share.not_before)
        return min(times, default=None)

    def _clean(self, lane: Lane) -> bool:
        """Drop timers that were moved or whose item ended; whether one is left."""
        while lane.due:
            wake_at, txn_id = lane.due[0]
            txn = self._book.live.get(txn_id)
            if txn is not None and txn.wake_at == wake_at:
                return True
            heapq.heappop(lane.due)
        return False

    def _blocked(self, lane: Lane) -> bool:
        """Whether the next timer needs the lane, and the lane is in an exchange."""
        needs_lane = self._book.live[lane.due[0][1]].state in OWED
        return needs_lane and (lane.busy is not None or lane.reserved > 0)

    # --- reading -------------------------------------------------------------------------------

    def _remember(self, txn: Transaction) -> None:
        lane = self.lanes.get(txn.lane)
        for stan in txn.stans:
            self._book.number(txn.lane, stan, txn.id)
        if txn.wake_at is None or not txn.pending:
            self._backlog.lane(txn.lane).fresh.discard(txn.id)
        if not txn.pending:
            self._book.end(txn)
            if lane is not None:
                lane.forget(txn)
            return
        self._book.keep(txn, txn.request_left_at or self._clock.now().mono)
        if lane is not None:
            lane.stans |= txn.stans
            if txn.wake_at is not None:
                heapq.heappush(lane.due, (txn.wake_at, txn.id))

    def _readable(self, stored: Stored) -> Transaction | None:
        """A pending record. What cannot be read is neither lost nor in the way of the others: a person is called."""
        try:
            return loaded(stored)
        except (ProtocolError, ValueError, KeyError, TypeError) as error:
            text = f"{stored.entry.txn_id} cannot be read: {type(error).__name__}"
            self.unreadable[stored.entry.txn_id] = (stored.entry.lane, text)
            return None

    def _read_waiting(self, txn_id: str) -> Transaction | None:
        """A record that a start left for later, checked as a start does it. Raises JournalUnreadable."""
        stored = self._journal.checked(txn_id)
        assert stored is not None, f"{txn_id} was pending and is gone"
        return self._readable(stored)

    def _as_stored(self, txn_id: str) -> Transaction:
        txn = self.get(txn_id)
        assert txn is not None, f"{txn_id} was pending and is gone"
        return txn
