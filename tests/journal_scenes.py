"""Entries and journals for the tests of the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.journal import Entry, Journal
from agent.journal_contract import Row
from agent.journal_source import Records
from agent.vault import Vault

SECRET = b"not a card, but treated like one"


def entry(txn_id: str = "t1", state: str = "begun", pending: bool = True, **changes: Any) -> Entry:
    """One entry; what does not matter to a test has a default that depends on the transaction only."""
    values: dict[str, Any] = {
        "txn_id": txn_id,
        "lane": "L1",
        "reference": f"ref-{txn_id}",
        "state": state,
        "pending": pending,
        "event": "sale",
        "public": '{"amount_minor":100}',
        "secret": b"",
        "at_utc": "2026-01-01T00:00:00Z",
    }
    return Entry(**(values | changes))


def sale(journal: Any, txn_id: str, *states: str) -> int:
    """Appends one commit a state; the first brings the secret, the last state is not pending unless it must be."""
    seq = 0
    for number, state in enumerate(states):
        pending = state in ("begun", "approved", "reversing", "parked")
        seq = journal.append([entry(txn_id, state, pending, secret=b"" if number else SECRET)], {"stan L1": number + 1})
    return seq


class Home:
    """A directory with the files of one journal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "journal.db"
        self.mark = directory / "journal.mark"
        self.key = directory / "journal.key"
        self.log = directory / "journal.db-wal"

    def vault(self) -> Vault:
        return Vault.open_or_create(self.key, [self.path, self.mark])

    def open(self, **options: Any) -> Journal:
        """Opens without pre-sizing and reserve, unless asked: small files, fast tests."""
        settings: dict[str, Any] = {"presize_bytes": 0, "reserve_bytes": 0}
        return Journal.open(self.path, self.vault(), self.mark, **(settings | options))

    def copy(self, target: Path) -> Home:
        """The files as they lie there now, as after the end of the process."""
        shutil.copytree(self.directory, target)
        return Home(target)


def records_of(path: Path) -> list[Row | None]:
    """Every record of a stopped agent's journal, as a report reads it."""
    offline: Any = SimpleNamespace(language="en")
    return list(Records(offline, path))
