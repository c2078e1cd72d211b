"""The API's side of closing by hand: who asks, who confirms, what is kept with the item, and the evidence file.

The rules are `agent/closing.py`'s. What is asked for and every wrong answer go into the item's own record before the
caller hears of it, so that nobody tries codes unseen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from agent import closing_evidence
from agent.closing import Closings, Person, alone, person, shown
from agent.config_checks import read_bank_key
from agent.config_schema import Configuration
from agent.events import Noticed, Settle
from agent.lane import RefusedError
from agent.loop import Loop
from agent.records import State, Transaction
from agent.rpc_socket import Peer

EVIDENCE_DIRECTORY = "evidence"

log = logging.getLogger("reversald.settling")


class Story(Protocol):
    """One item and everything that happened to it (agent/status_views.py, `why`)."""

    def __call__(self, txn: Transaction) -> dict[str, Any]: ...


class SettlingDesk:
    """Closes items for the API."""

    def __init__(
        self,
        loop: Loop,
        now: Callable[[], float],
        story: Story,
        configuration: Callable[[], Configuration],
        who: Callable[[Peer], Person] = person,
    ) -> None:
        self._loop = loop
        self._story = story
        self._configuration = configuration
        self._who = who
        self._closings = Closings(now)
        self._now = now

    def settle(self, peer: Peer, txn: Transaction, reason: str, bank_reference: str) -> dict[str, Any]:
        """Ask for a closing; where the configuration lets one person close, do it. Raises RefusedError."""
        by = self._who(peer)
        if self._configuration().policy.settle == "one-person":
            return self._close(txn, alone(by, reason, bank_reference))
        challenge = self._closings.ask(txn, by, reason, bank_reference)
        told = f"reason: {reason}; bank reference: {bank_reference}"
        txn = self._loop.handle(txn.id, Noticed(f"settle asked for by {by.name} (uid {by.uid})", told))
        return {
            "challenge": shown(challenge.code),
            "expires_s": round(challenge.until - self._now()),
            "bank_code_possible": self._configuration().policy.settle_bank_key_file is not None,
            "item": self._story(txn)["item"],
        }

    def confirm(self, peer: Peer, txn: Transaction, code: str, bank_code: str) -> dict[str, Any]:
        """Close it with the second word. Raises RefusedError."""
        by = self._who(peer)
        try:
            if bank_code:
                event = self._closings.confirm_with_bank(txn, by, bank_code, self._bank_key())
            else:
                event = self._closings.confirm(txn, by, code)
        except RefusedError as error:
            if error.code in ("A-WRONG-CODE", "A-SAME-PERSON"):
                self._loop.handle(txn.id, Noticed(f"settle not confirmed by {by.name} (uid {by.uid})", error.text))
            raise
        return self._close(txn, event)

    def make_up_for(self, transactions: Iterable[Transaction]) -> None:
        """At the start: evidence files of closed items that a power cut or a full disk has prevented."""
        for txn in transactions:
            if txn.state is State.SETTLED and not closing_evidence.paths(self._directory(), txn.id)[0].exists():
                self._write_evidence(txn)

    def _close(self, txn: Transaction, event: Settle) -> dict[str, Any]:
        closed = self._loop.handle(txn.id, event)
        return {"item": self._story(closed)["item"], "evidence": [str(path) for path in self._write_evidence(closed)]}

    def _write_evidence(self, txn: Transaction) -> list[Path]:
        """The journal's record is the truth; a file that cannot be written now is made at the next start."""
        try:
            return closing_evidence.write(self._directory(), self._story(txn))
        except OSError as error:
            log.error("no evidence file for %s: %s; it is made at the next start", txn.id, error.strerror)
            return []

    def _bank_key(self) -> bytes:
        file = self._configuration().policy.settle_bank_key_file
        if file is None:
            hint = "set policy.settle_bank_key_file, or let another person confirm"
            raise RefusedError("A-NO-BANK-KEY", "there is no key for the bank's codes", hint)
        try:
            return read_bank_key(file)
        except ValueError:
            raise RefusedError("A-NO-BANK-KEY", "the key for the bank's codes cannot be read", str(file)) from None

    def _directory(self) -> Path:
        return self._configuration().agent.state_dir / EVIDENCE_DIRECTORY
