"""The maintenance log: self tests, drills and what technicians did, with date and user, one JSON object a line.

In `agent.state_dir`, appended to and forced to the disk; `maintenance.note` and `maintenance.list` of the API.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.config_watch import SelfTest
from agent.durable_file import append_line
from agent.events import Now
from agent.lane import RefusedError
from agent.rpc import Peer, take
from protocol.masking import scrub

FILE = "maintenance.jsonl"
KINDS = ("selftest", "drill", "work")
TEXT_MAX = 500
# More are kept in the file; nobody reads further back on a screen.
SHOWN_MAX = 1_000
# A file larger than this is read from its end.
READ_BYTES_MAX = 1 << 20
# A test that the daemon makes by itself waits for an idle moment; without one for so long a person is reminded.
IDLE_WITHIN = timedelta(days=1)

log = logging.getLogger("reversald")


class Maintenance:
    """Methods by name in `methods`."""

    def __init__(self, state_dir: Path, now: Callable[[], Now], rules: Callable[[], SelfTest]) -> None:
        self._file = state_dir / FILE
        self._now = now
        self._rules = rules
        self._last = next((one for one in reversed(self._read()) if one["kind"] == "selftest"), None)
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {
            "maintenance.note": self.note,
            "maintenance.list": self.entries,
        }

    def note(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """One entry. Raises RefusedError where it cannot be kept."""
        given = take(params, {"kind": (str,), "text": (str,), "result": (str, "")})
        text = scrub(given["text"].strip())
        if given["kind"] not in KINDS or not text or len(text) > TEXT_MAX or not text.isprintable():
            hint = f"kind: one of {', '.join(KINDS)}; text: one line of up to {TEXT_MAX} characters"
            raise RefusedError("A-PARAMETER", "kind or text is wrong", hint)
        if given["result"] not in ("", "pass", "warn", "fail"):
            raise RefusedError("A-PARAMETER", "result is none of pass, warn, fail", "leave it out, or give one")
        entry = {
            "at_utc": self._now().at_utc,
            "by": peer.name,
            "kind": given["kind"],
            "result": given["result"],
            "text": text,
        }
        self._append(entry)
        if given["kind"] == "selftest":
            self._last = entry
        return {**entry, "selftest": self.selftest()}

    def entries(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The last entries, the oldest first."""
        limit = take(params, {"limit": (int, 50)})["limit"]
        return {"entries": self._read()[-max(1, min(limit, SHOWN_MAX)) :], "selftest": self.selftest()}

    def selftest(self) -> dict[str, Any] | None:
        """The last self test and when the next one is due; None where there was none."""
        if self._last is None:
            return None
        rules = self._rules()
        due = datetime.fromisoformat(self._last["at_utc"]) + timedelta(days=rules.every_days)
        return {
            "at_utc": self._last["at_utc"],
            "by": self._last["by"],
            "result": self._last["result"],
            "text": self._last["text"],
            "due_utc": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "overdue": self._now().utc > due + (IDLE_WITHIN if rules.automatic else timedelta()),
        }

    def tested_utc(self) -> datetime | None:
        """When the last self test was made."""
        return None if self._last is None else datetime.fromisoformat(self._last["at_utc"])

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            append_line(self._file, json.dumps(entry, ensure_ascii=False), durable=True)
        except OSError as error:
            raise RefusedError("A-NOT-KEPT", f"{self._file}: {error.strerror}", "make room on the disk") from None

    def _read(self) -> list[dict[str, Any]]:
        """Every whole entry; what a power cut has torn is passed over."""
        try:
            with self._file.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - READ_BYTES_MAX))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            log.error("%s cannot be read: %s", self._file, error.strerror)
            return []
        return [entry for entry in map(_entry, lines) if entry is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        datetime.fromisoformat(entry["at_utc"])
    except (ValueError, KeyError, TypeError):
        return None
    known: dict[str, Any] = {name: str(entry.get(name, "")) for name in ("at_utc", "by", "kind", "result", "text")}
    return known
