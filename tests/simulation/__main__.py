"""The simulator's command: many seeds and the mutants, one seed with its story, or soak.

    python -m tests.simulation --seeds 10000        as `make simulate`
    python -m tests.simulation --seed 42            one run as a time line
    python -m tests.simulation --soak               until something breaks

Exit code 0: every rule held and every mutant was found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.simulation.campaign import Tally, all_mutants, all_runs, explained, soak
from tests.simulation.plan import Options
from tests.simulation.run import run
from tests.simulation.shrink import story

EXPLAINED_MAX = 3


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    options = _parser().parse_args(argv)
    if options.soak:
        return soak(options.first, lambda text: print(text, flush=True))
    if options.seed is not None:
        return _one(options)
    failed = _many(options.first, options.seeds) if options.seeds else False
    survived = False if options.no_mutants else _mutants(frozenset(options.mutants))
    return 1 if failed or survived else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate the agent under faults.")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--no-mutants", action="store_true", help="leave the mutants out")
    parser.add_argument("--mutants", nargs="*", default=(), metavar="NAME", help="hunt these mutants only")
    parser.add_argument("--soak", action="store_true", help="growing seeds until something breaks")
    parser.add_argument("--seed", type=int, help="one run as a time line")
    parser.add_argument("--without", type=_words, default=frozenset(), metavar="FAULT,...", help="leave faults out")
    parser.add_argument("--no-sales", type=_numbers, default=frozenset(), metavar="N,...", help="leave sales out")
    parser.add_argument("--no-acts", type=_numbers, default=frozenset(), metavar="N,...", help="leave acts out")
    return parser


def _one(options: argparse.Namespace) -> int:
    result = run(options.seed, Options(options.without, options.no_sales, options.no_acts))
    print(story(result))
    print(f"digest {result.digest[:16]}: {result.rule or 'every rule held'}")
    return 1 if result.rule else 0


def _many(first: int, count: int) -> bool:
    tally, began = Tally(), time.monotonic()
    for part in all_runs(first, count):
        tally.merge(part)
    sums = tally.sums
    print(f"{count} seeds in {time.monotonic() - began:.0f} s, {tally.again} of them twice: under another wall clock")
    print(f"  {sums['hours']} simulated hours, starts {sums['starts']}, commits {sums['commits']}, ", end="")
    print(f"of these {sums['batches']} of several records")
    kills, cuts, syncs = (tally.struck[kind] for kind in ("process-killed", "power-cut", "sync-fails"))
    print(f"  crash states recovered: {kills} kills, {cuts} power cuts, {syncs} failed syncs")
    print(f"  exchanges {sums['exchanges']}, of these reversals {sums['reversals']}")
    print("  items at the end: " + ", ".join(f"{state} {n}" for state, n in sorted(tally.states.items())))
    print(f"  {len(tally.struck)} kinds of faults, {tally.struck.total()} struck:")
    for kind, struck in sorted(tally.struck.items()):
        print(f"    {struck:8} {kind}")
    print(f"  violations: {len(tally.broken)}")
    for seed, rule, text in sorted(tally.broken)[:EXPLAINED_MAX]:
        print(f"\nseed {seed} breaks {rule}: {text}\n{explained(seed, rule)}")
    for seed, rule, text in sorted(tally.broken)[EXPLAINED_MAX:]:
        print(f"seed {seed} breaks {rule}: {text}")
    return bool(tally.broken)


def _mutants(names: frozenset[str]) -> bool:
    began = time.monotonic()
    found = sorted(all_mutants(names), key=lambda one: one.name)
    survivors = [one.name for one in found if one.seed < 0]
    for one in found:
        how = f"found by seed {one.seed} ({one.runs} runs): {one.rule}" if one.seed >= 0 else "SURVIVED"
        print(f"  {one.name:36} {how}")
    seconds, runs = time.monotonic() - began, sum(one.runs for one in found)
    print(f"{len(found)} mutants, {len(survivors)} survived, {runs} runs needed, {seconds:.0f} s")
    return bool(survivors)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(word) for word in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
