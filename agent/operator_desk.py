"""The API's side of operators: what is owed, and what a person may do about it.

A method checks its parameters and gives the event to the loop: it decides nothing about money itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agent.events import Event, Hold, Park, Release, Retry
from agent.lane import RefusedError
from agent.loop import Loop
from agent.records import Transaction
from agent.rpc import Peer, take
from protocol.masking import scrub

ARCHIVE_DAYS_MAX = 3650
WORDS_MAX = 500


class Settling(Protocol):
    """How an item is closed by hand (agent/settling.py)."""

    def settle(self, peer: Peer, txn: Transaction, reason: str, bank_reference: str) -> dict[str, Any]:
        """Ask for it, or where one person may, do it."""

    def confirm(self, peer: Peer, txn: Transaction, code: str, bank_code: str) -> dict[str, Any]:
        """Do it with the second word."""


class OperatorDesk:
    """Methods by name in `methods`. `views` (agent/status_views.py) show; `settling` closes by hand."""

    def __init__(self, loop: Loop, views: Mapping[str, Callable[..., Any]], settling: Settling) -> None:
        self._loop = loop
        self._views = views
        self._settling = settling
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {
            "reversal.list": self.list,
            "reversal.show": self.show,
            "reversal.why": self.why,
            "reversal.retry": self.retry,
            "reversal.hold": self.hold,
            "reversal.release": self.release,
            "reversal.park": self.park,
            "reversal.settle": self.settle,
            "reversal.confirm": self.confirm,
            "agent.status": self.status,
            "journal.export": self.export,
            "journal.archive": self.archive,
        }

    # --- what is there -------------------------------------------------------------------------

    def list(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Pending items, worst first; with `all` also the last finished ones."""
        return self._views["list"](**take(params, {"all": (bool, False), "limit": (int, 200)}))

    def show(self, peer: Peer, params: dict[str, Any]) -> Any:
        """One item with its diagnosis."""
        return self._views["show"](self._item(params))

    def why(self, peer: Peer, params: dict[str, Any]) -> Any:
        """One item's whole story, from the journal."""
        return self._views["why"](self._item(params))

    def status(self, peer: Peer, params: dict[str, Any]) -> Any:
        """The status file's content, fresh."""
        take(params, {})
        return self._views["status"]()

    # --- what a person does --------------------------------------------------------------------

    def retry(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Try one item now, or all of them."""
        given = take(params, {"id": (str, ""), "all": (bool, False)})
        if given["all"] == bool(given["id"]):
            raise RefusedError("A-PARAMETER", "give either id or all", 'for example {"id": "main-1"}')
        ids = self._loop.to_retry() if given["all"] else [given["id"]]
        with self._loop.together():
            done = [self._loop.handle(txn_id, Retry(peer.name)).id for txn_id in ids]
        self._loop.wake()
        return {"retried": done}

    def hold(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Stop the tries of one item for the time being."""
        given = take(params, {"id": (str,), "why": (str,)})
        return self._acted(given["id"], Hold(peer.name, persons_words(given["why"], "why")))

    def release(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Let a held item go on."""
        return self._acted(take(params, {"id": (str,)})["id"], Release(peer.name))

    def park(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Say that a person must act on this item."""
        given = take(params, {"id": (str,), "why": (str,)})
        return self._acted(given["id"], Park(peer.name, persons_words(given["why"], "why")))

    def settle(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Ask to close one item with the bank's evidence: a challenge, or where one person may close it, the item."""
        given = take(params, {"id": (str,), "reason": (str,), "bank_reference": (str,)})
        reason, bank_reference = (
            persons_words(given["reason"], "reason"),
            persons_words(given["bank_reference"], "bank_reference"),
        )
        return self._settling.settle(peer, self._item({"id": given["id"]}), reason, bank_reference)

    def confirm(self, peer: Peer, params: dict[str, Any]) -> Any:
        """The second word: the challenge's code from another person, or the bank's answer to it."""
        given = take(params, {"id": (str,), "code": (str, ""), "bank_code": (str, "")})
        if bool(given["code"]) == bool(given["bank_code"]):
            raise RefusedError("A-PARAMETER", "give either code or bank_code", "the challenge's code, or the bank's")
        return self._settling.confirm(peer, self._item({"id": given["id"]}), given["code"], given["bank_code"])

    # --- the journal as a whole ----------------------------------------------------------------

    def export(self, peer: Peer, params: dict[str, Any]) -> Any:
        """A whole, consistent copy of the journal into a new file; card data stays sealed."""
        return self._views["export"](take(params, {"target": (str,)})["target"])

    def archive(self, peer: Peer, params: dict[str, Any]) -> Any:
        """One step of moving what ended long ago into the archive; `more` says whether to call again."""
        days = take(params, {"older_than_days": (int,)})["older_than_days"]
        if not 0 <= days <= ARCHIVE_DAYS_MAX:
            raise RefusedError("A-PARAMETER", f"older_than_days must be 0..{ARCHIVE_DAYS_MAX}", "e.g. 90")
        return self._views["archive"](days)

    # --- steps ---------------------------------------------------------------------------------

    def _item(self, params: dict[str, Any]) -> Transaction:
        txn_id = take(params, {"id": (str,)})["id"]
        txn = self._loop.get(txn_id)
        if txn is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {txn_id!r}", "see reversalctl list --all")
        return txn

    def _acted(self, txn_id: str, event: Event) -> Any:
        txn = self._loop.handle(txn_id, event)
        self._loop.wake()
        return self._views["show"](txn)


def persons_words(text: str, name: str) -> str:
    """A person's words in the parameter `name`: not empty, one line, not endless. Raises RefusedError."""
    if not text.strip() or len(text) > WORDS_MAX or not text.isprintable():
        raise RefusedError("A-PARAMETER", f"{name} must be 1 to {WORDS_MAX} printable characters", "say it in one line")
    return text.strip() if name == "bank_reference" else scrub(text.strip())  # somebody may type a card number
