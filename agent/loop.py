"""Waits, decides, stores, acts, re-arms: the one loop, without sockets and without threads.

Rules not to break:
1. `_write` is the only caller of the journal's write, and nothing leaves before it returned.
2. A lane carries one exchange at a time (a terminal's conversation with its host).
3. `Clock` is the only reader of a clock.
4. After a failed write nothing is decided any more: the error goes up and ends the process.

The daemon drives it with sockets and asyncio; the simulation drives the same code with a
simulated disk, wire and clock.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from agent import outcomes
from agent.engine import decide
from agent.events import (
    Alarm,
    Answered,
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
from agent.journal_contract import Entry, Row, Store, Stored
from agent.lane import Heard, Lane, Listener, Order, Passage, RefusedError, Wire
from agent.orders import STAN_MAX, far_from, make_request, new_transaction, refuse_foreign, session_facts
from agent.records import OWED, State, Transaction, dump, load
from protocol.errors import MessageError, ProtocolError
from protocol.iso8583 import Message
from protocol.matching import Match, match_reply
from protocol.requests import build_network_message
from protocol.reversal import Learnt, identity_of, kind_of

FINISHED_KEPT = 2_000  # Finished items kept in memory so that late answers find them. Assumed.
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
        self._live: dict[str, Transaction] = {}
        self._finished: OrderedDict[str, Transaction] = OrderedDict()
        self._by_stan: dict[tuple[str, str], str] = {}
        self._exchanges = 0
        self._counters: dict[str, int] = {}
        self._begun_mono: dict[str, float] = {}
        self.unreadable: dict[str, tuple[str, str]] = {}
        self.unmatched: list[tuple[str, str, str]] = []
        self.strays: Counter[str] = Counter()

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up everything that is pending; what is owed is tried at once."""
        self._counters = self._journal.counters()
        for row in reversed(self._journal.recent(FINISHED_KEPT)):
            if not row.pending:  # the numbers of the others come with them, below
                for stan in _stans_of(row):
                    self._by_stan[row.lane, stan] = row.txn_id
        for stored in self._journal.pending():
            self._take_up(stored)
        for txn_id, txn in list(self._live.items()):
            if txn.lane in self.lanes:
                self.handle(txn_id, Restart())

    def _take_up(self, stored: Stored) -> None:
        """One pending record. What cannot be read is neither lost nor in the way of the others: a person is called."""
        try:
            self._remember(_loaded(stored))
        except (ProtocolError, ValueError, KeyError, TypeError) as error:
            text = f"{stored.entry.txn_id} cannot be read: {type(error).__name__}"
            self.unreadable[stored.entry.txn_id] = (stored.entry.lane, text)

    def pending(self) -> list[Transaction]:
        """Everything that the agent or a person still owes, oldest first."""
        return list(self._live.values())

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
        assert all(txn.lane != name for txn in self._live.values()), f"lane {name} has pending items"
        del self.lanes[name]

    def orphaned_lanes(self) -> set[str]:
        """Lanes that have pending items and are not configured any more."""
        return {txn.lane for txn in self._live.values()} - set(self.lanes)

    def get(self, txn_id: str) -> Transaction | None:
        """One transaction by its id, however old."""
        txn = self._live.get(txn_id) or self._finished.get(txn_id)
        if txn is not None:
            return txn
        stored = self._journal.get(txn_id) if is_transaction(txn_id) else None
        return _loaded(stored) if stored else None

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
        self._exchanges += 1
        lane.busy = outcomes.Exchange(self._exchanges, lane.name, "", b"", None, False, accept, frame)
        lane.purpose, lane.relayed = "relay", relayed
        self._wire.exchange(lane.busy)

    def by_stan(self, lane_name: str, stan: str) -> Transaction | None:
        """The latest transaction under this number."""
        txn_id = self._by_stan.get((lane_name, stan), "")
        return self.get(txn_id) if txn_id else None

    def objection(self, lane: Lane) -> str:
        """Why no new sale may start now because of what is owed; "" if it may."""
        unreadable = [text for name, text in self.unreadable.values() if name == lane.name]
        if unreadable:
            return f"{unreadable[0]}; run reversalctl verify and call the service desk"
        owed = [txn for txn in self._live.values() if txn.lane == lane.name and txn.state in OWED]
        if not owed:
            return ""
        oldest_s = self._clock.now().mono - min(self._begun_mono[txn.id] for txn in owed)
        return lane.gate.objection(len(owed), sum(txn.amount_minor for txn in owed), oldest_s)

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
        self._write((), {f"stan:{lane.name}": int(stan)})
        self._exchanges += 1
        lane.busy = outcomes.Exchange(
            self._exchanges,
            lane.name,
            f"{name}:{lane.name}",
            lane.policy.profile.codec.pack(message),
            None,
            False,
            lambda reply: self._match(lane, identity, reply)[1].accepted,
        )
        lane.purpose, lane.heard = "session", heard
        self._wire.exchange(lane.busy)
        self._listener.timers()

    def keep(self, entries: Sequence[Entry]) -> int:
        """Store what is no transaction (a session, a settlement): ids with a colon, never pending. The last number."""
        assert not any(is_transaction(entry.txn_id) or entry.pending for entry in entries)
        return self._write(entries, {})

    def _heard(self, lane: Lane, outcome: outcomes.Outcome) -> None:
        heard, lane.heard = lane.heard, None
        assert heard is not None
        codec = lane.policy.profile.codec
        heard(outcome, codec.unpack(outcome.body) if isinstance(outcome, outcomes.Replied) else None)

    # --- events --------------------------------------------------------------------------------

    def handle(self, txn_id: str, event: Event) -> Transaction:
        """Decide, store, act. Raises: RefusedError; and the journal's JournalFailed, which must end the process."""
        txn = self.get(txn_id)
        if txn is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {txn_id!r}", "see reversalctl list")
        return self._apply(txn, event, self._clock.now())

    def wake(self) -> None:
        """Handle every timer that is due; owed reversals wait for their lane."""
        for lane in self.lanes.values():
            self._wake_lane(lane)

    def reserve(self, lane_name: str, *, wanted: bool) -> None:
        """A sale waits for this lane, or does not any more."""
        lane = self.lane(lane_name)
        lane.reserved = wanted
        if not wanted:
            self._wake_lane(lane)
        self._listener.timers()

    def next_wake(self) -> float | None:
        """The monotonic second of the next due timer; None: only an event can change anything."""
        times = [lane.due[0][0] for lane in self.lanes.values() if self._clean(lane) and not self._blocked(lane)]
        return min(times, default=None)

    def resume(self, lane_name: str, cause: str) -> None:
        """Something that may have been the obstacle of this lane is back."""
        for txn in list(self._live.values()):
            if txn.lane == lane_name and txn.state is State.REVERSING:
                self.handle(txn.id, Resume(cause))
        self._wake_lane(self.lanes[lane_name])

    def host_chosen(self, exchange_id: int, host: str) -> None:
        """The link is about to send a request's first byte to this host."""
        for lane in self.lanes.values():
            if lane.busy and lane.busy.id == exchange_id and lane.purpose == "request" and lane.several_hosts:
                self.handle(lane.busy.txn_id, HostChosen(host))

    def outcome(self, exchange_id: int, outcome: outcomes.Outcome) -> None:
        """An exchange ended; the lane is free again."""
        lane = next(lane for lane in self.lanes.values() if lane.busy and lane.busy.id == exchange_id)
        assert lane.busy is not None
        txn_id, purpose = lane.busy.txn_id, lane.purpose
        lane.busy, lane.purpose = None, ""
        if purpose == "session":
            self._heard(lane, outcome)
        elif lane.relayed is not None:
            relayed, lane.relayed = lane.relayed, None
            relayed(outcome)
        elif isinstance(outcome, outcomes.Unsent):
            self.handle(txn_id, Unsent(outcome.cause, outcome.text))
        elif isinstance(outcome, outcomes.Lost):
            self.handle(txn_id, Lost(outcome.cause, outcome.text, outcome.host))
        else:
            self._listener.replied(txn_id, purpose, outcome)
            event = self._answered(lane, txn_id, purpose, outcome, awaited=True)
            self.handle(txn_id, event)
            self._listener.answered(lane.name, event.code, outcome.processing_requirement)
        lane.stand_in = None
        self._wake_lane(lane)
        if lane.busy is None:
            self._listener.lane_free(lane.name)

    def stray(self, lane_name: str, stray: outcomes.Stray) -> None:
        """A frame that nobody waited for: it goes to the item whose number it bears, as evidence."""
        lane = self.lanes[lane_name]
        try:
            message = lane.policy.profile.codec.unpack(stray.body)
        except MessageError as error:
            self._unmatched(lane_name, "damaged message", error.text)
            return
        txn_id = self._by_stan.get((lane_name, message.get(11)), "")
        txn = self.get(txn_id) if txn_id else None
        if txn is None:
            self._unmatched(lane_name, f"{message.mti} of no known item", f"STAN {message.get(11)}")
            return
        self.strays[message.mti] += 1
        for to in ("reversal", "request") if txn.frozen else ("request",):
            event = self._answered(lane, txn.id, to, stray, awaited=False)
            if event.match.accepted:
                self.handle(txn.id, event)
                return
        detail = "; ".join(match_reply(txn.request_identity, message, lane.policy.profile).differences)
        self.handle(txn.id, Noticed(f"{message.mti} that does not match", detail))

    # --- the only way to change anything -------------------------------------------------------

    def _apply(
        self, txn: Transaction, event: Event, now: Now, counters: Mapping[str, int] | None = None
    ) -> Transaction:
        lane = self.lane(txn.lane)
        after, effects = decide(txn, event, now, lane.policy)
        for effect in effects:
            if isinstance(effect, Refuse):
                raise RefusedError(effect.code, effect.text, effect.hint)
        if after != txn:
            self._store(txn, after, event, now, counters or {})
        self._remember(after)
        for effect in effects:
            self._perform(lane, after, effect)
        if after != txn:
            self._listener.changed(after)
        self._listener.timers()
        return after

    def _store(
        self, before: Transaction, after: Transaction, event: Event, now: Now, counters: Mapping[str, int]
    ) -> None:
        """The new record, durable on return."""
        secret = b"" if before.state is not State.NEW and before.secret() == after.secret() else after.secret()
        self._write([_entry(after, type(event).__name__, secret, now)], counters)

    def seal_anew(self, by: str) -> int:
        """Store every pending item once more, sealed with the key of now; how many they are."""
        now = self._clock.now()
        act = f"sealed with a new key by {by} at {now.at_utc}"
        sealed = {txn.id: replace(txn, last_act=act) for txn in self._live.values()}
        if sealed:
            self._write([_entry(txn, "Resealed", txn.secret(), now) for txn in sealed.values()], {})
        self._live |= sealed
        return len(sealed)

    def _write(self, entries: Sequence[Entry], counters: Mapping[str, int]) -> int:
        """Rule 1: the only write."""
        seq = self._journal.append(entries, counters)
        self._counters.update(counters)
        return seq

    def _remember(self, txn: Transaction) -> None:
        lane = self.lanes.get(txn.lane)
        for stan in txn.stans:
            self._by_stan[txn.lane, stan] = txn.id
        if not txn.pending:
            self._forget(txn, lane)
            return
        self._finished.pop(txn.id, None)
        self._live[txn.id] = txn
        self._begun_mono.setdefault(txn.id, txn.request_left_at or self._clock.now().mono)
        if lane is not None:
            lane.stans |= txn.stans
            if txn.wake_at is not None:
                heapq.heappush(lane.due, (txn.wake_at, txn.id))

    def _forget(self, txn: Transaction, lane: Lane | None) -> None:
        self._live.pop(txn.id, None)
        self._begun_mono.pop(txn.id, None)
        self._finished[txn.id] = txn
        if lane is not None:
            lane.requests.pop(txn.id, None)
            lane.frames.pop(txn.id, None)
            lane.chip_answers.pop(txn.id, None)
            lane.stans -= txn.stans
        while len(self._finished) > FINISHED_KEPT:
            old_id, old = self._finished.popitem(last=False)
            for stan in old.stans:
                if self._by_stan.get((old.lane, stan)) == old_id:
                    del self._by_stan[old.lane, stan]

    # --- effects -------------------------------------------------------------------------------

    def _perform(self, lane: Lane, txn: Transaction, effect: Effect) -> None:
        if isinstance(effect, SendRequest):
            body = lane.policy.profile.codec.pack(lane.requests[txn.id])
            self._send(lane, txn, "request", body, "", lane.frames.get(txn.id, b""))
        elif isinstance(effect, SendReversal):
            frame = lane.stand_in.frame if lane.stand_in else b""
            self._send(lane, txn, "reversal", effect.body, effect.host, frame)
        elif isinstance(effect, (Alarm, Slip)):
            self._listener.effect(txn, effect)
        else:
            raise AssertionError(f"nobody performs {type(effect).__name__}")

    def _send(self, lane: Lane, txn: Transaction, purpose: str, body: bytes, host: str, frame: bytes) -> None:
        assert lane.busy is None, f"lane {lane.name} is in an exchange"
        self._exchanges += 1
        identity = self._awaited_identity(lane, txn, purpose)

        def accept(reply: bytes) -> bool:
            try:
                return self._match(lane, identity, reply)[1].accepted
            except MessageError:
                return False

        only_host = bool(host) and purpose == "reversal" and not lane.may_change_host
        lane.busy = outcomes.Exchange(self._exchanges, lane.name, txn.id, body, host or None, only_host, accept, frame)
        lane.purpose = purpose
        self._wire.exchange(lane.busy)

    def _wake_lane(self, lane: Lane) -> None:
        now = self._clock.now()
        while self._clean(lane) and lane.due[0][0] <= now.mono and not self._blocked(lane):
            _, txn_id = heapq.heappop(lane.due)
            self._due(lane, self._live[txn_id], now)

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
            txn = self._live.get(txn_id)
            if txn is not None and txn.wake_at == wake_at:
                return True
            heapq.heappop(lane.due)
        return False

    def _blocked(self, lane: Lane) -> bool:
        """Whether the next timer needs the lane, and the lane is in an exchange."""
        needs_lane = self._live[lane.due[0][1]].state in OWED
        return needs_lane and (lane.busy is not None or lane.reserved)

    # --- replies -------------------------------------------------------------------------------

    def _identity(self, txn: Transaction, purpose: str) -> Mapping[str, str]:
        if purpose != "reversal" or txn.frozen is None:
            return txn.request_identity
        return {**txn.frozen.identity, "11": txn.try_stan} if txn.try_stan else txn.frozen.identity

    def _awaited_identity(self, lane: Lane, txn: Transaction, purpose: str) -> Mapping[str, str]:
        """The same for the exchange under way: what an application sent in place of ours is answered as sent."""
        if purpose == "reversal" and lane.stand_in:
            return identity_of(lane.stand_in.message)
        return self._identity(txn, purpose)

    def _match(self, lane: Lane, identity: Mapping[str, str], body: bytes) -> tuple[Message, Match]:
        message = lane.policy.profile.codec.unpack(body)
        return message, match_reply(identity, message, lane.policy.profile)

    def _answered(
        self, lane: Lane, txn_id: str, purpose: str, reply: outcomes.Replied | outcomes.Stray, *, awaited: bool
    ) -> Answered:
        txn = self.get(txn_id)
        assert txn is not None
        identity = self._awaited_identity(lane, txn, purpose) if awaited else self._identity(txn, purpose)
        message, match = self._match(lane, identity, reply.body)
        learnt = Learnt(approval_code=message.get(38), rrn=message.get(37), date=message.get(13), time=message.get(12))
        if purpose == "request" and awaited and message.get(55):
            lane.chip_answers[txn_id] = message.get(55)
        what = f"{message.mti} with response code {message.get(39) or 'none'}"
        to = "reversal" if purpose == "reversal" else "request"
        return Answered(to, awaited, message.get(39), reply.mac, match, learnt, what, reply.host)  # type: ignore[arg-type]

    def _unmatched(self, lane_name: str, what: str, detail: str) -> None:
        self.strays["unmatched"] += 1
        self.unmatched = [*self.unmatched[1 - UNMATCHED_KEPT :], (lane_name, what, detail)]


def _entry(txn: Transaction, event: str, secret: bytes, now: Now) -> Entry:
    return Entry(
        txn_id=txn.id,
        lane=txn.lane,
        reference=txn.reference,
        state=str(txn.state),
        pending=txn.pending,
        event=event,
        public=dump(txn),
        secret=secret,
        at_utc=now.at_utc,
    )


def is_transaction(txn_id: str) -> bool:
    """Whether a journal id is a transaction's; sessions and settlements have a colon in theirs."""
    return ":" not in txn_id


def _loaded(stored: Stored) -> Transaction:
    return load(stored.entry.public, stored.entry.secret)


def _stans_of(row: Row) -> set[str]:
    """The numbers of a stored item; an unreadable one has none (`_take_up` tells of those that are pending)."""
    if not is_transaction(row.txn_id):
        return set()
    try:
        return load(row.public, b"").stans
    except (ValueError, KeyError, TypeError):
        return set()


def unconfirmed(transactions: Iterable[Transaction]) -> list[Transaction]:
    """What the application must answer for: approved and not confirmed, undecided, or its own exchange still open."""
    return [
        txn
        for txn in transactions
        if txn.state is State.APPROVED or txn.undecided or (txn.state is State.BEGUN and txn.driver == "application")
    ]
