"""Waits, decides, stores, acts, re-arms: the one loop, without sockets and without threads.

Rules not to break:
1. Everything is stored before anything leaves (agent/loop_turns.py); what is pending is known from agent/loop_queue.py.
2. A lane carries one exchange at a time (a terminal's conversation with its host).
3. `Clock` (agent/clock.py) is the only reader of a clock.
4. After a failed write nothing is decided any more: the error goes up and ends the process.

The daemon drives it with sockets and asyncio; the simulation drives the same code with a
simulated disk, wire and clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from agent import outcomes
from agent.answers import Awaited, answered, stray_answer
from agent.backlog import whole
from agent.clock import Clock
from agent.events import (
    Begin,
    Event,
    HostChosen,
    Lost,
    Noticed,
    Resume,
    Unsent,
    Wake,
)
from agent.journal_contract import Entry, Store
from agent.lane import Heard, Lane, Listener, Order, Passage, RefusedError, Wire
from agent.loop_turns import AT_ONCE, Turns
from agent.orders import far_from, make_request, new_transaction, refuse_foreign, session_facts
from agent.records import OWED, State, Transaction
from agent.stored_form import entry_of, is_transaction
from protocol.errors import MessageError
from protocol.requests import build_network_message
from protocol.reversal import identity_of, kind_of

__all__ = ["Clock", "Loop", "unconfirmed"]

UNMATCHED_KEPT = 20  # Strays of no known item that the status shows. Assumed.


class Loop(Turns):
    """All transactions of all lanes. `at_once`: more pending items than this are not all read before the first try."""

    def __init__(
        self,
        journal: Store,
        lanes: Iterable[Lane],
        wire: Wire,
        clock: Clock,
        listener: Listener | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        super().__init__(journal, lanes, wire, clock, listener, at_once)
        self.unmatched: list[tuple[str, str, str]] = []
        self.strays: Counter[str] = Counter()
        self.also_sealed: list[Callable[[], Iterable[Entry]]] = []  # what else bears card data or keys (`keep`)

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
        refuse_foreign(lane, message, self._bears)
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

    def _admit(self, lane: Lane, order: Order) -> None:
        if self._journal.find(lane.name, order.reference) is not None:
            text = f"the reference {order.reference!r} was used before"
            raise RefusedError("A-REFERENCE-USED", text, "ask transaction.status, or use a new reference")
        if lane.busy is not None and order.driver != "application":
            raise RefusedError("A-LANE-BUSY", f"lane {lane.name} is in an exchange", "try again when it has ended")
        if lane.closed is not None:
            raise RefusedError(lane.closed.code, lane.closed.text, lane.closed.hint)
        objection = self.objection(lane)
        if objection and not (lane.warn_only and lane.name not in self.unreadable_lanes()):
            raise RefusedError("A-PENDING", objection, "see reversalctl list; reversals are being sent")
        self._journal.admit()

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
        return self._apply(self._taken_up(txn), event, self._clock.now())

    def wake(self) -> None:
        """Handle every timer that is due; owed reversals wait for their lane."""
        with self.together():
            for lane in self.lanes.values():
                self._wake_lane(lane)

    def to_retry(self) -> list[str]:
        """What a person can have tried now; what still waits for its first try goes on with that at once."""
        for share in self._backlog.lanes.values():
            share.not_before = 0.0
        return [
            txn.id
            for txn in self._book.live.values()
            if txn.state in OWED and txn.frozen and not txn.held and not txn.undecided
        ]

    def reserve(self, lane_name: str, *, wanted: bool) -> None:
        """Somebody waits for this lane, or does not any more; to be called once each."""
        lane = self.lane(lane_name)
        with self.together():
            lane.reserved += 1 if wanted else -1
            if not lane.reserved:
                self._wake_lane(lane)

    def resume(self, lane_name: str, cause: str) -> None:
        """Something that may have been the obstacle of this lane is back."""
        with self.together():
            self._backlog.lane(lane_name).not_before = 0.0
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
            self._failed(lane, self.handle(ended.txn_id, Unsent(outcome.cause, outcome.text)))
        elif isinstance(outcome, outcomes.Lost):
            self._failed(lane, self.handle(ended.txn_id, Lost(outcome.cause, outcome.text, outcome.host)))
        else:
            self._backlog.lane(lane.name).not_before = 0.0
            self._replied(lane, ended, purpose, outcome)
        lane.stand_in = None
        self._wake_lane(lane)
        if lane.busy is None:
            self._then(partial(self._listener.lane_free, lane.name))

    def _failed(self, lane: Lane, txn: Transaction) -> None:
        """What waits does not run into the same wall: the next of it is taken up when this one tries again."""
        share = self._backlog.lane(lane.name)
        share.not_before = share.not_before or txn.wake_at or 0.0

    def _replied(self, lane: Lane, exchange: outcomes.Exchange, purpose: str, reply: outcomes.Replied) -> None:
        assert isinstance(exchange.accept, Awaited)
        self._listener.replied(exchange.txn_id, purpose, reply)
        event, message = answered(exchange.accept, purpose, reply, is_awaited=True)
        txn = self.get(exchange.txn_id)
        if purpose == "request" and message.get(55) and txn is not None and txn.driver == "checkout":
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

    def seal_anew(self, by: str) -> int:
        """Store every pending item once more, sealed with the key of now; how many they are."""
        now = self._clock.now()
        act = f"sealed with a new key by {by} at {now.at_utc}"
        sealed = {txn.id: replace(whole(txn), last_act=act) for txn in self.pending()}
        entries = [entry_of(txn, "Resealed", txn.secret(), now.at_utc) for txn in sealed.values()]
        for others in self.also_sealed:
            entries += others()
        if entries:
            self._write(entries, {})
        self._book.live |= {txn_id: txn for txn_id, txn in sealed.items() if txn_id in self._book.live}
        return len(sealed)

    # --- effects -------------------------------------------------------------------------------

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
