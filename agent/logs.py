"""The daemon's log: one line an event on standard error, with journald's priority prefix.

Every line goes through the scrubber as a second line of defence; the first is that card data has
types that do not print. Source of the prefix: sd-daemon(3), "<6>" and its like.
"""

from __future__ import annotations

import logging
import os
import sys

from protocol.masking import scrub

# syslog priorities: sd-daemon(3).
PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Line(logging.Formatter):
    def __init__(self, *, for_journal: bool) -> None:
        super().__init__("%(message)s" if for_journal else "%(asctime)s %(levelname)-7s %(message)s")
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """The scrubbed line; a multi-line text keeps its priority on each line."""
        text = scrub(super().format(record))
        if not self._for_journal:
            return text
        prefix = f"<{PRIORITY.get(record.levelno, 5)}>"
        return "\n".join(prefix + line for line in text.split("\n"))


def set_up(level: str) -> None:
    """Log to standard error; under systemd ($JOURNAL_STREAM) with priority prefixes and no time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(for_journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
