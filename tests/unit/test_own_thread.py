"""Slow work goes on beside the event loop, and its end comes back to whoever waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agent.own_thread import in_own_thread
from agent.vault_error import VaultError


def test_the_loop_goes_on_while_it_works_and_gets_the_result() -> None:
    may_end = threading.Event()

    def work() -> str:
        assert may_end.wait(10)
        return threading.current_thread().name

    async def both() -> str:
        working = asyncio.ensure_future(in_own_thread(work))
        await asyncio.sleep(0)
        may_end.set()  # the loop is not held up
        return await working

    assert asyncio.run(both()) == "work"


def test_its_error_is_raised_where_somebody_waits() -> None:
    def work() -> None:
        raise VaultError("not there")

    with pytest.raises(VaultError, match="not there"):
        asyncio.run(in_own_thread(work))


def test_who_does_not_wait_any_more_is_not_told_and_a_stop_does_not_wait() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait(10)
        ended.set()

    async def left() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_own_thread(work), 0.01)

    asyncio.run(left())
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(10)
