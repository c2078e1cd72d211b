"""`retry` shows what became of the try that it ordered, and does not wait for ever."""

from __future__ import annotations

from typing import Any

from agent.cli_act import LOOK_EVERY_S, retry

BEFORE = {"state": "reversing", "tries": 2, "trying_now": False}
UNDER_WAY = {"state": "reversing", "tries": 3, "trying_now": True}
REFUSED = {"state": "reversing", "tries": 3, "trying_now": False}
REVERSED = {"state": "reversed", "tries": 3, "trying_now": False}


class Agent:
    """Answers `reversal.show` with one item after the other; the last one stays."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self._items = list(items)
        self.slept_s = 0.0

    def __call__(self, method: str, **params: Any) -> Any:
        if method == "reversal.retry":
            return {"retried": [params["id"]]}
        return self._items.pop(0) if len(self._items) > 1 else self._items[0]

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def test_it_waits_until_the_try_has_ended() -> None:
    agent = Agent(BEFORE, BEFORE, UNDER_WAY, UNDER_WAY, REVERSED)
    assert retry(agent, "main-1", 10, agent.sleep) == REVERSED
    assert agent.slept_s == 3 * LOOK_EVERY_S


def test_a_try_that_failed_is_a_result_too() -> None:
    agent = Agent(BEFORE, UNDER_WAY, REFUSED)
    assert retry(agent, "main-1", 10, agent.sleep) == REFUSED


def test_it_gives_up_waiting_in_time_and_shows_how_it_stands() -> None:
    agent = Agent(BEFORE, UNDER_WAY)
    assert retry(agent, "main-1", 2, agent.sleep) == UNDER_WAY
    assert agent.slept_s == 2


def test_it_does_not_wait_when_told_so() -> None:
    agent = Agent(BEFORE, UNDER_WAY)
    assert retry(agent, "main-1", 0, agent.sleep) == UNDER_WAY
    assert agent.slept_s == 0
