"""What the alert channels share: how much may wait, how an alert is written, and saying once that a channel fails."""

from __future__ import annotations

import json
import logging

from agent.alerts import Notice

# An alert that nobody could take in so long is old news. Assumed.
WAITING_MAX = 100

log = logging.getLogger("reversald.alert")


class Trouble:
    """Says once that a channel fails, and once that it works again."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._failed = False

    def failed(self, why: str) -> None:
        if not self._failed:
            log.error("alerts do not get through to the %s: %s", self._channel, why)
        self._failed = True

    def worked(self) -> None:
        if self._failed:
            log.info("alerts get through to the %s again", self._channel)
        self._failed = False


def line_of(notice: Notice) -> bytes:
    """One line of JSON."""
    return (json.dumps(notice.document(), ensure_ascii=False) + "\n").encode()
