"""What a lane tells its host besides sales and sessions (script results, uploads): made when a lane first has some.

Most terminals never have any: their start pays neither time nor memory for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agent.journal_contract import Store
from agent.loop import Clock, Loop
from agent.records import Transaction

if TYPE_CHECKING:
    from agent.notice_desk import NoticeDesk
    from agent.upload_desk import UploadDesk

Until = Callable[[Callable[[], bool], float], Awaitable[bool]]
Answered = Callable[[str, str, int], None]
# How their records are called; what stands behind the colon is the lane.
OUTBOX, UPLOAD = "outbox:", "upload:"
_NOTHING_WAITS = {"waiting": 0, "unanswered": 0}


class SideDesks:
    """`answered` hears a host's code and processing requirement; `changed`: there is news to show."""

    def __init__(
        self, loop: Loop, store: Store, clock: Clock, until: Until, answered: Answered, changed: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._store = store
        self._clock = clock
        self._until = until
        self._answered = answered
        self._changed = changed
        self._lanes: dict[str, None] = {}
        self._notices: NoticeDesk | None = None
        self._uploads: UploadDesk | None = None

    def notices(self) -> NoticeDesk:
        """Made with the first script result."""
        if self._notices is None:
            from agent.notice_desk import NoticeDesk  # see the module

            self._notices = made = NoticeDesk(
                self._loop, self._store, self._clock, self._until, self._answered, self._changed
            )
            self._loop.also_sealed.append(made.sealed_anew)
            for lane_name in self._lanes:
                made.configure(lane_name)
        return self._notices

    def uploads(self) -> UploadDesk:
        """Made with the first settlement."""
        if self._uploads is None:
            from agent.upload_desk import UploadDesk  # see the module

            self._uploads = made = UploadDesk(self._loop, self._store, self._clock, self._answered, self._changed)
            self._loop.also_sealed.append(made.sealed_anew)
            for lane_name in self._lanes:
                made.configure(lane_name)
        return self._uploads

    def keep_script_result(self, txn: Transaction, chip_data: str) -> object:
        """Store what scripts did on a card. Raises RefusedError."""
        return self.notices().keep(txn, chip_data)

    def configure(self, lane_name: str) -> None:
        """A lane as configured; what a restart has cut short goes on."""
        self._lanes[lane_name] = None
        if self._notices is not None or self._store.get(OUTBOX + lane_name) is not None:
            self.notices().configure(lane_name)
        if self._uploads is not None or self._store.get(UPLOAD + lane_name) is not None:
            self.uploads().configure(lane_name)

    def drop(self, lane_name: str) -> None:
        """A lane is not configured any more."""
        self._lanes.pop(lane_name, None)
        for desk in self._made():
            desk.drop(lane_name)

    async def before_sale(self, lane_name: str) -> None:
        """A sale waits for the script results that go first."""
        if self._notices is not None:
            await self._notices.before_sale(lane_name)

    def wake(self) -> None:
        """A timer is due."""
        for desk in self._made():
            desk.wake()

    def next_wake(self) -> float | None:
        """The monotonic second of the next due timer that could be served now."""
        return min((at for at in (desk.next_wake() for desk in self._made()) if at is not None), default=None)

    def look(self, lane_name: str) -> None:
        """The lane is free: what is due may begin."""
        for desk in self._made():
            desk.look(lane_name)

    def back(self, lane_name: str) -> None:
        """The link or the PIN pad is back."""
        for desk in self._made():
            desk.back(lane_name)

    def view(self, lane_name: str) -> dict[str, Any]:
        """For the status of a lane's session."""
        waiting = self._notices.views().get(lane_name) if self._notices else None
        return {
            "script_results": waiting or dict(_NOTHING_WAITS),
            "upload": self._uploads.views().get(lane_name) if self._uploads else None,
        }

    def _made(self) -> list[NoticeDesk | UploadDesk]:
        return [desk for desk in (self._notices, self._uploads) if desk is not None]
