"""One turn of the loop: everything that was decided in it is stored in one commit, and only then its effects follow.

Rules not to break:
1. No effect of a turn is performed before the whole turn is durable: not one byte, word or slip.
2. Messages leave first, so that the hosts work while people and files are told. Of each kind the effects follow in the
   order in which they were decided.
3. An error out of the commit ends the process: none of the effects is performed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.journal_contract import Entry


class Turn:
    """What one turn has gathered so far."""

    __slots__ = ("counters", "entries", "sends", "words")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.counters: dict[str, int] = {}
        self.sends: list[Callable[[], None]] = []
        self.words: list[Callable[[], None]] = []

    def record(self, entry: Entry, counters: Mapping[str, int]) -> None:
        """One more record of the turn's commit; counters only grow older ones out."""
        self.entries.append(entry)
        self.counters.update(counters)

    def send(self, message: Callable[[], None]) -> None:
        """A message that leaves after the commit, before any word is told."""
        self.sends.append(message)

    def then(self, word: Callable[[], None]) -> None:
        """To be told after the commit."""
        self.words.append(word)
