"""When status files and page are written: soon after a change, and never for more than a share of the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.front import Front

# Changes within this time share one status file; longer than most sales, so that their answers go first.
STATUS_DELAY_S = 0.2
# With thousands of items a status costs milliseconds: it may take a thirtieth of the time, not more. While a queue
# drains, lanes wait for the one that writes.
STATUS_SHARE = 30.0


class StatusPace:
    """`front()` writes, None before it is made; `page_every_s()` as configured, 0: no page; `hurry()` is called where
    lost hosts are looked for more often than usual."""

    def __init__(
        self, front: Callable[[], Front | None], page_every_s: Callable[[], float], hurry: Callable[[], None]
    ) -> None:
        self._aio = asyncio.get_running_loop()
        self._front = front
        self._page_every_s = page_every_s
        self._hurry = hurry
        self._timer: asyncio.TimerHandle | None = None
        self._cost_s = 0.0
        self._page_not_before = 0.0

    def soon(self) -> None:
        """Something has changed."""
        if self._timer is None:
            self._timer = self._aio.call_later(max(STATUS_DELAY_S, STATUS_SHARE * self._cost_s), self.write)

    def rest(self) -> None:
        """What was to be written soon is written no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def write(self) -> None:
        """A status that cannot be written (full disk) is logged once and never stops a reversal."""
        self.rest()
        front = self._front()
        if front is None:
            return
        began = self._aio.time()
        if front.write_status():
            self.soon()
        if front.watching.hurries:
            self._hurry()
        self._cost_s = self._aio.time() - began

    def write_page(self, *, last: bool = False) -> None:
        """It too may take its share of the time, but for the `last` one. After a fault the old page stays: it tells its
        age by itself."""
        began, front, every_s = self._aio.time(), self._front(), self._page_every_s()
        if front is not None and every_s and (began >= self._page_not_before or last):
            front.writer.write_page(every_s)
            self._page_not_before = began + STATUS_SHARE * (self._aio.time() - began)
