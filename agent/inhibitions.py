"""Which devices a technician has taken out of service: a small file in agent.state_dir that survives a power cut.

    {"printer": "new cutter (anna), since 2026-11-22 23:10:05 UTC"}

A file of its own and not the journal, because the journal is kept for money: nothing here is owed to anybody, it may be
forgotten, and it must not use up the journal's last bytes on a full disk. A file that cannot be read is set aside and
told in the log; the devices are in service then, because a shop that cannot print sells nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from agent.durable_file import rename_durably, replace_durably
from agent.lane import RefusedError

log = logging.getLogger("agent.devices")

FILE_NAME = "devices-inhibited.json"
HINT = "look at the disk of agent.state_dir; until then say it again after a restart"


class Inhibitions:
    """The file, read once."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._because = self._read()

    @property
    def because(self) -> Mapping[str, str]:
        """Why, by whom and since when, by the device's name."""
        return self._because

    def add(self, name: str, because: str) -> None:
        """Keep it. Raises RefusedError when it cannot be stored; it holds until the restart all the same."""
        self._change({**self._because, name: because}, name)

    def drop(self, name: str) -> None:
        """Forget it. Raises RefusedError when that cannot be stored."""
        if name in self._because:
            self._change({other: why for other, why in self._because.items() if other != name}, name)

    def _change(self, because: dict[str, str], name: str) -> None:
        self._because = because
        try:
            replace_durably(self._path, json.dumps(because, ensure_ascii=False, indent=1).encode() + b"\n")
        except OSError as error:
            text = f"{name}: done, but not stored ({error.strerror}): a restart will undo it"
            raise RefusedError("A-NOT-STORED", text, HINT) from None

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            return self._unreadable(type(error).__name__)
        if not isinstance(found, dict) or not all(isinstance(why, str) for why in found.values()):
            return self._unreadable("it is no table of texts")
        return found

    def _unreadable(self, why: str) -> dict[str, str]:
        aside = self._path.with_suffix(".damaged")
        log.error("%s cannot be read (%s): every device is in service; it is kept as %s", self._path, why, aside.name)
        try:
            rename_durably(self._path, aside)
        except OSError as error:
            log.error("%s cannot be set aside: %s", self._path, error.strerror)
        return {}
