"""The data keys of the running agent: shown, rotated, destroyed, wrapped. The key file itself is agent/key_file.py's.

    rotate    a new key is written and forced to the disk, then it seals; every pending item is sealed with it anew
    destroy   the old keys go: what only they sealed, the card data of ended items, can never be read again
    wrap      the same keys are written anew, as the configuration wants them wrapped; unwrap: in clear

Rules not to break:
1. Nothing is destroyed that a pending item needs: they are sealed anew in the same step.
2. Right after a rotation the old key stays: an item that ended lately may still be reversed again, when a late
   approval comes for one of which the host said that it had never seen it.
3. Nobody waits for what wraps the keys but the one who asked: a secure element that hangs delays no reversal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.events import Now
from agent.lane import RefusedError
from agent.loop import Loop
from agent.own_thread import in_own_thread
from agent.rpc import Peer, take
from agent.status_conditions import of_keys
from agent.vault import Vault, VaultError

if TYPE_CHECKING:
    from agent.key_envelope import Envelope

# How long the old key stays after a rotation unless a person insists. A late answer comes within minutes; a day
# is the longest that a host may hold one back. Assumed.
KEPT_S = 86_400
T = TypeVar("T")


class KeyDesk:
    """`changed` is called after each change of the keys, and of what is known of them. `now`: the daemon's clock."""

    def __init__(
        self, vault: Vault, loop: Loop, key_file: Path, changed: Callable[[], None], now: Callable[[], Now]
    ) -> None:
        self._vault = vault
        self._loop = loop
        self._key_file = key_file
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()
        # Whether the source that the next start needs was reached when it was last asked; the start itself has asked.
        self._reached: bool | None = True if vault.wrapped_under else None
        self._problem = ""
        self._now = now

    def methods(self) -> dict[str, Callable[[Peer, dict[str, Any]], Any]]:
        """For the API."""
        return {
            "keys.list": self.list,
            "keys.check": self.check,
            "keys.rotate": self.rotate,
            "keys.destroy": self.destroy,
            "keys.wrap": self.wrap,
            "keys.unwrap": self.unwrap,
        }

    def list(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Every key's id and what it does, and what they are wrapped under; no key."""
        take(params, {})
        keys = [{"id": key_id, "state": state} for key_id, state in self._vault.keys().items()]
        return {"keys": keys, "wrapping": self.wrapping()}

    def wrapping(self) -> dict[str, Any]:
        """What the key file is wrapped under and shall be (empty: in clear), and whether it could be reached lately."""
        return {
            "under": self._vault.wrapped_under,
            "wanted": self._vault.wraps_under,
            "reached": self._reached,
            "problem": self._problem,
        }

    def conditions(self) -> Sequence[dict[str, Any]]:
        """For the status."""
        return of_keys(self.wrapping())

    async def check(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Whether the next start could open the key file; found out now."""
        take(params, {})
        async with self._one_at_a_time:
            with contextlib.suppress(VaultError):  # `wrapping` tells
                await self._asked(self._vault.check)
        return self.wrapping()

    async def rotate(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """A new key seals from now on."""
        take(params, {})
        async with self._one_at_a_time:
            key_id = self._vault.rotate(await self._envelope())
            sealed = self._loop.seal_anew(peer.name)
        self._changed()
        return {"key_id": key_id, "sealed_anew": sealed}

    async def destroy(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The old keys go. `now`: although the new one is young."""
        given = take(params, {"now": (bool, False)})
        age_s = self._age_s()
        if age_s < KEPT_S and not given["now"]:
            text = f"the key is {age_s / 3600:.0f} h old, and items that ended before may still be reopened"
            raise RefusedError("A-KEY-YOUNG", text, "wait a day, or say --now")
        async with self._one_at_a_time:
            envelope = await self._envelope()
            sealed = self._loop.seal_anew(peer.name)
            destroyed = self._vault.destroy_old(envelope)
        self._changed()
        return {"destroyed": destroyed, "sealed_anew": sealed}

    async def wrap(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The same keys, wrapped as the configuration says."""
        take(params, {})
        async with self._one_at_a_time:
            self._vault.wrap(await self._envelope())
        self._changed()
        return self.wrapping()

    async def unwrap(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The same keys, in clear."""
        take(params, {})
        async with self._one_at_a_time:
            self._vault.unwrap()
        self._reached, self._problem = None, ""
        self._changed()
        return self.wrapping()

    def _age_s(self) -> float:
        """Since the newest key came. Raises VaultError."""
        try:
            return self._now().utc.timestamp() - self._key_file.stat().st_mtime
        except OSError as error:
            hint = "restore it from its backup"
            raise VaultError(f"key file {self._key_file} cannot be read: {error.strerror}", hint) from error

    async def _envelope(self) -> Envelope | None:
        """What the key file will be written with. No source, no thread."""
        return await self._asked(self._vault.envelope) if self._vault.wraps_under else None

    async def _asked(self, work: Callable[[], T]) -> T:
        """Raises VaultError; and what is known of the source is shown."""
        try:
            done = await in_own_thread(work)
        except VaultError as error:
            self._reached, self._problem = False, error.text
            self._changed()
            raise
        self._reached, self._problem = True, ""
        return done
