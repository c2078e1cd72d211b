"""From one schema to the next and back, with items that are pending: nothing is lost, and nobody guesses.

`schema1/journal.zip` was written by the program of schema 1 (records of the engine, test cards only) and lies there
as a killed process leaves it: the older half in the database, the newer one in the log. Pending in it: unionpay-4
reversing, -5 approved, -6 parked, -7 begun; -1 to -3 are over.
"""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import pytest

from agent import journal_schema, records
from agent.highwater import read_mark
from agent.journal import Journal, JournalUnreadable
from agent.journal_schema import SCHEMA_VERSION
from agent.mirror import Mirror, image_of, merge
from agent.vault import Vault
from agent.verify import walk, walk_export
from tests.journal_scenes import Home, entry

FIXTURE = Path(__file__).parent / "schema1" / "journal.zip"
PENDING = {"unionpay-4": "reversing", "unionpay-5": "approved", "unionpay-6": "parked", "unionpay-7": "begun"}
OVER = {"unionpay-1": "completed", "unionpay-2": "reversed", "unionpay-3": "declined"}


@pytest.fixture
def old(tmp_path: Path) -> Home:
    """The files of schema 1."""
    directory = tmp_path / "store"
    directory.mkdir()
    with zipfile.ZipFile(FIXTURE) as packed:
        packed.extractall(directory)
    home = Home(directory)
    (directory / "data.key").rename(home.key)
    (directory / "highwater").rename(home.mark)
    home.key.chmod(0o600)
    return home


def states(journal: Journal) -> dict[str, str]:
    """What is pending, by id."""
    return {one.entry.txn_id: one.entry.state for one in journal.pending()}


def contents(home: Home) -> dict[str, bytes]:
    """Every file but the lock, which only names its holder."""
    return {path.name: path.read_bytes() for path in home.directory.iterdir() if path.suffix != ".lock"}


def test_an_older_journal_with_pending_items_comes_up_whole(old: Home) -> None:
    journal = old.open(check_last=None)
    assert states(journal) == PENDING
    for one in journal.pending():
        txn = records.load(one.entry.public, one.entry.secret)
        assert txn.frozen is not None, "the exact reversal can still be sent"
        assert str(txn.state) == one.entry.state
    assert journal.counters() == {"stan:unionpay": 20, "txn:unionpay": 7}
    assert journal.counts() == {**dict.fromkeys({*PENDING.values(), *OVER.values(), "signed-on"}, 1)}
    assert [row.state for row in journal.history("unionpay-2")] == ["begun", "reversing", "reversed"]
    assert journal.find("unionpay", "ref-3") == journal.get("unionpay-3")
    journal.append([entry("unionpay-8", lane="unionpay")], {"stan:unionpay": 21})
    journal.close()
    report = walk(old.path, old.vault(), old.mark)
    assert report.whole, report.lines()


def test_the_copy_made_before_is_the_journal_as_it_was(old: Home) -> None:
    before = walk(old.path, old.vault(), old.mark)
    old.open().close()
    copy = old.directory / "journal.db.schema1"
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    assert copy.stat().st_mode & 0o777 == 0o600
    after = walk_export(copy, old.vault())
    assert (after.whole, after.begun, after.states, after.records) == (
        True,
        before.begun,
        before.states,
        before.records,
    )
    mark = read_mark(old.directory / "journal.db.schema1.mark")
    assert mark is not None
    assert (mark.journal_id, mark.seq) == (before.journal_id, before.head_seq)


def test_an_upgrade_cut_short_is_made_again(old: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Dies

    monkeypatch.setattr(journal_schema, "put_meta", dies)
    with pytest.raises(Dies):
        old.open()
    monkeypatch.undo()
    crashed = old.copy(tmp_path / "crashed")
    journal = crashed.open(check_last=None)
    assert states(journal) == PENDING
    journal.close()


def test_an_older_program_refuses_a_newer_journal_and_changes_nothing(old: Home) -> None:
    old.open().close()
    connection = sqlite3.connect(old.path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = contents(old)
    with pytest.raises(JournalUnreadable) as caught:
        old.open()
    assert caught.value.code == "E-JOURNAL-SCHEMA"
    assert f"schema {SCHEMA_VERSION + 1}, this program knows {SCHEMA_VERSION}" in caught.value.text
    assert "install the newer version again" in caught.value.hint
    assert {name: data for name, data in contents(old).items() if not name.endswith(("-wal", "-shm"))} == {
        name: data for name, data in before.items() if not name.endswith(("-wal", "-shm"))
    }


def test_the_way_back_with_the_second_copy_loses_nothing_that_is_owed(old: Home) -> None:
    """As docs/durability.md says: copy and its mark go back in place, the second copy brings what came later."""
    journal = old.open()
    journal.append([entry("unionpay-7", "reversing", lane="unionpay", reference="ref-7")])
    journal.append([entry("unionpay-9", "begun", lane="unionpay", secret=b"the exact reversal")], {"stan:unionpay": 30})
    journal.append([entry("unionpay-4", "reversed", False, lane="unionpay", reference="ref-4")])
    mirror = Mirror(old.directory / "pending", Vault.open(old.key))
    assert mirror.save(image_of(journal))
    owed = states(journal)
    journal.close()

    for path in (old.path, old.mark):
        path.unlink()
    (old.directory / "journal.db.schema1").rename(old.path)
    (old.directory / "journal.db.schema1.mark").rename(old.mark)

    back = old.open(check_last=None)
    image = Mirror(old.directory / "pending", Vault.open(old.key)).load()
    assert image is not None
    merged = merge(back, image)
    assert merged.doubtful == ()
    assert owed.items() <= states(back).items()
    assert states(back).keys() - owed.keys() == {"unionpay-4"}, (
        "what ended since is owed again, which a host sees through"
    )
    again = back.get("unionpay-9")
    assert again is not None
    assert again.entry.secret == b"the exact reversal"
    assert back.counters()["stan:unionpay"] == 30, "no number is given out twice"
    back.close()
