"""The status: one JSON-able dict (docs/status.md, schema 1) from which status.json, status.txt and the API's answers
come, and the writer of the two files.

Rules not to break:
1. No card numbers: every free text goes through `protocol.masking.scrub`, cards are masks.
2. The cost is bounded: the worst `ITEMS_MAX` items are shown whole, the others are counted.
3. A reader never sees half a file (write beside it, rename), and can tell a dead writer from a living one.
4. A status that cannot be written never stops a reversal: it is logged once, and again when it works. A fault in what
   makes one of the files leaves the old file and is told in the others.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Protocol

from agent.backlog import whole
from agent.currency import exponent, letters, money
from agent.diagnosis import DeviceFacts, LinkFacts, Surroundings, age_s
from agent.events import Now
from agent.journal_contract import StoreHealth
from agent.lane import Lane
from agent.linkstate import LinkState
from agent.records import OWED, State, Transaction
from agent.session_status import merged
from agent.show_only import ShowOnly
from agent.status_conditions import Open, certificate_days, conditions, gather, of_faults, store_full, with_extra
from agent.status_html import render as render_page
from agent.status_html_history import History
from agent.status_item import both, item
from agent.status_text import render
from agent.texts import catalogue
from protocol.frozen import dataclass
from protocol.masking import scrub

SCHEMA = 1
# Items shown whole in the status; more would make each writing slow and nobody reads them there.
ITEMS_MAX = 200
FINISHED_MAX = 10
CARDS_MAX = 20
BATCHES_MAX = 50

log = logging.getLogger("reversald")


class LoopView(Protocol):
    """What a status reads of the loop."""

    lanes: dict[str, Lane]
    unmatched: list[tuple[str, str, str]]

    def pending(self) -> list[Transaction]: ...
    def objection(self, lane: Lane) -> str: ...
    def unreadable_lanes(self) -> set[str]: ...
    def orphaned_lanes(self) -> set[str]: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything around the loop at the moment of a status.

    `agent`: `status_alive.writer()` plus version, started_utc, started_mono. `mac_devices` names, for a lane, the
    device that makes its MAC. `finished`: the last ended transactions, newest first.
    """

    now: Now
    agent: Mapping[str, Any]
    language: str
    stale_after_s: float
    links: Mapping[str, LinkState]
    devices: Sequence[DeviceFacts]
    store: StoreHealth
    mac_devices: Mapping[str, str]
    finished: Sequence[Transaction] = ()
    sessions: Mapping[str, Any] = field(default_factory=dict)
    extra: Sequence[dict[str, Any]] = ()
    plan_objection: str = ""  # why an emergency plan lets no sale start


def snapshot(loop: LoopView, scene: Scene) -> dict[str, Any]:
    """The whole status."""
    pending = loop.pending()
    open_items = gather(pending)
    blocked = _blocked(loop, scene)
    found = _found(open_items, blocked, loop, scene)
    shown, now = worst_first(pending, ITEMS_MAX), scene.now
    return {
        "schema": SCHEMA,
        "sequence": 0,
        "updated_utc": now.at_utc,
        "updated_mono_s": round(now.mono, 3),
        "stale_after_s": scene.stale_after_s,
        "language": scene.language,
        "agent": _agent(scene),
        "stopped": None,
        "overall": {name: found[0][name] for name in ("severity", "code", "text_en", "text_zh")},
        "conditions": found,
        "impact": _impact(pending, open_items, blocked, now),
        "lanes": [_lane(name, loop, scene, open_items, blocked) for name in _lane_names(loop)],
        "devices": [_device(device) for device in scene.devices],
        "store": {**asdict(scene.store), "full": store_full(scene.store)},
        "pending_count": len(pending),
        "items": items(shown, loop, scene),
        "finished": items(scene.finished[:FINISHED_MAX], loop, scene),
        "unmatched": [
            {"lane": lane, "what": scrub(what), "detail": scrub(detail)} for lane, what, detail in loop.unmatched
        ],
    }


def items(transactions: Sequence[Transaction], loop: LoopView, scene: Scene) -> list[dict[str, Any]]:
    """Each transaction as an item, with the surroundings of its lane."""
    around = {lane: surroundings(lane, loop, scene) for lane in {txn.lane for txn in transactions}}
    return [item(txn, around[txn.lane], scene.now) for txn in transactions]


def worst_first(pending: Sequence[Transaction], limit: int) -> list[Transaction]:
    """Parked, then owed, then unconfirmed, then under way; the oldest of each first."""
    worst = heapq.nsmallest(limit, pending, key=lambda txn: (_WORST[txn.state], txn.begun_at_utc, txn.id))
    return [whole(txn) for txn in worst]


def surroundings(lane_name: str, loop: LoopView, scene: Scene) -> Surroundings:
    """What a diagnosis may know about the lane as it stands now."""
    lane = loop.lanes.get(lane_name)
    return Surroundings(
        now_utc=scene.now.utc,
        link=_link_facts(scene.links.get(lane_name), scene.now.mono),
        devices=tuple(scene.devices),
        mac_device=scene.mac_devices.get(lane_name, ""),
        store_full=store_full(scene.store),
        responses=lane.policy.profile.responses if lane else None,
        terminal_id=lane.terminal_id if lane else "",
        merchant_id=lane.merchant_id if lane else "",
        park_after_attempts=lane.policy.retry.park_after_attempts if lane else 0,
    )


_WORST = {State.PARKED: 0, State.REVERSING: 1, State.APPROVED: 2, State.BEGUN: 3}
_NO_ROOM = "the disk is full"


def _found(open_items: Open, blocked: Mapping[str, str], loop: LoopView, scene: Scene) -> list[dict[str, Any]]:
    """What is wrong with the agent as a whole, worst first."""
    found = conditions(
        open_items,
        {name: reason for name, reason in blocked.items() if _by_what_is_owed(reason, name, loop, scene)},
        sorted(loop.orphaned_lanes()),
        scene.links,
        scene.devices,
        scene.store,
        scene.now.mono,
        scene.now.utc,
    )
    return with_extra(merged(found, scene.sessions), scene.extra)


def _blocked(loop: LoopView, scene: Scene) -> dict[str, str]:
    """The lanes that may not start a sale, and why."""
    if store_full(scene.store):
        return dict.fromkeys(loop.lanes, _NO_ROOM)
    unreadable = loop.unreadable_lanes()
    blocking = {name: lane for name, lane in loop.lanes.items() if name in unreadable or not lane.warn_only}
    planned = dict.fromkeys(loop.lanes, scene.plan_objection)
    owed = {name: loop.objection(lane) for name, lane in blocking.items()}
    closed = {name: lane.closed.text for name, lane in loop.lanes.items() if lane.closed is not None}
    every = [planned, owed, closed]
    return {name: reason for reasons in every for name, reason in reasons.items() if reason}


def _by_what_is_owed(reason: str, name: str, loop: LoopView, scene: Scene) -> bool:
    """Whether a lane is blocked by its reversals; disk, session and plan have conditions of their own."""
    return reason not in (_NO_ROOM, scene.plan_objection) and loop.lanes[name].closed is None


def _agent(scene: Scene) -> dict[str, Any]:
    known = {name: value for name, value in scene.agent.items() if name != "started_mono"}
    return {**known, "uptime_s": int(scene.now.mono - scene.agent["started_mono"])}


def _impact(pending: Sequence[Transaction], open_items: Open, blocked: Mapping[str, str], now: Now) -> dict[str, Any]:
    """What is open, in money."""
    owed = [txn for txn in pending if txn.state in OWED]
    sums: Counter[str] = Counter()
    batches: Counter[tuple[str, str]] = Counter()
    for txn in owed:
        sums[txn.currency] += txn.amount_minor
        batches[txn.terminal_id, txn.batch] += 1
    oldest = open_items.oldest
    age = age_s(oldest.begun_at_utc, now.utc) if oldest else None
    cards = list(dict.fromkeys(txn.masked_pan for txn in owed if txn.masked_pan))
    return {
        "owed": open_items.owed,
        "parked": open_items.parked,
        "held": open_items.held,
        "unconfirmed": open_items.unconfirmed,
        "under_way": open_items.begun,
        "amounts": [_amount(currency, amount) for currency, amount in sorted(sums.items())],
        "oldest_s": None if age is None else max(0, int(age)),
        "oldest_id": oldest.id if oldest else "",
        "cards": cards[:CARDS_MAX],
        "cards_count": len(cards),
        "batches": [
            {"terminal_id": terminal, "batch": batch, "count": count}
            for (terminal, batch), count in sorted(batches.items())[:BATCHES_MAX]
        ],
        "blocked_lanes": sorted(blocked),
    }


def _amount(currency: str, amount_minor: int) -> dict[str, Any]:
    return {
        "currency": currency,
        "letters": letters(currency),
        "exponent": exponent(currency),
        "amount_minor": amount_minor,
        "text": money(amount_minor, currency),
    }


def _lane_names(loop: LoopView) -> list[str]:
    return [*loop.lanes, *sorted(loop.orphaned_lanes())]


def _lane(name: str, loop: LoopView, scene: Scene, open_items: Open, blocked: Mapping[str, str]) -> dict[str, Any]:
    lane = loop.lanes.get(name)
    owed = open_items.by_lane.get(name, ())
    return {
        "name": name,
        "configured": lane is not None,
        "terminal_id": lane.terminal_id if lane else "",
        "merchant_id": lane.merchant_id if lane else "",
        "batch": lane.batch if lane else "",
        "profile": lane.policy.profile.name if lane else "",
        "owed": len(owed),
        "parked": sum(txn.state is State.PARKED for txn in owed),
        "busy": lane is not None and lane.busy is not None,
        "may_sell": lane is not None and name not in blocked,
        "may_not_sell_because": "" if lane is None else blocked.get(name, ""),
        "link": _link(scene.links.get(name), scene.now),
        "session": scene.sessions.get(name),
    }


def _link(link: LinkState | None, now: Now) -> dict[str, Any] | None:
    if link is None:
        return None
    error_age = None if link.last_error_at is None else max(0, int(now.mono - link.last_error_at))
    return {
        "state": link.state,
        "for_s": max(0, int(now.mono - link.since)),
        "connected_to": link.connected_to,
        "hosts": [{"name": name, "state": state} for name, state in link.hosts],
        "last_error": scrub(link.last_error),
        "last_error_code": link.last_error_code,
        "last_error_age_s": error_age,
        "certificate_days": certificate_days(link, now.utc),
        "counters": asdict(link.counters),
    }


def _link_facts(link: LinkState | None, now_mono: float) -> LinkFacts:
    if link is None:
        return LinkFacts("unknown")
    down_s = max(0.0, now_mono - link.since) if link.state == "down" else None
    return LinkFacts(link.state, down_s, link.last_error_code, link.last_error)


def _device(device: DeviceFacts) -> dict[str, Any]:
    return {
        "name": device.name,
        "kind": device.kind,
        "state": device.state,
        "usable": device.usable,
        "text": scrub(device.text),
        "error_code": device.error_code,
        "for_s": None if device.for_s is None else int(device.for_s),
        **both("state", catalogue().word("device_state", device.state)),
    }


class StatusWriter:
    """Writes status.json, status.txt and status.html into `run_dir` (mode 0644), atomically and without fsync: /run is
    in memory. `text` and `page` make the last two from the document."""

    def __init__(
        self,
        run_dir: Path,
        show: ShowOnly,
        text: Callable[[Mapping[str, Any], str], str] = render,
        page: Callable[[Mapping[str, Any], History, float], str] = render_page,
    ) -> None:
        self._run_dir = run_dir
        self._show = show
        self._text = text
        self._page = page
        self._sequence = 0
        self._last: dict[str, Any] | None = None
        self._failed = False
        self._history = History()

    def write(self, document: dict[str, Any]) -> bool:
        """Numbers the document and writes json and txt. False where they could not be written (rule 4)."""
        self._sequence += 1
        self._last = {**document, "sequence": self._sequence}
        with self._show.part("history"):
            self._history.note(self._last)
        return self._written(self._write_both)

    def write_old(self, faults: Sequence[dict[str, Any]]) -> bool:
        """What was written last once more, as old as it is, with the faults that keep it from being made anew."""
        if self._last is None:
            return True
        found = with_extra([one for one in self._last["conditions"] if one["code"] != "S-SHOW"], of_faults(faults))
        watch = {**self._last.get("watch", {}), "faults": list(faults)}
        overall = {name: found[0][name] for name in ("severity", "code", "text_en", "text_zh")}
        self._last = {**self._last, "conditions": found, "overall": overall, "watch": watch}
        return self._written(self._write_both)

    def write_page(self, every_s: float) -> bool:
        """Writes status.html from the last document: dearer than the others, so `every_s` seconds apart. The same."""
        return self._last is None or self._written(lambda: self._write_page(every_s))

    def _write_both(self) -> None:
        assert self._last is not None
        line = json.dumps(self._last, ensure_ascii=False, separators=(",", ":")) + "\n"
        self._replace("status.json", line)
        text = ""
        with self._show.part("text"):
            text = self._text(self._last, self._last["language"])
        if text:
            self._replace("status.txt", text)

    def _write_page(self, every_s: float) -> None:
        assert self._last is not None
        page = ""
        with self._show.part("page"):
            page = self._page(self._last, self._history, every_s)
        if page:
            self._replace("status.html", page)

    def _written(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            if not self._failed:
                log.error("the status files in %s cannot be written: %s", self._run_dir, error.strerror)
            self._failed = True
            return False
        if self._failed:
            log.info("the status files in %s can be written again", self._run_dir)
        self._failed = False
        return True

    def stopped(self, reason: str = "") -> None:
        """The last word: the agent has ended. Without it a reader finds out by the process that is gone."""
        if self._last is not None:
            self.write({**self._last, "stopped": {"reason": scrub(reason)}})

    def _replace(self, name: str, text: str) -> None:
        target = self._run_dir / name
        beside = self._run_dir / f".{name}.new"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            with open(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o644)  # whatever the umask says: everybody may read it
                file.write(text)
            os.replace(beside, target)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
