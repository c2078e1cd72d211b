"""Where code that only shows things may fail: status and page, alerts, metrics, trends, slips, the report's samples.

Rules not to break:
1. Only code whose result no decision about money reads runs inside a part: a reversal goes on without it, and after a
   fault nothing but what people see is old. Money code stays outside, and its faults end the process as before.
2. What says that the journal is in doubt (JournalError) is never caught here.
3. A fault is told by its type and place (agent/hardening.py): its text could hold card data.
4. Nothing is swallowed in silence: a fault is logged, counted and stands in the status (S-SHOW) and as an alert
   (N-SHOW) until its part works again.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from agent import hardening
from agent.events import Now
from agent.journal_contract import JournalError
from agent.lane import RefusedError
from protocol.errors import AgentError

# A part that fails at every status is logged at its first fault, and again at each of so many.
LOGGED_EVERY = 1_000

T = TypeVar("T")

log = logging.getLogger("reversald")


@dataclass(frozen=True, slots=True)
class Fault:
    """One part that does not work now. `what`: type and place."""

    part: str
    what: str
    since_utc: str
    last_utc: str
    count: int

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {
            "part": self.part,
            "what": self.what,
            "since_utc": self.since_utc,
            "last_utc": self.last_utc,
            "count": self.count,
        }


class ShowOnly:
    """All parts. `now`: the daemon's clock."""

    def __init__(self, now: Callable[[], Now]) -> None:
        self._now = now
        self._faults: dict[str, Fault] = {}
        self.count = 0  # since the start, for the metrics

    def part(self, name: str) -> Part:
        """The boundary: `with show.part("page"): ...`. What is raised inside goes no further; see the rules."""
        return Part(self, name)

    def faults(self) -> list[dict[str, Any]]:
        """The parts that do not work now, the oldest first."""
        return [fault.document() for fault in sorted(self._faults.values(), key=lambda fault: fault.since_utc)]

    def answering(self, name: str, method: Callable[..., T]) -> Callable[..., T]:
        """A view of the API: after a fault the caller is refused, the daemon goes on. Refusals pass through."""

        def answer(*given: Any, **named: Any) -> T:
            with Part(self, name, passes=AgentError):
                return method(*given, **named)
            what = self._faults[name].what
            raise RefusedError("A-SHOW", f"this cannot be shown: {what}", "send the log (reversalctl bundle)")

        return answer

    async def shielded(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """The same for work that runs beside the daemon's."""
        with self.part(name):
            await work

    def works(self, name: str) -> None:
        """The part came to its end."""
        fault = self._faults.pop(name, None)
        if fault is not None:
            log.info("%s works again, after %d faults", name, fault.count)

    def failed(self, name: str, error: Exception) -> None:
        """The part did not: count it, and log it where it is new."""
        what, at_utc = _place(error), self._now().at_utc
        before = self._faults.get(name) or Fault(name, what, at_utc, at_utc, 0)
        self._faults[name] = replace(before, what=what, last_utc=at_utc, count=before.count + 1)
        self.count += 1
        if before.count % LOGGED_EVERY == 0 or before.what != what:
            log.error("a fault of ours in what only shows (%s); reversals go on: %s", name, hardening.places(error))


class Part:
    """One entry into a part."""

    def __init__(self, show: ShowOnly, name: str, passes: type[Exception] | tuple[type[Exception], ...] = ()) -> None:
        self._show = show
        self._name = name
        self._passes = passes

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        """The one place that holds such a fault back; what is no fault of a program's code (an order to end) passes."""
        if error is None:
            self._show.works(self._name)
            return False
        if not isinstance(error, Exception) or isinstance(error, JournalError):
            return False
        if self._passes and isinstance(error, self._passes):
            return False
        self._show.failed(self._name, error)
        return True


def _place(error: Exception) -> str:
    """ "ZeroDivisionError in status_html.py:120": no values."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
