"""The same runs on the real SQLite journal: the model of the store does not flatter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.real_storage import RealStorage
from tests.simulation.run import EVERYTHING, run
from tests.simulation.world import World

SEEDS = 25


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_rule_breaks_on_the_real_journal(seed: int, tmp_path: Path) -> None:
    """Crashes, doubtful commits and restarts, and at the end a chain without a gap."""
    made: list[RealStorage] = []

    def storage(world: World) -> RealStorage:
        made.append(RealStorage(world, tmp_path))
        return made[0]

    result = run(seed, EVERYTHING, storage)
    report = made[0].verified()
    assert not result.rule, f"{result.rule}: {result.text}"
    assert report.whole
    assert report.states == result.counts.states
