"""Metrics in Prometheus' text form, for node_exporter's textfile collector.

Source: Prometheus exposition formats, "Text-based format"; node_exporter PR 769: a file with timestamps is refused, so
there are none. The file is written beside and renamed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

# name: (type, help)
_METRICS: dict[str, tuple[str, str]] = {
    "reversal_pending": ("gauge", "Reversals owed, by lane."),
    "reversal_parked": ("gauge", "Reversals that need a person, by lane."),
    "reversal_pending_amount_minor": ("gauge", "Sum owed, in minor units, by currency."),
    "reversal_oldest_pending_seconds": ("gauge", "Age of the oldest reversal; 0 without one."),
    "reversal_unconfirmed": ("gauge", "Approved sales that nobody confirmed yet."),
    "reversal_lane_blocked": ("gauge", "1 while a lane may not sell."),
    "reversal_link_up": ("gauge", "1 while a lane's host can be reached, 0 while not; missing before the first use."),
    "reversal_link_exchanges_total": ("counter", "Exchanges with the host since the start."),
    "reversal_link_timeouts_total": ("counter", "Exchanges without an answer in time since the start."),
    "reversal_link_connect_failures_total": ("counter", "Connects that failed since the start."),
    "reversal_certificate_days": ("gauge", "Days that the host's certificate is still valid."),
    "reversal_attempts_total": ("counter", "Results of requests and of reversal tries since the start."),
    "reversal_last_success_timestamp_seconds": ("gauge", "When the host last acknowledged a reversal (Unix time)."),
    "reversal_store_commit_seconds": ("gauge", "Time that a commit takes, by quantile."),
    "reversal_store_bytes_free": ("gauge", "Room on the journal's disk."),
    "reversal_store_bytes_per_reversal": ("gauge", "Bytes that a reversal's four records cost the medium, on average."),
    "reversal_store_warnings": ("gauge", "Warnings of the store."),
    "reversal_device_ready": ("gauge", "1 while a device can be used."),
    "reversal_alerts": ("gauge", "Alerts that stand, by severity."),
    "reversal_slips_waiting": ("gauge", "Slips that wait for the printer."),
    "reversal_host_clock_offset_seconds": ("gauge", "The host's clock minus this machine's, by lane."),
    "reversal_selftest_result": ("gauge", "The last self test: 0 passed, 1 warnings, 2 failures; missing before it."),
    "reversal_selftest_timestamp_seconds": ("gauge", "When the last self test was made (Unix time)."),
    "reversal_show_faults_total": ("counter", "Faults in what only shows things, since the start."),
    "reversal_uptime_seconds": ("gauge", "Since the agent was started."),
}

Sample = tuple[str, dict[str, str], float]
# As many decimal digits as a float keeps: enough for a thousand items of the largest amount (DE 4 is n 12).
DIGITS = 15


def render(
    document: Mapping[str, Any],
    results: Mapping[str, int],
    last_success_utc: str,
    alerts: Mapping[str, int],
    slips_waiting: int,
    show_faults: int = 0,
) -> str:
    """The whole file: HELP and TYPE before the samples of each metric, a final newline."""
    by_name: dict[str, list[Sample]] = {}
    for sample in (
        *_items(document),
        *_lanes(document),
        *_store(document),
        *(("reversal_attempts_total", {"result": name}, float(count)) for name, count in sorted(results.items())),
        *(("reversal_alerts", {"severity": name}, float(count)) for name, count in sorted(alerts.items())),
        *_success(last_success_utc),
        ("reversal_slips_waiting", {}, float(slips_waiting)),
        ("reversal_show_faults_total", {}, float(show_faults)),
        *_watch(document.get("watch", {})),
    ):
        by_name.setdefault(sample[0], []).append(sample)
    return "".join(_metric(name, by_name[name]) for name in _METRICS if name in by_name)


def write(path: Path, text: str) -> None:
    """Replaces the file as a whole. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _items(document: Mapping[str, Any]) -> Iterator[Sample]:
    impact = document["impact"]
    for amount in impact["amounts"]:
        yield "reversal_pending_amount_minor", {"currency": amount["letters"]}, float(amount["amount_minor"])
    yield "reversal_oldest_pending_seconds", {}, float(impact["oldest_s"] or 0)
    yield "reversal_unconfirmed", {}, float(impact["unconfirmed"])
    yield "reversal_uptime_seconds", {}, float(document["agent"]["uptime_s"])


def _lanes(document: Mapping[str, Any]) -> Iterator[Sample]:
    for lane in document["lanes"]:
        name, link = {"lane": lane["name"]}, lane["link"]
        yield "reversal_pending", name, float(lane["owed"])
        yield "reversal_parked", name, float(lane["parked"])
        yield "reversal_lane_blocked", name, float(not lane["may_sell"])
        if link is None:
            continue
        if link["state"] != "unknown":
            yield "reversal_link_up", name, float(link["state"] == "up")
        counters = link["counters"]
        for counted in ("exchanges", "timeouts", "connect_failures"):
            yield f"reversal_link_{counted}_total", name, float(counters[counted])
        if link["certificate_days"] is not None:
            yield "reversal_certificate_days", name, float(link["certificate_days"])


def _store(document: Mapping[str, Any]) -> Iterator[Sample]:
    store = document["store"]
    for quantile, key in (("0.5", "commit_p50_ms"), ("0.99", "commit_p99_ms")):
        yield "reversal_store_commit_seconds", {"quantile": quantile}, store[key] / 1000
    yield "reversal_store_bytes_free", {}, float(store["bytes_free"])
    yield "reversal_store_bytes_per_reversal", {}, float(store["bytes_per_reversal"])
    yield "reversal_store_warnings", {}, float(len(store["warnings"]))
    for device in document["devices"]:
        yield "reversal_device_ready", {"device": device["name"]}, float(device["usable"])


def _watch(watch: Mapping[str, Any]) -> Iterator[Sample]:
    for lane, told in watch.get("host_clock", {}).items():
        yield "reversal_host_clock_offset_seconds", {"lane": lane}, float(told["offset_s"])
    last = watch.get("selftest")
    if last is not None:
        result = {"pass": 0, "warn": 1, "fail": 2}.get(last["result"], 2)
        yield "reversal_selftest_result", {}, float(result)
        yield "reversal_selftest_timestamp_seconds", {}, datetime.fromisoformat(last["at_utc"]).timestamp()


def _success(at_utc: str) -> Iterator[Sample]:
    if at_utc:
        yield "reversal_last_success_timestamp_seconds", {}, datetime.fromisoformat(at_utc).timestamp()


def _metric(name: str, samples: list[Sample]) -> str:
    kind, meaning = _METRICS[name]
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {value:.{DIGITS}g}" for _, labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """Backslash, quote and line end, as the format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
