"""Outcomes of one turn share a commit, but never so many that the first of them wait for the work of the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from agent.outcome_desk import TOGETHER_MIN, TOGETHER_PER_MS, Ended, OutcomeDesk
from agent.outcomes import Unsent


def play(commit_s: float, act: Callable[[OutcomeDesk, list[list[int]]], None]) -> list[list[int]]:
    """What is handed over together, by number, until the desk is empty; `act` runs in the first turn."""
    handed: list[list[int]] = []

    def hand(ended: Sequence[Ended]) -> None:
        handed.append([number for number, _ in ended])

    async def run() -> None:
        desk = OutcomeDesk(hand, lambda: commit_s)
        act(desk, handed)
        for _ in range(100):
            await asyncio.sleep(0)

    asyncio.run(run())
    return handed


def deliver(desk: OutcomeDesk, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        desk.deliver(number, Unsent("network", "refused"))


def test_what_arrives_in_one_turn_is_handed_over_together_and_later() -> None:
    def act(desk: OutcomeDesk, handed: list[list[int]]) -> None:
        deliver(desk, 3)
        assert handed == []

    assert play(0.0, act) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("commit_s", "most"), [(0.0, TOGETHER_MIN), (0.0001, TOGETHER_MIN), (0.01, TOGETHER_PER_MS * 10)]
)
def test_more_than_a_commit_is_worth_follow_in_the_next_turns_in_order(commit_s: float, most: int) -> None:
    total = 3 * most + 1
    handed = play(commit_s, lambda desk, _: deliver(desk, total))
    assert [len(together) for together in handed] == [most, most, most, 1]
    assert [number for together in handed for number in together] == list(range(total))


def test_what_arrives_while_others_wait_stands_behind_them() -> None:
    def act(desk: OutcomeDesk, handed: list[list[int]]) -> None:
        deliver(desk, TOGETHER_MIN + 1)
        asyncio.get_running_loop().call_soon(deliver, desk, 2, 100)

    handed = play(0.0, act)
    assert [number for together in handed for number in together] == [*range(TOGETHER_MIN + 1), 100, 101]


def test_at_the_end_nothing_is_left_behind() -> None:
    def act(desk: OutcomeDesk, handed: list[list[int]]) -> None:
        deliver(desk, 5 * TOGETHER_MIN)
        desk.hand_over()
        assert handed == [list(range(5 * TOGETHER_MIN))]

    assert len(play(0.0, act)) == 1
