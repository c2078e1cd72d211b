"""The simulator: same seed, same run; the wall clock does not matter; a failure can be replayed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.simulation.campaign import WALL_SHIFT_S
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import Options
from tests.simulation.run import run
from tests.simulation.shrink import command, shrink
from tests.simulation.swarm import KINDS

SAME_SEEDS = 20


def test_the_same_seed_is_the_same_run() -> None:
    """Two runs of a seed tell the same story, line by line."""
    for seed in range(SAME_SEEDS):
        assert run(seed).digest == run(seed).digest


def test_another_wall_clock_changes_no_decision() -> None:
    """The same seed on another day decides the same at the same monotonic second."""
    for seed in range(SAME_SEEDS):
        assert run(seed).decisions == run(seed, Options(wall_shift_s=WALL_SHIFT_S)).decisions


def test_a_run_without_faults_completes_and_reverses_as_the_shop_wants() -> None:
    """With every fault left out nothing is pending and nothing crashed."""
    for seed in range(SAME_SEEDS):
        result = run(seed, Options(without=frozenset(KINDS)))
        assert (result.rule, result.crashes) == ("", 0)


def test_a_failing_run_shrinks_to_one_that_fails_the_same_way_and_can_be_replayed() -> None:
    """Shrinking keeps the broken rule; the command names what was left out."""
    mutant = next(one for one in MUTANTS if one.name == "lost-is-unsent")
    with mutant.planted():
        first = next(result for result in map(run, range(50)) if result.rule)
        options, smallest = shrink(first.seed, Options())
        again = run(first.seed, options)
    assert smallest.rule == again.rule == first.rule
    assert smallest.digest == again.digest
    assert len(smallest.story) <= len(first.story)
    assert f"--seed {first.seed}" in command(first.seed, options)


def test_the_page_names_every_rule() -> None:
    """A rule that breaks is looked up in docs/simulation.md by its name."""
    here = Path(__file__).parent
    sources = [(here / name).read_text() for name in ("watch.py", "run.py", "campaign.py", "people.py")]
    calls = r'(?:_hold\([^"]*?|BrokenRule\(|rule, text = |RULE = )"([a-z]+(?:-[a-z]+)+)"'
    rules = {rule for source in sources for rule in re.findall(calls, source)}
    page = (here.parents[1] / "docs" / "simulation.md").read_text()
    assert len(rules) > 35
    assert not {rule for rule in rules if f"`{rule}`" not in page}
