"""What people must be told, from the status and the trends: raised once, repeated until fixed, then all-clear.

Pure: the texts stand in the catalogue ([alert.*]), delivery is `agent/alert_delivery.py`'s.

Rules not to break:
1. An alert is named by code and subject (a lane, a device, an item); it is told once, again after `repeat_s`, and its
   end is told too, after the cause has been gone for `clear_after_s`.
2. Texts hold no card data: they are filled from the status, which has none, and scrubbed once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from agent.config_watch import Alerts
from agent.said import said
from agent.status_text import signed
from agent.texts import Severity, Text, duration
from agent.texts_operations import operations
from agent.trends import Span
from protocol.frozen import dataclass
from protocol.masking import scrub

Told = Literal["raised", "again", "cleared"]

# A printer's own word for its paper (drivers/printer_escpos.py).
PAPER_LOW = frozenset({"paper low", "paper near end"})


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong now. `subject`: which lane, device or item; "" for the agent as a whole."""

    code: str
    subject: str = ""
    values: Mapping[str, str | Text] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        """As the catalogue has it."""
        return operations().alerts[self.code].severity

    @property
    def text(self) -> Text:
        """What is wrong."""
        return _scrubbed(operations().alerts[self.code].text.fill({**self.values, "subject": self.subject}))

    @property
    def action(self) -> Text:
        """What to do."""
        return _scrubbed(operations().alerts[self.code].action.fill({**self.values, "subject": self.subject}))


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told of an alert: that it began, that it lasts, that it is over."""

    told: Told
    alert: Alert
    since_utc: str

    def document(self) -> dict[str, Any]:
        """For machines: the hook's standard input and the webhook's body."""
        alert = self.alert
        return {
            "schema": 1,
            "told": self.told,
            "code": alert.code,
            "subject": alert.subject,
            "severity": "ok" if self.told == "cleared" else alert.severity,
            "since_utc": self.since_utc,
            "text_en": alert.text.en,
            "text_zh": alert.text.zh,
            "action_en": alert.action.en,
            "action_zh": alert.action.zh,
        }


@dataclass(frozen=True, slots=True)
class _Raised:
    alert: Alert
    since_utc: str
    told_at: float
    seen_at: float


class Board:
    """The alerts that stand."""

    def __init__(self) -> None:
        self._raised: dict[tuple[str, str], _Raised] = {}

    def update(self, found: Sequence[Alert], rules: Alerts, mono: float, at_utc: str) -> list[Notice]:
        """What must be told now."""
        notices = [self._seen(alert, rules, mono, at_utc) for alert in found]
        present = {(alert.code, alert.subject) for alert in found}
        for name, raised in list(self._raised.items()):
            if name not in present and mono - raised.seen_at >= rules.clear_after_s:
                del self._raised[name]
                notices.append(Notice("cleared", raised.alert, raised.since_utc))
        return [notice for notice in notices if notice is not None]

    def standing(self) -> list[Notice]:
        """Everything that is raised, the worst first."""
        order = {"critical": 0, "warning": 1}
        notices = [Notice("again", raised.alert, raised.since_utc) for raised in self._raised.values()]
        return sorted(notices, key=lambda notice: (order.get(notice.alert.severity, 2), notice.since_utc))

    def _seen(self, alert: Alert, rules: Alerts, mono: float, at_utc: str) -> Notice | None:
        name = (alert.code, alert.subject)
        before = self._raised.get(name)
        if before is None:
            self._raised[name] = _Raised(alert, at_utc, mono, mono)
            return Notice("raised", alert, at_utc)
        due = mono - before.told_at >= rules.repeat_s
        told_at = mono if due else before.told_at
        self._raised[name] = replace(before, alert=alert, told_at=told_at, seen_at=mono)
        return Notice("again", alert, before.since_utc) if due else None


@dataclass(frozen=True, slots=True)
class Seen:
    """What an evaluation may know: the status, the lanes' spans, the devices' errors, the clock's jump in seconds."""

    document: Mapping[str, Any]
    spans: Mapping[str, Span] = field(default_factory=dict)
    reply_timeouts_s: Mapping[str, float] = field(default_factory=dict)
    device_errors: Mapping[str, int] = field(default_factory=dict)
    clock_jump_s: float = 0.0
    host_clock: Mapping[str, Any] = field(default_factory=dict)  # by lane (agent/host_clock.py)
    clock_warn_s: float = math.inf
    selftest: Mapping[str, Any] | None = None  # the last one (agent/maintenance.py)


def evaluate(seen: Seen, rules: Alerts) -> list[Alert]:
    """Everything that is wrong now."""
    return [
        *_of_items(seen.document, rules),
        *_of_lanes(seen, rules),
        *_of_devices(seen, rules),
        *_of_store(seen.document["store"], rules),
        *_of_clock(seen),
        *_of_selftest(seen.selftest),
    ]


def _of_items(document: Mapping[str, Any], rules: Alerts) -> Iterator[Alert]:
    impact = document["impact"]
    items = {item["id"]: item for item in document["items"]}
    oldest = items.get(impact["oldest_id"], {})
    values: dict[str, str | Text] = {
        "count": str(impact["owed"]),
        "amount": ", ".join(amount["text"] for amount in impact["amounts"]),
        "id": impact["oldest_id"],
        "age": duration(impact["oldest_s"]),
        "cause": _cause(oldest),
    }
    if impact["owed"]:
        yield Alert("N-PENDING", "", values)
    if impact["oldest_s"] is not None and impact["oldest_s"] > rules.pending_age_s:
        yield Alert("N-PENDING-OLD", "", values)
    if impact["owed"] > rules.pending_count:
        yield Alert("N-PENDING-MANY", "", values)
    limit = rules.pending_amount_minor
    if limit is not None and any(amount["amount_minor"] > limit for amount in impact["amounts"]):
        yield Alert("N-PENDING-AMOUNT", "", values)
    for item in document["items"]:
        if item["state"] == "parked":
            yield Alert("N-PARKED", item["id"], {"amount": item["amount"], "cause": _cause(item)})


def _of_lanes(seen: Seen, rules: Alerts) -> Iterator[Alert]:
    blocked = {found["lane"] for found in seen.document["conditions"] if found["code"] == "S-BLOCKED"}
    for lane in seen.document["lanes"]:
        name, link = lane["name"], lane["link"] or {}
        if name in blocked:
            yield Alert("N-BLOCKED", name, {"why": said(lane["may_not_sell_because"])})
        if link.get("state") == "down":
            yield Alert("N-LINK-DOWN", name, {"span": duration(link["for_s"]), "error": link["last_error_code"]})
        days = link.get("certificate_days")
        if days is not None and days <= rules.certificate_days:
            yield Alert("N-CERTIFICATE", name, {"days": str(days)})
        yield from _of_span(name, seen, rules)


def _of_span(lane: str, seen: Seen, rules: Alerts) -> Iterator[Alert]:
    """The trends: warnings before the first reversal is stuck."""
    span = seen.spans.get(lane)
    if span is None:
        return
    values: dict[str, str | Text] = {
        "lost": str(span.unanswered),
        "exchanges": str(span.exchanges),
        "percent": str(span.lost_percent),
        "span": duration(rules.window_s),
        "tries": str(span.tries),
        "reversed": str(span.reversed),
        "code": span.code,
        "refused": str(span.refused),
        "answered": str(span.answered),
        "seconds": f"{span.slowest_s:.1f}",
        "limit": f"{seen.reply_timeouts_s.get(lane, 0):.0f}",
    }
    if span.rising:
        yield Alert("N-TIMEOUTS-RISING", lane, values)
    if span.unanswered >= 3 and span.lost_percent >= rules.lost_percent:
        yield Alert("N-LINK-QUALITY", lane, values)
    if span.retries_rising:
        yield Alert("N-RETRIES-RISING", lane, values)
    if span.refused >= 3 and span.refused_percent >= rules.refused_percent:
        yield Alert("N-CODES", lane, values)
    limit = seen.reply_timeouts_s.get(lane, 0.0) * rules.slow_percent / 100
    if limit and span.slowest_s > limit:
        yield Alert("N-REPLIES-SLOW", lane, values)


def _of_devices(seen: Seen, rules: Alerts) -> Iterator[Alert]:
    for device in seen.document["devices"]:
        name = device["name"]
        if not device["usable"]:
            state = Text(device["state_en"], device["state_zh"])
            yield Alert("N-DEVICE", name, {"state": state, "error": device["error_code"] or "-"})
        elif device["kind"] == "printer" and device["text"] in PAPER_LOW:
            yield Alert("N-PAPER", name)
        errors = seen.device_errors.get(name, 0)
        if errors >= rules.device_errors:
            yield Alert("N-DEVICE-ERRORS", name, {"count": str(errors), "span": duration(rules.window_s)})


def _of_store(store: Mapping[str, Any], rules: Alerts) -> Iterator[Alert]:
    if store["full"]:
        yield Alert("N-DISK-FULL")
    elif store["bytes_free"] < rules.disk_free_bytes:
        yield Alert("N-DISK", "", {"free": f"{store['bytes_free'] / 1e6:.0f} MB"})
    if store["commit_p99_ms"] > rules.commit_p99_ms:
        yield Alert("N-STORE-SLOW", "", {"ms": f"{store['commit_p99_ms']:.0f}"})
    for warning in store["warnings"]:
        yield Alert("N-STORE", str(warning).partition(":")[0], {"warning": said(warning)})


def _of_clock(seen: Seen) -> Iterator[Alert]:
    back = any(found["code"] == "S-CLOCK" for found in seen.document["conditions"])
    if back or seen.clock_jump_s:
        yield Alert("N-CLOCK", "", {"seconds": f"{seen.clock_jump_s:+.0f}"})
    for lane, told in seen.host_clock.items():
        if abs(told["offset_s"]) > seen.clock_warn_s:
            yield Alert("N-CLOCK-HOST", lane, {"seconds": signed(told["offset_s"])})


def _of_selftest(last: Mapping[str, Any] | None) -> Iterator[Alert]:
    if last is None:
        return
    if last["result"] in ("fail", "warn"):
        code = "N-SELFTEST-FAILED" if last["result"] == "fail" else "N-SELFTEST-WARNS"
        yield Alert(code, "", {"date": last["at_utc"][:10], "checks": last["text"]})
    if last["overdue"]:
        yield Alert("N-SELFTEST-DUE", "", {"date": last["due_utc"][:10]})


def _cause(item: Mapping[str, Any]) -> Text:
    found = item.get("diagnosis")
    if not found:
        return Text("?", "?")
    return Text(f"{found['code']} {found['cause_en']}", f"{found['code']} {found['cause_zh']}")


def _scrubbed(text: Text) -> Text:
    return Text(scrub(text.en), scrub(text.zh))
