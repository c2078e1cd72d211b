"""Looks at each status and tells people in time: alerts, metrics, emergency plans, the date of the last self test.

The daemon calls `changed` for each stored record and `look` for each status; everything else follows. Nothing in here
may raise because of a full disk or a broken channel: what watches must not disturb what it watches. A fault of our own
in one part (agent/show_only.py) leaves the others at work.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from agent import metrics
from agent.alert_delivery import Delivery, Spawn
from agent.alerts import Alert, Board, Notice, Seen, evaluate
from agent.config_schema import Configuration
from agent.device_errors import errors_of
from agent.events import Now
from agent.host_clock import HostClocks
from agent.maintenance import Maintenance
from agent.plans import Plans
from agent.power import Power, power
from agent.records import Transaction
from agent.show_only import ShowOnly
from agent.status_conditions import of_faults, of_host_clock, of_plan, of_selftest
from agent.texts import Text, catalogue
from agent.trends import Trends

# A wall clock that moves against the monotonic one by more than this has been set. Assumed; NTP slews slower.
CLOCK_JUMP_S = 5.0
# An alert about a jump stands so long.
CLOCK_JUMP_TOLD_S = 600.0
# Looks at status of more than one a second bring nothing.
LOOK_EVERY_S = 1.0
POWER_EVERY_S = 10.0

log = logging.getLogger("reversald")


class Paper(Protocol):
    """Where alerts are printed (agent/room.py)."""

    @property
    def slips_waiting(self) -> int: ...

    def notice(self, reference: str, lines: list[str]) -> None: ...


class Monitor:
    """Watches one agent."""

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        devices: Callable[[], list[dict[str, Any]]],
        reply_timeouts_s: Callable[[], Mapping[str, float]],
        paper: Paper,
        spawn: Spawn,
        maintenance: Maintenance,
        show: ShowOnly,
        clocks: HostClocks,
        read_power: Callable[[Path], Power] = power,
    ) -> None:
        self._configuration = configuration
        self._devices = devices
        self._reply_timeouts_s = reply_timeouts_s
        self._paper = paper
        self._read_power = read_power
        self.maintenance = maintenance
        self._show = show
        self._clocks = clocks
        self._board = Board()
        self._found: list[Alert] = []
        self.plans = Plans()
        self.trends = Trends(configuration().alerts.window_s)
        self._delivery = Delivery(
            lambda work: spawn(show.shielded("delivery", work)), self._print, lambda: configuration().agent.language
        )
        self._looked_at: float | None = None
        self._offset_s: float | None = None  # between the wall clock and the monotonic one
        self._jump_s = 0.0
        self._jumped_at: float | None = None
        self._power = Power()
        self._power_at: float | None = None
        self._metrics_failed = False

    def changed(self, txn: Transaction, now: Now) -> None:
        """A new record is stored."""
        self.trends.note(txn, now.mono)

    def look(self, document: Mapping[str, Any] | None, now: Now) -> None:
        """One status: alerts go out, metrics are written. None: it could not be made; what stood goes on standing."""
        if self._looked_at is not None and now.mono - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now.mono
        rules = self._configuration().alerts
        self.trends.window_s = rules.window_s
        self._note_clock(now)
        if document is not None:
            with self._show.part("alerts"):
                self._found = [*evaluate(self._seen(document, now), rules), *self._of_power(now)]
        found = [*self._found, *self._of_faults()]
        for notice in self._board.update(found, rules, now.mono, now.at_utc):
            with self._show.part("delivery"):
                self._delivery.deliver(notice, rules)
        self._trigger(now)
        if rules.metrics_file is not None and document is not None:
            with self._show.part("metrics"):
                self._write_metrics(document)

    def shown(self) -> dict[str, Any]:
        """For the status: the alerts that stand."""
        return {
            "alerts": [notice.document() for notice in self._board.standing()],
            "plans": [plan.document() for plan in self.plans.active()],
            "selftest": self.maintenance.selftest(),
            "host_clock": self._clocks.shown(),
            "faults": self._show.faults(),
        }

    def conditions(self) -> list[dict[str, Any]]:
        """What the status says of it beside its own conditions."""
        plans = [of_plan(plan.rules.name, plan.title) for plan in self.plans.active()]
        limit_s = self._configuration().selftest.clock_warn_s
        return [
            *plans,
            *of_faults(self._show.faults()),
            *of_host_clock(self._clocks.shown(), limit_s),
            *of_selftest(self.maintenance.selftest()),
        ]

    @property
    def hurries(self) -> bool:
        """Whether lost hosts are looked for more often than usual."""
        return any(plan.rules.name == "host-outage" for plan in self.plans.active())

    def close(self) -> None:
        """The end."""
        self._delivery.close()

    # --- steps ---------------------------------------------------------------------------------

    def _seen(self, document: Mapping[str, Any], now: Now) -> Seen:
        devices = self._devices()
        self.trends.devices(devices, now.mono, {device["name"]: errors_of(device["counters"]) for device in devices})
        lanes = [lane["name"] for lane in document["lanes"]]
        return Seen(
            document=document,
            spans={lane: self.trends.span(lane, now.mono) for lane in lanes},
            reply_timeouts_s=self._reply_timeouts_s(),
            device_errors={device["name"]: self.trends.device_errors(device["name"], now.mono) for device in devices},
            clock_jump_s=self._jump_s,
            host_clock=self._clocks.shown(),
            clock_warn_s=self._configuration().selftest.clock_warn_s,
            selftest=self.maintenance.selftest(),
        )

    def _of_faults(self) -> list[Alert]:
        return [
            Alert("N-SHOW", fault["part"], {"part": catalogue().word("part", fault["part"]), "what": fault["what"]})
            for fault in self._show.faults()
        ]

    def _trigger(self, now: Now) -> None:
        """Emergency plans whose time has come: they stand in the status, and on paper where that is wanted."""
        alerts = {notice.alert.code: notice for notice in self._board.standing()}
        for plan in self.plans.update(self._configuration().plans, alerts, now.mono, now.at_utc):
            log.error("emergency plan %s: %s", plan.rules.name, plan.title.of(self._configuration().agent.language))
            if plan.rules.print_notice:
                steps = [line for step in plan.people for line in (step.zh, step.en)]
                lines = [plan.rules.name, plan.title.zh, plan.title.en, *steps]
                self._paper.notice(f"plan/{plan.rules.name}/{plan.since_utc}", lines)

    def _note_clock(self, now: Now) -> None:
        """A jump is told for a while; a slow correction of a good clock is none."""
        offset = now.utc.timestamp() - now.mono
        if self._offset_s is not None and abs(offset - self._offset_s) > CLOCK_JUMP_S:
            self._jump_s, self._jumped_at = offset - self._offset_s, now.mono
        elif self._jumped_at is not None and now.mono - self._jumped_at > CLOCK_JUMP_TOLD_S:
            self._jump_s, self._jumped_at = 0.0, None
        self._offset_s = offset

    def _of_power(self, now: Now) -> list[Alert]:
        if self._power_at is None or now.mono - self._power_at >= POWER_EVERY_S:
            directory = self._configuration().selftest.power_supply
            self._power, self._power_at = self._read_power(directory), now.mono
        if not self._power.on_battery:
            return []
        percent = self._power.percent
        values: dict[str, str | Text] = {"percent": "?" if percent is None else str(percent)}
        if percent is not None and percent < self._configuration().selftest.battery_percent:
            return [Alert("N-BATTERY-LOW", "", values)]
        return [Alert("N-ON-BATTERY", "", values)]

    def _print(self, notice: Notice) -> None:
        alert = notice.alert
        reference = f"notice/{alert.code}/{alert.subject}/{notice.since_utc}"
        lines = [
            f"{alert.code} {alert.subject}".rstrip(),
            alert.text.zh,
            alert.text.en,
            alert.action.zh,
            alert.action.en,
        ]
        self._paper.notice(reference, lines)

    def _write_metrics(self, document: Mapping[str, Any]) -> None:
        file = self._configuration().alerts.metrics_file
        assert file is not None
        counts = Counter(notice.alert.severity for notice in self._board.standing())
        severities = {"warning": counts["warning"], "critical": counts["critical"]}
        text = metrics.render(
            document,
            self.trends.results,
            self.trends.last_success_utc,
            severities,
            self._paper.slips_waiting,
            self._show.count,
        )
        try:
            metrics.write(file, text)
        except OSError as error:
            if not self._metrics_failed:
                log.error("the metrics file %s cannot be written: %s", file, error.strerror)
            self._metrics_failed = True
        else:
            self._metrics_failed = False
