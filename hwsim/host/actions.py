"""What the machine asks of the server: small effects, performed in order on the connection that brought the message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes as one piece, after `delay_s`."""

    data: bytes
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Trickle:
    """Write one byte at a time, `gap_s` apart."""

    data: bytes
    gap_s: float


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection in order (FIN)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection (RST)."""


@dataclass(frozen=True, slots=True)
class StopReading:
    """Keep the connection open and never read from it again."""


@dataclass(frozen=True, slots=True)
class HandleLater:
    """Give this payload to `HostMachine.handle_held` after `delay_s` and perform what comes of it."""

    payload: bytes
    delay_s: float


Action = Send | Trickle | Close | Reset | StopReading | HandleLater
