"""How the store did over time, for the report: a sample an hour in `agent.state_dir/store-history.jsonl`.

Shown only: a sample that cannot be kept is left out, and nothing waits for the disk to have it (no fsync).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.durable_file import append_line
from agent.events import Now
from agent.rpc import Peer, take

FILE = "store-history.jsonl"
EVERY_S = 3600.0
# About 140 bytes a sample: five years. Then the older half goes.
BYTES_MAX = 6 << 20
# Samples in one answer: more points than a plot has columns bring nothing, so a longer period is thinned out.
SHOWN_MAX = 1_000
FACTS = ("commits", "commit_p50_ms", "commit_p99_ms", "bytes_used", "bytes_free", "head_seq")

log = logging.getLogger("reversald")


class StoreHistory:
    """Writes the samples, and gives them back."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / FILE
        self._last_mono: float | None = None
        self._failed = False

    def look(self, store: Mapping[str, Any], now: Now) -> None:
        """One status: a sample where one is due."""
        if self._last_mono is None and not store["commits"]:
            return  # just started: nothing has been measured yet
        if self._last_mono is not None and now.mono - self._last_mono < EVERY_S:
            return
        self._last_mono = now.mono
        line = json.dumps({"at_utc": now.at_utc, **{name: store[name] for name in FACTS}})
        try:
            self._make_room()
            append_line(self._file, line, durable=False)
        except OSError as error:
            if not self._failed:
                log.error("%s cannot be written: %s", self._file, error.strerror)
            self._failed = True
        else:
            self._failed = False

    def history(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The samples from `since_utc` up to `until_utc` ("": no limit), thinned out where there are too many."""
        given = take(params, {"since_utc": (str, ""), "until_utc": (str, "")})
        samples, every = thinned(self._file, given["since_utc"], given["until_utc"])
        return {"samples": samples, "every": every}

    def _make_room(self) -> None:
        if self._file.exists() and self._file.stat().st_size > BYTES_MAX:
            lines = self._file.read_bytes().splitlines(keepends=True)
            beside = self._file.with_name(self._file.name + ".new")
            beside.write_bytes(b"".join(lines[len(lines) // 2 :]))
            beside.chmod(0o600)
            beside.replace(self._file)


def thinned(file: Path, since_utc: str = "", until_utc: str = "") -> tuple[list[dict[str, Any]], int]:
    """The samples of a period, at most `SHOWN_MAX`, and every how many-th they are. Raises OSError."""
    found = [one for one in read(file) if _within(one["at_utc"], since_utc, until_utc)]
    every = -(-len(found) // SHOWN_MAX) or 1
    return found[::every], every


def read(file: Path) -> list[dict[str, Any]]:
    """Every whole sample; what a power cut has torn is passed over. Raises OSError but for a missing file."""
    try:
        lines: Iterable[bytes] = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [sample for sample in map(_sample, lines) if sample is not None]


def _sample(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
        datetime.fromisoformat(told["at_utc"])
        numbers: dict[str, Any] = {name: float(told[name]) for name in FACTS}
    except (ValueError, KeyError, TypeError):
        return None
    return {"at_utc": str(told["at_utc"]), **numbers}


def _within(at_utc: str, since_utc: str, until_utc: str) -> bool:
    """Stamps of one form (UTC, ISO 8601) order as texts; "Z" against a fraction differs by less than a second."""
    return at_utc >= since_utc and (not until_utc or at_utc < until_utc)
