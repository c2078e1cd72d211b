"""A pending record that a start left for later is checked as the start would have done it, when its turn comes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.journal_contract import JournalUnreadable
from tests.journal_scenes import Home, entry


def filled(tmp_path: Path) -> Home:
    """Three pending transactions, cleanly closed."""
    home = Home(tmp_path)
    journal = home.open()
    journal.append([entry(f"t{number}", "reversing", True, secret=b"the reversal") for number in range(3)])
    journal.close()
    return home


def change(home: Home, statement: str) -> None:
    connection = sqlite3.connect(home.path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE record SET public = '{}' WHERE txn_id = 't1'", "record 2 or the chain before it was changed"),
        ("UPDATE record SET sealed = zeroblob(64) WHERE txn_id = 't1'", "record 2 or the chain before it was changed"),
    ],
)
def test_damage_of_one_that_waits_is_found_with_it(tmp_path: Path, statement: str, said: str) -> None:
    home = filled(tmp_path)
    change(home, statement)
    journal = home.open(check_last=1, pending_max=0)
    assert journal.checked("t0") == journal.get("t0")
    with pytest.raises(JournalUnreadable, match=said):
        journal.checked("t1")


def test_what_is_whole_is_read_as_ever(tmp_path: Path) -> None:
    journal = filled(tmp_path).open(check_last=1, pending_max=0)
    assert [journal.checked(one.txn_id) for one in journal.waiting()] == journal.pending()
    journal.close()
