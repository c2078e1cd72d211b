"""No rule breaks in ten thousand different days of faults; the quick run makes the first few hundred of them."""

from __future__ import annotations

from functools import cache

import pytest

from tests.conftest import Counted
from tests.simulation.campaign import Tally, explained, runs
from tests.simulation.swarm import KINDS

FIRST_SEEDS = 400
SEEDS = 10_000
PART = 800
PARTS = [range(first, min(first + PART, SEEDS)) for first in range(FIRST_SEEDS, SEEDS, PART)]


@cache
def first_runs() -> Tally:
    return runs(range(FIRST_SEEDS))


def check(tally: Tally, counted: Counted) -> None:
    struck, sums = tally.struck, tally.sums
    counted(
        "simulation",
        seeds=tally.runs - tally.again,
        runs=tally.runs,
        simulated_hours=sums["hours"],
        crashes=sums["crashes"],
        power_cuts=struck["power-cut"],
        kills=struck["process-killed"],
        commits=sums["commits"],
        commits_of_several=sums["batches"],
        reversals_sent=sums["reversals"],
        violations=len(tally.broken),
    )
    counted("simulation, faults that struck", **{kind.replace("-", "_"): struck[kind] for kind in KINDS})
    assert not tally.broken, f"{tally.broken[0]}\n{explained(*tally.broken[0][:2])}"


def test_no_rule_breaks_in_a_few_hundred_days_of_faults(counted: Counted) -> None:
    """Every promise holds whatever the network, the disk, the power, the clock and people do."""
    check(first_runs(), counted)


def test_the_faults_that_are_drawn_do_strike() -> None:
    """No kind of fault is a dead letter: each strikes within a few hundred runs."""
    assert set(KINDS) == set(first_runs().struck)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", PARTS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_no_rule_breaks_in_ten_thousand_days_of_faults(seeds: range, counted: Counted) -> None:
    """The same, with the seeds of `make simulate`."""
    check(runs(seeds), counted)
