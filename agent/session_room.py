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
from agent.lanes import PAD_DEADLINE_S
from agent.loop import Clock, Loop
from agent.macs import MacProvider, Submit
from agent.session import SessionPolicy
from agent.session_api import SessionApi
from agent.session_desk import SessionDesk, Turn
from agent.session_keys import KeyTaker, PadKeys, SoftwareKeys, pin_key
from agent.session_status import session_view
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
        self._desk = SessionDesk(loop, store, clock, spawn, self._changed, turn)
        self.methods = SessionApi(loop, self._desk, BatchDesk(loop, store, clock, self._desk, turn)).methods
        self.ready = self._desk.ready
        self.wake = self._desk.wake
        self.next_wake = self._desk.next_wake
        self.answered = self._desk.answered
        self.lane_free = self._desk.look
        self.back = self._desk.back
        self.drop = self._desk.drop

    def configure(self, lane: settings.Lane, profile: Profile, link: LaneLink, submits: Mapping[str, Submit]) -> None:
        """A lane as configured; its link gets the keys of the day."""
        taker = key_taker(lane, profile, submits)

        def use(provider: MacProvider) -> None:
            link.macs = provider

        policy = SessionPolicy(self._desk.lane_policy(lane.name), lane.sign_on, taker is not None)
        self._desk.configure(lane.name, policy, taker, use)

    def item_changed(self, lane_name: str) -> None:
        """A transaction has a new record: a waiting command may go on, and the lane may be free for what is due."""
        self._desk.news()
        self._aio.call_soon(self._desk.look, lane_name)

    def views(self) -> dict[str, Any]:
        """Each lane's session, for the status."""
        now = self._desk.now()
        return {name: session_view(seat, now) for name, seat in self._desk.seats.items()}

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

    def _changed(self, lane_name: str) -> None:
        self._shown()
        if self._of_the_day() != self._pin_keys:
            self._pin_keys_changed()


def key_taker(lane: settings.Lane, profile: Profile, submits: Mapping[str, Submit]) -> KeyTaker | None:
    """Who takes the keys of this lane's sign-ons; None where keys stay those of the configuration."""
    if not lane.sign_on or not profile.session.keys_field:
        return None
    if lane.mac == "pinpad":
        return PadKeys(profile, submits[lane.pinpad], PAD_DEADLINE_S)
    if lane.mac == "software" and lane.master_key_file is not None:
        return SoftwareKeys(profile, settings.read_key_file(lane.master_key_file))
    return None
