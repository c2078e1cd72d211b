"""Taking over a changed configuration while the agent runs: read, checked, and put in force between two exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent import config as settings
from agent.lane import RefusedError
from agent.lanes import ProfileShelf
from agent.loop import Loop
from agent.notify import notify


class Reload:
    """`configuration()`: the one in force; `take_over(new)` puts another one in its place."""

    def __init__(
        self,
        loop: Loop,
        profiles: ProfileShelf,
        configuration: Callable[[], settings.Configuration],
        take_over: Callable[[settings.Configuration], None],
    ) -> None:
        self._loop = loop
        self._profiles = profiles
        self._configuration = configuration
        self._take_over = take_over
        self._freed = asyncio.Event()

    async def run(self) -> settings.Configuration:
        """Read the configuration file again. Raises: ConfigError and RefusedError; then all stays as it was."""
        notify("RELOADING=1")
        try:
            old = self._configuration()
            new = settings.load(old.source, self._profiles.load)
            self._refuse_unsafe(old, new)
            await self._exchange(new)
        finally:
            self._profiles.clear()
            notify("READY=1")
        return new

    def lane_free(self) -> None:
        """A lane's exchange has ended."""
        self._freed.set()

    def keep_lanes(self) -> set[str]:
        """No further reversal starts on the lanes that there are now; their names."""
        kept = set(self._loop.lanes)
        for name in kept:
            self._loop.reserve(name, wanted=True)
        return kept

    async def lanes_idle(self) -> None:
        """Wait for the exchanges under way. Every exchange has an end."""
        while any(lane.busy for lane in self._loop.lanes.values()):
            self._freed.clear()
            await self._freed.wait()

    async def _exchange(self, new: settings.Configuration) -> None:
        """In a moment without exchanges; a lane that a sale waits for stays reserved for it."""
        kept = self.keep_lanes()
        try:
            await self.lanes_idle()
            self._take_over(new)
        finally:
            for name in kept & self._loop.lanes.keys():
                self._loop.reserve(name, wanted=False)

    def _refuse_unsafe(self, old: settings.Configuration, new: settings.Configuration) -> None:
        restart = settings.needs_restart(old, new)
        if restart:
            text = f"only a restart can change {', '.join(restart)}"
            raise RefusedError("A-RESTART", text, "systemctl restart reversald")
        unsafe = settings.unsafe_changes(old, new, self._loop.lanes_pending())
        if unsafe:
            text = "unsafe while reversals are pending: " + "; ".join(unsafe)
            raise RefusedError("A-UNSAFE-CHANGE", text, "wait until reversalctl list is empty")
