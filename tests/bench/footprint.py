"""What the daemon costs while nothing happens, and how soon the command line answers."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.bench.figures import Figure, spread
from tests.bench.scene import PYTHON, Place, cpu_ms, environment, memory_mb, running, threads_and_files, wake_ups

UNKNOWN = 3  # the worst exit code of an answer: 0 well, 1 warning, 2 critical, 3 unknown
DEAD_PORT = 1  # nothing listens there: what is pending stays pending


def figures(directory: Path, compiled: Path, pending: int, idle_s: float, calls: int) -> list[Figure]:
    """Idle without and with devices, idle with many pending, `reversalctl status`."""
    found = _idle(directory / "bare", compiled, "two lanes", 0, idle_s, devices=False)
    found += _idle(directory / "devices", compiled, "two lanes, three devices (not there)", 0, idle_s, devices=True)
    place = _place(directory / "pending", compiled, devices=False)
    place.seed(pending)
    with running(place) as agent:
        time.sleep(idle_s)
        rss = memory_mb(agent.pid)["rss"]
        found.append(Figure("Footprint", f"RSS, {pending:,} pending", rss, "MB", goal="<= 60 MB", met=rss <= 60))
        found += _status(place, compiled, f"reversalctl status, {pending:,} pending", max(3, calls // 3))
    return found


def _place(directory: Path, compiled: Path, *, devices: bool) -> Place:
    lanes = [("unionpay", "unionpay-pos", DEAD_PORT), ("iso87", "iso87-ascii", DEAD_PORT)]
    return Place(directory, lanes, compiled=compiled, devices=devices)


def _idle(directory: Path, compiled: Path, name: str, pending: int, idle_s: float, *, devices: bool) -> list[Figure]:
    place = _place(directory, compiled, devices=devices)
    with running(place):
        pass  # what the first start compiles is no part of the next one's memory
    with running(place) as agent:
        time.sleep(3)  # the work of the start is over
        pid, began = agent.pid, time.monotonic()
        cpu, woken = cpu_ms(pid), wake_ups(pid)
        time.sleep(idle_s)
        seconds = time.monotonic() - began
        percent = (cpu_ms(pid) - cpu) / 10 / seconds
        woken_s = (wake_ups(pid) - woken) / seconds
        memory = memory_mb(pid)
        threads, files = threads_and_files(pid)
        calls = [] if devices else _status(place, compiled, "reversalctl status", 9)
    note = f"private {memory['private']:.1f} MB, proportional {memory['pss']:.1f} MB"
    subject = "Footprint"
    return [
        Figure(subject, f"RSS, {name}", memory["rss"], "MB", goal="<= 40 MB", met=memory["rss"] <= 40, note=note),
        Figure(subject, f"CPU at idle, {name}", percent, "%", goal="<= 0.1 %", met=percent <= 0.1),
        Figure(subject, f"wake-ups at idle, {name}", woken_s, "a second", goal="<= 1", met=woken_s <= 1),
        Figure(subject, f"threads, {name}", threads, ""),
        Figure(subject, f"open files, {name}", files, ""),
        *calls,
    ]


def _status(place: Place, compiled: Path, name: str, calls: int) -> list[Figure]:
    """Wall time of the command; the best counts for the goal: this machine may have other work."""
    command = [*PYTHON, "-m", "agent.reversalctl", "--config", str(place.configuration), "status"]
    samples = []
    for _ in range(calls + 1):
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, cwd=place.directory, env=environment(compiled))
        samples.append(1000 * (time.monotonic() - began))
        if not done.stdout or done.returncode > UNKNOWN:
            raise RuntimeError(f"reversalctl status ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    best = min(samples[1:])
    more = {"goal": "<= 80 ms", "met": best <= 80, "note": f"best of {calls}: {best:.0f} ms"}
    return [spread("Footprint", name, samples[1:], "ms", **more)]
