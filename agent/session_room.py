"""The sessions as the daemon uses them: one room that builds desk, batches and methods, and hears what happens."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agent import config as settings
from agent.batch_desk import BatchDesk
from agent.hostlink import LaneLink
from agent.journal_contract import Store
from agent.lanes import PAD_TIMEOUT_S
from agent.loop import Clock, Loop
from agent.macs import MacProvider, Submit
from agent.notice_api import NoticeApi
from agent.session import SessionPolicy
from agent.session_api import SessionApi
from agent.session_desk import SessionDesk, Turn
from agent.session_keys import KeyTaker, PadKeys, SoftwareKeys, pin_key
from agent.session_status import session_view
from agent.side_desks import SideDesks
from protocol.rules import Profile


class SessionRoom:
    """`spawn` runs a coroutine; `shown` is called when a status should be written and timers be armed;
    `pin_keys_changed` when the checkout needs other PIN keys."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        clock: Clock,
        turn: Turn,
        spawn: Callable[[Awaitable[None]], None],
        shown: Callable[[], None],
        pin_keys_changed: Callable[[], None],
    ) -> None:
        self._aio = asyncio.get_running_loop()
        self._shown = shown
        self._pin_keys_changed = pin_keys_changed
        self._pin_keys: Mapping[str, str] = {}
        self._moved: set[str] = set()  # lanes with a new record in this turn of the event loop
        self._links: dict[str, LaneLink] = {}
        self._desk = desk = SessionDesk(loop, store, clock, spawn, self._changed, turn)
        self._side = side = SideDesks(loop, store, clock, desk.until, desk.answered, self._side_changed)
        loop.also_sealed.append(desk.sealed_anew)
        batches = BatchDesk(loop, store, clock, desk, turn, side.uploads)
        self.methods = SessionApi(loop, desk, batches, lambda lane: self._links[lane].macs.check_value()).methods
        self.methods |= NoticeApi(loop, side.notices).methods
        self.answered = desk.answered
        self.keep_script_result = side.keep_script_result

    def configure(self, lane: settings.Lane, profile: Profile, link: LaneLink, submits: Mapping[str, Submit]) -> None:
        """A lane as configured; its link gets the keys of the day."""
        taker = key_taker(lane, profile, submits)
        self._links[lane.name] = link

        def use(provider: MacProvider) -> None:
            link.macs = provider

        policy = SessionPolicy(self._desk.lane_policy(lane.name), lane.sign_on, taker is not None)
        self._desk.configure(lane.name, policy, taker, use)
        self._side.configure(lane.name)

    async def ready(self, lane_name: str) -> None:
        """Before a sale: what must be there and what must be gone."""
        await self._desk.ready(lane_name)
        await self._side.before_sale(lane_name)

    def wake(self) -> None:
        """A timer is due."""
        self._desk.wake()
        self._side.wake()

    def next_wake(self) -> float | None:
        """The monotonic second of the next due timer that could be served now."""
        times = [at for at in (self._desk.next_wake(), self._side.next_wake()) if at is not None]
        return min(times, default=None)

    def lane_free(self, lane_name: str) -> None:
        """A lane's exchange has ended: what is due may begin."""
        self._desk.look(lane_name)
        self._side.look(lane_name)

    def back(self, lane_name: str) -> None:
        """The link or the PIN pad of this lane is back."""
        self._desk.back(lane_name)
        self._side.back(lane_name)

    def drop(self, lane_name: str) -> None:
        """A lane is not configured any more."""
        self._desk.drop(lane_name)
        self._side.drop(lane_name)
        self._links.pop(lane_name, None)

    def item_changed(self, lane_name: str) -> None:
        """A transaction has a new record: a waiting command may go on, and the lane may be free for what is due."""
        self._desk.news()
        if not self._moved:
            self._aio.call_soon(self._look)
        self._moved.add(lane_name)

    def _look(self) -> None:
        """Once a turn of the event loop, however many items of a lane have changed in it."""
        moved, self._moved = self._moved, set()
        for lane_name in sorted(moved):
            self.lane_free(lane_name)

    def views(self) -> dict[str, Any]:
        """Each lane's session, for the status."""
        now = self._desk.now()
        seats = self._desk.seats.items()
        return {name: {**session_view(seat, now), **self._side.view(name)} for name, seat in seats}

    def with_pin_keys(self, configuration: settings.Configuration) -> settings.Configuration:
        """The configuration with the PIN keys of the day in place of those of the file."""
        self._pin_keys = self._of_the_day()
        lanes = tuple(
            dataclasses.replace(lane, pin_key=self._pin_keys.get(lane.name, lane.pin_key))
            for lane in configuration.lanes
        )
        return dataclasses.replace(configuration, lanes=lanes)

    def _of_the_day(self) -> dict[str, str]:
        seats = self._desk.seats.items()
        return {name: pin_key(seat.session.keys) for name, seat in seats if seat.taker and seat.session.keys}

    def _side_changed(self, lane_name: str) -> None:
        self._desk.news()
        self._shown()

    def _changed(self, lane_name: str) -> None:
        self._shown()
        if self._of_the_day() != self._pin_keys:
            self._pin_keys_changed()


def key_taker(lane: settings.Lane, profile: Profile, submits: Mapping[str, Submit]) -> KeyTaker | None:
    """Who takes the keys of this lane's sign-ons; None where keys stay those of the configuration."""
    if not lane.sign_on or not profile.session.keys_field:
        return None
    if lane.mac == "pinpad":
        return PadKeys(profile, submits[lane.pinpad], PAD_TIMEOUT_S)
    if lane.mac == "software" and lane.master_key_file is not None:
        return SoftwareKeys(profile, settings.read_key_file(lane.master_key_file))
    return None
