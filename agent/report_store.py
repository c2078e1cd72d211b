"""How the store did over the report's period, from its hourly samples (agent/store_history.py): times, room, growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.report_stories import seconds_between

DAY_S = 86_400.0
# Points of the plots and rows of the table; more bring nothing.
POINTS_MAX = 200
# A trend of less than a day is weather.
TREND_S = DAY_S
# Fewer samples than this in each quarter say nothing about a change. Assumed.
QUARTER_MIN = 6


def summary(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Everything the report says of the store; None without samples."""
    if not samples:
        return None
    first, last = samples[0], samples[-1]
    working = [sample for sample in samples if sample["commits"]]
    step = -(-len(samples) // POINTS_MAX)
    return {
        "samples": len(samples),
        "since_utc": first["at_utc"],
        "until_utc": last["at_utc"],
        "commit_p50_ms": _middle([sample["commit_p50_ms"] for sample in working]),
        "commit_p99_ms": _middle([sample["commit_p99_ms"] for sample in working]),
        "commit_worst_ms": max((sample["commit_p99_ms"] for sample in working), default=0.0),
        "slower_by": _slower(working),
        "bytes_used": int(last["bytes_used"]),
        "bytes_used_first": int(first["bytes_used"]),
        "bytes_free": int(last["bytes_free"]),
        "bytes_free_least": int(min(sample["bytes_free"] for sample in samples)),
        "records": int(last["head_seq"]),
        "records_first": int(first["head_seq"]),
        "full_in_days": _full_in_days(first, last),
        "points": [dict(sample) for sample in samples[::step]],
    }


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0


def _slower(samples: Sequence[Mapping[str, Any]]) -> float | None:
    """The last quarter's slow commits against the first quarter's; None where there are too few to tell."""
    quarter = len(samples) // 4
    if quarter < QUARTER_MIN:
        return None
    before = _middle([sample["commit_p99_ms"] for sample in samples[:quarter]])
    after = _middle([sample["commit_p99_ms"] for sample in samples[-quarter:]])
    return round(after / before, 1) if before else None


def _full_in_days(first: Mapping[str, Any], last: Mapping[str, Any]) -> int | None:
    """When the disk is full if it goes on like this; None where it does not fill, or nobody can tell."""
    span_s = seconds_between(first["at_utc"], last["at_utc"])
    lost = first["bytes_free"] - last["bytes_free"]
    if span_s is None or span_s < TREND_S or lost <= 0:
        return None
    return int(last["bytes_free"] / lost * span_s / DAY_S)
