"""What can happen to a transaction (events) and what follows from it (effects).

An event is a fact from outside: a reply, a timer, a link, a person, a restart. An effect is the
daemon's next act, performed only after the new record is on stable storage.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal

from agent.outcomes import MacVerdict
from protocol.frozen import dataclass
from protocol.matching import Match
from protocol.reversal import Learnt


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of a decision: `mono` (seconds, never jumps) for waits, `utc` only for show."""

    mono: float
    utc: datetime

    @property
    def at_utc(self) -> str:
        """Wall time as ISO 8601 with milliseconds, for people."""
        return self.utc.isoformat(timespec="milliseconds")[:23] + "Z"

    @property
    def stamp(self) -> str:
        """Wall time as MMDDhhmmss, the form of DE 7."""
        return self.utc.strftime("%m%d%H%M%S")

    @property
    def local(self) -> str:
        """The same in this machine's zone, for DE 12 and 13."""
        return self.utc.astimezone().strftime("%m%d%H%M%S")


@dataclass(frozen=True, slots=True)
class Event:
    """Root of the events; never used itself."""


@dataclass(frozen=True, slots=True)
class Begin(Event):
    """The intent: store it, then send the request (or let the application send it)."""


@dataclass(frozen=True, slots=True)
class HostChosen(Event):
    """A connection stands and the first byte is about to leave, to this host."""

    host: str


@dataclass(frozen=True, slots=True)
class Unsent(Event):
    """The exchange ended and certainly no byte of it left. `cause`: network or device."""

    cause: str
    text: str


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """A byte left and no usable answer came: the outcome is unknown."""

    cause: str
    text: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """A message from the host that belongs to this transaction.

    `to`: "request" or "reversal"; `awaited`: it came in the exchange that waited for it.
    """

    to: Literal["request", "reversal"]
    awaited: bool
    code: str
    mac: MacVerdict
    match: Match
    learnt: Learnt
    what: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Noticed(Event):
    """A message that does not match but bears this transaction's number: evidence, nothing more."""

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Complete(Event):
    """The one that acted says the sale stands (goods handed over, slip printed, chip accepted)."""

    by: str


@dataclass(frozen=True, slots=True)
class Reverse(Event):
    """The one that acted says the sale did not happen. `reason` as in the profile's table.

    `chip_data`: what the card said last (hexadecimal), where it refused after the approval.
    """

    by: str
    reason: str = "other"
    cause: str = "application"
    chip_data: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Wake(Event):
    """The record's own timer is due, and its lane is free.

    `stan` and `local` (MMDDhhmmss in this machine's zone) are for this attempt, where the dialect has each try bear its
    own.
    """

    stan: str = ""
    local: str = ""


@dataclass(frozen=True, slots=True)
class Restart(Event):
    """The daemon starts and finds this record on disk."""


@dataclass(frozen=True, slots=True)
class Resume(Event):
    """Something that may have been the obstacle is back. `cause`: link-up, device-ready, before-sale, sign-on, ..."""

    cause: str


@dataclass(frozen=True, slots=True)
class Retry(Event):
    """A person orders a try now."""

    by: str


@dataclass(frozen=True, slots=True)
class Hold(Event):
    """A person stops the tries of one item for the time being."""

    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Release(Event):
    """A person lets a held item go on."""

    by: str


@dataclass(frozen=True, slots=True)
class Park(Event):
    """A person decides that a person must act on this item."""

    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Settle(Event):
    """A person closes the item with the bank's evidence. `confirmed_by`: the second word, "" where none is needed."""

    by: str
    reason: str
    bank_reference: str
    confirmed_by: str = ""


EVENTS: tuple[type[Event], ...] = (
    Begin,
    HostChosen,
    Unsent,
    Lost,
    Answered,
    Noticed,
    Complete,
    Reverse,
    Wake,
    Restart,
    Resume,
    Retry,
    Hold,
    Release,
    Park,
    Settle,
)


@dataclass(frozen=True, slots=True)
class Effect:
    """Root of the effects; never used itself."""


@dataclass(frozen=True, slots=True)
class SendRequest(Effect):
    """Send the request whose bytes the caller of `begin` still holds (they are never stored)."""


@dataclass(frozen=True, slots=True, repr=False)
class SendReversal(Effect):
    """Send these bytes (MAC slot still zero). `repeat`: the message says that it is a repeat."""

    body: bytes
    repeat: bool
    host: str


@dataclass(frozen=True, slots=True)
class Refuse(Effect):
    """The event cannot be granted; nothing changed. The text goes to the one who asked."""

    code: str
    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class Alarm(Effect):
    """People should know: a stable code and one sentence without card data."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Slip(Effect):
    """Paper for the customer or the merchant: "cancelled", "confirmed", "parked"."""

    what: str
