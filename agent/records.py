"""The facts kept about one transaction, and their stored form.

Rules not to break:
1. A `Transaction` never changes; `decide` makes the next one.
2. `public()` holds no card number, track, PIN block, CVV or key: it is written in clear and shown
   to anyone. What must stay secret is the exact reversal (`secret()`), and the journal seals it.
3. `wake_at`, `request_left_at` and `tried_at` are monotonic seconds of this process; they are never stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, Literal

from protocol.frozen import dataclass, replace
from protocol.reversal import FrozenReversal

# Evidence kept beside one item; what comes later is only counted. Assumed: nobody reads more, and
# one item must not fill the disk when a host repeats itself for days.
EVIDENCE_MAX = 20

Confirm = Literal["on-approval", "by-application"]
OnUnknown = Literal["reverse", "none", "park"]
Driver = Literal["agent", "application", "checkout", "gateway"]


class State(StrEnum):
    """Where a transaction stands; the order is the order in which it lives."""

    NEW = "new"
    BEGUN = "begun"
    APPROVED = "approved"
    COMPLETED = "completed"
    DECLINED = "declined"
    REVERSING = "reversing"
    REVERSED = "reversed"
    PARKED = "parked"
    SETTLED = "settled"


PENDING = frozenset({State.BEGUN, State.APPROVED, State.REVERSING, State.PARKED})
OWED = frozenset({State.REVERSING, State.PARKED})


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something a host sent that did not decide the item: a late, wrong or repeated message."""

    at_utc: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Closing:
    """Who closed an item by hand, why, the bank's reference for it, and who said so too."""

    by: str
    reason: str
    bank_reference: str
    at_utc: str
    confirmed_by: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction from its intent to its end."""

    # Fixed when it begins.
    id: str
    lane: str
    reference: str
    kind: str
    amount_minor: int
    currency: str
    stan: str
    batch: str
    terminal_id: str
    merchant_id: str
    profile: str
    masked_pan: str
    begun_at_utc: str
    on_unknown: OnUnknown
    confirm: Confirm
    driver: Driver
    request_identity: Mapping[str, str]
    frozen: FrozenReversal | None = field(repr=False, default=None)
    # What the host said of the original.
    state: State = State.NEW
    host: str = ""
    response_code: str = ""
    approval_code: str = ""
    rrn: str = ""
    host_date: str = ""  # DE 13 of the answer, MMDD
    host_acquirer: str = ""  # DE 32 of the answer
    # Why it is reversed: `reason` goes to the host (by profile), `cause` is for people.
    reason: str = ""
    cause: str = ""
    # The reversal's attempts. `attempts` are recorded before bytes leave; `link_failures` are
    # those of them of which certainly no byte left; `left` says that a byte of one may have left.
    attempts: int = 0
    link_failures: int = 0
    failures_in_a_row: int = 0
    left: bool = False
    sending: bool = False
    held: bool = False
    undecided: bool = False  # parked because nobody knows whether the sale stands: nothing is sent before a person says
    last_act: str = ""  # who ordered what, and when: the latest word of a person or of the application
    last_code: str = ""
    last_error: str = ""
    last_try_utc: str = ""
    own_stan: str = ""  # of the reversal, where the dialect gives it one of its own
    try_stan: str = ""  # of the latest attempt, where the dialect gives each one its own
    acknowledged_with: str = ""
    match_grade: str = ""
    evidence: tuple[Evidence, ...] = ()
    evidence_dropped: int = 0
    closing: Closing | None = None
    ended_at_utc: str = ""
    # Of this process only (rule 3).
    wake_at: float | None = field(default=None, compare=False)
    request_left_at: float | None = field(default=None, compare=False)
    tried_at: float | None = field(default=None, compare=False)

    @property
    def pending(self) -> bool:
        """Whether the agent or a person still owes something."""
        return self.state in PENDING

    @property
    def outcome(self) -> str:
        """What the application is told: unknown, approved, completed, declined, reversing, ..."""
        return "unknown" if self.state in (State.NEW, State.BEGUN) else str(self.state)

    @property
    def stans(self) -> set[str]:
        """Every number under which the host may speak of it."""
        return {stan for stan in (self.stan, self.own_stan, self.try_stan) if stan}

    @property
    def tries_that_left(self) -> int:
        """Attempts of which a byte may have left."""
        return self.attempts - self.link_failures

    def with_evidence(self, at_utc: str, what: str, detail: str) -> Transaction:
        """The same with one more piece of evidence; a mere repetition, or more than `EVIDENCE_MAX`, is only counted.

        A host that answers the same for days must not push out the one message that matters.
        """
        repeated = any((piece.what, piece.detail) == (what, detail) for piece in self.evidence)
        if repeated or len(self.evidence) >= EVIDENCE_MAX:
            return replace(self, evidence_dropped=self.evidence_dropped + 1)
        return replace(self, evidence=(*self.evidence, Evidence(at_utc, what, detail)))

    def public(self) -> dict[str, Any]:
        """JSON-able facts, without card data."""
        facts: dict[str, Any] = dict(zip(_PLAIN, _plain_values(self), strict=True))
        facts["request_identity"] = dict(self.request_identity)
        facts["frozen"] = self.frozen.describe() if self.frozen else None
        facts["evidence"] = [[e.at_utc, e.what, e.detail] for e in self.evidence]
        facts["closing"] = None if self.closing is None else [*astuple(self.closing)]
        return facts

    def secret(self) -> bytes:
        """The exact reversal message: to be sealed. b"" where the kind is never reversed."""
        return self.frozen.body if self.frozen else b""


_VOLATILE = frozenset({"wake_at", "request_left_at", "tried_at"})
_SPECIAL = frozenset({"request_identity", "frozen", "evidence", "closing"})
_KNOWN = frozenset(item.name for item in fields(Transaction)) - _VOLATILE
_PLAIN = tuple(item.name for item in fields(Transaction) if item.name in _KNOWN - _SPECIAL)

_plain_values = attrgetter(*_PLAIN)
_as_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def dump(transaction: Transaction) -> str:
    """The public part as one line of JSON with sorted keys."""
    return _as_json(transaction.public())


def load(public: str, secret: bytes) -> Transaction:
    """A transaction from its stored parts. Without `secret` it can be looked at, not sent.

    Keys written by a later release are kept out, so that a downgrade still reads its records.
    """
    facts: dict[str, Any] = json.loads(public)
    facts = {name: value for name, value in facts.items() if name in _KNOWN}
    description = facts.pop("frozen", None)
    facts["frozen"] = FrozenReversal.restore(description, secret) if description and secret else None
    facts["state"] = State(facts["state"])
    facts["evidence"] = tuple(Evidence(*item) for item in facts.get("evidence", ()))
    facts["closing"] = Closing(*facts["closing"]) if facts.get("closing") else None
    return Transaction(**facts)
