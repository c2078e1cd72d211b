"""The API's methods for a lane's session: session.sign_on, .echo and .key_check, batch.settle, reversal.wait_clear."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agent.batch_desk import BatchDesk, Override, open_item
from agent.lane import RefusedError
from agent.loop import Loop
from agent.operator_desk import persons_words
from agent.records import State
from agent.rpc import Peer, take
from agent.session_desk import SessionDesk
from agent.session_status import session_view

# Longest wait of one call; a client that wants to wait longer asks again.
WAIT_CLEAR_MAX_S = 600
# What may still become a reversal without anybody's doing, or is one.
NOT_CLEAR = frozenset({State.BEGUN, State.REVERSING, State.PARKED})


class SessionApi:
    """See the module; `methods` by name. `check_value`: of a lane's MAC key."""

    def __init__(
        self, loop: Loop, desk: SessionDesk, batches: BatchDesk, check_value: Callable[[str], Awaitable[str]]
    ) -> None:
        self._loop = loop
        self._check_value = check_value
        self._desk = desk
        self._batches = batches
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {
            "session.sign_on": self.sign_on,
            "session.echo": self.echo,
            "session.key_check": self.key_check,
            "batch.settle": self.settle,
            "reversal.wait_clear": self.wait_clear,
        }

    async def sign_on(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Sign on now; the session as it then stands (`signed_on`, `last_error`)."""
        lane_name = self._lane_name(take(params, {"lane": (str, "")})["lane"])
        await self._desk.sign_on(lane_name, peer.name)
        return self._view(lane_name)

    async def echo(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """An echo test: whether the host answered and after how many milliseconds."""
        lane_name = self._lane_name(take(params, {"lane": (str, "")})["lane"])
        result = await self._desk.echo(lane_name)
        return {
            "lane": lane_name,
            "answered": result.round_trip_ms is not None,
            "round_trip_ms": result.round_trip_ms,
            "text": result.text,
        }

    async def key_check(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Which MAC key the lane works with, without showing it; "" without one. Asks the PIN pad where it has it."""
        lane_name = self._lane_name(take(params, {"lane": (str, "")})["lane"])
        return {"lane": lane_name, "value": await self._check_value(lane_name)}

    async def settle(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Settle the lane's batch; `override` with a reason goes on in spite of open items and is recorded."""
        given = take(params, {"lane": (str, ""), "override": (bool, False), "reason": (str, "")})
        override = Override(peer.name, persons_words(given["reason"], "reason")) if given["override"] else None
        return await self._batches.settle(self._lane_name(given["lane"]), override)

    async def wait_clear(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Wait until nothing is owed (on one lane, or on all): `clear`, and what is still open."""
        given = take(params, {"lane": (str, ""), "timeout_s": (int, 30)})
        if not 0 <= given["timeout_s"] <= WAIT_CLEAR_MAX_S:
            text = f"timeout_s must be 0 to {WAIT_CLEAR_MAX_S}"
            raise RefusedError("A-PARAMETER", text, "ask again to wait longer")
        if given["lane"]:
            self._loop.lane(given["lane"])
        clear = await self._desk.until(lambda: not self._owed(given["lane"]), given["timeout_s"])
        return {"clear": clear, "open": self._owed(given["lane"])}

    def _owed(self, lane_name: str) -> list[dict[str, Any]]:
        pending = (txn for txn in self._loop.pending() if lane_name in ("", txn.lane))
        return [open_item(txn) for txn in pending if txn.state in NOT_CLEAR]

    def _view(self, lane_name: str) -> dict[str, Any]:
        return {"lane": lane_name, **session_view(self._desk.seats[lane_name], self._desk.now())}

    def _lane_name(self, given: str) -> str:
        name = given or (next(iter(self._loop.lanes)) if len(self._loop.lanes) == 1 else "")
        return self._loop.lane(name).name
