"""A batch's totals and what the host says of them. Pure.

Element 48 of the 0500, 62 digits (facts/iso8583.md section 2.3; LiaoYang): debit amount 12, count 3, credit amount 12,
count 3, flag; then the same for foreign cards. In the 0510 the flag is 1 where the totals are equal, 2 where not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from agent.journal_contract import Row
from agent.records import State
from protocol.frozen import dataclass
from protocol.rules import Profile

TOTALS_FIELD = 48
_FLAG_AT = 30
_FOREIGN = "0" * 31
_COUNT_MAX = 999
_AMOUNT_MAX = 10**12 - 1
_BATCH_MAX = 999_999

# Which completed transactions take money and which give it back. A pre-authorisation does neither, a balance nothing.
DEBITS = frozenset({"sale", "completion"})
CREDITS = frozenset({"void", "completion-void", "refund"})


@dataclass(frozen=True, slots=True)
class Totals:
    """Of one batch; amounts in minor units."""

    debit_minor: int = 0
    debits: int = 0
    credit_minor: int = 0
    credits: int = 0

    def field_48(self) -> str:
        """The element as sent; the flag is the host's to fill."""
        return f"{self.debit_minor:012d}{self.debits:03d}{self.credit_minor:012d}{self.credits:03d}0{_FOREIGN}"

    @property
    def fits(self) -> bool:
        """Whether the element can hold them."""
        return max(self.debits, self.credits) <= _COUNT_MAX and max(self.debit_minor, self.credit_minor) <= _AMOUNT_MAX

    def as_dict(self) -> dict[str, Any]:
        """For answers and records."""
        return asdict(self)


def totals_of(rows: Iterable[Row], batch: str) -> Totals:
    """What stands of a batch: completed sales, voids, refunds. Reversed, declined and hand-settled ones are left out.

    Reads three facts of each latest record, not the whole transaction: a day's worth takes milliseconds.
    """
    facts = [(one["kind"], int(one["amount_minor"])) for one in _standing(rows, batch)]
    debits = [amount for kind, amount in facts if kind in DEBITS]
    credits_ = [amount for kind, amount in facts if kind in CREDITS]
    return Totals(sum(debits), len(debits), sum(credits_), len(credits_))


def stands(rows: Iterable[Row], batch: str) -> list[str]:
    """The ids of what the totals hold, oldest number first."""
    counted = (one for one in _standing(rows, batch) if one["kind"] in DEBITS | CREDITS)
    return [str(one["id"]) for one in sorted(counted, key=lambda one: str(one["stan"]))]


def _standing(rows: Iterable[Row], batch: str) -> Iterator[dict[str, Any]]:
    facts = (json.loads(row.public) for row in rows if row.state == State.COMPLETED)
    return (one for one in facts if one["batch"] == batch)


def equal(element_48: str) -> bool | None:
    """Whether the host has the same totals; None where its answer does not say."""
    return {"1": True, "2": False}.get(element_48[_FLAG_AT : _FLAG_AT + 1])


def next_batch(batch: str) -> str:
    """999999 → 000001."""
    return f"{int(batch) % _BATCH_MAX + 1:06d}"


def supported(profile: Profile) -> bool:
    """Whether the profile settles with totals in element 48."""
    message = profile.session.messages.get("settlement")
    return message is not None and "totals" in getattr(message.templates.get(TOTALS_FIELD), "names", ())
