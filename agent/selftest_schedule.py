"""The self test that runs by itself: at an idle moment, as a process of its own, given up as soon as money moves.

Rules not to break:
1. It begins only when nothing is under way: no sale, no reversal that waits for an answer or is due soon, no exchange
   on any lane, and for `selftest.quiet_s` already.
2. A sale or a reversal that begins ends it at once (the process is killed); it begins anew at the next idle moment.
3. It asks the daemon through the API like any other client (agent/cli_selftest.py): nothing of it runs in here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from agent.config_watch import SelfTest
from agent.events import Now
from agent.records import State, Transaction

# A test takes seconds; a device that hangs may take its whole time-out. Then it is ended and tried again later.
LONGEST_S = 300.0
# After one that could not be made (killed, crashed) the next is tried so much later.
AGAIN_S = 3600.0
# A reversal that is due within this time makes the moment no idle one: connect, send and the longest answer.
DUE_SOON_S = 90.0
# The self test is the least important process of the machine (setpriority(2)).
NICE = 10
# What the command may end with and has a result (agent/cli_selftest.py).
RESULTS = (0, 1, 2)

log = logging.getLogger("reversald")


class LaneView(Protocol):
    """What of a lane says whether it is idle."""

    busy: Any
    reserved: int


class LoopView(Protocol):
    """What of the loop says whether a moment is idle."""

    def pending(self) -> list[Transaction]: ...
    def next_wake(self) -> float | None: ...


def under_way(loop: LoopView, sales: int) -> bool:
    """Whether money moves now: a sale that a customer waits for, or a reversal that is on its way."""
    moving = (State.BEGUN, State.REVERSING)
    return sales > 0 or any(txn.state in moving and not txn.held for txn in loop.pending())


def idle(loop: LoopView, lanes: Iterable[LaneView], sales: int, now: Now) -> bool:
    """Whether a test may begin now (rule 1)."""
    if under_way(loop, sales) or any(lane.busy is not None or lane.reserved for lane in lanes):
        return False
    due = loop.next_wake()
    return due is None or due - now.mono > DUE_SOON_S


class Schedule:
    """When, and the process. `last()` is when the last test was made; `spawn` runs a coroutine beside the daemon."""

    def __init__(
        self,
        rules: Callable[[], SelfTest],
        configuration_file: Callable[[], Path],
        last: Callable[[], datetime | None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        program: tuple[str, ...] = (sys.executable, "-m", "agent.cli"),
    ) -> None:
        self._rules = rules
        self._configuration_file = configuration_file
        self._last = last
        self._spawn = spawn
        self._program = program
        self._quiet_since: float | None = None
        self._tried_mono: float | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._put_off = False
        self.running = False

    def look(self, now: Now, *, may_begin: bool, moving: bool) -> None:
        """At each status: begin what is due, or give up what is under way."""
        if moving:
            self.disturb()
        if not may_begin and not self.running:
            self._quiet_since = None
            return
        if self._quiet_since is None:
            self._quiet_since = now.mono
        quiet = now.mono - self._quiet_since >= self._rules().quiet_s
        if quiet and not self.running and self._rules().automatic and self._due(now):
            self._tried_mono, self.running, self._put_off = now.mono, True, False
            self._spawn(self._run())

    def disturb(self) -> None:
        """A sale or a reversal begins: the machine is its own."""
        self._quiet_since = None
        if self.running and not self._put_off:
            self._put_off = True
            self._tried_mono = None
            log.info("the self test is put off: a sale or a reversal goes first")
            self._kill()

    def close(self) -> None:
        """The daemon ends."""
        self._kill()

    def _due(self, now: Now) -> bool:
        if self._tried_mono is not None and now.mono - self._tried_mono < AGAIN_S:
            return False
        last = self._last()
        # A last one in the future: the clock was set back, nobody knows how old it is.
        return last is None or last > now.utc or now.utc - last >= timedelta(days=self._rules().every_days)

    async def _run(self) -> None:
        line = (*self._program, "--config", str(self._configuration_file()), "--json", "selftest", "--no-paper")
        log.info("self test: begins by itself")
        try:
            if not self._put_off:
                await self._watched(line)
        finally:
            self.running, self._process = False, None

    async def _watched(self, line: tuple[str, ...]) -> None:
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *line, stdin=null, stdout=null, stderr=null, start_new_session=True
        )
        self._process = process
        if self._put_off:  # while it was being started
            self._kill()
        with contextlib.suppress(OSError):  # the service's sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        try:
            async with asyncio.timeout(LONGEST_S):
                status = await process.wait()
        except TimeoutError:
            log.error("the self test did not end in %.0f s and was stopped", LONGEST_S)
            return
        finally:
            if process.returncode is None:
                self._kill()
                await process.wait()
        if status in RESULTS:
            log.info("self test: done, result %d (0 pass, 1 warnings, 2 failures)", status)
        elif not self._put_off:
            log.error("the self test could not be made: it ended with %d; try reversalctl selftest", status)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
