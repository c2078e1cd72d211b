"""Waits, decides, stores, acts, re-arms: the one loop, without sockets and without threads.

Rules not to break:
1. `_write` is the only caller of the journal's write, and nothing leaves before it returned: effects wait in the
   turn (agent/turn.py) until everything that was decided in it is durable, in one commit.
2. A lane carries one exchange at a time (a terminal's conversation with its host).
3. `Clock` is the only reader of a clock.
4. After a failed write nothing is decided any more: the error goes up and ends the process.

The daemon drives it with sockets and asyncio; the simulation drives the same code with a
simulated disk, wire and clock.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from agent import outcomes
from agent.answers import Awaited, answered, awaited_identity, stray_answer
from agent.book import FINISHED_KEPT, Book
from agent.engine import decide
from agent.events import (
    Alarm,
    Begin,
    Effect,
    Event,
    Hold,
    HostChosen,
    Lost,
    Noticed,
    Now,
    Park,
    Refuse,
    Restart,
    Resume,
    SendRequest,
    SendReversal,
    Slip,
    Unsent,
    Wake,
)
from agent.journal_contract import Entry, JournalFull, Store, Stored
from agent.lane import Heard, Lane, Listener, Order, Passage, RefusedError, Wire
from agent.orders import STAN_MAX, far_from, make_request, new_transaction, refuse_foreign, session_facts
from agent.records import OWED, State, Transaction
from agent.stored_form import entry_of, is_transaction, loaded, stans_of
from agent.turn import Turn
from protocol.errors import MessageError, ProtocolError
from protocol.requests import build_network_message
from protocol.reversal import identity_of, kind_of

UNMATCHED_KEPT = 20  # Strays of no known item that the status shows. Assumed.


class Clock:
    """The only reader of a clock."""

    def now(self) -> Now:
        """Monotonic seconds for waits, wall time for show."""
        return Now(time.monotonic(), datetime.now(UTC))


class Loop:
    """All transactions of all lanes."""

    def __init__(
        self,
        journal: Store,
        lanes: Iterable[Lane],
        wire: Wire,
        clock: Clock,
        listener: Listener | None = None,
    ) -> None:
        self._journal = journal
        self.lanes = {lane.name: lane for lane in lanes}
        self._wire = wire
        self._clock = clock
        self._listener = listener or Listener()
        self._book = Book()
        self._turn: Turn | None = None
        self._exchanges = 0
        self._under_way: dict[int, str] = {}  # the lane of each exchange
        self._counters: dict[str, int] = {}
        self.unreadable: dict[str, tuple[str, str]] = {}
        self.unmatched: list[tuple[str, str, str]] = []
        self.strays: Counter[str] = Counter()
        self.also_sealed: list[Callable[[], Iterable[Entry]]] = []  # what else bears card data or keys (`keep`)

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up everything that is pending; what is owed is tried at once."""
        self._counters = self._journal.counters()
        for row in reversed(self._journal.recent(FINISHED_KEPT)):
            if not row.pending:  # the numbers of the others come with them, below
                for stan in stans_of(row):
                    self._book.number(row.lane, stan, row.txn_id)
        for stored in self._journal.pending():
            self._take_up(stored)
        with self.together():
            for txn in self.pending():
                if txn.lane in self.lanes:
                    self.handle(txn.id, Restart())

    def _take_up(self, stored: Stored) -> None:
        """One pending record. What cannot be read is neither lost nor in the way of the others: a person is called."""
        try:
            self._remember(loaded(stored))
        except (ProtocolError, ValueError, KeyError, TypeError) as error:
            text = f"{stored.entry.txn_id} cannot be read: {type(error).__name__}"
            self.unreadable[stored.entry.txn_id] = (stored.entry.lane, text)

    def pending(self) -> list[Transaction]:
        """Everything that the agent or a person still owes, oldest first."""
        return list(self._book.live.values())

    def of_lane(self, name: str) -> Iterator[Transaction]:
        """The same of one lane."""
        return self._book.of_lane(name)

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
        assert name not in self._book.lanes_pending(), f"lane {name} has pending items"
        del self.lanes[name]

    def orphaned_lanes(self) -> set[str]:
        """Lanes that have pending items and are not configured any more."""
        return self._book.lanes_pending() - set(self.lanes)

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

    # --- a new sale ----------------------------------------------------------------------------

    def begin(self, lane_name: str, order: Order) -> Transaction:
        """Record the intent durably, then let the request leave.

        Raises: RefusedError and the journal's refusals, before anything was stored or sent.
        """
        lane = self.lane(lane_name)
        self._admit(lane, order)
        now = self._clock.now()
        stans = self._next_stans(lane, 2 if lane.policy.profile.reversal.stan == "own" else 1)
        counters = {f"stan:{lane.name}": int(stans[-1]), f"txn:{lane.name}": self._count(lane)}
        request = make_request(lane, order, stans[0], now)
        txn = new_transaction(lane, order, request, f"{lane.name}-{counters[f'txn:{lane.name}']}", stans, now)
        lane.requests[txn.id] = request
        return self._apply(txn, Begin(), now, counters)

    # --- an application's own messages (agent/gateway_lane.py) ---------------------------------

    def begin_message(self, lane_name: str, passage: Passage) -> Transaction:
        """Record the intent of a request that an application made, durably, then let its exact frame leave.

        Raises: RefusedError, MessageError and the journal's refusals, before anything was stored or sent.
        """
        lane, message = self.lane(lane_name), passage.message
        refuse_foreign(lane, message)
        profile, now = lane.policy.profile, self._clock.now()
        number, stan = self._count(lane), message.get(11)
        card = {"pan": message.get(2), "track2": message.get(35)}
        order = Order(f"{stan}/{number}", kind_of(message, profile).name, int(message.get(4, "0")), card)
        order = replace(order, driver="gateway", confirm="by-application")
        self._admit(lane, order)
        ours = far_from(stan)
        stans = (stan, ours) if profile.reversal.stan == "own" else (stan,)
        txn = new_transaction(lane, order, message, f"{lane.name}-{number}", stans, now)
        at = profile.session.batch_at
        txn = replace(
            txn,
            batch=(at.of(message.get(at.field)) if at else "") or lane.batch,
            merchant_id=message.get(42) or lane.merchant_id,
            currency=message.get(49) or lane.currency,
        )
        lane.requests[txn.id], lane.frames[txn.id] = message, passage.frame
        return self._apply(txn, Begin(), now, {f"stan:{lane.name}": int(ours), f"txn:{lane.name}": number})

    def stand_in(self, txn_id: str, passage: Passage) -> bool:
        """Send the application's own reversal as the next attempt of this item; False where none may be made."""
        txn = self.get(txn_id)
        assert txn is not None
        lane = self.lane(txn.lane)
        assert lane.busy is None, f"lane {lane.name} is in an exchange"
        lane.stand_in = passage
        try:
            each = lane.policy.profile.reversal.stan_each_try
            self.handle(txn_id, Wake(passage.message.get(11) if each else ""))
        finally:
            if lane.busy is None:
                lane.stand_in = None
        return lane.busy is not None

    def relay(
        self,
        lane_name: str,
        frame: bytes,
        accept: Callable[[bytes], bool],
        relayed: Callable[[outcomes.Outcome], None],
    ) -> None:
        """Carry a message that moves no money, unrecorded; `relayed` gets the one outcome."""
        lane = self.lane(lane_name)
        assert lane.busy is None, f"lane {lane.name} is in an exchange"
        lane.relayed = relayed
        self._start(lane, "relay", "", b"", accept, frame=frame)

    def by_stan(self, lane_name: str, stan: str) -> Transaction | None:
        """The latest transaction under this number."""
        txn_id = self._book.by_stan(lane_name, stan)
        return self.get(txn_id) if txn_id else None

    def objection(self, lane: Lane) -> str:
        """Why no new sale may start now because of what is owed; "" if it may."""
        unreadable = [text for name, text in self.unreadable.values() if name == lane.name]
        if unreadable:
            return f"{unreadable[0]}; run reversalctl verify and call the service desk"
        book = self._book.lane(lane.name)
        oldest = book.oldest()
        if oldest is None:
            return ""
        return lane.gate.objection(len(book.owed), book.amount_minor, self._clock.now().mono - oldest)

    def lane(self, name: str) -> Lane:
        """A lane by its name. Raises: RefusedError."""
        try:
            return self.lanes[name]
        except KeyError:
            known = ", ".join(sorted(self.lanes)) or "none"
            raise RefusedError("A-NO-LANE", f"there is no lane {name!r}", f"configured lanes: {known}") from None

    def _admit(self, lane: Lane, order: Order) -> None:
        if self._journal.find(lane.name, order.reference) is not None:
            text = f"the reference {order.reference!r} was used before"
            raise RefusedError("A-REFERENCE-USED", text, "ask transaction.status, or use a new reference")
        if lane.busy is not None and order.driver != "application":
            raise RefusedError("A-LANE-BUSY", f"lane {lane.name} is in an exchange", "try again when it has ended")
        if lane.closed is not None:
            raise RefusedError(lane.closed.code, lane.closed.text, lane.closed.hint)
        objection = self.objection(lane)
        if objection and not lane.warn_only:
            raise RefusedError("A-PENDING", objection, "see reversalctl list; reversals are being sent")
        self._journal.admit()

    def _next_stans(self, lane: Lane, count: int) -> list[str]:
        """The next numbers, 999999 → 1, that no pending item of the lane bears."""
        number, found = self._counters.get(f"stan:{lane.name}", 0), []
        for _ in range(STAN_MAX):
            number = number % STAN_MAX + 1
            if f"{number:06d}" not in lane.stans:
                found.append(f"{number:06d}")
            if len(found) == count:
                return found
        text = f"all {STAN_MAX} numbers of lane {lane.name} are pending"
        raise RefusedError("A-NO-STAN", text, "see reversalctl list")

    def _count(self, lane: Lane) -> int:
        return self._counters.get(f"txn:{lane.name}", 0) + 1

    # --- the session: sign-on, echo test, settlement -------------------------------------------

    def converse(self, lane_name: str, name: str, heard: Heard, totals: str = "") -> None:
        """Send one message of the profile's session on an idle lane; `heard` is told once how it ended.

        Its STAN is stored before its bytes leave. Raises MessageError where the profile cannot make it.
        """
        lane, now = self.lane(lane_name), self._clock.now()
        assert lane.busy is None, f"lane {lane.name} is in an exchange"
        (stan,) = self._next_stans(lane, 1)
        message = build_network_message(lane.policy.profile, name, session_facts(lane, stan, now), totals)
        identity = identity_of(message)
        body = lane.policy.profile.codec.pack(message)
        self._write((), {f"stan:{lane.name}": int(stan)})
        lane.heard = heard
        self._start(lane, "session", f"{name}:{lane.name}", body, Awaited(lane.policy.profile, identity))

    def keep(self, entries: Sequence[Entry]) -> int:
        """Store what is no transaction (a session, a settlement): ids with a colon, never pending. The last number."""
        assert not any(is_transaction(entry.txn_id) or entry.pending for entry in entries)
        return self._write(entries, {})

    def keep_numbered(self, lane_name: str, made: Callable[[str], Sequence[Entry]]) -> None:
        """The same with a number of the lane in the same commit; `made` gets the number."""
        lane = self.lane(lane_name)
        (stan,) = self._next_stans(lane, 1)
        self._write(made(stan), {f"stan:{lane.name}": int(stan)})
        lane.stans.add(stan)

    def deliver(
        self, lane_name: str, parcel: tuple[str, bytes, Mapping[str, str], str], heard: Heard, entries: Sequence[Entry]
    ) -> None:
        """Send a kept message (name, body, identity, first host) on an idle lane, once `entries` are stored."""
        lane = self.lane(lane_name)
        assert lane.busy is None, f"lane {lane.name} is in an exchange"
        name, body, identity, host = parcel
        with self.together():
            assert self._turn is not None
            for entry in entries:
                self._turn.record(entry, {})
            lane.heard = heard
            self._start(lane, "session", name, body, Awaited(lane.policy.profile, identity), host=host)

    def _heard(self, lane: Lane, outcome: outcomes.Outcome) -> None:
        heard, lane.heard = lane.heard, None
        assert heard is not None
        codec = lane.policy.profile.codec
        message = codec.unpack(outcome.body) if isinstance(outcome, outcomes.Replied) else None
        heard(outcome, message)
        if message is not None:
            self._listener.host_time(lane.name, message.get(13), message.get(12))

    # --- events --------------------------------------------------------------------------------

    def handle(self, txn_id: str, event: Event) -> Transaction:
        """Decide, store, act. Raises: RefusedError; and the journal's JournalFailed, which must end the process."""
        txn = self.get(txn_id)
        if txn is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {txn_id!r}", "see reversalctl list")
        return self._apply(txn, event, self._clock.now())

    def wake(self) -> None:
        """Handle every timer that is due; owed reversals wait for their lane."""
        with self.together():
            for lane in self.lanes.values():
                self._wake_lane(lane)

    def reserve(self, lane_name: str, *, wanted: bool) -> None:
        """A sale waits for this lane, or does not any more."""
        lane = self.lane(lane_name)
        with self.together():
            lane.reserved = wanted
            if not wanted:
                self._wake_lane(lane)

    def next_wake(self) -> float | None:
        """The monotonic second of the next due timer; None: only an event can change anything."""
        times = [lane.due[0][0] for lane in self.lanes.values() if self._clean(lane) and not self._blocked(lane)]
        return min(times, default=None)

    def resume(self, lane_name: str, cause: str) -> None:
        """Something that may have been the obstacle of this lane is back."""
        with self.together():
            for txn in self._book.of_lane(lane_name):
                if txn.state is State.REVERSING:
                    self.handle(txn.id, Resume(cause))
            self._wake_lane(self.lanes[lane_name])

    def host_chosen(self, exchange_id: int, host: str) -> None:
        """The link is about to send a request's first byte to this host."""
        lane = self.lanes[self._under_way[exchange_id]]
        if lane.busy and lane.purpose == "request" and lane.several_hosts:
            self.handle(lane.busy.txn_id, HostChosen(host))

    def outcome(self, exchange_id: int, outcome: outcomes.Outcome) -> None:
        """An exchange ended; the lane is free again."""
        self.all_ended([(exchange_id, outcome)])

    def all_ended(self, ended: Sequence[tuple[int, outcomes.Outcome]]) -> None:
        """Exchanges of several lanes ended at the same time: one commit for all that follows from them."""
        with self.together():
            for exchange_id, outcome in ended:
                self._ended(exchange_id, outcome)

    def _ended(self, exchange_id: int, outcome: outcomes.Outcome) -> None:
        lane = self.lanes[self._under_way.pop(exchange_id)]
        ended, purpose = lane.busy, lane.purpose
        assert ended is not None
        lane.busy, lane.purpose = None, ""
        if purpose == "session":
            self._heard(lane, outcome)
        elif lane.relayed is not None:
            relayed, lane.relayed = lane.relayed, None
            relayed(outcome)
        elif isinstance(outcome, outcomes.Unsent):
            self.handle(ended.txn_id, Unsent(outcome.cause, outcome.text))
        elif isinstance(outcome, outcomes.Lost):
            self.handle(ended.txn_id, Lost(outcome.cause, outcome.text, outcome.host))
        else:
            self._replied(lane, ended, purpose, outcome)
        lane.stand_in = None
        self._wake_lane(lane)
        if lane.busy is None:
            self._then(partial(self._listener.lane_free, lane.name))

    def _replied(self, lane: Lane, exchange: outcomes.Exchange, purpose: str, reply: outcomes.Replied) -> None:
        assert isinstance(exchange.accept, Awaited)
        self._listener.replied(exchange.txn_id, purpose, reply)
        event, message = answered(exchange.accept, purpose, reply, is_awaited=True)
        if purpose == "request" and message.get(55):
            lane.chip_answers[exchange.txn_id] = message.get(55)
        self.handle(exchange.txn_id, event)
        # At once: a sign-on that the host wants goes before the next reversal. What it stores is stored with `_write`.
        self._listener.answered(lane.name, event.code, reply.processing_requirement)
        if purpose == "request":
            self._listener.host_time(lane.name, message.get(13), message.get(12))

    def stray(self, lane_name: str, stray: outcomes.Stray) -> None:
        """A frame that nobody waited for: it goes to the item whose number it bears, as evidence."""
        lane = self.lanes[lane_name]
        try:
            message = lane.policy.profile.codec.unpack(stray.body)
        except MessageError as error:
            self._unmatched(lane_name, "damaged message", error.text)
            return
        txn = self.by_stan(lane_name, message.get(11))
        if txn is None:
            self._unmatched(lane_name, f"{message.mti} of no known item", f"STAN {message.get(11)}")
            return
        self.strays[message.mti] += 1
        said = stray_answer(lane, txn, message, stray)
        foreign = f"{message.mti} that does not match"
        self.handle(txn.id, Noticed(foreign, said) if isinstance(said, str) else said)

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
        """Ends the turn: one write, then its effects; they may begin turns of their own."""
        turn, self._turn = self._turn, None
        assert turn is not None
        if turn.entries:
            self._write(turn.entries, turn.counters)
        for effect in turn.effects:
            effect()

    def _then(self, effect: Callable[[], None]) -> None:
        assert self._turn is not None
        self._turn.then(effect)

    def seal_anew(self, by: str) -> int:
        """Store every pending item once more, sealed with the key of now; how many they are."""
        now = self._clock.now()
        act = f"sealed with a new key by {by} at {now.at_utc}"
        sealed = {txn.id: replace(txn, last_act=act) for txn in self.pending()}
        entries = [entry_of(txn, "Resealed", txn.secret(), now.at_utc) for txn in sealed.values()]
        for others in self.also_sealed:
            entries += others()
        if entries:
            self._write(entries, {})
        self._book.live |= sealed
        return len(sealed)

    def _write(self, entries: Sequence[Entry], counters: Mapping[str, int]) -> int:
        """Rule 1: the only write. Within a turn, what was decided before goes first."""
        if self._turn is not None:
            self._commit()
            self._turn = Turn()
        seq = self._journal.append(entries, counters)
        self._counters.update(counters)
        return seq

    def _remember(self, txn: Transaction) -> None:
        lane = self.lanes.get(txn.lane)
        for stan in txn.stans:
            self._book.number(txn.lane, stan, txn.id)
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
            self._then(partial(self._wire.exchange, exchange))

    def _wake_lane(self, lane: Lane) -> None:
        now = self._clock.now()
        while self._clean(lane) and lane.due[0][0] <= now.mono and not self._blocked(lane):
            owed = self._book.live[lane.due[0][1]].state in OWED
            if owed and lane.goes_first is not None and lane.goes_first():
                return
            _, txn_id = heapq.heappop(lane.due)
            self._due(lane, self._book.live[txn_id], now)

    def _due(self, lane: Lane, txn: Transaction, now: Now) -> None:
        """A timer: where the dialect wants it, an attempt gets a number of its own, stored with it."""
        try:
            if txn.state not in OWED or not lane.policy.profile.reversal.stan_each_try:
                self._apply(txn, Wake(), now)
                return
            (stan,) = self._next_stans(lane, 1)
            self._apply(txn, Wake(stan), now, {f"stan:{lane.name}": int(stan)})
        except MessageError as error:
            self._set_aside(txn, f"its reversal cannot be made: {error.text}", now)

    def _set_aside(self, txn: Transaction, why: str, now: Now) -> None:
        """An item that cannot be sent goes to a person and out of the way of the others."""
        if txn.state is State.REVERSING:
            txn = self._apply(txn, Park("agent", why), now)
        self._apply(txn, Hold("agent", why), now)

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
        return needs_lane and (lane.busy is not None or lane.reserved)

    def _unmatched(self, lane_name: str, what: str, detail: str) -> None:
        self.strays["unmatched"] += 1
        self.unmatched = [*self.unmatched[1 - UNMATCHED_KEPT :], (lane_name, what, detail)]


def unconfirmed(transactions: Iterable[Transaction]) -> list[Transaction]:
    """What the application must answer for: approved and not confirmed, undecided, or its own exchange still open."""
    return [
        txn
        for txn in transactions
        if txn.state is State.APPROVED or txn.undecided or (txn.state is State.BEGUN and txn.driver == "application")
    ]
