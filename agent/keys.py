"""The data keys of the running agent: shown, rotated, destroyed. The key file itself is agent/vault.py's.

    rotate    a new key is written and forced to the disk, then it seals; every pending item is sealed with it anew
    destroy   the old keys go: what only they sealed, the card data of ended items, can never be read again

Rules not to break:
1. Nothing is destroyed that a pending item needs: they are sealed anew in the same step.
2. Right after a rotation the old key stays: an item that ended lately may still be reversed again, when a late
   approval comes for one of which the host said that it had never seen it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.events import Now
from agent.lane import RefusedError
from agent.loop import Loop
from agent.rpc import Peer, take
from agent.vault import Vault

# How long the old key stays after a rotation unless a person insists. A late answer comes within minutes; a day
# is the longest that a host may hold one back. Assumed.
KEPT_S = 86_400


class KeyDesk:
    """`changed` is called after each change of the keys. `now`: the daemon's clock."""

    def __init__(
        self, vault: Vault, loop: Loop, key_file: Path, changed: Callable[[], None], now: Callable[[], Now]
    ) -> None:
        self._vault = vault
        self._loop = loop
        self._key_file = key_file
        self._changed = changed
        self._now = now

    def methods(self) -> dict[str, Callable[[Peer, dict[str, Any]], Any]]:
        """For the API."""
        return {"keys.list": self.list, "keys.rotate": self.rotate, "keys.destroy": self.destroy}

    def list(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Every key's id and what it does; no key."""
        take(params, {})
        return {"keys": [{"id": key_id, "state": state} for key_id, state in self._vault.keys().items()]}

    def rotate(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """A new key seals from now on."""
        take(params, {})
        key_id = self._vault.rotate()
        sealed = self._loop.seal_anew(peer.name)
        self._changed()
        return {"key_id": key_id, "sealed_anew": sealed}

    def destroy(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The old keys go. `now`: although the new one is young."""
        given = take(params, {"now": (bool, False)})
        age_s = self._now().utc.timestamp() - self._key_file.stat().st_mtime
        if age_s < KEPT_S and not given["now"]:
            text = f"the key is {age_s / 3600:.0f} h old, and items that ended before may still be reopened"
            raise RefusedError("A-KEY-YOUNG", text, "wait a day, or say --now")
        sealed = self._loop.seal_anew(peer.name)
        destroyed = self._vault.destroy_old()
        self._changed()
        return {"destroyed": destroyed, "sealed_anew": sealed}
