"""Outcomes of exchanges on many lanes: all that arrive in one turn of the event loop are handed on together.

One commit then serves all of them. An outcome waits for the others at most until the event loop's next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agent.outcomes import Outcome

Ended = tuple[int, Outcome]


class OutcomeDesk:
    """`hand(ended)` gets (exchange id, outcome) of each, in the order of their arrival."""

    def __init__(self, hand: Callable[[Sequence[Ended]], None]) -> None:
        self._hand = hand
        self._ended: list[Ended] = []

    def deliver(self, exchange_id: int, outcome: Outcome) -> None:
        """As a link tells it."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self.hand_over)
        self._ended.append((exchange_id, outcome))

    def hand_over(self) -> None:
        """What has gathered, now; before the end of the process nothing may be left here."""
        ended, self._ended = self._ended, []
        if ended:
            self._hand(ended)
