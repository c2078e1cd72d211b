"""What a start accepts, and what it refuses: never less than was stored."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.highwater import HighWater, Mark, encode, read_mark
from agent.journal import JournalLocked, JournalUnreadable
from agent.vault import Vault, VaultError
from agent.verify import walk
from tests.journal_scenes import Home, entry, sale


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A closed journal with five records, one transaction of which is pending."""
    directory = tmp_path / "store"
    directory.mkdir()
    home = Home(directory)
    journal = home.open()
    sale(journal, "done", "begun", "approved", "completed")
    sale(journal, "open", "begun", "reversing")
    journal.close()
    return home


def refusal(home: Home, **options: object) -> JournalUnreadable:
    with pytest.raises(JournalUnreadable) as caught:
        home.open(**options)
    return caught.value


def edit(home: Home, statement: str) -> None:
    connection = sqlite3.connect(home.path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_files_of_a_journal_are_for_its_owner_only(home: Home) -> None:
    journal = home.open(presize_bytes=1 << 20)
    modes = {name: os.stat(home.directory / name).st_mode & 0o777 for name in os.listdir(home.directory)}
    journal.close()
    assert set(modes.values()) == {0o600}
    assert {"journal.db", "journal.db-wal", "journal.mark", "journal.key"} <= set(modes)


def test_a_second_opener_is_refused_and_told_who_holds_it(home: Home) -> None:
    journal = home.open()
    refused = refusal(home)
    assert isinstance(refused, JournalLocked)
    assert f"process {os.getpid()}" in str(refused)
    journal.close()
    home.open().close()


def test_an_sqlite_tool_that_holds_the_file_is_named_as_the_cause(home: Home) -> None:
    tool = sqlite3.connect(home.path, isolation_level=None)
    tool.execute("BEGIN IMMEDIATE")
    assert refusal(home).code == "E-JOURNAL-LOCKED"
    tool.close()


@pytest.mark.parametrize("left", ["mark and key", "mark", "key"])
def test_a_lost_database_is_never_taken_for_a_first_start(home: Home, left: str) -> None:
    home.path.unlink()
    if "mark" not in left:
        home.mark.unlink()
    if "key" not in left:
        home.key.unlink()
        with pytest.raises(VaultError, match="missing"):
            home.open()
    else:
        refused = refusal(home)
        assert refused.code == "E-JOURNAL-MISSING"
        assert refused.last_seq == (5 if "mark" in left else 0)
    assert not home.path.exists()


def test_an_emptied_database_is_refused(home: Home) -> None:
    os.truncate(home.path, 0)
    assert refusal(home).code == "E-JOURNAL-MISSING"
    assert home.path.stat().st_size == 0


def test_a_database_without_tables_is_refused_and_not_filled(home: Home) -> None:
    home.path.unlink()
    connection = sqlite3.connect(home.path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert refusal(home).code == "E-JOURNAL-DAMAGED"


def test_a_provisioned_key_needs_an_explicit_word_to_begin(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.key.touch(mode=0o600)
    home.key.write_bytes(b"k" * 32)
    assert refusal(home).code == "E-JOURNAL-MISSING"
    journal = home.open(create=True)
    sale(journal, "a", "begun")
    journal.close()
    home.path.unlink()
    assert refusal(home, create=True).code == "E-JOURNAL-MISSING"


@pytest.mark.parametrize("lost", ["nothing", "the mark", "the tables", "the content", "the file"])
def test_a_first_start_cut_short_is_continued(tmp_path: Path, lost: str) -> None:
    home = Home(tmp_path)
    vault = Vault.open_or_create(home.key, [])  # the key still has its first name, as before settle()
    if lost == "the content":
        home.path.touch(mode=0o600)
    elif lost != "the file":
        journal = home.open()
        journal.close()
        os.rename(home.key, f"{home.key}.new")
        if lost != "nothing":
            home.mark.unlink()
        if lost == "the tables":
            home.path.unlink()
            connection = sqlite3.connect(home.path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()
    journal = home.open()
    assert sale(journal, "a", "begun") == 1
    journal.close()
    assert Vault.open(home.key).key_id == vault.key_id


def test_a_lost_tail_is_told_with_its_numbers(home: Home) -> None:
    older = home.copy(home.directory.parent / "older")
    journal = home.open()
    sale(journal, "late", "begun", "reversing", "reversing")
    journal.close()
    shutil.copy(older.path, home.path)
    refused = refusal(home)
    assert (refused.code, refused.first_seq, refused.last_seq) == ("E-JOURNAL-TAIL", 6, 8)
    assert "salvage" in refused.hint
    assert str(home.path) in str(refused)


def test_a_mark_behind_the_journal_is_normal_after_a_crash(home: Home) -> None:
    before = home.mark.read_bytes()
    journal = home.open()
    sale(journal, "late", "begun")
    journal.close()
    home.mark.write_bytes(before)
    home.open().close()
    mark = read_mark(home.mark)
    assert mark is not None
    assert mark.seq == 6


def test_a_missing_mark_is_refused(home: Home) -> None:
    home.mark.unlink()
    assert refusal(home).code == "E-JOURNAL-MARK"


def test_a_mark_without_a_valid_slot_is_refused(home: Home) -> None:
    home.mark.write_bytes(bytes(8192))
    assert refusal(home).code == "E-JOURNAL-MARK"


def test_the_mark_of_another_journal_is_refused(home: Home) -> None:
    home.mark.write_bytes(encode(Mark("ab" * 16, 1, bytes(32))))
    assert refusal(home).code == "E-JOURNAL-MARK"


def test_a_history_that_was_written_anew_is_refused(home: Home) -> None:
    mark = read_mark(home.mark)
    assert mark is not None
    home.mark.write_bytes(encode(Mark(mark.journal_id, 4, bytes(32))))
    refused = refusal(home)
    assert (refused.code, refused.first_seq) == ("E-JOURNAL-DAMAGED", 4)


def test_a_torn_write_of_the_mark_costs_one_slot_only(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    first, second = Mark("ab" * 16, 1, b"a" * 32), Mark("ab" * 16, 2, b"b" * 32)
    high_water = HighWater.open(path, first)
    high_water.write(second)
    high_water.close()
    assert read_mark(path) == second
    whole = path.read_bytes()
    slot = whole.index(encode(second))
    for cut in range(slot, slot + len(encode(second))):
        path.write_bytes(whole[:cut] + bytes([whole[cut] ^ 0xFF]) + whole[cut + 1 :])
        assert read_mark(path) == first


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE record SET state = 'completed' WHERE seq = 4", "E-JOURNAL-DAMAGED"),
        ("UPDATE record SET public = '{}' WHERE seq = 1", "E-JOURNAL-DAMAGED"),
        ("UPDATE record SET sealed = x'00' WHERE seq = 4", "E-JOURNAL-DAMAGED"),
        ("UPDATE record SET key_id = '00000000' WHERE seq = 2", "E-JOURNAL-KEY"),
        ("DELETE FROM record WHERE seq = 2", "E-JOURNAL-DAMAGED"),
        ("DELETE FROM record WHERE seq = 5", "E-JOURNAL-DAMAGED"),
        ("DELETE FROM record", "E-JOURNAL-DAMAGED"),
        ("UPDATE current SET pending = 0 WHERE txn_id = 'open'", "E-JOURNAL-DAMAGED"),
        ("UPDATE current SET state = 'completed' WHERE txn_id = 'open'", "E-JOURNAL-DAMAGED"),
        ("UPDATE current SET last_seq = 4 WHERE txn_id = 'open'", "E-JOURNAL-DAMAGED"),
        ("UPDATE current SET sealed_seq = 1 WHERE txn_id = 'open'", "E-JOURNAL-DAMAGED"),
        ("UPDATE current SET first_seq = 2 WHERE txn_id = 'open'", "E-JOURNAL-DAMAGED"),
        ("DELETE FROM current WHERE txn_id = 'open'", "E-JOURNAL-DAMAGED"),
        ("UPDATE counter SET value = 1", "E-JOURNAL-DAMAGED"),
        ("DELETE FROM counter", "E-JOURNAL-DAMAGED"),
        ("DROP INDEX current_pending", "E-JOURNAL-DAMAGED"),
        ("UPDATE meta SET value = '' WHERE name = 'key_id'", "E-JOURNAL-KEY"),
        ("PRAGMA user_version = 99", "E-JOURNAL-SCHEMA"),
        ("PRAGMA application_id = 1", "E-JOURNAL-DAMAGED"),
    ],
)
def test_a_changed_table_is_refused(home: Home, statement: str, code: str) -> None:
    edit(home, statement)
    assert refusal(home).code == code


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET state = 'completed' WHERE seq = 4",
        "UPDATE current SET pending = 0 WHERE txn_id = 'open'",
        "DELETE FROM record WHERE seq = 2",
        "DELETE FROM current WHERE txn_id = 'done'",
        "UPDATE counter SET value = 1",
    ],
)
def test_what_matters_is_checked_also_where_the_chain_is_not_walked(home: Home, statement: str) -> None:
    edit(home, statement)
    assert refusal(home, check_last=1).code == "E-JOURNAL-DAMAGED"


def test_damaged_text_in_the_schema_is_refused_like_any_damage(home: Home) -> None:
    content = home.path.read_bytes()
    place = content.index(b"CREATE TABLE current")
    for offset in range(20, 60):
        damaged = bytearray(content)
        damaged[place + offset] = 0xC3
        home.path.write_bytes(damaged)
        assert refusal(home).code == "E-JOURNAL-DAMAGED"
        assert not walk(home.path, home.vault(), home.mark).whole
        home.path.unlink()  # the refused connection keeps its own file
        home.path.touch(mode=0o600)


def test_a_refused_journal_keeps_every_byte(home: Home) -> None:
    journal = home.open()
    sale(journal, "late", "begun")
    crashed = home.copy(home.directory.parent / "crashed")
    journal.close()
    edit_log = bytearray(crashed.log.read_bytes())
    edit_log[200] ^= 1
    crashed.log.write_bytes(edit_log)
    before = {path.name: path.read_bytes() for path in crashed.directory.iterdir()}
    refusal(crashed)
    after = {path.name: path.read_bytes() for path in crashed.directory.iterdir() if path.name in before}
    before.pop("journal.db.lock")
    after.pop("journal.db.lock")
    assert after == before


def test_another_key_is_refused_and_nothing_is_overwritten(home: Home) -> None:
    before = home.path.read_bytes()
    home.key.write_bytes(b"z" * 32)
    refused = refusal(home)
    assert refused.code == "E-JOURNAL-KEY"
    assert "key file" in refused.hint
    assert home.path.read_bytes() == before


def test_an_empty_journal_is_bound_to_its_key_too(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.open().close()
    home.key.write_bytes(b"z" * 32)
    assert refusal(home).code == "E-JOURNAL-KEY"


def test_a_missing_directory_is_an_error_of_the_disk(tmp_path: Path) -> None:
    vault = Vault([b"k" * 32])
    from agent.journal import Journal

    with pytest.raises(JournalUnreadable) as caught:
        Journal.open(tmp_path / "absent" / "journal.db", vault, tmp_path / "mark", create=True)
    assert caught.value.code == "E-JOURNAL-IO"


def _flip_salt(log: bytearray) -> None:
    log[17] ^= 1


def _flip_middle(log: bytearray) -> None:
    log[32 + 24 + 100] ^= 1


@pytest.mark.parametrize("damage", [_flip_salt, _flip_middle])
def test_a_damaged_log_is_noticed_even_with_a_stale_mark(home: Home, damage: Callable[[bytearray], None]) -> None:
    stale = home.mark.read_bytes()
    journal = home.open()
    for number in range(6):
        sale(journal, f"late {number}", "begun")
    crashed = home.copy(home.directory.parent / "crashed")
    journal.close()
    crashed.mark.write_bytes(stale)
    log = bytearray(crashed.log.read_bytes())
    damage(log)
    crashed.log.write_bytes(log)
    refused = refusal(crashed)
    assert refused.code == "E-JOURNAL-DAMAGED"
    assert "log" in refused.what


@pytest.fixture
def crashed(home: Home) -> Iterator[Home]:
    journal = home.open()
    sale(journal, "late", "begun", "reversing")
    yield home.copy(home.directory.parent / "crashed")
    journal.close()


def test_an_undamaged_log_is_taken_over_whole(crashed: Home) -> None:
    journal = crashed.open()
    assert journal.health().head_seq == 7
    assert journal.append([entry("late", "reversed", False)]) == 8
    journal.close()
