"""The harness tested: the simulator finds every planted bug."""

from __future__ import annotations

import pytest

from tests.conftest import Counted
from tests.simulation.campaign import MUTANT_RUNS_MAX, hunt
from tests.simulation.mutants import MUTANTS


def test_the_list_is_as_long_as_promised() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 50


@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_a_planted_bug_is_found(name: str, counted: Counted) -> None:
    """A planted bug that no seed finds would be a promise that nobody watches."""
    found = hunt(name)
    counted("mutants", planted=1, found=int(found.seed >= 0), runs_needed=found.runs)
    counted("mutants, found by seed", **{f"{name} ({found.rule})": found.seed})
    assert found.seed >= 0, f"{name} survived {MUTANT_RUNS_MAX} runs"
