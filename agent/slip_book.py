"""Which slips are on paper: a small file beside the journal, so that a restart prints what is owed and nothing twice.

What is owed follows from the transactions themselves (`owed`); the file only says what was begun and what is done.

    {"from_seq": 812}                              what ended up to here was before the book
    {"slip": "main-7/cancelled", "is": "begun"}
    {"slip": "main-7/cancelled", "is": "printed"}         or "waits": certainly not on paper yet; "unknown"

Rules not to break:
1. Only "printed" and "unknown" (the printer cannot tell) end a slip; nothing ends by time or number.
2. A slip that was begun and not ended when the process died is printed again and says that it may be the second.
3. A book that cannot be written never stops anything but paper: slips are printed, and the trouble is logged once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.durable_file import append_line, replace_durably
from agent.records import State, Transaction

ENDED_WORDS = frozenset({"printed", "unknown"})
# A book longer than this is written anew at a start, with what can still matter. Assumed: a year of a small shop.
LINES_MAX = 5_000

_OWES: Mapping[State, str] = {
    State.REVERSING: "cancelled",
    State.PARKED: "parked",
    State.REVERSED: "confirmed",
    State.SETTLED: "settled",
}

log = logging.getLogger("reversald.slips")


def owed(txn: Transaction) -> str:
    """The slip that its present state owes to paper; "" for none. An earlier one is made needless by a later one."""
    return _OWES.get(txn.state, "")


def reference(txn: Transaction, what: str) -> str:
    """The name of one slip; the same after a restart, another one where the same happens to the item again."""
    if what in ("confirmed", "settled", "receipt", "declined"):
        return f"{txn.id}/{what}/{txn.ended_at_utc}"
    return f"{txn.id}/{what}" + ("/undecided" if txn.undecided else "")


class SlipBook:
    """Read once at the start, then only appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        self._waited: set[str] = set()
        self.from_seq = 0
        self._state: dict[str, str] = {}

    @classmethod
    def open(cls, path: Path, head_seq: int) -> SlipBook:
        """The book; a new one begins after record `head_seq`: what ended before was not its business."""
        book = cls(path)
        if path.exists():
            book._read()
        else:
            book.from_seq = head_seq
            book._rewrite(())
        return book

    def owed(self, transactions: Iterable[tuple[int, Transaction]]) -> list[tuple[Transaction, str, bool]]:
        """What still has to be printed, as (item, slip, whether it may be the second), in the order given.

        `transactions`: the last record's number and the item, the oldest first.
        """
        candidates = list(transactions)
        self._shorten({txn.id for _, txn in candidates})
        found = []
        for seq, txn in candidates:
            what = owed(txn)
            name = reference(txn, what)
            if what and (txn.pending or seq > self.from_seq) and not self.ended(name):
                found.append((txn, what, self._state.get(name) == "begun"))
        return found

    def ended(self, name: str) -> bool:
        """Whether this slip is done with."""
        return self._state.get(name) in ENDED_WORDS

    def note(self, name: str, word: str, *, durable: bool) -> None:
        """One more line; forced to the disk where `durable`. Called from the loop and from a device's thread.

        A printer without paper is asked every few seconds, for days: a slip that waits costs three lines at most.
        """
        if self._state.get(name) == word or (word == "waits" and name in self._waited):
            return
        if word == "waits":
            self._waited.add(name)
        self._state[name] = word
        try:
            append_line(self._path, json.dumps({"slip": name, "is": word}), durable=durable)
        except OSError as error:
            self._complain(error)

    def _read(self) -> None:
        """A line torn by a power cut is passed over: its slip is printed again and says so."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            self._complain(error)
            return
        for line in lines:
            try:
                known = json.loads(line)
                self.from_seq = max(self.from_seq, int(known.get("from_seq", 0)))
                if "slip" in known:
                    self._state[str(known["slip"])] = str(known["is"])
            except (ValueError, KeyError, AttributeError, TypeError):
                log.warning("a line of %s cannot be read; its slip may be printed again", self._path)

    def _shorten(self, alive: set[str]) -> None:
        if len(self._state) <= LINES_MAX:
            return
        self._state = {name: word for name, word in self._state.items() if name.split("/")[0] in alive}
        self._rewrite(self._state.items())

    def _rewrite(self, entries: Iterable[tuple[str, str]]) -> None:
        lines = [{"from_seq": self.from_seq}, *({"slip": name, "is": word} for name, word in entries)]
        try:
            replace_durably(self._path, "".join(json.dumps(line) + "\n" for line in lines).encode())
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._failed:
            log.error("%s cannot be used: %s; a restart may print a slip twice", self._path, error.strerror)
        self._failed = True
