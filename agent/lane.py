"""One terminal's conversation with its host as the loop sees it, and those who work with the loop: data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Protocol

from agent import outcomes
from agent.events import Alarm, Slip
from agent.policy import Policy
from agent.records import Confirm, Driver, Transaction
from protocol.errors import AgentError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.secret import Secret, sealed


class RefusedError(AgentError):
    """A command or a new sale cannot be granted; nothing was sent and nothing changed."""

    code = "E-REFUSED"

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(text, hint)
        self.code = code


class Wire(Protocol):
    """Carries exchanges, at most one a lane at a time; each ends in exactly one outcome."""

    def exchange(self, exchange: outcomes.Exchange) -> None:
        """Start it. The outcome comes later, never from within this call."""


class Listener:
    """Who is told what happens; every method may be left as it is."""

    def changed(self, txn: Transaction) -> None:
        """A new record is stored."""

    def effect(self, txn: Transaction, effect: Alarm | Slip) -> None:
        """An alarm, or a slip to print."""

    def replied(self, txn_id: str, purpose: str, reply: outcomes.Replied) -> None:
        """The awaited answer as it came, just before it is decided about. It may hold card data."""

    def answered(self, lane: str, code: str, processing_requirement: int) -> None:
        """The host answered a request or a reversal with this code; the header says what it wants besides."""

    def host_time(self, lane: str, date: str, time: str) -> None:
        """An answer to a request or a session message bore this date (DE 13) and time (DE 12); both may be empty."""

    def lane_free(self, lane: str) -> None:
        """A lane's exchange has ended and no reversal took its place."""

    def timers(self) -> None:
        """`next_wake` may give another time."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a new sale may start while reversals are owed: all limits must hold."""

    count: int | None = None
    amount_minor: int | None = None
    age_s: float | None = None

    def objection(self, owed: int, amount_minor: int, oldest_s: float) -> str:
        """Why not; "" if it may."""
        if self.count is not None and owed > self.count:
            return f"reversals owed: {owed}, allowed: {self.count}"
        if self.amount_minor is not None and amount_minor > self.amount_minor:
            return f"reversals owed: {amount_minor} minor units, allowed: {self.amount_minor}"
        if self.age_s is not None and oldest_s > self.age_s:
            return f"the oldest reversal is {oldest_s:.0f} s old, {self.age_s:.0f} s allowed"
        return ""


@dataclass(frozen=True, slots=True, repr=False)
class Passage:
    """A message of an application on its way through the agent: what it says, and the exact frame."""

    message: Message
    frame: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """Why a lane starts no sale at the moment, whatever is owed: not signed on, or its batch is being settled."""

    code: str
    text: str
    hint: str


Heard = Callable[[outcomes.Outcome, Message | None], None]


@dataclass(slots=True)
class Lane:
    """One terminal's conversation with its host: its rules, and what is under way."""

    name: str
    policy: Policy
    merchant_id: str
    batch: str
    currency: str
    acquirer: str = ""
    operator: str = ""
    gate: Gate = field(default_factory=Gate)
    first_stan: int = 1  # of a journal in which the lane has given out none
    may_change_host: bool = False
    warn_only: bool = False
    reserved: int = 0  # so many wait for the lane (a sale, a reload): no further reversal starts before them
    several_hosts: bool = False
    closed: Closed | None = None
    goes_first: Callable[[], bool] | None = None  # takes the lane before a reversal that is due; False: nothing does
    heard: Heard | None = None  # who is told how the session's exchange under way ended
    busy: outcomes.Exchange | None = None
    purpose: str = ""
    requests: dict[str, Message] = field(default_factory=dict)
    frames: dict[str, bytes] = field(default_factory=dict)  # of requests that an application made; never stored
    stand_in: Passage | None = None  # the application's own reversal, sent in place of ours
    relayed: Callable[[outcomes.Outcome], None] | None = None  # who waits for a message that is not recorded
    due: list[tuple[float, str]] = field(default_factory=list)
    stans: set[str] = field(default_factory=set)
    chip_answers: dict[str, str] = field(default_factory=dict)  # element 55 of replies until the checkout takes it

    @property
    def terminal_id(self) -> str:
        """DE 41."""
        return self.policy.terminal_id

    def forget(self, txn: Transaction) -> None:
        """An item has ended: nothing of it is kept here any more."""
        for kept in (self.requests, self.frames):
            kept.pop(txn.id, None)
        self.stans -= txn.stans


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """A sale to begin: the application's reference and what goes into the request; its card data as secrets."""

    reference: str
    kind: str
    amount_minor: int
    facts: Mapping[str, str | Secret]
    original: Mapping[str, str] = field(default_factory=dict)
    driver: Driver = "agent"
    confirm: Confirm = "by-application"

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", sealed(self.facts))
