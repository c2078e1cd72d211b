"""The details of a batch whose totals the host does not share: what is uploaded, how far it got, what is left. Pure.

    details ──one message answered──▶ details ──none left──▶ end ──answered──▶ done
       └─ no answer: the same message again, under the same number

Rules not to break:
1. What is uploaded is fixed when the batch is settled; each message has its number and its details before it leaves.
2. A detail is in one message only: a restart or a lost answer sends that message again as it was.
3. A detail that the host refuses, or that cannot be made, is kept by name and stops none of the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from agent.records import Transaction
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.rules import BatchUploadRules, Profile

Step = Literal["details", "end", "done", "abandoned"]

# Element 48 of a 0320 (LiaoYang BatchMagOnLineTrans): count 2; for each: card 2, STAN 6, card number 20, amount 12.
_OWN_CARD = "00"
_PAN_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Message48:
    """One message under way: its number and the details in it (none: the end of the upload)."""

    stan: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """One lane's upload. `waiting`: ids still to go; `refused`, `left`: id and why; `accepted`: how many were taken."""

    lane: str
    batch: str
    waiting: tuple[str, ...]
    step: Step = "details"
    current: Message48 | None = None
    accepted: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    tries: int = 0
    end_code: str = ""
    last_error: str = ""

    @property
    def open(self) -> bool:
        """Whether something must still be sent."""
        return self.step in ("details", "end")

    def tried(self) -> Upload:
        """A try of the current message is about to leave."""
        return replace(self, tries=self.tries + 1)

    def failed(self, text: str) -> Upload:
        """It brought no answer."""
        return replace(self, last_error=text)

    def answered(self, code: str, *, approved: bool) -> Upload:
        """The current message was answered."""
        assert self.current is not None
        ids = self.current.ids
        next_one = replace(self, current=None, tries=0, last_error="")
        if self.step == "end":
            return replace(next_one, step="done", end_code=code)
        taken = replace(next_one, waiting=self.waiting[len(ids) :])
        if approved:
            taken = replace(taken, accepted=self.accepted + len(ids))
        else:
            taken = replace(taken, refused=(*self.refused, *((one, code) for one in ids)))
        return taken if taken.waiting else replace(taken, step="end")

    def without(self, txn_id: str, why: str) -> Upload:
        """A detail that cannot be made."""
        waiting = tuple(one for one in self.waiting if one != txn_id)
        return replace(self, waiting=waiting, left=(*self.left, (txn_id, why)), step="details" if waiting else "end")

    def abandoned(self) -> Upload:
        """A person settles the next batch without its end."""
        return replace(self, step="abandoned", current=None)

    def public(self) -> dict[str, Any]:
        """What is stored and shown; no card number."""
        return asdict(self)


def dump(upload: Upload) -> str:
    """One line of JSON."""
    return json.dumps(upload.public(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def load(public: str) -> Upload:
    """An upload from its stored form."""
    facts: dict[str, Any] = json.loads(public)
    current = facts["current"]
    facts["current"] = Message48(current["stan"], tuple(current["ids"])) if current else None
    facts["waiting"] = tuple(facts["waiting"])
    for name in ("refused", "left"):
        facts[name] = tuple((one, why) for one, why in facts[name])
    return Upload(**facts)


def begun(lane: str, batch: str, ids: Sequence[str]) -> Upload:
    """The upload of these transactions."""
    return Upload(lane, batch, tuple(ids), "details" if ids else "end")


def objection(txn: Transaction, profile: Profile, rules: BatchUploadRules | None) -> str:
    """Why no detail of this transaction can be made; "" if it can."""
    if rules is None:
        return "the profile of today uploads nothing"
    if txn.kind not in rules.kinds:
        return f"a {txn.kind} is not uploaded in this way"
    if txn.frozen is None:
        return "its card data is not kept any more"
    try:
        message = profile.codec.unpack(txn.frozen.body)
    except MessageError:
        return "its message cannot be read by the profile of today"
    if message.get(22).startswith(rules.leave_entry_modes):
        return "a chip sale: the card's certificate is not kept"
    return "" if message.get(2) else "its card number is not kept"


def detail(txn: Transaction, profile: Profile) -> str:
    """SECRET. The 40 digits of one transaction."""
    assert txn.frozen is not None
    pan = profile.codec.unpack(txn.frozen.body).get(2)
    return f"{_OWN_CARD}{txn.stan}{pan:0>{_PAN_DIGITS}}{txn.amount_minor:012d}"


def element_48(details: Sequence[str]) -> str:
    """SECRET. The element of one message."""
    return f"{len(details):02d}{''.join(details)}"
