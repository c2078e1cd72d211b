"""One rung of a replayed conversation: what was said, what the agent would have decided, what a person should look at.

Nothing a step holds is secret: card numbers only as masks, no raw bytes.
"""

from __future__ import annotations

from typing import Literal

from protocol.frozen import dataclass
from protocol.meanings import Both

NOTHING = Both("", "")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at; `code` never changes."""

    code: str
    text: Both


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the ladder. `direction` "none": nothing was sent, a time-out or the end of the capture."""

    at: float | None
    connection: str
    direction: Literal["to-host", "from-host", "none"]
    mti: str = ""
    what: Both = NOTHING
    kind: str = ""
    stan: str = ""
    amount: str = ""
    code: str = ""
    code_text: Both = NOTHING
    card: str = ""
    state: str = ""
    decisions: tuple[Both, ...] = ()
    findings: tuple[Finding, ...] = ()
