"""The sessions of all lanes at work: stores what `agent.session` decides, sends, proves keys, waits.

Rules not to break:
1. A session's record is stored before its effects are carried out.
2. A sign-on begins only on a lane that is free and that no sale has reserved. A reversal that is due goes first,
   unless the host said that it cannot succeed before a sign-on: a host that does not answer sign-ons delays a
   reversal by at most one exchange.
3. `Loop` and its clock are the only way to journal, wire and time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from agent import session as sessions
from agent.events import Now
from agent.journal_contract import Entry, Store
from agent.lane import Closed, RefusedError
from agent.loop import Clock, Loop
from agent.macs import MacProvider, MacUnavailable
from agent.outcomes import Lost, Outcome, Replied, Unsent
from agent.policy import Policy
from agent.records import State
from agent.session import Session, SessionPolicy
from agent.session_keys import KeyTaker, NoKeyYet
from agent.session_texts import wanted
from protocol.errors import AgentError, MacError, MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message

# A sale waits so long for a sign-on that is under way; then it is refused. Assumed: as for reversals before a sale.
READY_WAIT_S = 10.0
# After these the reversals cannot succeed before a sign-on: it goes first.
_GOES_FIRST = frozenset({"stale-key", "batch-mismatch"})
_BATCH_DIGITS = 6

T = TypeVar("T")

Ended = Awaitable[tuple[Outcome, Message | None]]

log = logging.getLogger("reversald")


class Turn(Protocol):
    """Does what needs a free lane when its turn has come (`Api.in_turn`)."""

    async def __call__(self, lane_name: str, act: Callable[[], T], *, owed_first: bool = True) -> T: ...


@dataclass(frozen=True, slots=True)
class EchoResult:
    """What the last echo test of this process gave. `round_trip_ms` is None where no answer came."""

    at_utc: str
    round_trip_ms: float | None
    text: str


@dataclass(slots=True)
class Seat:
    """One lane's session and what belongs to it. `use` makes a MAC provider the lane's."""

    session: Session
    policy: SessionPolicy
    taker: KeyTaker | None
    use: Callable[[MacProvider], None]
    settling: bool = False
    echo: EchoResult | None = None


class SessionDesk:
    """See the module. `spawn` runs a coroutine, `changed` tells that there is something new to show."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        clock: Clock,
        spawn: Callable[[Awaitable[None]], None],
        changed: Callable[[str], None],
        turn: Turn,
    ) -> None:
        self._loop = loop
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._changed = changed
        self._turn = turn
        self._waiters: list[asyncio.Future[None]] = []
        self.seats: dict[str, Seat] = {}

    # --- configuration -------------------------------------------------------------------------

    def configure(
        self, lane_name: str, policy: SessionPolicy, taker: KeyTaker | None, use: Callable[[MacProvider], None]
    ) -> None:
        """A lane as configured. What is stored of its session stays in force; a running session goes on."""
        before = self.seats.get(lane_name)
        session = before.session if before and self._same_terminal(before.session) else self._restored(lane_name)
        self.seats[lane_name] = seat = Seat(session, policy, taker, use)
        if before is not None:
            seat.settling, seat.echo = before.settling, before.echo
        if taker is not None:
            seat.use(taker.provider(session.keys) if session.keys else NoKeyYet())
        if before is None or session is not before.session or before.policy.signs_on != policy.signs_on:
            self.event(lane_name, sessions.Start())
        else:
            self._take_effect(seat)

    def _same_terminal(self, session: Session) -> bool:
        """Whether a running session is still that of its lane after a reload."""
        lane = self._loop.lane(session.lane)
        return (session.terminal_id, session.configured_batch) == (lane.terminal_id, lane.batch)

    def drop(self, lane_name: str) -> None:
        """Forget a lane that is not configured any more; its record stays in the journal."""
        self.seats.pop(lane_name, None)

    def _restored(self, lane_name: str) -> Session:
        lane = self._loop.lane(lane_name)
        fresh = Session(lane_name, lane.terminal_id, lane.batch, lane.batch)
        stored = self._store.get(_id(lane_name))
        if stored is None:
            return fresh
        session = sessions.load(stored.entry.public, stored.entry.secret)
        if session.terminal_id != lane.terminal_id:
            return fresh
        if session.configured_batch != lane.batch:
            return replace(session, batch=lane.batch, configured_batch=lane.batch, batch_from=0)
        return session

    def sealed_anew(self) -> Iterator[Entry]:
        """What must be sealed with a new key: the working keys of each lane."""
        at_utc = self._clock.now().at_utc
        for name, seat in self.seats.items():
            if seat.session.keys:
                secret = bytes.fromhex(seat.session.keys)
                yield entry_of(_id(name), name, "Resealed", sessions.dump(seat.session), at_utc, secret)

    # --- events --------------------------------------------------------------------------------

    def event(self, lane_name: str, event: sessions.SessionEvent, also: Sequence[Entry] = ()) -> Session:
        """Decide, store (with `also` in the same commit), act."""
        seat, now = self.seats[lane_name], self._clock.now()
        before = seat.session
        after, effects = sessions.decide(before, event, now, seat.policy)
        if after is not before and after.durable() != before.durable():
            secret = b"" if after.keys == before.keys else bytes.fromhex(after.keys)
            own = entry_of(_id(lane_name), lane_name, type(event).__name__, sessions.dump(after), now.at_utc, secret)
            self._loop.keep([*also, own])
        elif also:
            self._loop.keep(also)
        seat.session = after
        self._take_effect(seat)
        for effect in effects:
            self._perform(lane_name, seat, effect)
        if after != before:
            self._changed(lane_name)
            self._news()
        return seat.session

    def answered(self, lane_name: str, code: str, processing_requirement: int) -> None:
        """The loop heard the host's answer to a sale or a reversal."""
        if lane_name not in self.seats:
            return
        self.event(lane_name, sessions.Coded(code))
        self.event(lane_name, sessions.HostAsks(self._action(lane_name, processing_requirement)))
        self.look(lane_name)

    def back(self, lane_name: str) -> None:
        """The link or the PIN pad of this lane is back."""
        if lane_name in self.seats:
            self.event(lane_name, sessions.Back())
            self.look(lane_name)

    def look(self, lane_name: str) -> None:
        """Begin what is due, if the lane is free (rule 2)."""
        if lane_name in self.seats and self._may_begin(lane_name):
            self.event(lane_name, sessions.Due())

    def wake(self) -> None:
        """A timer is due."""
        for lane_name in list(self.seats):
            self.look(lane_name)

    def lane_policy(self, lane_name: str) -> Policy:
        """The rules of a lane."""
        return self._loop.lane(lane_name).policy

    def now(self) -> Now:
        """The moment, for those who show a session."""
        return self._clock.now()

    def news(self) -> None:
        """Something else changed for which somebody may wait here."""
        self._news()

    def next_wake(self) -> float | None:
        """The monotonic second of the next due timer that could be served now; None: only an event changes anything."""
        times = [at for name in self.seats if (at := self._due_at(name)) is not None and self._may_begin(name)]
        return min(times, default=None)

    def settling(self, lane_name: str, *, on: bool) -> None:
        """While a batch is being settled no sale begins. A reload may have taken the lane away meanwhile."""
        if lane_name in self.seats:
            self.seats[lane_name].settling = on
            self._take_effect(self.seats[lane_name])

    # --- commands ------------------------------------------------------------------------------

    async def sign_on(self, lane_name: str, by: str) -> Session:
        """A sign-on now; the session when it has ended. Raises RefusedError."""
        seat = self._seat(lane_name)
        if not seat.policy.signs_on:
            hint = "set sign_on = true for this lane in the configuration"
            raise RefusedError("A-NO-SIGN-ON", f"lane {lane_name} does not sign on by itself", hint)
        wanted_attempts = seat.session.attempts + (seat.session.step == "idle")
        self.event(lane_name, sessions.Asked(by))
        self.look(lane_name)
        retry = seat.policy.lane.retry
        longest_s = 2 * (retry.connect_timeout_s + retry.send_timeout_s + retry.reply_timeout_s) + READY_WAIT_S
        await self.until(lambda: self._ended(lane_name, wanted_attempts), longest_s)
        return self._seat(lane_name).session

    async def ready(self, lane_name: str) -> None:
        """Before a sale: wait for a sign-on that is due or under way, not for one that waits after a failure."""
        await self.until(lambda: not self._soon_signed_on(lane_name), READY_WAIT_S)

    async def echo(self, lane_name: str) -> EchoResult:
        """An echo test: whether the host answers, and how fast. Raises RefusedError where the profile has none."""
        seat = self._seat(lane_name)
        if "echo" not in seat.policy.lane.profile.session.messages:
            raise RefusedError("A-NO-ECHO", "the profile has no echo test", "see the profile's [session.messages]")
        began, ended = await self._turn(lane_name, lambda: self._begin_echo(lane_name), owed_first=False)
        outcome, message = await ended
        passed_ms = round((self._clock.now().mono - began.mono) * 1000, 1)
        seat.echo = EchoResult(began.at_utc, *_echo_words(outcome, message, passed_ms))
        self._changed(lane_name)
        return seat.echo

    def _begin_echo(self, lane_name: str) -> tuple[Now, Ended]:
        return self._clock.now(), self.converse(lane_name, "echo")

    def converse(self, lane_name: str, name: str, totals: str = "") -> Ended:
        """Send a message of the session on a free lane; how it ends. Raises MessageError and RefusedError at once."""
        ended: asyncio.Future[tuple[Outcome, Message | None]] = asyncio.get_running_loop().create_future()

        def heard(outcome: Outcome, message: Message | None) -> None:
            self._requirement(lane_name, outcome)
            if not ended.done():
                ended.set_result((outcome, message))

        self._loop.converse(lane_name, name, heard, totals)
        return ended

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition on lanes, sessions or transactions holds; False when the time is over."""
        ends = self._clock.now().mono + seconds
        while not condition():
            left_s = ends - self._clock.now().mono
            if left_s <= 0:
                return False
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=left_s)
        return True

    # --- effects -------------------------------------------------------------------------------

    def _perform(self, lane_name: str, seat: Seat, effect: sessions.SessionEffect) -> None:
        if isinstance(effect, sessions.SignOn):
            self._send_sign_on(lane_name)
        elif isinstance(effect, sessions.Echo):
            self._spawn(self._regular_echo(lane_name))
        elif isinstance(effect, sessions.Prove):
            self._spawn(self._prove(lane_name, effect.keys))
        elif isinstance(effect, sessions.UseKeys):
            assert seat.taker is not None, "keys without anybody who takes them"
            seat.use(seat.taker.provider(effect.keys))
        elif isinstance(effect, sessions.TryReversals):
            self._signed_on(lane_name, seat)
        elif isinstance(effect, sessions.Warn):
            log.warning("lane %s: %s: %s", lane_name, effect.code, effect.text)
        else:
            raise AssertionError(f"nobody performs {type(effect).__name__}")

    def _send_sign_on(self, lane_name: str) -> None:
        log.info("lane %s: signing on (%s)", lane_name, wanted(self.seats[lane_name].session.wanted).en)
        try:
            self._loop.converse(lane_name, "sign-on", lambda outcome, message: self._heard(lane_name, outcome, message))
        except (MessageError, RefusedError) as error:
            self.event(lane_name, sessions.Failed(str(error), left=False))

    def _heard(self, lane_name: str, outcome: Outcome, message: Message | None) -> None:
        """How the sign-on ended. A wish to sign on that comes with its answer is fulfilled by it."""
        if message is None or not isinstance(outcome, Replied):
            assert isinstance(outcome, (Unsent, Lost))
            self.event(lane_name, sessions.Failed(outcome.text, left=isinstance(outcome, Lost)))
        elif outcome.mac == "invalid":
            self.event(lane_name, sessions.Failed("the sign-on reply has a wrong MAC", left=True))
        else:
            self.event(lane_name, self._sign_on_answer(lane_name, message))
        self._requirement(lane_name, outcome)

    def _sign_on_answer(self, lane_name: str, message: Message) -> sessions.Answered:
        profile = self.seats[lane_name].policy.lane.profile
        at, code = profile.session.batch_at, message.get(39)
        batch = at.of(message.get(at.field)) if at else ""
        return sessions.Answered(
            code=code,
            approved=profile.responses.request(code) == "approved",
            keys=message.get(profile.session.keys_field) if profile.session.keys_field else "",
            batch=batch if len(batch) == _BATCH_DIGITS and batch.isdigit() else "",
        )

    def _requirement(self, lane_name: str, outcome: Outcome) -> None:
        if isinstance(outcome, Replied):
            action = self._action(lane_name, outcome.processing_requirement)
            if action != "sign-on":
                self.event(lane_name, sessions.HostAsks(action))

    async def _prove(self, lane_name: str, keys: str) -> None:
        taker = self.seats[lane_name].taker
        assert taker is not None, "keys without anybody who takes them"
        try:
            event: sessions.SessionEvent = sessions.Proved(await taker.prove(keys))
        except MacUnavailable as error:
            event = sessions.Unproved(error.text, wrong=False)
        except MacError as error:
            event = sessions.Unproved(error.text, wrong=True)
        if lane_name in self.seats:
            self.event(lane_name, event)

    def _signed_on(self, lane_name: str, seat: Seat) -> None:
        log.info("lane %s: signed on, batch %s", lane_name, seat.session.batch)
        if "sign-on" in seat.policy.lane.retry.triggers:
            self._loop.resume(lane_name, "sign-on")

    async def _regular_echo(self, lane_name: str) -> None:
        try:
            result = await self.echo(lane_name)
        except AgentError as error:
            log.warning("lane %s: no echo test: %s", lane_name, error)
            return
        if result.round_trip_ms is None:
            log.warning("lane %s: echo test: %s", lane_name, result.text)

    # --- steps ---------------------------------------------------------------------------------

    def _seat(self, lane_name: str) -> Seat:
        self._loop.lane(lane_name)  # raises for a lane that does not exist
        return self.seats[lane_name]

    def _action(self, lane_name: str, requirement: int) -> str:
        known = self.seats[lane_name].policy.lane.profile.session.requirements
        return known.get(requirement, "none" if requirement == 0 else f"requirement-{requirement}")

    def _ended(self, lane_name: str, attempts: int) -> bool:
        seat = self.seats.get(lane_name)
        return seat is None or (seat.session.attempts >= attempts and seat.session.step == "idle")

    def _soon_signed_on(self, lane_name: str) -> bool:
        seat = self.seats.get(lane_name)
        if seat is None or not seat.policy.required or seat.session.valid:
            return False
        session = seat.session
        due = session.wake_at is not None and session.wake_at <= self._clock.now().mono
        return session.step != "idle" or due

    def _due_at(self, lane_name: str) -> float | None:
        session = self.seats[lane_name].session
        times = [at for at in (session.wake_at, session.echo_at) if at is not None]
        return min(times) if times and session.step == "idle" else None

    def _may_begin(self, lane_name: str) -> bool:
        lane = self._loop.lanes.get(lane_name)
        if lane is None or lane.busy is not None or lane.reserved:
            return False
        due_at, now = self._due_at(lane_name), self._clock.now().mono
        return due_at is None or due_at > now or not self._reversal_goes_first(lane_name, now, now - due_at)

    def _reversal_goes_first(self, lane_name: str, now: float, waited_s: float) -> bool:
        """A reversal that a restart has just spread is not held up by a sign-on that may time out. Once only."""
        seat, lane = self.seats[lane_name], self._loop.lane(lane_name)
        retry = seat.policy.lane.retry
        spread_s = retry.first_delay_s + retry.base_s * retry.jitter
        soon = now + spread_s
        if seat.session.wanted in _GOES_FIRST or waited_s > spread_s or not lane.due or lane.due[0][0] > soon:
            return False
        if seat.taker is not None and not seat.session.keys:
            return False  # without a key no reversal can leave
        return any(
            txn.state is State.REVERSING and txn.wake_at is not None and txn.wake_at <= soon
            for txn in self._loop.of_lane(lane_name)
        )

    def _take_effect(self, seat: Seat) -> None:
        """What the loop must know of the session: the batch of new sales, and whether any may start."""
        lane = self._loop.lane(seat.session.lane)
        lane.batch = seat.session.batch
        lane.closed = _closed(seat)

    def _news(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def entry_of(entry_id: str, lane_name: str, event: str, public: str, at_utc: str, secret: bytes = b"") -> Entry:
    """A journal entry that is no transaction: `entry_id` has a colon, and what stands before it is the state."""
    return Entry(entry_id, lane_name, entry_id, entry_id.partition(":")[0], False, event, public, secret, at_utc)


def _id(lane_name: str) -> str:
    return f"session:{lane_name}"


def _closed(seat: Seat) -> Closed | None:
    session = seat.session
    if seat.settling:
        return Closed("A-SETTLING", f"batch {session.batch} is being settled", "try again when it is settled")
    if not seat.policy.required or session.valid:
        return None
    why = session.last_error or wanted(session.wanted).en
    hint = f"it is tried again by itself; at once: reversalctl sign-on {session.lane}"
    return Closed("A-NOT-SIGNED-ON", f"lane {session.lane} is not signed on: {why}", hint)


def _echo_words(outcome: Outcome, message: Message | None, passed_ms: float) -> tuple[float | None, str]:
    if message is None:
        assert isinstance(outcome, (Unsent, Lost))
        return None, outcome.text
    code = message.get(39)
    return passed_ms, f"answered by {outcome.host} with code {code or 'none'}" if isinstance(outcome, Replied) else ""
