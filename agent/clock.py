"""The only reader of a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from agent.events import Now


class Clock:
    """Gives the moment; the simulation has another one."""

    def now(self) -> Now:
        """Monotonic seconds for waits, wall time for show."""
        return Now(time.monotonic(), datetime.now(UTC))
