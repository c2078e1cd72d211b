"""One lane's session with its host: sign-on, keys of the day, batch, and what the host asks for. Pure.

    off ──due──▶ asking (0800 under way) ──0810 with keys──▶ proving ──right check values──▶ signed on
                    └── no answer, refusal, wrong check value: again after the lane's backoff ──┘

Rules not to break:
1. Nothing here touches a pending reversal: it goes on with the key that is in force.
2. `valid` becomes false as soon as the host may hold another key or batch than we do; while a session is required
   and not valid, no sale starts.
3. Keys take effect only after their check values were proved.
4. An effect is carried out after the session was stored.
5. `wake_at`, `echo_at` and `offered` belong to this process; they are never stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any, Literal

from agent.events import Now
from agent.policy import Policy
from protocol.frozen import dataclass

Step = Literal["idle", "asking", "proving"]
KeyCheck = Literal["none", "right", "wrong"]


@dataclass(frozen=True, slots=True)
class Session:
    """Where one lane stands. `wanted`: why a sign-on is due; `keys`: the block of the host, under the master key."""

    lane: str
    terminal_id: str
    batch: str
    configured_batch: str  # as the configuration had it when this was stored: a change there wins
    valid: bool = False
    since_utc: str = ""
    key_check: KeyCheck = "none"
    key_value: str = ""
    keys: str = field(repr=False, default="")
    host_asks: str = ""
    batch_from: int = 0  # the journal's last number at the last settlement: an open batch has only newer records
    step: Step = "idle"
    wanted: str = ""
    attempts: int = 0
    failures: int = 0
    asked_again: int = 0
    last_error: str = ""
    offered: Offer | None = field(repr=False, default=None)
    wake_at: float | None = None
    echo_at: float | None = None

    def public(self) -> dict[str, Any]:
        """What is stored in clear: no key."""
        return {name: getattr(self, name) for name in _STORED}

    def durable(self) -> tuple[Any, ...]:
        """Everything that must survive; the session is stored when this changes."""
        return (*self.public().values(), self.keys)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a sign-on reply brought, before it is proved."""

    keys: str = field(repr=False)
    batch: str


_STORED = (
    *("lane", "terminal_id", "batch", "configured_batch", "batch_from"),
    *("since_utc", "key_check", "key_value", "host_asks"),
)


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """The rules: the lane's own, whether it signs on, and whether somebody can take the keys that sign-on brings."""

    lane: Policy
    signs_on: bool
    takes_keys: bool

    @property
    def required(self) -> bool:
        """Whether a sale needs a valid session."""
        return self.signs_on and self.lane.profile.session.sign_on_required

    @property
    def follows_batch(self) -> bool:
        """Whether the host's batch number becomes ours."""
        return self.lane.profile.session.batch_follows_host

    def delay_s(self, session: Session, count: int) -> float:
        """The lane's backoff; past the profile's limit its slow schedule."""
        slow = count >= self.lane.retry.park_after_attempts
        return self.lane.delay_s(f"{session.lane}/sign-on", count, parked=slow)


# --- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Root of the events; never used itself."""


@dataclass(frozen=True, slots=True)
class Start(SessionEvent):
    """The daemon starts, or has a new configuration."""


@dataclass(frozen=True, slots=True)
class Due(SessionEvent):
    """The lane is free: what is due may begin."""


@dataclass(frozen=True, slots=True)
class Asked(SessionEvent):
    """A person wants a sign-on now."""

    by: str


@dataclass(frozen=True, slots=True)
class Back(SessionEvent):
    """The link or the PIN pad is back: a sign-on that waits for it is tried at once."""


@dataclass(frozen=True, slots=True)
class HostAsks(SessionEvent):
    """The processing requirement in the header of a reply, by the profile's table ("none": nothing)."""

    action: str


@dataclass(frozen=True, slots=True)
class Coded(SessionEvent):
    """The host answered a sale or a reversal with this code."""

    code: str


@dataclass(frozen=True, slots=True)
class Answered(SessionEvent):
    """The sign-on was answered."""

    code: str
    approved: bool
    keys: str = field(repr=False, default="")
    batch: str = ""


@dataclass(frozen=True, slots=True)
class Failed(SessionEvent):
    """The sign-on brought no usable answer. `left`: a byte of it left, so the host may have new keys."""

    text: str
    left: bool


@dataclass(frozen=True, slots=True)
class Proved(SessionEvent):
    """The check values of the offered keys are right. `value`: that of the MAC key (not secret)."""

    value: str


@dataclass(frozen=True, slots=True)
class Unproved(SessionEvent):
    """They are wrong, or (`wrong` false) they could not be proved now."""

    text: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class BatchClosed(SessionEvent):
    """The batch is settled; the next one begins. `head_seq`: the journal's last number before that."""

    next_batch: str
    head_seq: int


# --- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionEffect:
    """Root of the effects; never used itself."""


@dataclass(frozen=True, slots=True)
class SignOn(SessionEffect):
    """Send the sign-on."""


@dataclass(frozen=True, slots=True)
class Echo(SessionEffect):
    """Send the echo test."""


@dataclass(frozen=True, slots=True)
class Prove(SessionEffect):
    """Prove the check values of these keys."""

    keys: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UseKeys(SessionEffect):
    """From here on these keys are in force, also for pending reversals."""

    keys: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TryReversals(SessionEffect):
    """The obstacle of pending reversals may be gone."""


@dataclass(frozen=True, slots=True)
class Warn(SessionEffect):
    """People should know: a code of the catalogue and what stands in its text."""

    code: str
    text: str


Decision = tuple[Session, tuple[SessionEffect, ...]]


def decide(session: Session, event: SessionEvent, now: Now, policy: SessionPolicy) -> Decision:
    """The next session and what to do once it is stored."""
    return HANDLERS[type(event)](session, event, now, policy)


# --- when a sign-on is due ---------------------------------------------------------------------


def start(session: Session, event: Start, now: Now, policy: SessionPolicy) -> Decision:
    """A fresh process knows nothing of the host: sign on. The stored keys stay in force until then."""
    every_s = policy.lane.profile.session.echo_every_s
    fresh = replace(session, step="idle", offered=None, echo_at=now.mono + every_s if every_s else None)
    if not policy.signs_on:
        return replace(fresh, wanted="", wake_at=None), ()
    return replace(fresh, valid=False, wanted="start", wake_at=now.mono), ()


def due(session: Session, event: Due, now: Now, policy: SessionPolicy) -> Decision:
    """One thing at a time: the sign-on first, then the echo test."""
    if session.step != "idle":
        return session, ()
    if session.wake_at is not None and session.wake_at <= now.mono:
        wanted = session.wanted or "daily"
        asking = replace(session, step="asking", wanted=wanted, attempts=session.attempts + 1, wake_at=None)
        return asking, (SignOn(),)
    if session.echo_at is not None and session.echo_at <= now.mono:
        return replace(session, echo_at=now.mono + policy.lane.profile.session.echo_every_s), (Echo(),)
    return session, ()


def asked(session: Session, event: Asked, now: Now, policy: SessionPolicy) -> Decision:
    """At once, whatever the backoff says. One that is under way is enough."""
    if session.step != "idle":
        return session, ()
    return replace(session, wanted=session.wanted or "command", wake_at=now.mono), ()


def back(session: Session, event: Back, now: Now, policy: SessionPolicy) -> Decision:
    """Only a sign-on that failed before is brought forward."""
    if session.step != "idle" or not session.failures or not session.wanted:
        return session, ()
    return replace(session, wake_at=now.mono), ()


def host_asks(session: Session, event: HostAsks, now: Now, policy: SessionPolicy) -> Decision:
    """A sign-on we do; everything else is shown until the host asks no more."""
    if event.action == "sign-on" and policy.signs_on:
        return _want(session, "host-asks", now, policy)
    wish = "" if event.action == "none" else event.action
    if wish == session.host_asks:
        return session, ()
    return replace(session, host_asks=wish), (Warn("host-asks", wish),) if wish else ()


def coded(session: Session, event: Coded, now: Now, policy: SessionPolicy) -> Decision:
    """Codes that say that the host's batch or key is not ours; any other shows that they fit."""
    rules = policy.lane.profile.session  # only where a sign-on brings batches or keys at all
    if event.code in rules.batch_codes and policy.follows_batch:
        return _want(replace(session, valid=False), "batch-mismatch", now, policy)
    if event.code in rules.key_codes and policy.takes_keys:
        return _want(replace(session, valid=False), "stale-key", now, policy)
    return replace(session, asked_again=0) if session.asked_again else session, ()


# --- how a sign-on ends ------------------------------------------------------------------------


def answered(session: Session, event: Answered, now: Now, policy: SessionPolicy) -> Decision:
    """Keys are proved first; where nobody takes keys, an approval is enough."""
    if session.step != "asking":
        return session, ()
    if not event.approved:
        return _fail(session, f"the host refused the sign-on with code {event.code or 'none'}", now, policy)
    offered = Offer(event.keys, event.batch if policy.follows_batch else "")
    if not policy.takes_keys:
        return _signed_on(replace(session, offered=offered), now, policy)
    if not event.keys:
        return _fail(replace(session, valid=False), "the sign-on reply brings no keys", now, policy)
    return replace(session, step="proving", offered=offered), (Prove(event.keys),)


def failed(session: Session, event: Failed, now: Now, policy: SessionPolicy) -> Decision:
    """Rule 2: once a byte left, the host may have changed its keys."""
    if session.step != "asking":
        return session, ()
    valid = session.valid and not (event.left and policy.takes_keys)
    return _fail(replace(session, valid=valid), event.text, now, policy)


def proved(session: Session, event: Proved, now: Now, policy: SessionPolicy) -> Decision:
    """Signed on with new keys."""
    if session.step != "proving" or session.offered is None:
        return session, ()
    keys = session.offered.keys
    taken = replace(session, keys=keys, key_check="right", key_value=event.value)
    after, effects = _signed_on(taken, now, policy)
    return after, (UseKeys(keys), *effects)


def unproved(session: Session, event: Unproved, now: Now, policy: SessionPolicy) -> Decision:
    """No trading with such keys; the keys before stay, so that reversals can still be sent."""
    if session.step != "proving":
        return session, ()
    check: KeyCheck = "wrong" if event.wrong else session.key_check
    return _fail(replace(session, valid=False, key_check=check), event.text, now, policy)


def batch_closed(session: Session, event: BatchClosed, now: Now, policy: SessionPolicy) -> Decision:
    """The next batch begins; pending items keep the batch of their original."""
    return replace(session, batch=event.next_batch, batch_from=event.head_seq), ()


# --- steps shared by the handlers --------------------------------------------------------------


def _want(session: Session, cause: str, now: Now, policy: SessionPolicy) -> Decision:
    """Sign on because the host said so: at once the first time, then no faster than the backoff."""
    if session.step != "idle" or not policy.signs_on:
        return session, ()
    delay_s = policy.delay_s(session, session.asked_again) if session.asked_again else 0.0
    at = now.mono + delay_s
    if session.wanted and session.wake_at is not None:
        at = min(at, session.wake_at) if not session.failures else session.wake_at
    return replace(session, wanted=cause, asked_again=session.asked_again + 1, wake_at=at), ()


def _fail(session: Session, text: str, now: Now, policy: SessionPolicy) -> Decision:
    failures = session.failures + 1
    wake_at = now.mono + policy.delay_s(session, failures)
    after = replace(session, step="idle", offered=None, failures=failures, last_error=text, wake_at=wake_at)
    return after, (Warn("sign-on-failed", text),)


def _signed_on(session: Session, now: Now, policy: SessionPolicy) -> Decision:
    every_s = policy.lane.profile.session.sign_on_every_s
    batch = (session.offered.batch if session.offered else "") or session.batch
    after = replace(
        session,
        step="idle",
        valid=True,
        since_utc=now.at_utc,
        batch=batch,
        wanted="",
        failures=0,
        last_error="",
        offered=None,
        wake_at=now.mono + every_s if every_s else None,
    )
    return after, (TryReversals(),)


Handler = Callable[..., Decision]

HANDLERS: dict[type[SessionEvent], Handler] = {
    Start: start,
    Due: due,
    Asked: asked,
    Back: back,
    HostAsks: host_asks,
    Coded: coded,
    Answered: answered,
    Failed: failed,
    Proved: proved,
    Unproved: unproved,
    BatchClosed: batch_closed,
}


# --- stored form -------------------------------------------------------------------------------


def dump(session: Session) -> str:
    """The public part as one line of JSON with sorted keys."""
    return json.dumps(session.public(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def load(public: str, secret: bytes) -> Session:
    """A session from its stored parts; keys of a later release are left out."""
    facts = json.loads(public)
    return Session(**{name: facts[name] for name in _STORED if name in facts}, keys=secret.hex().upper())
