"""Samples for the tests of status, diagnosis and command: transactions in every state, a loop that stands still."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.diagnosis import DeviceFacts, Surroundings
from agent.events import Now
from agent.journal_contract import StoreHealth
from agent.lane import Gate, Lane
from agent.linkstate import LinkCounters, LinkState
from agent.policy import Policy
from agent.records import Evidence, State, Transaction
from agent.show_only import ShowOnly
from agent.status import Scene, StatusWriter
from tests import dialogue
from tests.dialogue import PAN, STARTED

# Every card number that a test uses; none of them may ever be seen.
PANS = (PAN, "6212345678900000003", "4111111111111111")

MONO = 5000.0
NOW = Now(MONO, STARTED + timedelta(hours=2))
STORE = StoreHealth(12, 4.0, 9.5, 1 << 20, 1 << 30, 16 << 20, 40, ())


@functools.cache
def rules() -> Policy:
    """The UnionPay lane's rules, read once."""
    return dialogue.policy()


@functools.cache
def _sale() -> Transaction:
    return dialogue.transaction()


def transaction(**changes: Any) -> Transaction:
    """A sale of 12.50 that has not begun, with changes."""
    return replace(_sale(), **changes)


def owed(**changes: Any) -> Transaction:
    """A reversal of 12.50 that has been owed since two minutes and was tried twice."""
    begun = (NOW.utc - timedelta(seconds=120)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    given: dict[str, Any] = {
        "state": State.REVERSING,
        "reason": "timeout",
        "cause": "timeout",
        "attempts": 2,
        "left": True,
        "begun_at_utc": begun,
        "last_try_utc": begun,
        "wake_at": MONO + 30,
        "host": "192.0.2.1:5000",
        **changes,
    }
    return transaction(**given)


def begun_before(seconds: float) -> str:
    """A stamp that many seconds ago."""
    return (NOW.utc - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def parked(**changes: Any) -> Transaction:
    """The same, parked by its limit of tries."""
    return owed(**{"state": State.PARKED, "attempts": 40, "begun_at_utc": begun_before(9000), **changes})


def link(state: str = "up", code: str = "", error: str = "", lane: str = "main", **changes: Any) -> LinkState:
    """One lane's link; its state is ten minutes old."""
    known = LinkState(
        lane=lane,
        state=state,  # type: ignore[arg-type]
        since=MONO - 600,
        connected_to="",
        hosts=(("192.0.2.1:5000", state),),  # type: ignore[arg-type]
        last_error=error,
        last_error_code=code,
        last_error_at=MONO - 5 if error else None,
        certificate_not_after=None,
        counters=LinkCounters(connects=3),
    )
    return replace(known, **changes)


def around(**changes: Any) -> Surroundings:
    """A lane in order: link up, profile known."""
    given: dict[str, Any] = {
        "now_utc": NOW.utc,
        "responses": rules().profile.responses,
        "terminal_id": "10000001",
        "merchant_id": "102110000000001",
        "park_after_attempts": rules().retry.park_after_attempts,
        **changes,
    }
    return Surroundings(**given)


def lane(name: str = "main", **changes: Any) -> Lane:
    """A configured lane that refuses sales while anything is owed."""
    known = Lane(name, rules(), "102110000000001", "000017", "156", gate=Gate(count=0))
    return replace(known, **changes)


class StillLoop:
    """What a status reads of the loop, with nothing moving."""

    def __init__(self, *pending: Transaction, lanes: tuple[Lane, ...] | None = None) -> None:
        self.lanes = {one.name: one for one in lanes or (lane(),)}
        self.unmatched: list[tuple[str, str, str]] = []
        self._pending = list(pending)

    def pending(self) -> list[Transaction]:
        return self._pending

    def objection(self, lane: Lane) -> str:
        mine = [txn for txn in self._pending if txn.lane == lane.name and txn.state in (State.REVERSING, State.PARKED)]
        return lane.gate.objection(len(mine), sum(txn.amount_minor for txn in mine), 0) if mine else ""

    def unreadable_lanes(self) -> set[str]:
        return set()

    def orphaned_lanes(self) -> set[str]:
        return {txn.lane for txn in self._pending} - set(self.lanes)


def scene(**changes: Any) -> Scene:
    """Everything around the loop in order."""
    given: dict[str, Any] = {
        "now": NOW,
        "agent": {
            "version": "0.1.0",
            "pid": 4242,
            "pid_started_ticks": 77,
            "pid_namespace": "pid:[1]",
            "boot_id": "b",
            "started_utc": "2026-01-02T01:00:00.000Z",
            "started_mono": MONO - 3600,
        },
        "language": "en",
        "stale_after_s": 15.0,
        "links": {"main": link()},
        "devices": [DeviceFacts("printer", "printer", "ready", "paper in", 60.0)],
        "store": STORE,
        "mac_devices": {},
        "finished": (),
        **changes,
    }
    return Scene(**given)


def evidence(what: str, detail: str = "") -> Evidence:
    """One piece of evidence, a minute old."""
    return Evidence(begun_before(60), what, detail)


def utc(year: int, month: int, day: int) -> datetime:
    """Midnight UTC of a day."""
    return datetime(year, month, day, tzinfo=UTC)


def show_only() -> ShowOnly:
    """The boundary of what only shows, at the moment of the samples."""
    return ShowOnly(lambda: NOW)


def status_writer(run_dir: Path) -> StatusWriter:
    """The writer of the status files, as the daemon makes it."""
    return StatusWriter(run_dir, show_only())
