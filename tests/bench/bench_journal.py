"""Measures the journal against the cheapest durable write there is, in the same run, taking turns.

    python -m tests.bench.bench_journal [DIRECTORY] [COMMITS] [--tight]

Prints a table: p50 and p99 of `append` and of a 4 KiB append with fdatasync to a plain file, their ratio, and, where
strace is installed, the syncs and the bytes handed to the kernel per commit. Budget: for COMMIT alone p50 <= 1.0 x and
p99 <= 2.0 x the raw write, and <= 1.1 syncs a commit. `--tight` exits 1 when a budget is missed. Last come commits of
several entries: CPU an entry (goal: 100 us in commits of 64), and what a reversal's life costs the medium, as the
kernel counts it (goal: 80 kB).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agent.journal import Entry, Journal
from tests.journal_scenes import Home, entry

STATES = ("begun", "reversing", "reversing", "reversed")
SYNCS_MAX = 1.1


def step(number: int) -> tuple[list[Entry], dict[str, int]]:
    """One step of a reversal with bodies of the size that the engine writes (about 0.9 kB public, 0.5 kB sealed)."""
    state = STATES[number % 4]
    secret = bytes(500) if number % 4 < 2 else b""
    one = entry(f"t{number // 4}", state, state != "reversed", secret=secret, public='{"amount_minor":100}' * 45)
    return [one], {"stan L1": number} if state == "begun" else {}


def commit(journal: Journal, number: int) -> None:
    """Stores one step."""
    journal.append(*step(number))


def timed(action: Callable[[], object]) -> float:
    """Microseconds that `action` takes."""
    began = time.perf_counter()
    action()
    return 1e6 * (time.perf_counter() - began)


def percentile(values: list[float], percent: int) -> float:
    """Nearest rank."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def measure(directory: Path, commits: int) -> tuple[list[float], list[float], list[float]]:
    """Microseconds of raw writes, of whole appends, and of COMMIT alone, taking turns."""
    raw, whole, alone = [], [], []
    ticks: list[float] = []

    def clock() -> float:
        ticks.append(time.perf_counter())
        return ticks[-1]

    journal = Home(directory).open(presize_bytes=4 << 20, clock=clock)
    descriptor = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    block = os.urandom(4096)
    for number in range(commits):
        raw.append(timed(lambda: (os.write(descriptor, block), os.fdatasync(descriptor))))
        made = step(number)
        whole.append(timed(lambda made=made: journal.append(*made)))
        alone.append(1e6 * (ticks[-1] - ticks[-2]))
    os.close(descriptor)
    journal.close()
    return raw, whole, alone


def syncs_per_commit(directory: Path, commits: int) -> tuple[float, float] | None:
    """Syncs and bytes written per commit, from a trace of a second process; None without strace."""
    if shutil.which("strace") is None:
        return None
    trace = directory / "trace"
    command = ["strace", "-s", "0", "-e", "trace=fsync,fdatasync,pwrite64", "-o", str(trace)]
    worker = [sys.executable, "-m", "tests.bench.bench_journal", "--only", str(directory / "traced"), str(commits)]
    subprocess.run([*command, *worker], check=True)
    lines = trace.read_text().splitlines()
    marks = [number for number, line in enumerate(lines) if ", 7, 0) " in line]  # the worker's own 7-byte markers
    between = lines[marks[0] : marks[1]]
    syncs = sum(line.startswith(("fsync", "fdatasync")) for line in between)
    written = sum(int(found[1]) for line in between if (found := re.search(r"= (\d+)$", line)))
    return syncs / commits, written / commits


def only(directory: Path, commits: int) -> None:
    """The traced process: nothing but commits between two markers."""
    directory.mkdir()
    journal = Home(directory).open(presize_bytes=4 << 20)
    marker = os.open(directory / "marker", os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(marker, b"started", 0)
    for number in range(commits):
        commit(journal, number)
    os.pwrite(marker, b"stopped", 0)
    os.close(marker)
    journal.close()


def batches(directory: Path, size: int, entries: int) -> tuple[float, int]:
    """Microseconds of CPU an entry, and bytes sent to the medium for a reversal's four records, as the kernel counts.

    In commits of `size` steps, each of another reversal; 1.3 kB public, as the engine's. 0 bytes on a memory disk.
    """
    journal = Home(directory).open(presize_bytes=4 << 20)
    public = '{"amount_minor":100}' * 63
    steps = [
        [entry(f"l-{n}", state, state != "reversed", secret=bytes(78) if first else b"", public=public) for n in chunk]
        for start in range(0, entries // 4, size)
        for chunk in [range(start, start + size)]
        for state, first in zip(STATES, (True, False, False, False), strict=True)
    ]
    began = time.process_time()
    for number, step in enumerate(steps):
        journal.append(step, {"stan L1": number, "txn L1": number})
    used = time.process_time() - began
    written = journal.health().bytes_per_reversal
    journal.close()
    return 1e6 * used / sum(len(step) for step in steps), written


def main() -> int:
    """See the module."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if "--only" in sys.argv:
        only(Path(words[0]), int(words[1]))
        return 0
    commits = int(words[1]) if len(words) > 1 else 2000
    with tempfile.TemporaryDirectory(dir=words[0] if words else None) as name:
        raw, whole, alone = measure(Path(name), commits)
        traced = syncs_per_commit(Path(name), commits)
        grouped = []
        for size in (1, 8, 64, 256):
            place = Path(name, f"batch-{size}")
            place.mkdir()
            grouped.append((size, *batches(place, size, 4096)))
    print(f"{'':24}{'p50 us':>10}{'p99 us':>10}{'p50 x raw':>11}{'p99 x raw':>11}")
    for title, values in (("raw 4 KiB + fdatasync", raw), ("COMMIT", alone), ("append, whole", whole)):
        p50, p99 = percentile(values, 50), percentile(values, 99)
        print(f"{title:24}{p50:10.0f}{p99:10.0f}{p50 / percentile(raw, 50):11.2f}{p99 / percentile(raw, 99):11.2f}")
    if traced:
        print(f"{traced[0]:.3f} syncs and {traced[1]:.0f} bytes written per commit, over {commits} commits")
    else:
        print("no strace: syncs not counted (apt install strace)")
    for size, cpu_us, written in grouped:
        print(
            f"commits of {size:3} entries: {cpu_us:6.1f} us of CPU an entry, {written / 1000:5.1f} kB a reversal's life"
        )
    good = percentile(alone, 50) <= percentile(raw, 50) and percentile(alone, 99) <= 2 * percentile(raw, 99)
    return 0 if (good and (not traced or traced[0] <= SYNCS_MAX)) or "--tight" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
