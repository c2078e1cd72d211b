"""How far long work has come: one line on standard error that is written over; nothing where nobody looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

# Often enough to be seen moving, seldom enough for a serial console of 9600 baud.
EVERY_S = 0.5


class Progress:
    """Shown on a terminal only. `words(done, total)` gives the line."""

    def __init__(self, err: TextIO, words: Callable[[int, int], str], clock: Callable[[], float] = time.perf_counter):
        self._err = err
        self._words = words
        self._clock = clock
        self._shown_at = clock()
        self._width = 0
        self._wanted = err.isatty()

    def at(self, done: int, total: int) -> None:
        """So much is done."""
        if self._wanted and self._clock() - self._shown_at >= EVERY_S:
            self._shown_at = self._clock()
            self._show(self._words(done, total))

    def end(self) -> None:
        """Leaves an empty line behind."""
        if self._width:
            self._show("")
            self._err.write("\r")
            self._err.flush()

    def _show(self, line: str) -> None:
        self._err.write("\r" + line + " " * max(0, self._width - len(line)))
        self._err.flush()
        self._width = len(line)
