"""What is wrong with the agent as a whole, worst first: one list, from which the overall severity follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.diagnosis import DeviceFacts, age_s
from agent.journal_contract import StoreHealth
from agent.linkstate import LinkState
from agent.records import OWED, State, Transaction
from agent.said import coded, said
from agent.status_item import both
from agent.status_text import signed
from agent.texts import Severity, Text, catalogue, duration
from protocol.frozen import dataclass

# From this age on an open reversal is critical, whatever the reason. Assumed: longer than any planned
# host maintenance that a shop would not be told about.
OLD_S = 3600.0
# A lane that may not sell is critical only after this time: most reversals are done before. Assumed.
BLOCKED_GRACE_S = 60.0
# A host's certificate: time to order a new one, and time to call somebody today. Assumed.
CERTIFICATE_WARNING_DAYS, CERTIFICATE_CRITICAL_DAYS = 30, 3

_ORDER: dict[Severity, int] = {"critical": 0, "unknown": 1, "warning": 2, "ok": 3}


@dataclass(frozen=True, slots=True)
class Open:
    """Facts about everything that is open, gathered in one pass."""

    owed: int
    parked: int
    held: int
    unconfirmed: int
    begun: int
    oldest: Transaction | None
    first_parked: Transaction | None
    first_held: Transaction | None
    by_lane: Mapping[str, Sequence[Transaction]]


def gather(pending: Sequence[Transaction]) -> Open:
    """One pass over everything pending; owed means reversing or parked."""
    owed = [txn for txn in pending if txn.state in OWED]
    by_lane: dict[str, list[Transaction]] = {}
    for txn in owed:
        by_lane.setdefault(txn.lane, []).append(txn)
    parked = [txn for txn in owed if txn.state is State.PARKED]
    held = [txn for txn in owed if txn.held]
    return Open(
        owed=len(owed),
        parked=len(parked),
        held=len(held),
        unconfirmed=sum(txn.state is State.APPROVED for txn in pending),
        begun=sum(txn.state is State.BEGUN for txn in pending),
        oldest=_oldest(owed),
        first_parked=_oldest(parked),
        first_held=_oldest(held),
        by_lane=by_lane,
    )


def conditions(
    open_items: Open,
    blocked: Mapping[str, str],
    orphaned: Sequence[str],
    links: Mapping[str, LinkState],
    devices: Sequence[DeviceFacts],
    store: StoreHealth,
    now_mono: float,
    now_utc: datetime,
) -> list[dict[str, Any]]:
    """All of them, worst first; one S-OK where there is none. `blocked`: lane to reason."""
    found = [
        *_of_items(open_items, now_utc),
        *(_condition("S-NO-LANE", lane=lane) for lane in orphaned),
        *_of_blocked(open_items, blocked, now_utc),
        *_of_store(store),
        *_of_links(links, now_mono, now_utc),
        *(
            _condition("S-DEVICE", device=device.name, device_text=_device_text(device))
            for device in devices
            if not device.usable
        ),
    ]
    found.sort(key=lambda one: _ORDER[one["severity"]])
    return found or [_condition("S-OK")]


def of_plan(name: str, title: Text) -> dict[str, Any]:
    """An emergency plan that is on."""
    return _condition("S-PLAN", plan=name, title=title)


def of_selftest(last: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A self test that failed, or whose next one is overdue; none was ever made: nothing."""
    if last is None:
        return []
    if last["result"] == "fail":
        return [_condition("S-SELFTEST-FAILED", date=last["at_utc"][:10])]
    return [_condition("S-SELFTEST-DUE", date=last["due_utc"][:10])] if last["overdue"] else []


def of_host_clock(told: Mapping[str, Any], limit_s: float) -> list[dict[str, Any]]:
    """The lanes whose host's clock differs from ours by more than the limit (agent/host_clock.py)."""
    return [
        _condition("S-CLOCK-HOST", lane=lane, seconds=signed(facts["offset_s"]))
        for lane, facts in told.items()
        if abs(facts["offset_s"]) > limit_s
    ]


def of_keys(wrapping: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What must be done about the wrapping of the data keys (agent/keys.py)."""
    found = []
    if wrapping["problem"]:
        found.append(_condition("S-DATA-KEY-SOURCE", problem=said(wrapping["problem"])))
    if wrapping["wanted"] and wrapping["under"] != wrapping["wanted"]:
        found.append(_condition("S-DATA-KEY-FORM", source=said(wrapping["wanted"])))
    return found


def of_faults(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What cannot be shown now because of a fault of our own (agent/show_only.py)."""
    return [
        _condition(
            "S-SHOW",
            part=catalogue().word("part", fault["part"]),
            since=f"{fault['since_utc'][:10]} {fault['since_utc'][11:16]}",
            what=fault["what"],
        )
        for fault in faults
    ]


def with_extra(found: list[dict[str, Any]], extra: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conditions with more of them, worst first, plans before their causes; S-OK only where there is no other."""
    if not extra:
        return found
    both_kinds = [*(one for one in found if one["code"] != "S-OK"), *extra]
    return sorted(both_kinds, key=lambda one: (_ORDER[one["severity"]], one["code"] != "S-PLAN"))


def store_full(store: StoreHealth) -> bool:
    """Whether the room for acknowledgements is all that is left, so that new sales are refused."""
    return store.bytes_free < store.reserve_bytes


def _of_items(open_items: Open, now_utc: datetime) -> Iterator[dict[str, Any]]:
    oldest = open_items.oldest
    age = age_s(oldest.begun_at_utc, now_utc) if oldest else None
    if open_items.first_parked is not None:
        yield _condition("S-PARKED", count=str(open_items.parked), id=open_items.first_parked.id)
    if oldest is not None and age is not None and age >= OLD_S:
        yield _condition("S-OLD", age=duration(age), id=oldest.id)
    if open_items.first_held is not None:
        yield _condition("S-HELD", count=str(open_items.held), id=open_items.first_held.id)
    if open_items.owed > open_items.parked:
        yield _condition("S-PENDING", count=str(open_items.owed - open_items.parked))
    if oldest is not None and age is None:
        yield _condition("S-CLOCK")


def _of_blocked(open_items: Open, blocked: Mapping[str, str], now_utc: datetime) -> Iterator[dict[str, Any]]:
    for lane in blocked:
        owed = open_items.by_lane.get(lane, ())
        oldest = _oldest(owed)
        age = age_s(oldest.begun_at_utc, now_utc) if oldest else None
        young = age is not None and age < BLOCKED_GRACE_S
        yield _condition("S-BLOCKED", "warning" if young else None, lane=lane, count=str(len(owed)))


def _of_store(store: StoreHealth) -> Iterator[dict[str, Any]]:
    if store_full(store):
        yield _condition("S-STORE-FULL")
    for warning in store.warnings:
        yield _condition("S-STORE", warning=said(warning))


def _of_links(links: Mapping[str, LinkState], now_mono: float, now_utc: datetime) -> Iterator[dict[str, Any]]:
    for lane, link in links.items():
        if link.state == "down":
            yield _condition("S-LINK-DOWN", lane=lane, down=duration(now_mono - link.since))
        days = certificate_days(link, now_utc)
        if days is not None and days <= CERTIFICATE_WARNING_DAYS:
            code = "S-CERTIFICATE-ENDS" if days <= CERTIFICATE_CRITICAL_DAYS else "S-CERTIFICATE"
            yield _condition(code, lane=lane, days=str(days))


def certificate_days(link: LinkState, now_utc: datetime) -> int | None:
    """Whole days that the host's certificate is still valid; None where none is known. Negative once it ended."""
    if link.certificate_not_after is None:
        return None
    return int((link.certificate_not_after - now_utc).total_seconds() // 86_400)


def _device_text(device: DeviceFacts) -> Text:
    state = catalogue().word("device_state", device.state)
    quoted = said(coded(device.error_code, device.text))
    return Text(f"{state.en}, {quoted.en}", f"{state.zh}，{quoted.zh}") if device.text else state


def _condition(code: str, severity: Severity | None = None, **values: str | Text) -> dict[str, Any]:
    entry = catalogue().conditions[code]
    return {
        "code": code,
        "severity": severity or entry.severity,
        "who": entry.who,
        "lane": values.get("lane", ""),
        "device": values.get("device", ""),
        **both("text", entry.text.fill(values)),
        **both("action", entry.action.fill(values)),
    }


def _oldest(items: Sequence[Transaction]) -> Transaction | None:
    """ISO stamps of one form: the smallest is the oldest."""
    return min(items, key=lambda txn: txn.begun_at_utc, default=None)
