"""What is shown of the running agent: the scene of a status, and the answers of the operators' methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import VERSION
from agent import config as settings
from agent.diagnosis import DeviceFacts
from agent.journal import Journal, StoreHealth
from agent.journal_archive import ArchiveError, archive_path
from agent.journal_rest import archive_step
from agent.lane import RefusedError
from agent.lanes import Links
from agent.loop import Clock, Loop
from agent.records import Transaction, load
from agent.room import DeviceRoom
from agent.status import FINISHED_MAX, ITEMS_MAX, Scene, items, snapshot, worst_first
from agent.status_alive import writer
from agent.status_timeline import timeline
from agent.stored_form import is_transaction

# A status is stale when it is this many times older than its sign of life. Assumed: one may be late.
STALE_FACTOR = 3.0
LIST_MAX = 10_000
# Ended items that a start looks through for a missing evidence file; a start must stay quick.
ENDED_MAX = 200
# Pending items among the latest ones that are passed over to find the ended ones; bounds the cost of a status.
RECENT_SLACK = 50


class Views:
    """Reads; changes nothing."""

    def __init__(
        self,
        loop: Loop,
        links: Links,
        devices: DeviceRoom,
        journal: Journal,
        clock: Clock,
        configuration: Callable[[], settings.Configuration],
        store_warnings: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._store_warnings = store_warnings
        self.sessions: Callable[[], Mapping[str, Any]] = dict  # each lane's session; the daemon gives it
        self.extra: Callable[[], list[dict[str, Any]]] = list  # conditions of what watches; the daemon gives them
        self.plan_objection: Callable[[], str] = str  # why a plan lets no sale start; the daemon gives it
        self.keys: Callable[[], dict[str, Any]] = dict  # what the data keys are wrapped under; the daemon gives it
        self.watch: Callable[[], dict[str, Any]] = dict  # alerts, plans, self test; the daemon gives it
        self._loop = loop
        self._links = links
        self._devices = devices
        self._journal = journal
        self._clock = clock
        self._configuration = configuration
        started = clock.now()
        self._agent = {
            **writer(),
            "version": VERSION,
            "started_utc": started.at_utc,
            "started_mono": started.mono,
        }

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The views that the API asks for, by name."""
        return {
            "status": self.status,
            "list": self.listing,
            "show": self.show,
            "why": self.why,
            "devices": self.devices,
            "export": self.export,
            "archive": self.archive,
        }

    def status(self) -> dict[str, Any]:
        """The whole status."""
        return {**snapshot(self._loop, self._scene(FINISHED_MAX)), "keys": self.keys(), "watch": self.watch()}

    def ended(self) -> list[tuple[int, Transaction]]:
        """What ended last, the latest first, each with the number of its last record."""
        rows = self._journal.recent(ENDED_MAX)
        return [(row.seq, load(row.public, b"")) for row in rows if not row.pending and is_transaction(row.txn_id)]

    def listing(self, all: bool, limit: int) -> dict[str, Any]:
        """Pending items, worst first; with `all` the ended ones after them."""
        limit = max(1, min(limit, LIST_MAX))
        scene = self._scene(limit if all else 0)
        pending = self._loop.pending()
        shown = worst_first(pending, limit)
        ended = scene.finished if all else ()
        return {
            "items": items([*shown, *ended][:limit], self._loop, scene),
            "pending_count": len(pending),
            "shown_max": min(limit, ITEMS_MAX) if not all else limit,
        }

    def show(self, txn: Transaction) -> dict[str, Any]:
        """One item."""
        return items([txn], self._loop, self._scene(0))[0]

    def why(self, txn: Transaction) -> dict[str, Any]:
        """One item and its story."""
        lane = self._loop.lanes.get(txn.lane)
        responses = lane.policy.profile.responses if lane else None
        return {"item": self.show(txn), "timeline": timeline(self._journal.history(txn.id), responses)}

    def export(self, target: str) -> dict[str, Any]:
        """A copy of the journal in a new file. Raises RefusedError where it cannot be made."""
        path = Path(target)
        if not path.is_absolute() or path.exists() or not path.parent.is_dir():
            text = "target must be an absolute path of a new file in a directory that exists"
            raise RefusedError("A-PARAMETER", text, "e.g. /var/lib/reversald/journal-copy.db")
        self._journal.export(path)
        return {"path": str(path)}

    def archive(self, older_than_days: int) -> dict[str, Any]:
        """One step of archiving; `more`: call again. Raises RefusedError where the archive cannot be written."""
        try:
            step = archive_step(self._journal, self._clock.now(), older_than_days)
        except ArchiveError as error:
            raise RefusedError("A-ARCHIVE", error.text, error.hint) from error
        return {
            "path": str(archive_path(self._configuration().journal.path)),
            "transactions": len(step.over) if step else 0,
            "records": len(step.seqs) if step else 0,
            "upto": self._journal.archived_upto,
            "more": step.more if step else False,
        }

    def devices(self) -> list[dict[str, Any]]:
        """Every device as the drivers see it: address, firmware, counters, last error."""
        now = self._clock.now().mono
        return [
            {
                "name": status.name,
                "kind": status.kind,
                "address": status.address,
                "state": status.state,
                "firmware": status.firmware,
                "detail": status.detail,
                "for_s": round(now - status.since_s, 1),
                "counters": dict(status.counters),
                "last_error_code": status.last_error_code,
                "last_error": status.last_error,
                "inhibited_because": status.inhibited_because,
            }
            for status in self._devices.statuses()
        ]

    def _scene(self, finished: int) -> Scene:
        configuration, now = self._configuration(), self._clock.now()
        return Scene(
            now=now,
            agent=self._agent,
            language=configuration.agent.language,
            stale_after_s=configuration.agent.status_every_s * STALE_FACTOR,
            links={name: link.link_state() for name, link in self._links.by_lane.items()},
            devices=[_device_facts(status, now.mono) for status in self._devices.statuses()],
            store=self._store_health(),
            mac_devices={lane.name: lane.pinpad for lane in configuration.lanes if lane.mac == "pinpad"},
            finished=self._finished(finished),
            sessions=self.sessions(),
            extra=self.extra(),
            plan_objection=self.plan_objection(),
        )

    def _store_health(self) -> StoreHealth:
        health = self._journal.health()
        return replace(health, warnings=(*health.warnings, *self._store_warnings()))

    def _finished(self, limit: int) -> list[Transaction]:
        if not limit:
            return []
        rows = self._journal.recent(limit + RECENT_SLACK)
        return [load(row.public, b"") for row in rows if not row.pending and is_transaction(row.txn_id)][:limit]


def _device_facts(status: Any, now_mono: float) -> DeviceFacts:
    text = status.inhibited_because or status.detail or status.last_error
    age_s = now_mono - status.since_s
    return DeviceFacts(status.name, status.kind, status.state, text, age_s, status.last_error_code)
