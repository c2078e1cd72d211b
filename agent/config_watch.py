"""The configuration of watching and preventing: [alerts], [selftest] and [[plan]]."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Literal

from agent import config_keys as key
from agent.config_shapes import DAY_S, TEBIBYTE
from protocol.frozen import dataclass

WORD = r"[^\x00-\x1f]{1,255}"


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """[alerts]: what is told, when, and to whom."""

    pending_age_s: float = field(
        default=600.0, metadata=key.number("Alert when the oldest reversal is older", 1, 365 * DAY_S, "s")
    )
    pending_count: int = field(default=5, metadata=key.integer("Alert when more reversals are owed", 0, 10_000))
    pending_amount_minor: int | None = field(
        default=None,
        metadata=key.integer("Alert when more is owed in one currency", 0, 10**12, "minor units"),
    )
    window_s: float = field(
        default=900.0, metadata=key.number("Span over which time-outs, refusals and errors are counted", 60, DAY_S, "s")
    )
    lost_percent: int = field(
        default=20, metadata=key.integer("Alert when so many exchanges of the span fail", 1, 100, "percent")
    )
    refused_percent: int = field(
        default=50, metadata=key.integer("Alert when the host refuses so many requests of the span", 1, 100, "percent")
    )
    slow_percent: int = field(
        default=50,
        metadata=key.integer("Alert when answers take so much of the reply time-out", 1, 100, "percent"),
    )
    device_errors: int = field(
        default=5, metadata=key.integer("Alert when a device has so many errors in the span", 1, 100_000)
    )
    commit_p99_ms: float = field(
        default=1000.0, metadata=key.number("Alert when one commit in a hundred takes longer", 1, 600_000, "ms")
    )
    disk_free_bytes: int = field(
        default=64 << 20, metadata=key.integer("Alert when less is free on the disk", 0, TEBIBYTE, "bytes")
    )
    certificate_days: int = field(
        default=30, metadata=key.integer("Alert when the host's certificate ends within", 1, 365, "days")
    )
    repeat_s: float = field(
        default=3600.0, metadata=key.number("An alert that lasts is told again after this time", 60, 30 * DAY_S, "s")
    )
    clear_after_s: float = field(
        default=60.0, metadata=key.number("All-clear when the cause has been gone for so long", 0, DAY_S, "s")
    )
    command: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Program and arguments that get each alert as JSON on standard input; no shell; empty: none",
            WORD,
            "one argument",
        ),
    )
    command_timeout_s: float = field(
        default=10.0, metadata=key.number("Longest time for the program; then it is killed", 0.1, 300, "s")
    )
    webhook: str = field(
        default="",
        metadata=key.text(
            "Address that gets each alert as JSON by HTTP POST; empty: none",
            r"(?:https?://[^\s@]{1,500})?",
            '"https://monitor.example/alerts", without a password',
        ),
    )
    webhook_timeout_s: float = field(
        default=10.0, metadata=key.number("Longest time for each step of the HTTP request", 0.1, 120, "s")
    )
    slip: Literal["never", "critical"] = field(
        default="never", metadata=key.choice("Which alerts are printed as a slip too", "never", "critical")
    )
    metrics_file: Path | None = field(
        default=None,
        metadata=key.path(
            "Metrics for Prometheus (node_exporter's textfile collector), e.g. a file reversald.prom", "agent.run_dir"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """[selftest]: how often the machine is looked over, and within which limits."""

    automatic: bool = field(
        default=True, metadata=key.flag("The daemon makes the test by itself when it is due, at an idle moment")
    )
    every_days: int = field(
        default=1,
        metadata=key.integer("A self test is due so long after the last one", 1, 366, "days"),
    )
    quiet_s: float = field(
        default=300.0,
        metadata=key.number("An idle moment: no sale and no reversal for so long", 0, DAY_S, "s"),
    )
    clock_warn_s: float = field(
        default=60.0,
        metadata=key.number("Alert when this machine's clock and the host's differ by more", 1, DAY_S, "s"),
    )
    clock_fail_s: float = field(
        default=600.0,
        metadata=key.number("The self test fails when they differ by more", 1, DAY_S, "s"),
    )
    battery_percent: int = field(
        default=30, metadata=key.integer("Alert when a battery that is in use has less charge", 1, 100, "percent")
    )
    power_supply: Path = field(
        default=Path("/sys/class/power_supply"),
        metadata=key.path("Where the kernel shows mains and battery", "this file's directory"),
    )
    udev_rules: Path = field(
        default=Path("/etc/udev/rules.d/70-pos-devices.rules"),
        metadata=key.path("The installed udev rules", "this file's directory"),
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """[[plan]]: changes one of the built-in emergency plans (docs/emergency-plans.md). What is not given stays."""

    name: Literal["host-outage", "power-failing", "storage-failing", "device-lost"] = field(
        metadata=key.choice("Which plan", "host-outage", "power-failing", "storage-failing", "device-lost")
    )
    enabled: bool = field(default=True, metadata=key.flag("Whether it can trigger"))
    after_s: float | None = field(
        default=None, metadata=key.number("It triggers when its alert has stood for so long", 0, DAY_S, "s")
    )
    block_sales: bool | None = field(
        default=None, metadata=key.flag("New sales are refused while it is on (a storage that fails always refuses)")
    )
    print_notice: bool | None = field(default=None, metadata=key.flag("A notice is printed when it triggers"))
    people: tuple[str, ...] = field(
        default=(),
        metadata=key.texts("Steps of your own, after those of the plan; a telephone number, say", WORD, "one line"),
    )
