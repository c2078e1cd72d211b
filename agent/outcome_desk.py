"""Outcomes of exchanges on many lanes: those that arrive in one turn of the event loop are handed on together.

One commit then serves all of them. But not too many at once: their lanes go on when the last of them has been decided,
all at the same moment, their hosts answer at the same moment, and the lanes then march in step for ever, each waiting
for the work of all others in every round. So a commit serves what is worth it beside the time that it takes itself, and
the others follow in the event loop's next turn, when the first messages have left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agent.outcomes import Outcome

Ended = tuple[int, Outcome]

# Measured (docs/performance.md): deciding one outcome costs 0.3 to 0.4 ms of a desktop's CPU, a commit 0.15 ms on a
# fast disk and 10 ms on a slow one. Sixteen together drain 32 lanes as fast as all, eight a tenth slower; where a
# commit takes longer, sixteen for each of its milliseconds keep its share below a sixth.
TOGETHER_MIN = 16
TOGETHER_PER_MS = 16


class OutcomeDesk:
    """`hand(ended)` gets (exchange id, outcome) of each, in the order of their arrival.

    `commit_s()`: seconds that the last commit took.
    """

    def __init__(self, hand: Callable[[Sequence[Ended]], None], commit_s: Callable[[], float]) -> None:
        self._hand = hand
        self._commit_s = commit_s
        self._ended: list[Ended] = []

    def deliver(self, exchange_id: int, outcome: Outcome) -> None:
        """As a link tells it."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._some)
        self._ended.append((exchange_id, outcome))

    def hand_over(self) -> None:
        """All that has gathered, now; before the end of the process nothing may be left here."""
        ended, self._ended = self._ended, []
        if ended:
            self._hand(ended)

    def _some(self) -> None:
        most = max(TOGETHER_MIN, int(1000 * self._commit_s() * TOGETHER_PER_MS))
        ended, self._ended = self._ended[:most], self._ended[most:]
        if self._ended:
            asyncio.get_running_loop().call_soon(self._some)
        if ended:
            self._hand(ended)
