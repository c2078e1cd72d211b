"""What the journal does while nothing is due: it settles its tables, empties its log, archives by the configured rule.

Called now and then by the daemon; each call is one bounded step, and none where a lane is in an exchange or a timer is
near. Nothing depends on it: a journal that never rests does the same work within its appends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol

from agent.config_schema import Configuration
from agent.events import Now
from agent.journal import Journal
from agent.journal_archive import ArchiveError
from agent.journal_archiving import STEP_RECORDS, Step, Window

# A timer that is nearer than this makes the moment no quiet one: a step may take two syncs of a worn card.
DUE_SOON_S = 1.0
# A clock may be ahead by a zone or a wrong day; beyond that, a time says nothing about age.
FUTURE = timedelta(days=1)

log = logging.getLogger("reversald")


class LaneView(Protocol):
    """What of a lane says whether it is idle."""

    @property
    def busy(self) -> object: ...


class JournalRest:
    """See the module. `lanes` and `next_wake` are the loop's."""

    def __init__(
        self,
        journal: Journal,
        configuration: Callable[[], Configuration],
        now: Callable[[], Now],
        lanes: Callable[[], Iterable[LaneView]],
        next_wake: Callable[[], float | None],
    ) -> None:
        self._journal = journal
        self._configuration = configuration
        self._now = now
        self._lanes = lanes
        self._next_wake = next_wake
        self._refused = ""

    def step(self) -> None:
        """One step, if the moment is quiet. Raises JournalFailed, which must end the process."""
        due = self._next_wake()
        if any(lane.busy is not None for lane in self._lanes()):
            return
        if due is not None and due - self._now().mono < DUE_SOON_S:
            return
        if not self._journal.rest():
            self._archive()

    def _archive(self) -> None:
        days = self._configuration().journal.archive_after_days
        if not days:
            return
        try:
            archive_step(self._journal, self._now(), days, STEP_RECORDS)
            self._refused = ""
        except ArchiveError as error:
            if error.text != self._refused:
                log.error("%s; %s", error.text, error.hint)
            self._refused = error.text


def archive_step(journal: Journal, now: Now, days: int, least: int = 0) -> Step | None:
    """One step of archiving what ended more than so many days ago. Raises ArchiveError, JournalFailed."""
    window = Window(_text(now, -timedelta(days=days)), _text(now, FUTURE))
    return journal.archive(window, now.at_utc, least)


def _text(now: Now, later: timedelta) -> str:
    try:
        return (now.utc + later).strftime("%Y-%m-%dT%H:%M:%S")
    except OverflowError:  # a clock at the beginning of time: nothing is older than that
        return ""
