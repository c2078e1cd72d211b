"""The API's side of slips: what waits for the printer, and one more copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agent.lane import RefusedError
from agent.loop import Loop
from agent.records import OWED, State, Transaction
from agent.rpc import Peer, take
from agent.slip_book import owed


class Room(Protocol):
    """The devices' room (agent/room.py), as far as slips go."""

    @property
    def prints(self) -> bool: ...

    @property
    def slips_waiting(self) -> int: ...

    def slip(self, txn: Transaction, what: str, note: str = "") -> None: ...


class SlipDesk:
    """Methods by name in `methods`."""

    def __init__(self, loop: Loop, room: Room) -> None:
        self._loop = loop
        self._room = room
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {"slip.print": self.print}

    def print(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """One slip of an item again, marked as a copy. `what` "": the one of its present state."""
        given = take(params, {"id": (str,), "what": (str, "")})
        txn = self._loop.get(given["id"])
        if txn is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {given['id']!r}", "see reversalctl list --all")
        if not self._room.prints:
            raise RefusedError("A-NO-PRINTER", "no printer for slips is configured", "[checkout] printer and print")
        what = given["what"] or owed(txn)
        if what not in possible(txn):
            known = ", ".join(possible(txn)) or "none"
            raise RefusedError("A-NO-SLIP", f"the item is {txn.outcome}: it has no such slip", f"possible: {known}")
        self._room.slip(txn, what, "copy")
        return {"id": txn.id, "slip": what, "waiting": self._room.slips_waiting}


def possible(txn: Transaction) -> list[str]:
    """The slips that tell the truth about the item now; the one of its state first."""
    if txn.state not in (*OWED, State.REVERSED, State.SETTLED):
        return []
    found = [owed(txn)]
    if txn.state in OWED and not txn.undecided:  # else nothing is cancelled yet, and nothing is asked of the bank
        found += [what for what in ("cancelled", "adjustment") if what not in found]
    return found
