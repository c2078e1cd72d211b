"""Frames that nobody awaited: their MAC is checked aside, one after the other, then they are handed on.

Aside, because a MAC may take the PIN pad seconds and the awaited answer must not stand behind a stray
in the queue. None is lost: what cannot be checked any more is handed on as "unverified".
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable

from agent.outcomes import MacVerdict, Stray

# More than this wait for the MAC device only if a host floods us; what is beyond is handed on unverified.
QUEUE_MAX = 256


class StrayDesk:
    """`judge` gives the verdict on a body; `hand` gets each stray once, with the id of the exchange it came in."""

    def __init__(
        self, name: str, judge: Callable[[bytes], Awaitable[MacVerdict]], hand: Callable[[int | None, Stray], None]
    ) -> None:
        self._name = name
        self._judge = judge
        self._hand = hand
        self._queue: deque[tuple[int | None, Stray]] = deque()
        self._worker: asyncio.Task[None] | None = None

    def take(self, exchange_id: int | None, stray: Stray) -> None:
        """Queues one; it is handed on later, never from within this call unless the queue is full."""
        if len(self._queue) >= QUEUE_MAX:
            self._hand(exchange_id, stray)
            return
        self._queue.append((exchange_id, stray))
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(), name=f"strays of {self._name}")
            self._worker.add_done_callback(self._worked)

    async def close(self) -> None:
        """Hands on what is left, unverified."""
        if self._worker:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        while self._queue:
            self._hand(*self._queue.popleft())

    async def _work(self) -> None:
        try:
            while self._queue:
                exchange_id, stray = self._queue[0]  # removed after the verdict: a cancelled check loses nothing
                verdict = await self._judge(stray.body)
                self._queue.popleft()
                self._hand(exchange_id, dataclasses.replace(stray, mac=verdict))
        finally:
            self._worker = None  # at once: what comes before `_worked` is called needs another one

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.result()  # an error of ours must not vanish with the task
