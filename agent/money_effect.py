"""What each kind of transaction does with the customer's money, and so what its end or its undoing means.

"Nothing is charged" is true of a sale that was reversed and false of a void that was: there the sale that should have
been undone stands, and the customer is still charged. Whoever tells people about money asks here first.

* takes: the customer is charged.                        Undone: not charged.
* holds: the amount is held on the card, not charged.    Undone: not held.
* undoes: takes an earlier transaction back.             Undone: the earlier one stands, nothing goes back.
* gives: money goes back without undoing anything.       Undone: nothing goes back.
* none: moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Effect = Literal["takes", "holds", "undoes", "gives", "none"]

EFFECTS: Mapping[str, Effect] = {
    "sale": "takes",
    "completion": "takes",
    "preauth": "holds",
    "void": "undoes",
    "completion-void": "undoes",
    "preauth-void": "undoes",
    "refund": "gives",
    "balance": "none",
}


def effect_of(kind: str) -> Effect:
    """The effect of a kind of transaction. One that a profile added is taken for the worst: it charges."""
    return EFFECTS.get(kind, "takes")
