"""Slips on their way to the printer: in order, each once, never in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from protocol.errors import AgentError

# More slips than this wait for no printer: the oldest is dropped and said so. Assumed: a shift's worth.
WAITING_MAX = 200

# A printer that has no paper says nothing when it gets some: it is asked again this often. Assumed.
ASK_AGAIN_S = 2.0

log = logging.getLogger("reversald.paper")

Print = Callable[[Any, str], Future[Any]]


class PaperQueue:
    """Prints one after the other; an out-of-order printer keeps them waiting until it is back."""

    def __init__(self, print_one: Print, spawn: Callable[[Any], None], ask_again_s: float = ASK_AGAIN_S) -> None:
        self._print = print_one
        self._spawn = spawn
        self._ask_again_s = ask_again_s
        self._waiting: deque[tuple[str, Any]] = deque()
        self._busy = False
        self._back = asyncio.Event()
        self._told = ""

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
        self._back.set()
        if self._waiting and not self._busy:
            self._busy = True
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                self._back.clear()
                reference, slip = self._waiting[0]
                if await self._one_or_none(reference, slip):
                    self._done(reference)
                else:
                    await self._pause()
        finally:
            self._busy = False

    async def _one_or_none(self, reference: str, slip: Any) -> bool:
        """A slip that our own code cannot make is dropped, and the others go on; the fault goes up."""
        try:
            return await self._one(reference, slip)
        except Exception:
            self._done(reference)
            log.error("slip %s cannot be made and is dropped; see reversalctl reprint", reference)
            asyncio.get_running_loop().call_soon(self.go_on)  # the fault ends this task: another one prints the others
            raise

    def _done(self, reference: str) -> None:
        """The slip may have been dropped meanwhile, as the oldest of too many."""
        if self._waiting and self._waiting[0][0] == reference:
            self._waiting.popleft()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._back.wait(), self._ask_again_s)

    async def _one(self, reference: str, slip: Any) -> bool:
        """Whether this slip is done with."""
        try:
            printed = await asyncio.wrap_future(self._print(slip, reference))
        except AgentError as error:
            return self._wait(reference, f"waits: {error}")
        if printed.outcome == "not printed":
            return self._wait(reference, f"waits: {printed.cause}")
        if printed.outcome == "unknown":
            self._tell(reference, f"the printer cannot tell whether it was printed ({printed.cause})")
        return True

    def _wait(self, reference: str, why: str) -> bool:
        self._tell(reference, why)
        return False

    def _tell(self, reference: str, what: str) -> None:
        """Once for each slip and reason, however often the printer is asked."""
        text = f"slip {reference}: {what}"
        if text != self._told:
            self._told = text
            log.warning("%s", text)
