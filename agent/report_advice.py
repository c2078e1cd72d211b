"""Recommendations: each follows from numbers of the report, and names them. The texts stand in report.toml.

`_RULES` is the list of questions in the order of their urgency; a rule gives nothing where its evidence is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agent.report_texts import texts, word
from agent.status_item import both
from agent.status_text import sized
from agent.texts import Text, duration

# An outage once is weather; this often, or this long in all, is a matter for somebody. Assumed.
LINK_TIMES_MIN, LINK_TOTAL_S = 2, 900.0
TIMES_MIN = 2
# Beyond this a customer has left the shop without the money. Assumed.
SLOW_P95_S = 300.0
# One card, host or lane stands out with this share of the reversals, from this many on, and when it has that much more
# of them than of the sales. Assumed.
REPEATS_SHARE, REPEATS_TOTAL_MIN, REPEATS_FACTOR = 0.5, 4, 1.5

# A disk that is full within this time needs room before the next visit; a card whose slow writes take so many times as
# long as before wears out. Assumed.
FULL_DAYS, SLOWER_BY = 90, 3.0

Report = Mapping[str, Any]
Rule = Callable[[Report], Iterator[dict[str, Any]]]


def advice(report: Report) -> list[dict[str, Any]]:
    """All that the evidence supports, most urgent first; R-NONE where it supports nothing."""
    found = [one for rule in _RULES for one in rule(report)]
    return found or [_advice("R-NONE", [])]


def _unreadable(report: Report) -> Iterator[dict[str, Any]]:
    if report["unreadable"]:
        yield _advice("R-VERIFY", [], count=str(report["unreadable"]))


def _open(report: Report) -> Iterator[dict[str, Any]]:
    money = report["money"]
    if money["open"]:
        ids = [case["id"] for case in report["cases"] if case["state"] in ("reversing", "parked")]
        shown = ", ".join(amount["text"] for amount in money["open_amounts"])
        yield _advice("R-OPEN", [_items(ids)], count=str(money["open"]), amounts=shown)


def _link(report: Report) -> Iterator[dict[str, Any]]:
    for lane, found in _by_lane(report, "link"):
        total_s = sum(one["duration_s"] or 0.0 for one in found)
        if len(found) >= LINK_TIMES_MIN or total_s >= LINK_TOTAL_S:
            yield _advice("R-LINK", [_numbers(found)], lane=lane, count=str(len(found)), span=duration(total_s))


def _silent(report: Report) -> Iterator[dict[str, Any]]:
    for lane, found in _by_lane(report, "silent"):
        count = sum(one["symptoms"] for one in found)
        if count >= TIMES_MIN:
            yield _advice("R-SILENT", [_numbers(found)], lane=lane, count=str(count))


def _codes(report: Report) -> Iterator[dict[str, Any]]:
    for lane, found in _by_lane(report, "host"):
        codes: Counter[str] = Counter()
        for one in found:
            codes.update({code: count for code, count in one["codes"].items() if f"code-{code}" in _causes(one)})
        for code, count in codes.most_common():
            if count >= TIMES_MIN:
                concerned = [one for one in found if code in one["codes"]]
                yield _advice("R-CODE", [_numbers(concerned)], lane=lane, code=code, count=str(count))


def _counted(kind: str, code: str, least: int, key: str) -> Rule:
    """A rule that counts one kind of incident: its symptoms, its items, or itself (`key` "")."""

    def rule(report: Report) -> Iterator[dict[str, Any]]:
        found = [one for one in report["incidents"] if one["kind"] == kind]
        count = sum(one[key] if key else 1 for one in found)
        if count >= least:
            yield _advice(code, [_numbers(found)], count=str(count))

    return rule


def _slow(report: Report) -> Iterator[dict[str, Any]]:
    p95_s = report["acknowledge"]["p95_s"]
    if p95_s is not None and p95_s > SLOW_P95_S:
        done = [case for case in report["cases"] if case["state"] == "reversed"]
        slow = [case["id"] for case in done if (case["took_s"] or 0.0) >= p95_s]
        yield _advice("R-SLOW", [_items(slow)], p95=duration(p95_s))


def _repeats(report: Report) -> Iterator[dict[str, Any]]:
    total = report["reversals"]
    for one in report["offenders"]:
        of_sales = one["sales"] / report["sales"]
        least = total * max(REPEATS_SHARE, REPEATS_FACTOR * of_sales)
        if total >= REPEATS_TOTAL_MIN and one["reversals"] >= least and one["dimension"] != "bin":
            yield _advice(
                "R-REPEATS",
                [_items(one["ids"])],
                count=str(one["reversals"]),
                total=str(total),
                dimension=texts().dimensions[one["dimension"]],
                which=Text(one["which_en"], one["which_zh"]),
            )


def _by_hand(report: Report) -> Iterator[dict[str, Any]]:
    closed = [case for case in report["cases"] if case["state"] == "settled"]
    if closed:
        longest = max((case["took_s"] or 0.0 for case in closed), default=0.0)
        ids = [case["id"] for case in closed]
        yield _advice("R-BY-HAND", [_items(ids)], count=str(len(closed)), longest=duration(longest))


def _disk(report: Report) -> Iterator[dict[str, Any]]:
    store = report["store"]
    if store is not None and store["full_in_days"] is not None and store["full_in_days"] <= FULL_DAYS:
        yield _advice("R-DISK", [_samples(store)], days=str(store["full_in_days"]), free=sized(store["bytes_free"]))


def _slow_store(report: Report) -> Iterator[dict[str, Any]]:
    store = report["store"]
    slower = store["slower_by"] if store is not None else None
    if slower is not None and slower >= SLOWER_BY:
        yield _advice("R-STORE-SLOW", [_samples(store)], times=f"{slower:.1f}", ms=f"{store['commit_worst_ms']:.0f}")


def _samples(store: Mapping[str, Any]) -> Text:
    return word("store-samples", count=str(store["samples"]))


_RULES: tuple[Rule, ...] = (
    _unreadable,
    _open,
    _counted("storage", "R-STORAGE", 1, "items_count"),
    _link,
    _silent,
    _codes,
    _counted("mac", "R-MAC", 1, "symptoms"),
    _counted("restart", "R-POWER", TIMES_MIN, ""),
    _counted("device", "R-DEVICE", TIMES_MIN, "items_count"),
    _counted("people", "R-PEOPLE", TIMES_MIN, "items_count"),
    _disk,
    _slow_store,
    _slow,
    _repeats,
    _by_hand,
)


def _by_lane(report: Report, kind: str) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    lanes: dict[str, list[Mapping[str, Any]]] = {}
    for one in report["incidents"]:
        if one["kind"] == kind:
            lanes.setdefault(one["lane"], []).append(one)
    yield from sorted(lanes.items())


def _causes(incident: Mapping[str, Any]) -> set[str]:
    return {cause["cause"] for cause in incident["causes"]}


def _numbers(found: Sequence[Mapping[str, Any]]) -> Text:
    return word("incident-numbers", numbers=_listed([f"#{one['number']}" for one in found]))


def _items(ids: Sequence[str]) -> Text:
    return word("item-names", names=_listed(ids))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" (+{len(names) - 10})" if len(names) > 10 else "")


def _advice(code: str, evidence: Sequence[Text], /, **values: str | Text) -> dict[str, Any]:
    entry = texts().advice[code]
    return {
        "code": code,
        **both("text", entry.text.fill(values)),
        **both("do", entry.do.fill(values)),
        "evidence_en": [piece.en for piece in evidence],
        "evidence_zh": [piece.zh for piece in evidence],
    }
