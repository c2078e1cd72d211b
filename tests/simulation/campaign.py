"""Many runs on all cores: what was drawn, what was broken, which mutants are found."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice, zip_longest
from multiprocessing import get_context
from typing import TypeVar

from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import Options
from tests.simulation.run import Result, run
from tests.simulation.shrink import command, shrink, story
from tests.simulation.swarm import Swarm

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

CHUNK = 50
WALL_EVERY = 25  # Every so many seeds a run is made again under another wall clock.
WALL_SHIFT_S = 11 * 86_400.0 + 3_600.5
WALL_RULE = "wall-clock-matters"
DAMAGE = frozenset({"reply-corrupted", "request-corrupted"})
LINES_MAX = 80
MUTANT_RUNS_MAX = 400


@dataclass
class Tally:
    """Figures over many runs; `again` of them were made twice, under another wall clock."""

    runs: int = 0
    again: int = 0
    broken: list[tuple[int, str, str]] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """One run more."""
        self.runs += 1
        self.struck.update(result.struck)
        self.states.update(result.counts.states)
        counts = result.counts
        self.sums.update(
            crashes=result.crashes,
            starts=counts.starts,
            exchanges=counts.exchanges,
            reversals=counts.reversals,
            commits=counts.commits,
            batches=counts.batches,
            hours=round(result.seconds / 3600),
        )
        if result.rule:
            self.broken.append((result.seed, result.rule, result.text))

    def merge(self, other: Tally) -> None:
        """The figures of another worker."""
        self.runs += other.runs
        self.again += other.again
        self.broken += other.broken
        self.struck.update(other.struck)
        self.sums.update(other.sums)
        self.states.update(other.states)


@dataclass(frozen=True)
class Found:
    """How a mutant fared: the seed that found it (-1: it survived), the rule it broke, how many runs that took."""

    name: str
    seed: int
    rule: str
    runs: int


def runs(seeds: Iterable[int]) -> Tally:
    """These seeds, in this process."""
    tally = Tally()
    for seed in seeds:
        result = run(seed)
        tally.add(result)
        if seed % WALL_EVERY == 0 and not result.rule:
            tally.add(on_another_day(seed, Options()))
            tally.again += 1
    return tally


def on_another_day(seed: int, options: Options) -> Result:
    """The same run under two wall clocks: every decision must be the same, at the same moment.

    Without damaged messages: whether a flipped bit leaves a digit depends on the date that the message bears.
    """
    options = replace(options, without=options.without | DAMAGE)
    first, again = run(seed, options), run(seed, replace(options, wall_shift_s=WALL_SHIFT_S))
    if not again.rule and again.decisions != first.decisions:
        pairs = zip_longest(first.decisions, again.decisions)
        here, there = next(pair for pair in pairs if pair[0] != pair[1])
        again.rule, again.text = WALL_RULE, f"{here} here is {there} on another day"
    return again


def all_runs(first: int, count: int) -> Iterator[Tally]:
    """`count` seeds from `first` on all cores; figures chunk by chunk."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    yield from _in_parallel(runs, chunks)


def all_mutants(names: frozenset[str] = frozenset()) -> Iterator[Found]:
    """Every mutant (of these names) hunted on all cores."""
    yield from _in_parallel(hunt, [mutant.name for mutant in MUTANTS if not names or mutant.name in names])


def hunt(name: str) -> Found:
    """Seeds until this mutant breaks a rule that holds without it; only seeds that draw the faults it needs."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    fitting = (seed for seed in count() if Swarm(seed).weights.keys() >= set(mutant.needs))
    for runs, seed in enumerate(islice(fitting, MUTANT_RUNS_MAX), start=1):
        with mutant.planted():
            result = run(seed)
        if result.rule and run(seed).rule != result.rule:
            return Found(name, seed, result.rule, runs)
    return Found(name, -1, "", MUTANT_RUNS_MAX)


def explained(seed: int, rule: str) -> str:
    """The smallest story of a failing seed and the command that replays it."""
    smallest, result = shrink(seed, Options(), on_another_day if rule == WALL_RULE else run)
    return f"{story(result, LINES_MAX)}\nreplay: {command(seed, smallest)}"


def soak(first: int, say: Callable[[str], None]) -> int:
    """Growing seeds until something breaks; 1 then."""
    tally, at, began = Tally(), first, time.monotonic()
    while True:
        for part in all_runs(at, 20 * CHUNK):
            tally.merge(part)
        at += 20 * CHUNK
        say(f"{tally.runs} runs up to seed {at - 1}, {time.monotonic() - began:.0f} s, {len(tally.broken)} broken")
        if tally.broken:
            seed, rule, text = tally.broken[0]
            say(f"seed {seed} breaks {rule}: {text}\n{explained(seed, rule)}")
            return 1


def _in_parallel(work: Callable[[_Given], _Made], items: list[_Given]) -> Iterator[_Made]:
    workers = min(os.cpu_count() or 1, len(items))
    with get_context("spawn").Pool(workers, initializer=_prepare) as pool:
        yield from pool.imap_unordered(work, items)


def _prepare() -> None:
    """Runs are short and make few cycles: collecting them seldom saves a tenth."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
