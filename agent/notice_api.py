"""The API's methods for script results: transaction.script_result, script.list, script.close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.lane import RefusedError
from agent.loop import Loop
from agent.operator_desk import persons_words
from agent.records import State, Transaction
from agent.rpc import Peer, take

if TYPE_CHECKING:
    from agent.notice_desk import NoticeDesk, Tray  # loaded with the first script result (agent/side_desks.py)
    from agent.notices import Notice


class NoticeApi:
    """See the module; `methods` by name."""

    def __init__(self, loop: Loop, desk: Callable[[], NoticeDesk]) -> None:
        self._loop = loop
        self._desk = desk
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {
            "transaction.script_result": self.keep,
            "script.list": self.list,
            "script.close": self.close,
        }

    def keep(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """What the scripts did on the card of a sale. Stored on return; asked again, it is the same one."""
        given = take(params, {"reference": (str,), "lane": (str, ""), "chip_data": (str,)})
        txn = self._which(given["lane"], given["reference"])
        _refuse_unanswered(txn)
        notice = self._desk().keep(txn, given["chip_data"])
        self._desk().look(txn.lane)
        return {"id": txn.id, "reference": txn.reference, "stan": notice.stan, "kept": True}

    def list(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """What waits for its host, and what ended lately, of all lanes."""
        take(params, {})
        return {"lanes": {name: _listed(tray) for name, tray in self._desk().trays.items()}}

    def close(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """A person ends one that no host answers."""
        given = take(params, {"id": (str,), "why": (str,)})
        self._desk().close(given["id"], peer.name, persons_words(given["why"], "why"))
        return {"closed": given["id"]}

    def _which(self, lane_name: str, reference: str) -> Transaction:
        for name in [lane_name] if lane_name else list(self._loop.lanes):
            if (txn := self._loop.find(name, reference)) is not None:
                return txn
        raise RefusedError("A-NO-REFERENCE", f"no sale with the reference {reference!r} is recorded", "check it")


def _listed(tray: Tray) -> dict[str, Any]:
    return {
        "waiting": [_notice(one) for one in tray.outbox.waiting],
        "ended": [asdict(one) for one in reversed(tray.outbox.ended)],
    }


def _notice(one: Notice) -> dict[str, Any]:
    return {
        "id": one.id,
        "stan": one.stan,
        "result": one.result,
        "kept_at_utc": one.at_utc,
        "tries": one.tries,
        "last_try_utc": one.last_try_utc,
        "last_error": one.last_error,
    }


def _refuse_unanswered(txn: Transaction) -> None:
    """No host has answered a sale that is just under way: there was no script. Raises RefusedError."""
    if txn.state is State.NEW or (txn.state is State.BEGUN and txn.driver != "application"):
        text = f"no answer of the host to {txn.reference} is recorded"
        raise RefusedError("A-NO-SCRIPT-RESULT", text, "scripts come with the host's answer")
