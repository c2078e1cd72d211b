"""What a start with thousands of pending items leaves in the journal until its turn comes.

An item that waits here was stored by an earlier process and has not had this process's `Restart` yet. In memory stands
a sketch of it: what the gate, the status and the search by STAN need. Its record and its sealed body are read, checked
and decided about when its lane has time for it, when somebody acts on it, or when a frame of the host bears its number.

Rules not to break:
1. What waits is pending: counted, shown, in the sums of the gate, its numbers not given out again.
2. Until `unread` is empty nothing here is complete: no sale starts and no status is written before that.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any

from agent.records import OWED, State, Transaction

# So many of a lane are in memory whole before their first try. Assumed: a lane makes some tries a second.
FRESH_MAX = 32
_SHOWN = ("lane", "state", "amount_minor", "currency", "terminal_id", "batch", "masked_pan", "begun_at_utc")


class Sketch:
    """A waiting item; whatever is not in it is read from the journal. To readers it is the transaction."""

    __slots__ = (*_SHOWN, "_id", "_read")

    # Only what is undecided or held is something else, and that does not wait here.
    pending = True
    held = undecided = sending = False
    wake_at = None

    def __init__(self, facts: Mapping[str, Any], read: Callable[[str], Transaction]) -> None:
        """`facts`: the public part as stored. Raises ValueError, KeyError, TypeError."""
        self.lane, self.state = intern(facts["lane"]), State(facts["state"])
        self._id = _short(facts["id"], self.lane)
        self.amount_minor, self.currency = facts["amount_minor"], intern(facts["currency"])
        self.terminal_id, self.batch = intern(facts["terminal_id"]), intern(facts["batch"])
        self.masked_pan, self.begun_at_utc = intern(facts["masked_pan"]), facts["begun_at_utc"]
        self._read = read

    @property
    def id(self) -> str:
        """As in the journal."""
        return self._id if isinstance(self._id, str) else f"{self.lane}-{self._id}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    def whole(self) -> Transaction:
        """The transaction itself."""
        return self._read(self.id)


def _short(txn_id: str, lane: str) -> str | int:
    """The number alone where the id is lane and number, as the loop makes it: half the bytes, times fifty thousand."""
    tail = txn_id.removeprefix(f"{lane}-")
    return int(tail) if tail.isdecimal() and f"{lane}-{int(tail)}" == txn_id else txn_id


def whole(txn: Transaction) -> Transaction:
    """The transaction, where it may be a sketch."""
    return txn.whole() if isinstance(txn, Sketch) else txn


class LaneBacklog:
    """One lane's waiting items, oldest first.

    `not_before`: after a failure of the link none is begun until then. `fresh`: taken up and not tried yet, because
    restarts spread their first tries.
    """

    __slots__ = ("_also", "_order", "amount_minor", "fresh", "not_before", "rows", "unread")

    def __init__(self) -> None:
        self.fresh: set[str] = set()
        self._order: deque[int] = deque()
        self.unread: deque[str] = deque()
        self.rows: dict[int, Sketch] = {}  # by STAN
        self._also: dict[int, int] = {}  # further numbers of an item: its STAN
        self.amount_minor = 0
        self.not_before = 0.0

    def __len__(self) -> int:
        return len(self.rows) + len(self.unread)

    def put(self, sketch: Sketch, stans: Sequence[str]) -> bool:
        """It waits; False where a number of it belongs to another one: then it cannot wait here."""
        if not stans[0].isdecimal() or any(self.at(stan) for stan in stans):
            return False
        stan, *others = (int(stan) for stan in stans if stan)
        self.rows[stan] = sketch
        self._order.append(stan)
        self._also.update((other, stan) for other in others if other != stan)
        self.amount_minor += sketch.amount_minor
        return True

    def at(self, stan: str) -> Sketch | None:
        """The item under one of its numbers."""
        number = int(stan) if stan.isdecimal() else -1
        return self.rows.get(number) or self.rows.get(self._also.get(number, -1))

    def take(self, txn: Transaction) -> bool:
        """It waits no more; False where it did not."""
        sketch = self.at(txn.stan)
        if sketch is None or sketch.id != txn.id:
            return False
        del self.rows[int(txn.stan)]
        for stan in txn.stans:
            self._also.pop(int(stan), None)
        self.amount_minor -= sketch.amount_minor
        return True

    def first(self) -> str:
        """The id of the oldest one."""
        while self._order:
            if sketch := self.rows.get(self._order[0]):
                return str(sketch.id)
            self._order.popleft()
        return self.unread[0]

    @property
    def may_draw(self) -> bool:
        """Whether another one may be taken up."""
        return len(self.fresh) < FRESH_MAX and len(self) > 0


class Backlog:
    """All lanes. `read` gives a pending transaction as the journal has it."""

    def __init__(self, read: Callable[[str], Transaction]) -> None:
        self._read = read
        self.lanes: dict[str, LaneBacklog] = {}

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def lane(self, name: str) -> LaneBacklog:
        """One lane's share."""
        return self.lanes.get(name) or self.lanes.setdefault(name, LaneBacklog())

    def wait(self, public: str) -> bool:
        """An owed item, as stored, waits; False where it cannot: held or undecided, or a number of it is taken.

        Raises ValueError, KeyError, TypeError where it cannot be read.
        """
        facts = json.loads(public)
        sketch = Sketch(facts, self._read)
        stans = [facts["stan"], facts.get("own_stan", ""), facts.get("try_stan", "")]
        may = sketch.state in OWED and not (facts.get("held") or facts.get("undecided"))
        return may and self.lane(sketch.lane).put(sketch, stans)

    def sketches(self, lane: str = "") -> Iterator[Sketch]:
        """Everything that waits, of one lane or of all; they may change meanwhile."""
        for name in [lane] if lane else list(self.lanes):
            yield from list(self.lane(name).rows.values())
