"""From the start of the process to the first overdue reversal on the wire, with few and with many pending."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Figure, percentile
from tests.bench.scene import PYTHON, Host, Place, cpu_ms, environment

SUBJECT = "Start of the process to the first overdue reversal on the wire"
GOALS_MS = {1: 250, 1_000: 300, 50_000: 1_500}


def figures(directory: Path, compiled: Path, counts: Sequence[int], times: int) -> list[Figure]:
    """See the module. The best start counts for the goal: this machine may have other work."""
    bare = percentile([_bare_ms(directory, compiled) for _ in range(max(3, times))], 50)
    found = []
    for count in counts:
        samples = start_samples(directory / f"start-{count}", compiled, count, times if count < 10_000 else 2)
        best, goal = min(wall for wall, _ in samples), GOALS_MS.get(count)
        found.append(
            Figure(
                SUBJECT,
                f"{count:,} pending",
                percentile([wall for wall, _ in samples], 50),
                "ms",
                baseline_name="python3 -c pass",
                baseline=bare,
                goal=f"<= {goal} ms" if goal else "",
                met=best <= goal if goal else None,
                note=f"best of {len(samples)}: {best:.0f} ms, CPU {min(cpu for _, cpu in samples):.0f} ms",
            )
        )
    return found


def start_samples(directory: Path, compiled: Path, count: int, times: int) -> list[tuple[float, float]]:
    """(wall ms, CPU ms) of each start from the same kind of journal. The first compiles the modules and is left out."""
    samples = []
    for turn in range(times + 1):
        with Host(compiled) as host, Host(compiled, "iso87-ascii", key=b"") as other:
            lanes = [("unionpay", "unionpay-pos", host.port), ("iso87", "iso87-ascii", other.port)]
            place = Place(directory / str(turn), lanes, compiled=compiled)
            place.seed(count)
            samples.append(_start(place, host))
    return samples[1:]


def _start(place: Place, host: Host) -> tuple[float, float]:
    began = time.monotonic()
    process = place.agent.spawn()
    first_at = cpu = 0.0
    while not first_at:
        if process.poll() is not None:
            raise RuntimeError(f"the daemon ended: {place.agent.log_file.read_text()[-2000:]}")
        time.sleep(0.002)
        cpu = cpu_ms(process.pid)
        first_at = host.books()["first_at"]
    place.agent.kill()
    return 1000 * (first_at - began), cpu


def _bare_ms(directory: Path, compiled: Path) -> float:
    began = time.monotonic()
    subprocess.run([*PYTHON, "-c", "pass"], check=True, cwd=directory, env=environment(compiled))
    return 1000 * (time.monotonic() - began)
