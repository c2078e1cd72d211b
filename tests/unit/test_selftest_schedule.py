"""The self test by itself: only at an idle moment, ended at once by a sale, and never twice without a reason."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config_watch import SelfTest
from agent.events import Now
from agent.records import State, Transaction
from agent.selftest_schedule import AGAIN_S, DUE_SOON_S, Schedule, idle, under_way
from tests.unit.status_samples import NOW, owed, parked, transaction

RULES = SelfTest(quiet_s=60.0)


class StillLoop:
    def __init__(self, *pending: Transaction, due: float | None = None) -> None:
        self._pending = list(pending)
        self._due = due

    def pending(self) -> list[Transaction]:
        return self._pending

    def next_wake(self) -> float | None:
        return self._due


def lane(*, busy: bool = False, reserved: bool = False) -> Any:
    return SimpleNamespace(busy=object() if busy else None, reserved=reserved)


@pytest.mark.parametrize(
    ("loop", "lanes", "sales", "expected"),
    [
        (StillLoop(), [lane()], 0, True),
        (StillLoop(transaction(state=State.BEGUN)), [lane()], 0, False),
        (StillLoop(owed()), [lane()], 0, False),
        (StillLoop(owed(held=True)), [lane()], 0, True),
        (StillLoop(parked()), [lane()], 0, True),
        (StillLoop(parked(), due=NOW.mono + DUE_SOON_S - 1), [lane()], 0, False),
        (StillLoop(parked(), due=NOW.mono + DUE_SOON_S + 1), [lane()], 0, True),
        (StillLoop(), [lane(), lane(busy=True)], 0, False),
        (StillLoop(), [lane(reserved=True)], 0, False),
        (StillLoop(), [lane()], 1, False),  # a customer stands there, nothing is recorded yet
    ],
)
def test_a_moment_is_idle_when_no_money_moves(loop: StillLoop, lanes: list[Any], sales: int, expected: bool) -> None:
    assert idle(loop, lanes, sales, NOW) is expected


def test_an_exchange_of_the_test_itself_does_not_disturb_it() -> None:
    assert not under_way(StillLoop(parked()), 0)


def later(seconds: float) -> Now:
    return Now(NOW.mono + seconds, NOW.utc + timedelta(seconds=seconds))


class Runs:
    """How often a test was begun, without any process."""

    def __init__(self, last: datetime | None = None, rules: SelfTest = RULES) -> None:
        self.last = last
        self.begun: list[Coroutine[Any, Any, None]] = []
        self.schedule = Schedule(lambda: rules, lambda: Path("x"), lambda: self.last, self.begun.append)

    def look(self, seconds: float, *, may_begin: bool = True, moving: bool = False) -> int:
        self.schedule.look(later(seconds), may_begin=may_begin, moving=moving)
        return len(self.begun)

    def end(self) -> None:
        for work in self.begun:
            work.close()
        self.schedule.running = False


def test_it_waits_for_the_quiet_time_and_a_disturbance_begins_it_anew() -> None:
    runs = Runs()
    assert [runs.look(0), runs.look(50)] == [0, 0]
    assert runs.look(55, may_begin=False) == 0
    assert [runs.look(70), runs.look(129), runs.look(130)] == [0, 0, 1]
    assert runs.look(200) == 1  # it is under way
    runs.end()


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (NOW.utc - timedelta(hours=23), 0),
        (NOW.utc - timedelta(hours=24), 1),
        (NOW.utc + timedelta(days=3), 1),  # the clock was set back: nobody knows how old it is
        (None, 1),
    ],
)
def test_it_is_made_when_it_is_due(last: datetime | None, expected: int) -> None:
    runs = Runs(last)
    runs.look(0)
    assert runs.look(61) == expected
    runs.end()


def test_it_can_be_switched_off() -> None:
    runs = Runs(rules=replace(RULES, automatic=False))
    runs.look(0)
    assert runs.look(1e6) == 0


def test_one_that_could_not_be_made_is_not_tried_at_once_again_but_one_that_was_put_off_is() -> None:
    runs = Runs()
    runs.look(0)
    assert runs.look(61) == 1
    runs.end()
    assert [runs.look(200), runs.look(61 + AGAIN_S)] == [1, 2]
    runs.schedule.disturb()
    runs.end()
    runs.look(5000)
    assert runs.look(5061) == 3
    runs.end()


async def played(tmp_path: Path, program: str, act: Callable[[Schedule], None]) -> Schedule:
    file = tmp_path / "program.py"
    file.write_text(program)
    tasks: list[asyncio.Task[None]] = []
    schedule = Schedule(
        lambda: SelfTest(quiet_s=0.0),
        lambda: tmp_path / "reversald.toml",
        lambda: None,
        lambda work: tasks.append(asyncio.create_task(work)),
        (sys.executable, str(file)),
    )
    schedule.look(NOW, may_begin=True, moving=False)
    async with asyncio.timeout(30):
        while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        act(schedule)
        await tasks[0]
    return schedule


def test_it_runs_as_a_process_with_the_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    begun = str(tmp_path / "begun")
    program = f"import sys, pathlib; pathlib.Path({begun!r}).write_text(' '.join(sys.argv[1:])); sys.exit(1)"
    schedule = asyncio.run(played(tmp_path, program, lambda schedule: None))
    assert (tmp_path / "begun").read_text() == f"--config {tmp_path}/reversald.toml --json selftest --no-paper"
    assert "result 1" in caplog.text
    assert not schedule.running


def test_a_sale_ends_it_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    program = f"import time, pathlib; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); time.sleep(600)"
    schedule = asyncio.run(played(tmp_path, program, Schedule.disturb))
    assert not schedule.running
    assert "put off" in caplog.text
    assert "could not be made" not in caplog.text


def test_one_that_crashes_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = f"import sys, pathlib; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); sys.exit(70)"
    asyncio.run(played(tmp_path, program, lambda schedule: None))
    assert "could not be made: it ended with 70" in caplog.text
