"""The rows of the host's books: keys, facts of a request, entries, violations, the host's rules. Data only.

No card number stands here: a salted hash to compare, first six and last four digits to show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

State = Literal["charged", "approved", "declined", "reversed", "blocked", "unknown"]

MONEY_SIGN: Mapping[str, int] = {
    "sale": 1,
    "completion": 1,
    "offline": 1,
    "void": -1,
    "completion-void": -1,
    "refund": -1,
}
"""What an approved request does to the money taken from the cardholder; kinds not named move none."""
HOLD_SIGN: Mapping[str, int] = {"preauth": 1, "preauth-void": -1, "completion": -1, "completion-void": 1}
"""What it does to the money held; counted apart from the money taken."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    terminal: str
    batch: str
    stan: str
    merchant: str

    def __str__(self) -> str:
        return f"terminal {self.terminal} batch {self.batch or '-'} stan {self.stan}"


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """What the ledger needs of one request or reversal. `elements`: what must not change between tries."""

    key: Key
    mti: str
    kind: str
    processing_code: str
    amount_minor: int
    currency: str
    card: str
    elements: Mapping[int, str]
    at: float
    repeat: bool = False
    standing_minor: int = 0


@dataclass(slots=True)
class Entry:
    """One original with everything that happened to it. Copies are handed out; the ledger keeps its own."""

    key: Key
    kind: str
    mti: str
    processing_code: str
    amount_minor: int
    currency: str
    card: str
    card_hash: str
    state: State
    at: float
    code: str = ""
    rrn: str = ""
    approval_code: str = ""
    seen_original: bool = True
    requests: int = 0
    reversals: int = 0
    repeats: int = 0
    repeats_unseen: int = 0
    refused_reversals: int = 0
    charges: int = 0
    effects: int = 0
    undone_minor: int = 0
    reversal_rrn: str = ""
    request_print: dict[str, str] = field(default_factory=dict)
    reversal_print: dict[str, str] = field(default_factory=dict)

    @property
    def net_minor(self) -> int:
        """Money that this entry has taken from the cardholder by now."""
        return MONEY_SIGN.get(self.kind, 0) * (self.charges * self.amount_minor - self.undone_minor)

    @property
    def held_minor(self) -> int:
        return HOLD_SIGN.get(self.kind, 0) * (self.charges * self.amount_minor - self.undone_minor)

    def copy(self) -> Entry:
        """Independent of the ledger's own."""
        return replace(self, request_print=dict(self.request_print), reversal_print=dict(self.reversal_print))

    def as_dict(self) -> dict[str, Any]:
        """For the control port: no hashes and no prints."""
        shown = asdict(self)
        for name in ("card_hash", "request_print", "reversal_print", "key"):
            del shown[name]
        return {**asdict(self.key), **shown, "net_minor": self.net_minor}


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that a right agent never makes happen. `name` is stable: tests search for it."""

    name: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.key}: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger decided: response code in ISO 8583:1987 terms, and a copy of the entry."""

    code: str
    entry: Entry


@dataclass(slots=True)
class TerminalState:
    """What the host keeps of a terminal between connections."""

    batch: int = 1
    sign_ons: int = 0


@dataclass(frozen=True, slots=True)
class LedgerRules:
    """How this host treats the hard cases; codes in ISO 8583:1987 terms."""

    duplicate: Literal["same", "94"] = "same"
    unknown_reversal: str = "25"
    block_late_original: bool = True
    late_original: str = "12"
    amount_wrong: str = "64"
    card_wrong: str = "14"
    other_wrong: str = "30"
    repeats_are_marked: bool = False
