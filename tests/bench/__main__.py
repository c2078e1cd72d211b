"""Measures everything that the agent promises about speed and size; prints tables and writes JSON.

    python -m tests.bench [--quick] [--most N] [--only WORD] [--directory DIR] [--json FILE]

Nothing here is a test: a missed goal is shown, it is no failure. It ends with an error only where it cannot run.
`--quick`: seconds instead of minutes, for continuous integration; its figures prove only that they can be had.
`--most`: leaves out what needs more pending items or records than N (50,000 take most of the time).
`--only`: the benches whose name contains the word. `--directory`: on the file system that is to be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import devices, footprint, parsers, start, work
from tests.bench.figures import Figure, table
from tests.bench.machine import describe, installed

DRAINS = [(1000, 1, 0), (1000, 32, 0), (1000, 1, 50), (1000, 32, 50), (50_000, 1, 0), (50_000, 32, 0), (50_000, 32, 50)]
COMES_BACK = [1000, 50_000]
Bench = Callable[[], list[Figure]]


def benches(directory: Path, compiled: Path, quick: bool, most: int) -> dict[str, Bench]:
    """By name, in the order of the table."""
    if quick:
        return {
            "intent": lambda: work.intent(directory, 100),
            "sale": lambda: work.sale(directory, compiled, 20),
            "start": lambda: start.figures(directory, compiled, [1, 100], 1),
            "drain": lambda: work.drain(directory, compiled, [(100, 1, 0), (100, 4, 5)], [100]),
            "growth": lambda: work.growth(directory, [10, 500], 50),
            "footprint": lambda: footprint.figures(directory, compiled, 500, 1.0, 2),
            "parsers": lambda: parsers.figures(0.03),
            "devices": lambda: devices.figures(directory, 0.5, 1, quick=True),
        }
    return {
        "intent": lambda: work.intent(directory, 5000),
        "sale": lambda: work.sale(directory, compiled, 1000),
        "start": lambda: start.figures(directory, compiled, [n for n in (1, 1000, 50_000) if n <= most], 9),
        "drain": lambda: work.drain(
            directory,
            compiled,
            [case for case in DRAINS if case[0] <= most],
            [pending for pending in COMES_BACK if pending <= most],
        ),
        "growth": lambda: work.growth(directory, [n for n in (10, 1000, 100_000) if n <= most], 2000),
        "footprint": lambda: footprint.figures(directory, compiled, min(most, 50_000), 20.0, 9),
        "parsers": lambda: parsers.figures(1.0),
        "devices": lambda: devices.figures(directory, 60.0, 5),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="tests.bench", description="Measures speed and size of the agent.")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--most", type=int, default=100_000, metavar="N", help="no more items or records than this")
    parser.add_argument("--only", default="", metavar="WORD", help="only the benches whose name contains this")
    parser.add_argument("--directory", default=None, metavar="DIR", help="measure on this file system")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        directory = Path(name)
        machine = describe(directory)
        print("\n".join(f"{key}: {value}" for key, value in machine.items()))
        compiled = installed(directory / "compiled")
        for title, bench in benches(directory, compiled, options.quick, options.most).items():
            if options.only not in title:
                continue
            began = time.monotonic()
            figures = bench()
            found += figures
            print(table(figures), flush=True)
            print(f"\n({title}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine,
        "measured_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "figures": [figure.as_json() for figure in found],
    }
    options.json.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
