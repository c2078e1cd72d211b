"""The report: one JSON-able dict about a span of time (docs/report.md), from which text, page and CSV come.

Rules not to break:
1. The balance counts the whole journal, with the numbers of `reversalctl verify`; nothing is estimated.
2. A time that the clock made impossible is counted as unknown, never as zero.
3. No card numbers: cards are masks, free texts are scrubbed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.currency import exponent, letters, money
from agent.money_effect import effect_of
from agent.records import OWED, State
from agent.report_advice import advice
from agent.report_incidents import Incident, incidents
from agent.report_offenders import offenders
from agent.report_store import summary
from agent.report_stories import Reading, Story, moment, seconds_between
from agent.report_texts import texts
from agent.status_item import both
from agent.texts import Text, catalogue
from protocol.frozen import dataclass
from protocol.masking import scrub

SCHEMA = 1
# Upper ends of the histogram's bins in seconds. Assumed: what a cashier, a shop and a bank call quick and slow.
BINS_S = (1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
ITEMS_NAMED_MAX = 20
_OUTCOMES = (State.COMPLETED, State.DECLINED, State.REVERSED, State.SETTLED)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` up to, but without, `until`; None: from the first record, or to the last."""

    since: datetime | None = None
    until: datetime | None = None

    def meets(self, began_utc: str, ended_utc: str) -> bool:
        """Whether something that lasted from then to then ("" for open) touches the period."""
        began, ended = moment(began_utc), moment(ended_utc)
        starts_too_late = self.until is not None and began is not None and began >= self.until
        ended_before = self.since is not None and ended is not None and ended < self.since
        return not starts_too_late and not ended_before


def build(reading: Reading, period: Period, now_utc: str, samples: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The whole report. `samples`: of the store, those of the period."""
    found = [one for one in incidents(reading) if period.meets(one.began_utc, one.ended_utc)]
    touched = [story for story in reading.stories.values() if _touched(story, period)]
    cases = [story for story in touched if story.owed_utc and period.meets(story.owed_utc, story.txn.ended_at_utc)]
    shown = [_incident(number, one, reading) for number, one in enumerate(found, start=1)]
    numbers = _incident_numbers(found)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "made_utc": now_utc,
        "since_utc": _stamp(period.since) or reading.first_utc,
        "until_utc": _stamp(period.until) or reading.last_utc,
        "records": reading.records,
        "unreadable": reading.unreadable,
        "absent": 0,
        "last_record_utc": reading.last_utc,
        "sales": len(touched),
        "reversals": len(cases),
        "money": _money(cases),
        "incidents": shown,
        "acknowledge": _acknowledge(cases),
        "offenders": offenders(cases, touched, found),
        "balance": _balance(reading, {(s.txn.lane, s.batch, s.txn.currency) for s in touched}),
        "whole": _whole(reading),
        "store": summary(samples),
        "cases": [_case(story, numbers.get(story.txn.id, [])) for story in cases],
    }
    return {**report, "advice": advice(report)}


def amounts(stories: Iterable[Story]) -> list[dict[str, Any]]:
    """Sums by currency."""
    sums: Counter[str] = Counter()
    for story in stories:
        sums[story.txn.currency] += story.txn.amount_minor
    return [
        {
            "currency": currency,
            "letters": letters(currency),
            "exponent": exponent(currency),
            "amount_minor": amount,
            "text": money(amount, currency),
        }
        for currency, amount in sorted(sums.items())
    ]


def _touched(story: Story, period: Period) -> bool:
    ended = "" if story.txn.pending else story.txn.ended_at_utc or story.txn.begun_at_utc
    return period.meets(story.txn.begun_at_utc, ended)


def _stamp(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _money(cases: Sequence[Story]) -> dict[str, Any]:
    still = [story for story in cases if story.txn.state in OWED]
    ended = [story for story in cases if story.txn.state is State.REVERSED]
    back = [story for story in ended if effect_of(story.txn.kind) not in ("undoes", "gives")]
    kept = [story for story in ended if story not in back]  # voids and refunds: nothing went to the customer
    return {
        "open": len(still),
        "parked": sum(story.txn.state is State.PARKED for story in still),
        "open_amounts": amounts(still),
        "returned": len(back),
        "returned_amounts": amounts(back),
        "not_given": len(kept),
        "not_given_amounts": amounts(kept),
        "by_hand": sum(story.txn.state is State.SETTLED for story in cases),
        "by_hand_amounts": amounts(story for story in cases if story.txn.state is State.SETTLED),
    }


# --- incidents and cases -----------------------------------------------------------------------


def _incident(number: int, one: Incident, reading: Reading) -> dict[str, Any]:
    stories = [reading.stories[txn_id] for txn_id in one.items]
    owed = [story for story in stories if story.owed_utc]
    return {
        "number": number,
        "kind": one.kind,
        **both("kind", texts().kinds[one.kind]),
        "lane": one.lane,
        "began_utc": one.began_utc,
        "ended_utc": one.ended_utc,
        "open": one.open,
        "duration_s": one.duration_s,
        "quiet_s": one.quiet_s,
        "symptoms": one.symptoms,
        "items": list(one.items)[:ITEMS_NAMED_MAX],
        "items_count": len(one.items),
        "amounts": amounts(owed),
        "attempts": len(one.attempts),
        "first_attempt_utc": one.attempts[0].at_utc if one.attempts else "",
        "last_attempt_utc": one.attempts[-1].at_utc if one.attempts else "",
        "codes": dict(one.codes.most_common()),
        "causes": [
            {"cause": what, "count": count, **both("text", cause_text(what))} for what, count in one.what.most_common()
        ],
    }


def cause_text(what: str) -> Text:
    """A diagnosis code, a response code or a record's cause in words."""
    if what in catalogue().diagnoses:
        return catalogue().diagnoses[what].symptom
    if what.startswith("code-"):
        code = what.removeprefix("code-")
        return Text(f"the host answered {code}", f"主机应答码 {code}")
    if what.startswith("not-sent-"):
        return catalogue().diagnoses["D-LINK-DOWN" if what == "not-sent-network" else "D-PAD-MISSING"].symptom
    return catalogue().origin(scrub(what))


def _incident_numbers(found: Sequence[Incident]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for number, one in enumerate(found, start=1):
        for txn_id in one.items:
            numbers.setdefault(txn_id, []).append(number)
    return numbers


def _case(story: Story, numbers: Sequence[int]) -> dict[str, Any]:
    txn = story.txn
    closing = txn.closing
    return {
        "id": txn.id,
        "lane": txn.lane,
        "reference": scrub(txn.reference),
        "kind": txn.kind,
        "amount_minor": txn.amount_minor,
        "currency": txn.currency,
        "amount": money(txn.amount_minor, txn.currency),
        "card": txn.masked_pan,
        "stan": txn.stan,
        "batch": txn.batch,
        "terminal_id": txn.terminal_id,
        "merchant_id": txn.merchant_id,
        "rrn": txn.rrn,
        "approval_code": txn.approval_code,
        "host": txn.host,
        "state": str(txn.state),
        **both("state", catalogue().word("state", txn.state)),
        "cause": txn.cause,
        **both("cause", catalogue().origin(txn.cause)),
        "begun_utc": txn.begun_at_utc,
        "owed_utc": story.owed_utc,
        "ended_utc": txn.ended_at_utc,
        "took_s": _took(story),
        "attempts": txn.attempts,
        "link_failures": txn.link_failures,
        "first_attempt_utc": story.attempts[0].at_utc if story.attempts else "",
        "last_attempt_utc": story.attempts[-1].at_utc if story.attempts else "",
        "codes": dict(story.codes.most_common()),
        "acknowledged_with": txn.acknowledged_with,
        "bank_reference": scrub(closing.bank_reference) if closing else "",
        "incidents": list(numbers),
    }


# --- time to acknowledge -----------------------------------------------------------------------


def _took(story: Story) -> float | None:
    ended = story.txn.ended_at_utc
    return seconds_between(story.owed_utc, ended) if ended else None


def _acknowledge(cases: Sequence[Story]) -> dict[str, Any]:
    done = [story for story in cases if story.txn.state is State.REVERSED]
    known = sorted(took for story in done if (took := _took(story)) is not None)
    ends = [*BINS_S, math.inf]
    counts = [0] * len(ends)
    for took in known:
        counts[next(place for place, end in enumerate(ends) if took <= end)] += 1
    return {
        "count": len(known),
        "unknown": len(done) - len(known),
        "p50_s": _percentile(known, 50),
        "p95_s": _percentile(known, 95),
        "p99_s": _percentile(known, 99),
        "slowest_s": known[-1] if known else None,
        "bins": [
            {"up_to_s": None if math.isinf(end) else end, "count": count}
            for end, count in zip(ends, counts, strict=True)
        ],
    }


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Nearest rank: a value that really occurred."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


# --- balance -----------------------------------------------------------------------------------


def _balance(reading: Reading, batches: set[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Every batch that the period touches, whole: intents against the states that they are in now."""
    counts: dict[tuple[str, str, str], Counter[str]] = {batch: Counter() for batch in batches}
    sums: dict[tuple[str, str, str], Counter[str]] = {batch: Counter() for batch in batches}
    for story in reading.stories.values():
        batch = (story.txn.lane, story.batch, story.txn.currency)
        if batch in batches:
            name = str(story.txn.state) if story.txn.state in _OUTCOMES else "pending"
            counts[batch][name] += 1
            sums[batch][name] += story.txn.amount_minor
    return [_batch(batch, reading.intents[batch], counts[batch], sums[batch]) for batch in sorted(batches)]


def _batch(batch: tuple[str, str, str], intents: int, counts: Counter[str], sums: Counter[str]) -> dict[str, Any]:
    lane, number, currency = batch
    names = [*map(str, _OUTCOMES), "pending"]
    return {
        "lane": lane,
        "batch": number,
        "currency": currency,
        "letters": letters(currency),
        "intents": intents,
        **{name: counts[name] for name in names},
        "balanced": intents == sum(counts.values()),
        "amounts_minor": {name: sums[name] for name in names},
        "amounts": {name: money(sums[name], currency) for name in names},
    }


def _whole(reading: Reading) -> dict[str, Any]:
    states = Counter(str(story.txn.state) for story in reading.stories.values())
    return {
        "begun": sum(reading.intents.values()),
        "states": dict(sorted(states.items())),
        "pending": sum(story.txn.pending for story in reading.stories.values()),
    }
