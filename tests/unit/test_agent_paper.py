"""Slips wait for their printer, in order, each once, and a printer that has paper again need not say so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from agent.paper import WAITING_MAX, PaperQueue
from drivers.errors import DeviceGone
from protocol.errors import AgentError


class Printer:
    """Answers each slip with the next planned outcome, "printed" when nothing is planned."""

    def __init__(self, *planned: str | AgentError) -> None:
        self.planned = list(planned)
        self.asked: list[str] = []

    def __call__(self, slip: Any, reference: str) -> Future[Any]:
        self.asked.append(reference)
        future: Future[Any] = Future()
        outcome = self.planned.pop(0) if self.planned else "printed"
        if isinstance(outcome, AgentError):
            future.set_exception(outcome)
        else:
            future.set_result(SimpleNamespace(outcome=outcome, cause="paper out"))
        return future


def playing(printer: Printer, play: Callable[[PaperQueue], Coroutine[Any, Any, None]], again_s: float = 0.01) -> None:
    async def main() -> None:
        tasks: set[asyncio.Task[Any]] = set()
        queue = PaperQueue(printer, lambda work: tasks.add(asyncio.ensure_future(work)), again_s)
        async with asyncio.timeout(10):
            await play(queue)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition did not come true")


async def empty(queue: PaperQueue) -> None:
    await until(lambda: not queue.waiting)


def test_slips_are_printed_in_order() -> None:
    printer = Printer()

    async def play(queue: PaperQueue) -> None:
        for name in ("a", "b", "c"):
            queue.add(name, None)
        await empty(queue)

    playing(printer, play)
    assert printer.asked == ["a", "b", "c"]


def test_a_slip_waits_for_paper_and_the_printer_is_asked_again() -> None:
    printer = Printer("not printed", DeviceGone("away"), "not printed")

    async def play(queue: PaperQueue) -> None:
        queue.add("a", None)
        queue.add("b", None)
        await empty(queue)

    playing(printer, play)
    assert printer.asked == ["a", "a", "a", "a", "b"]


def test_a_printer_that_is_ready_again_gets_the_slip_at_once() -> None:
    printer = Printer("not printed")

    async def play(queue: PaperQueue) -> None:
        queue.add("a", None)
        await until(lambda: printer.asked)
        await asyncio.sleep(0)
        queue.go_on()
        await empty(queue)

    playing(printer, play, again_s=3600)
    assert printer.asked == ["a", "a"]


def test_a_slip_of_which_the_printer_cannot_tell_is_not_printed_twice() -> None:
    printer = Printer("unknown")

    async def play(queue: PaperQueue) -> None:
        queue.add("a", None)
        await empty(queue)

    playing(printer, play)
    assert printer.asked == ["a"]


def test_a_reason_is_logged_once_however_often_the_printer_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    printer = Printer("not printed", "not printed", "not printed")

    async def play(queue: PaperQueue) -> None:
        queue.add("a", None)
        await empty(queue)

    with caplog.at_level(logging.WARNING, "reversald.paper"):
        playing(printer, play)
    assert [record.getMessage() for record in caplog.records] == ["slip a: waits: paper out"]


def test_the_oldest_of_too_many_slips_is_dropped_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    printer = Printer(*["not printed"] * 3)

    async def play(queue: PaperQueue) -> None:
        queue.add("0", None)
        await until(lambda: printer.asked)
        for number in range(1, WAITING_MAX + 1):
            queue.add(str(number), None)
        assert queue.waiting == WAITING_MAX
        await empty(queue)

    with caplog.at_level(logging.ERROR, "reversald.paper"):
        playing(printer, play)
    assert "slip 0 is dropped" in caplog.text
    assert printer.asked[-1] == str(WAITING_MAX)
    assert printer.asked.count("7") == 1


def test_a_slip_that_cannot_be_made_is_dropped_and_the_others_are_printed() -> None:
    async def play() -> tuple[list[str], list[str]]:
        faults: list[str] = []
        printed: list[str] = []
        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            async def shielded() -> None:
                try:
                    await work
                except ZeroDivisionError as error:
                    faults.append(type(error).__name__)

            tasks.append(asyncio.create_task(shielded()))

        def print_one(slip: str, reference: str) -> Future[Any]:
            if slip == "poison":
                raise ZeroDivisionError
            printed.append(reference)
            done: Future[Any] = Future()
            done.set_result(SimpleNamespace(outcome="printed", cause=""))
            return done

        queue = PaperQueue(print_one, spawn)
        queue.add("a", "poison")
        queue.add("b", "good")
        await empty(queue)
        await asyncio.gather(*tasks)
        return faults, printed

    assert asyncio.run(play()) == (["ZeroDivisionError"], ["b"])
