"""Turns: what is decided together is stored in one commit, and only then its effects leave.

Rules not to break:
1. `_write` is the only caller of the journal's write, and nothing leaves before it returned: effects wait in the
   turn (agent/turn.py) until everything that was decided in it is durable, in one commit.
2. A lane carries one exchange at a time (a terminal's conversation with its host).
3. After a failed write nothing is decided any more: the error goes up and ends the process.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from agent import outcomes
from agent.answers import Awaited, awaited_identity
from agent.backlog import LaneBacklog
from agent.book import FINISHED_KEPT
from agent.clock import Clock
from agent.engine import decide
from agent.events import Alarm, Effect, Event, Hold, Now, Park, Refuse, Restart, SendRequest, SendReversal, Slip, Wake
from agent.journal_contract import Entry, JournalFull, Store
from agent.lane import Lane, Listener, RefusedError, Wire
from agent.loop_queue import Queue
from agent.orders import STAN_MAX
from agent.records import OWED, State, Transaction
from agent.stored_form import entry_of, stans_of
from agent.turn import Turn
from protocol.errors import MessageError, ProtocolError

# With more pending items than this a start reads only what it sends first, and the others afterwards. Assumed: they
# take a tenth of a second.
AT_ONCE = 500


class Turns(Queue):
    """Everything that changes a transaction goes through `_apply`, in a turn."""

    def __init__(
        self,
        journal: Store,
        lanes: Iterable[Lane],
        wire: Wire,
        clock: Clock,
        listener: Listener | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        super().__init__(journal, lanes, clock)
        self._wire = wire
        self._listener = listener or Listener()
        self._at_once = at_once
        self._turn: Turn | None = None
        self._words: deque[Callable[[], None]] = deque()  # of turns that are durable; each is told once, in order
        self._telling = False
        self._exchanges = 0
        self._under_way: dict[int, str] = {}  # the lane of each exchange
        self._counters: dict[str, int] = {}

    # --- the start -----------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what is pending; what is owed is tried at once. With very much of it `survey` must follow."""
        self._started_mono = self._clock.now().mono
        self._counters = self._journal.counters()
        for row in reversed(self._journal.recent(FINISHED_KEPT)):
            if not row.pending:  # the numbers of the others come with them, below
                for stan in stans_of(row):
                    self._book.number(row.lane, stan, row.txn_id)
        every: list[str] = []
        urgent: list[str] = []
        for txn_id, lane, state in self._journal.waiting():
            every.append(txn_id)
            if state in OWED:
                self._backlog.lane(lane).unread.append(txn_id)
            else:
                urgent.append(txn_id)
        if len(every) <= self._at_once:
            self._backlog.lanes.clear()
            urgent = every
        with self.together():
            now = [self._read_waiting(txn_id) for txn_id in urgent]
            for txn in now:
                if txn is not None:
                    self._remember(txn)
            for txn in list(self._book.live.values()):
                self._restart(txn)

    def survey(self, most: int = 25) -> bool:
        """Read some more of what the start left in the journal; whether more is left. No sale before that."""
        with self.together():
            for share in self._backlog.lanes.values():
                while share.unread and most:
                    most -= 1
                    self._sketch(share.unread.popleft())
        return any(share.unread for share in self._backlog.lanes.values())

    def _sketch(self, txn_id: str) -> None:
        """One that a start left unread: checked, and sketched where it can go on waiting."""
        stored = self._journal.checked(txn_id)
        assert stored is not None, f"{txn_id} was pending and is gone"
        try:
            waits = self._backlog.wait(stored.entry.public)
        except (ValueError, KeyError, TypeError):
            waits = False
        if not waits and (txn := self._readable(stored)) is not None:
            self._remember(txn)
            self._restart(txn)

    def _restart(self, txn: Transaction) -> Transaction:
        """The event that an item of an earlier process meets first, as of the start of this one."""
        if txn.lane not in self.lanes:
            return txn
        return self._apply(txn, Restart(), Now(self._started_mono, self._clock.now().utc))

    def _taken_up(self, txn: Transaction) -> Transaction:
        """One that waits is restarted before anything else happens to it."""
        if txn.lane not in self.lanes or not self._backlog.lane(txn.lane).take(txn):
            return txn
        return self._restart(txn)

    def _draw(self, lane: Lane, share: LaneBacklog) -> None:
        """The oldest that waits is taken up; one that cannot be read waits for a person."""
        txn_id, share.not_before = share.first(), 0.0
        if share.unread and share.unread[0] == txn_id:
            txn = self._read_waiting(share.unread.popleft())
        else:
            txn = self._as_stored(txn_id)
            share.take(txn)
        if txn is not None:
            share.fresh.add(txn_id)
            self._restart(txn)

    # --- the only way to change anything -------------------------------------------------------

    def _apply(
        self, txn: Transaction, event: Event, now: Now, counters: Mapping[str, int] | None = None
    ) -> Transaction:
        if self._turn is None:
            with self.together():
                return self._apply(txn, event, now, counters)
        lane = self.lane(txn.lane)
        after, effects = decide(txn, event, now, lane.policy)
        for effect in effects:
            if isinstance(effect, Refuse):
                raise RefusedError(effect.code, effect.text, effect.hint)
        changed = after is not txn and after != txn
        if changed:
            self._store(txn, after, event, now, counters or {})
        if after is not txn:
            self._remember(after)
        for effect in effects:
            self._perform(lane, after, effect)
        if changed:
            self._then(partial(self._listener.changed, after))
        return after

    def _store(
        self, before: Transaction, after: Transaction, event: Event, now: Now, counters: Mapping[str, int]
    ) -> None:
        """The new record, durable with the turn; the numbers that it took are taken from now on."""
        assert self._turn is not None
        secret = b"" if before.state is not State.NEW and before.secret() == after.secret() else after.secret()
        self._turn.record(entry_of(after, type(event).__name__, secret, now.at_utc), counters)
        self._counters.update(counters)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is decided inside is stored in one commit, and only then its effects are performed."""
        if self._turn is not None:  # a part of a larger turn
            yield
            return
        self._turn = Turn()
        try:
            yield
        except (RefusedError, ProtocolError, JournalFull):  # of one event: what was decided before it stands
            self._commit()
            self._listener.timers()
            raise
        except BaseException:
            self._turn = None  # the process ends; nothing of this turn leaves
            raise
        self._commit()
        self._listener.timers()

    def _commit(self) -> None:
        """Ends the turn: one write, then its messages, then its words; both may begin turns of their own."""
        turn, self._turn = self._turn, None
        assert turn is not None
        if turn.entries:
            self._write(turn.entries, turn.counters)
        self._words.extend(turn.words)
        outermost, self._telling = not self._telling, True
        try:
            for message in turn.sends:
                message()
            while outermost and self._words:
                self._words.popleft()()
        finally:
            self._telling = not outermost

    def _then(self, word: Callable[[], None]) -> None:
        assert self._turn is not None
        self._turn.then(word)

    def _write(self, entries: Sequence[Entry], counters: Mapping[str, int]) -> int:
        """Rule 1: the only write. Within a turn, what was decided before goes first."""
        if self._turn is not None:
            self._commit()
            self._turn = Turn()
        seq = self._journal.append(entries, counters)
        self._counters.update(counters)
        return seq

    # --- timers --------------------------------------------------------------------------------

    def _wake_lane(self, lane: Lane) -> None:
        """Handle what is due; while the lane has nothing to do, take up what waits.

        After a failure one that waits goes before those that failed: a single one that the host never answers must not
        keep the others waiting.
        """
        now, share = self._clock.now(), self._backlog.lane(lane.name)
        failed = share.not_before > 0.0
        while True:
            if not failed:
                self._run_due(lane, now)
            free = lane.busy is None and not lane.reserved
            may = free and share.may_draw and share.not_before <= now.mono and not self._others_first(lane)
            if may:
                self._draw(lane, share)
            elif not failed:
                return
            failed = False

    def _run_due(self, lane: Lane, now: Now) -> None:
        while self._clean(lane) and lane.due[0][0] <= now.mono and not self._blocked(lane):
            if self._book.live[lane.due[0][1]].state in OWED and self._others_first(lane):
                return
            _, txn_id = heapq.heappop(lane.due)
            self._due(lane, self._book.live[txn_id], now)

    def _others_first(self, lane: Lane) -> bool:
        return lane.goes_first is not None and lane.goes_first()

    def _due(self, lane: Lane, txn: Transaction, now: Now) -> None:
        """A timer: where the dialect wants it, an attempt gets a time and a number of its own, stored with it."""
        self._backlog.lane(lane.name).fresh.discard(txn.id)
        rules = lane.policy.profile.reversal
        local = now.local if rules.local_time_field or rules.local_date_field else ""
        try:
            if txn.state not in OWED or not rules.stan_each_try:
                self._apply(txn, Wake(local=local), now)
                return
            (stan,) = self._next_stans(lane, 1)
            self._apply(txn, Wake(stan, local), now, {f"stan:{lane.name}": int(stan)})
        except MessageError as error:
            self._set_aside(txn, f"its reversal cannot be made: {error.text}", now)

    def _set_aside(self, txn: Transaction, why: str, now: Now) -> None:
        """An item that cannot be sent goes to a person and out of the way of the others."""
        if txn.state is State.REVERSING:
            txn = self._apply(txn, Park("agent", why), now)
        self._apply(txn, Hold("agent", why), now)

    # --- effects -------------------------------------------------------------------------------

    def _perform(self, lane: Lane, txn: Transaction, effect: Effect) -> None:
        if isinstance(effect, SendRequest):
            body = lane.policy.profile.codec.pack(lane.requests[txn.id])
            self._send(lane, txn, "request", body, "", lane.frames.get(txn.id, b""))
        elif isinstance(effect, SendReversal):
            frame = lane.stand_in.frame if lane.stand_in else b""
            self._send(lane, txn, "reversal", effect.body, effect.host, frame)
        elif isinstance(effect, (Alarm, Slip)):
            self._then(partial(self._listener.effect, txn, effect))
        else:
            raise AssertionError(f"nobody performs {type(effect).__name__}")

    def _send(self, lane: Lane, txn: Transaction, purpose: str, body: bytes, host: str, frame: bytes) -> None:
        assert lane.busy is None, f"lane {lane.name} is in an exchange"
        awaited = Awaited(lane.policy.profile, awaited_identity(lane, txn, purpose))
        only_host = bool(host) and purpose == "reversal" and not lane.may_change_host
        self._start(lane, purpose, txn.id, body, awaited, host=host, only_host=only_host, frame=frame)

    def _start(
        self,
        lane: Lane,
        purpose: str,
        txn_id: str,
        body: bytes,
        accept: Callable[[bytes], bool],
        *,
        host: str = "",
        only_host: bool = False,
        frame: bytes = b"",
    ) -> None:
        """The lane is taken at once; the wire gets the exchange when the turn is durable."""
        self._exchanges += 1
        exchange = outcomes.Exchange(self._exchanges, lane.name, txn_id, body, host or None, only_host, accept, frame)
        lane.busy, lane.purpose = exchange, purpose
        self._under_way[exchange.id] = lane.name
        with self.together():
            assert self._turn is not None
            self._turn.send(partial(self._wire.exchange, exchange))

    def _bears(self, lane: Lane, stan: str) -> bool:
        """Whether a pending item of the lane bears this number."""
        return stan in lane.stans or self._backlog.lane(lane.name).at(stan) is not None

    def _next_stans(self, lane: Lane, count: int) -> list[str]:
        """The next numbers, 999999 → 1, that no pending item of the lane bears."""
        number, found = self._counters.get(f"stan:{lane.name}", lane.first_stan - 1), []
        for _ in range(STAN_MAX):
            number = number % STAN_MAX + 1
            if not self._bears(lane, f"{number:06d}"):
                found.append(f"{number:06d}")
            if len(found) == count:
                return found
        text = f"all {STAN_MAX} numbers of lane {lane.name} are pending"
        raise RefusedError("A-NO-STAN", text, "see reversalctl list")
