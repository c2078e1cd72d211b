"""Everything that is pending and the latest that ended, with the ways to find it: indexes, kept up to date.

What is asked at every sale, exchange or link-up costs the same with one item and with fifty thousand.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

from agent.records import OWED, Transaction

FINISHED_KEPT = 2_000  # Finished items whose numbers are known, so that late answers find them. Assumed.
WHOLE_KEPT = 500  # Of these the latest are in memory; more than a turn can end. 8 kB each.


class LaneBook:
    """One lane's share: its pending items, how much is owed, since when."""

    __slots__ = ("_since", "amount_minor", "owed", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, float] = {}  # id: monotonic second of its begin, or of the start of this process
        self.owed: dict[str, int] = {}  # id: amount
        self.amount_minor = 0
        self._since: list[tuple[float, str]] = []  # may still hold what is not owed any more

    def put(self, txn: Transaction, begun: float) -> None:
        """A pending item as it stands now."""
        begun = self.pending.setdefault(txn.id, begun)
        if txn.state not in OWED:
            self._settle(txn.id)
        elif txn.id not in self.owed:
            self.owed[txn.id] = txn.amount_minor
            self.amount_minor += txn.amount_minor
            heapq.heappush(self._since, (begun, txn.id))

    def drop(self, txn_id: str) -> None:
        """It has ended."""
        self.pending.pop(txn_id, None)
        self._settle(txn_id)

    def oldest(self) -> float | None:
        """When the oldest item that is owed began."""
        while self._since and self._since[0][1] not in self.owed:
            heapq.heappop(self._since)
        return self._since[0][0] if self._since else None

    def _settle(self, txn_id: str) -> None:
        self.amount_minor -= self.owed.pop(txn_id, 0)


class Book:
    """All lanes. `live`: every pending transaction by its id, oldest first."""

    def __init__(self) -> None:
        self.live: dict[str, Transaction] = {}
        self._finished: OrderedDict[str, Transaction] = OrderedDict()
        self._numbers: OrderedDict[str, tuple[str, set[str]]] = OrderedDict()  # of finished ones: lane and numbers
        self._by_stan: dict[str, dict[str, str]] = {}
        self._lanes: dict[str, LaneBook] = {}

    def get(self, txn_id: str) -> Transaction | None:
        """A pending item, or one of the latest that ended."""
        return self.live.get(txn_id) or self._finished.get(txn_id)

    def lane(self, name: str) -> LaneBook:
        """One lane's share."""
        return self._lanes.get(name) or self._lanes.setdefault(name, LaneBook())

    def of_lane(self, name: str) -> Iterator[Transaction]:
        """A lane's pending items, oldest first; they may change meanwhile."""
        for txn_id in list(self.lane(name).pending):
            if (txn := self.live.get(txn_id)) is not None:
                yield txn

    def lanes_pending(self) -> set[str]:
        """Lanes that have pending items."""
        return {name for name, lane in self._lanes.items() if lane.pending}

    def number(self, lane: str, stan: str, txn_id: str) -> None:
        """From now on this number means this item."""
        self._by_stan.setdefault(lane, {})[stan] = txn_id

    def by_stan(self, lane: str, stan: str) -> str:
        """The latest item under this number; "" where none is known."""
        return self._by_stan.get(lane, {}).get(stan, "")

    def keep(self, txn: Transaction, begun: float) -> None:
        """A pending item as it stands now; `begun` counts when it comes in."""
        self._finished.pop(txn.id, None)
        self._numbers.pop(txn.id, None)
        self.live[txn.id] = txn
        self.lane(txn.lane).put(txn, begun)

    def end(self, txn: Transaction) -> None:
        """It has ended; the oldest of the ended ones are forgotten, with their numbers."""
        self.live.pop(txn.id, None)
        self.lane(txn.lane).drop(txn.id)
        self._finished[txn.id] = txn
        self._numbers[txn.id] = (txn.lane, txn.stans)
        if len(self._finished) > WHOLE_KEPT:
            self._finished.popitem(last=False)
        while len(self._numbers) > FINISHED_KEPT:
            old_id, (lane, stans) = self._numbers.popitem(last=False)
            numbers = self._by_stan.get(lane, {})
            for stan in stans:
                if numbers.get(stan) == old_id:
                    del numbers[stan]
