"""Who or what comes again: reversals by card BIN, card, host, lane and device, against all sales of the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from agent.currency import money
from agent.report_incidents import Incident
from agent.report_stories import Story
from agent.report_texts import texts
from agent.status_item import both
from agent.texts import Text

# Once is chance. Each dimension shows its worst ones only.
REPEATS_MIN, SHOWN_MAX = 2, 5
_BIN_DIGITS = 6  # what the mask shows at its beginning (protocol/masking.py)

_DIMENSIONS: dict[str, Callable[[Story], str]] = {
    "bin": lambda story: story.txn.masked_pan[:_BIN_DIGITS],
    "card": lambda story: story.txn.masked_pan,
    "host": lambda story: story.txn.host,
    "lane": lambda story: story.txn.lane,
}
# Which device a symptom speaks of, by its cause.
_DEVICES = {"card": "reader", "printer": "printer", "D-PAD-MISSING": "pinpad", "not-sent-device": "pinpad"}


def offenders(cases: Sequence[Story], sales: Sequence[Story], found: Sequence[Incident]) -> list[dict[str, Any]]:
    """Those with at least two reversals, the worst of each dimension first."""
    entries: list[dict[str, Any]] = []
    for dimension, key in _DIMENSIONS.items():
        all_sales = Counter(key(story) for story in sales)
        grouped: dict[str, list[Story]] = {}
        for story in cases:
            grouped.setdefault(key(story), []).append(story)
        worst = sorted(grouped.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        entries += [
            _entry(dimension, which, Text(which, which), stories, all_sales[which])
            for which, stories in worst[:SHOWN_MAX]
            if which and len(stories) >= REPEATS_MIN
        ]
    return entries + _devices(cases, found)


def _devices(cases: Sequence[Story], found: Sequence[Incident]) -> list[dict[str, Any]]:
    by_id = {story.txn.id: story for story in cases}
    concerned: dict[str, dict[str, Story]] = {}
    for incident in found:
        names = {_DEVICES[what] for what in incident.what if what in _DEVICES}
        for name in names:
            known = {txn_id: by_id[txn_id] for txn_id in incident.items if txn_id in by_id}
            concerned.setdefault(name, {}).update(known)
    return [
        _entry("device", name, texts().devices[name], list(stories.values()), 0)
        for name, stories in sorted(concerned.items(), key=lambda pair: -len(pair[1]))
        if len(stories) >= REPEATS_MIN
    ]


def _entry(dimension: str, which: str, shown: Text, stories: Sequence[Story], sales: int) -> dict[str, Any]:
    sums: Counter[str] = Counter()
    for story in stories:
        sums[story.txn.currency] += story.txn.amount_minor
    return {
        "dimension": dimension,
        **both("dimension", texts().dimensions[dimension]),
        "which": which,
        **both("which", shown),
        "reversals": len(stories),
        "sales": sales,
        "attempts": sum(story.txn.attempts for story in stories),
        "amounts": [money(amount, currency) for currency, amount in sorted(sums.items())],
        "ids": [story.txn.id for story in stories][:20],
    }
