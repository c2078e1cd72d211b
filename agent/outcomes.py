"""What one exchange with the host is, and how it can end: exactly one outcome each.

Rules not to break:
1. `Unsent` is said only when it is certain that no byte of the message reached the kernel.
   In doubt it is `Lost`: a needless reversal is harmless, a missing one is not.
2. A body holds the card number: it never appears in a repr, and texts never quote it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Literal

from protocol.frozen import dataclass

# valid, invalid: checked. absent: the message carries none. unchecked: no MAC is configured on this lane.
# unverified: it carries one, but the device that could check it did not answer. Only evidence, then.
MacVerdict = Literal["valid", "invalid", "absent", "unchecked", "unverified"]

# device: the MAC could not be made. network: no host could be reached. configuration: the message or the
# wanted host does not fit the settings, trying again alone does not help. closed: the link was closed.
UnsentCause = Literal["device", "network", "configuration", "closed"]

# timeout: all sent, no answer in time. send-timeout: the peer did not take the whole message in time.
# reset, eof: the connection ended. garbage: the stream could not be followed any more. closed: by us.
LostCause = Literal["timeout", "send-timeout", "reset", "eof", "garbage", "closed"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One message to the host and the wait for its answer.

    `body`: packed message, MAC slot zero. `prefer_host`: name of the host to try first (`Host.name`);
    with `only_host` no other is tried. `only_host` without `prefer_host` restricts nothing.
    `accept`: whether a received body is the awaited answer; called with hostile bytes, it may
    raise ProtocolError (which counts as no). `frame`: a whole frame as an application made it
    (agent/gateway.py); it is sent as it is, in place of `body`.
    """

    id: int
    lane: str
    txn_id: str
    body: bytes = field(repr=False)
    prefer_host: str | None
    only_host: bool
    accept: Callable[[bytes], bool] = field(repr=False)
    frame: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Unsent:
    """Certainly no byte of the message left."""

    cause: UnsentCause
    text: str


@dataclass(frozen=True, slots=True)
class Lost:
    """At least one byte left and no usable answer came: what the host did is unknown."""

    cause: LostCause
    text: str
    host: str


@dataclass(frozen=True, slots=True)
class Replied:
    """The awaited answer. `processing_requirement`: the host's wish from the header (0: none).

    `tpdu`, `header`: the answer's envelope, for one who hands it on.
    """

    body: bytes = field(repr=False)
    mac: MacVerdict
    host: str
    processing_requirement: int
    tpdu: bytes = field(default=b"", compare=False)
    header: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Stray:
    """A frame that nobody awaited: a late answer, a repeated one, or a foreign one. Evidence."""

    body: bytes = field(repr=False)
    mac: MacVerdict
    host: str


Outcome = Unsent | Lost | Replied
