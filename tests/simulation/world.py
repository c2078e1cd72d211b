"""Time, chance and order: the one queue of everything that is to happen, and the virtual clock.

Monotonic seconds and wall time are apart: the first begins anew with each power-on and never jumps, the second
jumps as it likes. Nothing in here waits: a simulated hour costs what happens in it.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from agent.events import Now
from tests.simulation.plan import Options, Plan, draw_plan
from tests.simulation.swarm import Swarm

WALL_START = datetime(2026, 3, 7, 6, 30, tzinfo=UTC)
WALL_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)  # Two time zones before 1970 has no local time everywhere.
CRASHES_MAX = 6
EPSILON_S = 1e-6


class Died(Exception):
    """The agent's process ends here. `power`: the whole machine."""

    def __init__(self, where: str, *, power: bool) -> None:
        super().__init__(where)
        self.where = where
        self.power = power


class BrokenRule(Exception):
    """A promise is broken: its name, and what was seen."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


class World:
    """One run's time, chance and story."""

    def __init__(self, seed: int, options: Options) -> None:
        self.options = options
        self.swarm = Swarm(seed, options.without)
        self.plan: Plan = draw_plan(seed, self.swarm, options)
        self.time = 0.0
        self.life = 0
        self.story: list[tuple[float, str]] = []
        self.decisions: list[tuple[float, str, str, str, int]] = []
        self.crashes = 0
        self.may_crash = True
        self._wall_offset_s = options.wall_shift_s
        self._mono_zero = -1000.0
        self._order = count()
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []

    # --- clock ---------------------------------------------------------------------------------

    def now(self) -> Now:
        """What the agent's clock says."""
        return Now(self.time - self._mono_zero, self._wall())

    def since_power_on(self, mono: float) -> float:
        """World time of a monotonic reading of this power-on."""
        return mono + self._mono_zero

    def power_on(self) -> None:
        """The monotonic clock begins anew."""
        self._mono_zero = self.time - 3.0

    def jump(self, what: str, amount_s: float) -> None:
        """The wall clock jumps."""
        if what == "wall-clock-1970":
            self._wall_offset_s = (WALL_EARLIEST - WALL_START).total_seconds() - self.time
        elif what == "wall-clock-back-a-day":
            self._wall_offset_s -= 86_400.0
        elif what == "wall-clock-ten-years-on":
            self._wall_offset_s += 3_652 * 86_400.0
        else:
            self._wall_offset_s += amount_s

    def _wall(self) -> datetime:
        return max(WALL_EARLIEST, WALL_START + timedelta(seconds=self.time + self._wall_offset_s))

    # --- what is to happen ---------------------------------------------------------------------

    def after(self, delay_s: float, act: Callable[[], None], *, alive: bool = False) -> None:
        """Do this later. `alive`: only if the agent's process of now still lives then."""
        heapq.heappush(self._queue, (self.time + delay_s, next(self._order), self.life if alive else 0, act))

    def step(self, until: float) -> Callable[[], None] | None:
        """The next act that is due before `until`; None when there is none."""
        while self._queue and self._queue[0][0] <= until:
            at, _, life, act = heapq.heappop(self._queue)
            if life in (0, self.life):
                self.time = max(self.time, at)
                return act
        return None

    def crash_point(self, where: str) -> None:
        """The process, or the machine, may die here."""
        if not self.may_crash or self.crashes >= CRASHES_MAX:
            return
        for kind in ("process-killed", "power-cut"):
            if self.swarm.strikes(kind):
                self.crashes += 1
                raise Died(where, power=kind == "power-cut")

    # --- story ---------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """One line of the story."""
        self.story.append((self.time, text))

    def digest(self) -> str:
        """One number for everything that happened."""
        told = "\n".join(f"{at:.6f} {text}" for at, text in self.story)
        return hashlib.sha256(told.encode("utf-8")).hexdigest()
