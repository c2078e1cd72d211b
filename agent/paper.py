"""Slips on their way to the printer: in order, each once, never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from protocol.errors import AgentError

# More slips than this wait for no printer: the oldest is dropped and said so. Assumed: a shift's worth.
WAITING_MAX = 200

log = logging.getLogger("reversald.paper")

Print = Callable[[Any, str], Future[Any]]


class PaperQueue:
    """Prints one after the other; an out-of-order printer keeps them waiting until it is back."""

    def __init__(self, print_one: Print, spawn: Callable[[Any], None]) -> None:
        self._print = print_one
        self._spawn = spawn
        self._waiting: deque[tuple[str, Any]] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """Slips not printed yet."""
        return len(self._waiting)

    def add(self, reference: str, slip: Any) -> None:
        """Print it when its turn comes. `reference` names the slip: the same is never printed twice."""
        if len(self._waiting) >= WAITING_MAX:
            dropped, _ = self._waiting.popleft()
            log.error("slip %s is dropped: %d slips wait for the printer; see reversalctl show", dropped, WAITING_MAX)
        self._waiting.append((reference, slip))
        self.go_on()

    def go_on(self) -> None:
        """The printer may be back."""
        if self._waiting and not self._busy:
            self._busy = True
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting and await self._one(*self._waiting[0]):
                self._waiting.popleft()
        finally:
            self._busy = False

    async def _one(self, reference: str, slip: Any) -> bool:
        """Whether this slip is done with."""
        try:
            printed = await asyncio.wrap_future(self._print(slip, reference))
        except AgentError as error:
            log.warning("slip %s waits: %s", reference, error)
            return False
        if printed.outcome == "not printed":
            log.warning("slip %s waits: %s", reference, printed.cause)
            return False
        if printed.outcome == "unknown":
            log.warning("slip %s: the printer cannot tell whether it was printed (%s)", reference, printed.cause)
        return True
