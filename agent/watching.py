"""What watches the agent and shows what it sees, in one place: alerts, plans, trends, self test, host clocks, samples.

The daemon tells it of each record, each answer's time and each status. Everything in here works inside a part of
`ShowOnly`: a fault of it ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from agent.api import Api
from agent.config_schema import Configuration
from agent.host_clock import HostClocks
from agent.journal import Journal
from agent.journal_rows import ROWS_USUAL
from agent.loop import Clock, Loop
from agent.maintenance import Maintenance
from agent.monitor import Monitor
from agent.records import Transaction
from agent.room import DeviceRoom
from agent.rpc import Peer, take
from agent.selftest_schedule import Schedule, idle, under_way
from agent.show_only import ShowOnly
from agent.store_history import StoreHistory


class Watching:
    """See the module. `devices()` are the views of the devices, `spawn` runs a coroutine beside the daemon's work."""

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        clock: Clock,
        loop: Loop,
        journal: Journal,
        api: Api,
        room: DeviceRoom,
        devices: Callable[[], list[dict[str, Any]]],
        spawn: Callable[[Any], None],
        show: ShowOnly,
    ) -> None:
        self._configuration = configuration
        self._clock = clock
        self._loop = loop
        self._api = api
        self._rows = show.answering("rows", journal.rows)
        self._show = show
        state_dir = configuration().agent.state_dir
        self._maintenance = Maintenance(state_dir, clock.now, lambda: configuration().selftest)
        self._clocks = HostClocks()
        self._samples = StoreHistory(state_dir)
        self._monitor = Monitor(
            configuration, devices, self._reply_timeouts_s, room, spawn, self._maintenance, show, self._clocks
        )
        self._schedule = Schedule(
            lambda: configuration().selftest,
            lambda: configuration().source,
            self._maintenance.tested_utc,
            lambda work: spawn(self._shielded(work)),
        )
        self.methods = {
            **self._maintenance.methods,
            "maintenance.list": show.answering("maintenance", self._maintenance.entries),
            "store.history": show.answering("samples", self._samples.history),
            "journal.rows": self.rows,
        }
        self._told: list[dict[str, Any]] = []
        self.objection = self._monitor.plans.objection

    def shown(self) -> dict[str, Any]:
        """For the status."""
        with self._show.part("watch"):
            return self._monitor.shown()
        return {"faults": self._show.faults()}

    @property
    def hurries(self) -> bool:
        """Whether lost hosts are looked for more often than usual."""
        return self._monitor.hurries

    def changed(self, txn: Transaction) -> None:
        """A new record is stored: money moves."""
        with self._show.part("selftest"):
            self._schedule.disturb()
        with self._show.part("trends"):
            self._monitor.changed(txn, self._clock.now())

    def host_time(self, lane_name: str, date: str, time: str) -> None:
        """An answer bore this date and time."""
        with self._show.part("clock"):
            lane = self._loop.lanes.get(lane_name)
            if lane is not None:
                zone = lane.policy.profile.session.host_clock
                self._clocks.told(lane_name, zone, date, time, self._clock.now())

    def rows(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The journal record by record, a page of it, without secrets: for reports while the agent runs."""
        given = take(params, {"after": (int, 0), "limit": (int, ROWS_USUAL)})
        return self._rows(max(0, given["after"]), given["limit"])

    def conditions(self) -> list[dict[str, Any]]:
        """What the status says of it beside its own conditions."""
        self._told = self._monitor.conditions()
        return self._told

    def look(self, document: Mapping[str, Any] | None) -> bool:
        """One status; None where none could be made. Whether there is something new that the next one must say."""
        now = self._clock.now()
        with self._show.part("watch"):
            self._clocks.drop(set(self._loop.lanes))
            self._monitor.look(document, now)
        with self._show.part("samples"):
            if document is not None:
                self._samples.look(document["store"], now)
        with self._show.part("selftest"):
            may_begin = idle(self._loop, self._loop.lanes.values(), self._api.sales, now)
            self._schedule.look(now, may_begin=may_begin, moving=under_way(self._loop, self._api.sales))
        with self._show.part("watch"):
            return document is not None and self._monitor.conditions() != self._told
        return False

    def close(self) -> None:
        """The end."""
        with self._show.part("watch"):
            self._monitor.close()
        self._schedule.close()

    def _reply_timeouts_s(self) -> dict[str, float]:
        return {name: lane.policy.retry.reply_timeout_s for name, lane in self._loop.lanes.items()}

    def _shielded(self, work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        return self._show.shielded("selftest", work)
