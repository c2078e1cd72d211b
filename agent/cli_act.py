"""`reversalctl retry` and `decide`: a person acts on an item and sees what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.cli_call import Call
from agent.cli_place import CommandError

# The answers to "were the goods handed over?", and the method that each is.
ANSWERS = {"handed-over": "transaction.complete", "not-handed-over": "transaction.reverse"}
# What waits for that answer.
_ASKED = frozenset({"D-NOT-CONFIRMED", "D-WAITS-CONFIRM"})

# How often a person who waits for a try looks again. Assumed.
LOOK_EVERY_S = 0.25


def retry(call: Call, item_id: str, wait_s: float, sleep: Callable[[float], None]) -> dict[str, Any]:
    """Order a try now and wait until it has ended, at most `wait_s`; the item as it then stands."""
    before = call("reversal.show", id=item_id)
    call("reversal.retry", id=item_id)
    item: dict[str, Any] = call("reversal.show", id=item_id)
    left_s = wait_s
    while left_s > 0 and not _tried(before, item):
        sleep(LOOK_EVERY_S)
        left_s -= LOOK_EVERY_S
        item = call("reversal.show", id=item_id)
    return item


def retry_all(call: Call) -> list[str]:
    """Order a try of everything that is owed; the ids."""
    ids: list[str] = call("reversal.retry", all=True)["retried"]
    return ids


def decide(call: Call, item_id: str, answer: str) -> dict[str, Any]:
    """Say whether an approved sale took place; the item as it then stands. Raises CommandError where nobody asks."""
    before = call("reversal.show", id=item_id)
    if before["diagnosis"]["code"] not in _ASKED:
        raise CommandError("C-NOT-ASKED", id=item_id, state=before["state"])
    call(ANSWERS[answer], reference=before["reference"], lane=before["lane"])
    item: dict[str, Any] = call("reversal.show", id=item_id)
    return item


def _tried(before: dict[str, Any], item: dict[str, Any]) -> bool:
    """Whether the ordered try has ended, one way or the other."""
    if item["state"] not in ("reversing", "parked"):
        return True
    return bool(item["tries"] > before["tries"] and not item["trying_now"])
