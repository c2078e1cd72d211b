"""Verify and salvage: what is missing is told, what is left is saved."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.highwater import read_mark
from agent.journal import JournalLocked, JournalUnreadable
from agent.said import said
from agent.salvage import salvage
from agent.vault import Vault
from agent.verify import BatchSum, VerifyReport, walk, walk_export
from tests.journal_scenes import SECRET, Home, entry, sale


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A closed journal: 8 records, 3 transactions, one pending."""
    directory = tmp_path / "store"
    directory.mkdir()
    home = Home(directory)
    journal = home.open()
    sale(journal, "done", "begun", "approved", "completed")
    sale(journal, "open", "begun", "reversing")
    sale(journal, "back", "begun", "reversing", "reversed")
    journal.close()
    return home


def edit(home: Home, statement: str) -> None:
    connection = sqlite3.connect(home.path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_whole_journal_balances(home: Home) -> None:
    report = walk(home.path, home.vault(), home.mark)
    assert report.whole
    assert (report.records, report.head_seq, report.begun, report.pending, report.sealed) == (8, 8, 3, 1, 3)
    assert report.states == {"completed": 1, "reversed": 1, "reversing": 1}
    assert report.mark_seq == 8
    assert {(one.state, one.count, one.amount_minor) for one in report.sums} == {
        ("completed", 1, 100),
        ("reversed", 1, 100),
        ("reversing", 1, 100),
    }
    assert report.lines()[-1] == "whole: nothing is missing"


def test_verify_changes_nothing(home: Home) -> None:
    before = {path.name: path.read_bytes() for path in home.directory.iterdir()}
    walk(home.path, home.vault(), home.mark)
    assert {path.name: path.read_bytes() for path in home.directory.iterdir()} == before


def test_verify_reads_the_log_of_a_killed_process(home: Home) -> None:
    journal = home.open()
    sale(journal, "late", "begun")
    crashed = home.copy(home.directory.parent / "crashed")
    journal.close()
    report = walk(crashed.path, crashed.vault(), crashed.mark)
    assert (report.whole, report.records, report.pending) == (True, 9, 2)


def test_verify_leaves_a_running_journal_alone_and_reads_its_export(home: Home) -> None:
    journal = home.open()
    with pytest.raises(JournalLocked):
        walk(home.path, home.vault(), home.mark)
    target = home.directory / "copy.db"
    journal.export(target)
    sale(journal, "later", "begun")
    report = walk_export(target, home.vault(), home.mark)
    journal.close()
    assert (report.whole, report.records) == (True, 8)


@pytest.mark.parametrize(
    ("statement", "seq", "word"),
    [
        ("UPDATE record SET state = 'reversed' WHERE seq = 2", 2, "changed"),
        ("UPDATE record SET sealed = zeroblob(60) WHERE seq = 4", 4, "changed"),
        ("DELETE FROM record WHERE seq = 3", 3, "missing"),
        ("DELETE FROM record WHERE seq >= 7", 7, "missing"),
        ("UPDATE current SET state = 'completed', pending = 0 WHERE txn_id = 'open'", 5, "contradicts"),
        ("UPDATE counter SET value = 99", 8, "counter"),
    ],
)
def test_what_was_changed_is_told_by_number(home: Home, statement: str, seq: int, word: str) -> None:
    edit(home, statement)
    report = walk(home.path, home.vault(), home.mark)
    assert not report.whole
    assert report.first_bad_seq == seq
    assert any(word in problem.text for problem in report.problems)
    assert report.lines()[-1] == "NOT WHOLE"


def test_a_lost_tail_is_told_by_the_mark(home: Home) -> None:
    for table in ("record WHERE seq > 5", "current WHERE last_seq > 5"):
        edit(home, f"DELETE FROM {table}")
    edit(home, "UPDATE counter SET seq = 5, value = 2")
    report = walk(home.path, home.vault(), home.mark)
    assert [problem.kind for problem in report.problems] == ["TAIL"]
    assert report.first_bad_seq == 6
    assert walk(home.path, home.vault()).whole, "without the mark nobody could know"


def test_without_the_key_sequence_and_balance_are_still_checked(home: Home) -> None:
    report = walk(home.path, None, home.mark)
    assert report.whole
    assert not report.seals_checked
    edit(home, "DELETE FROM record WHERE seq = 3")
    assert walk(home.path, None, home.mark).first_bad_seq == 3


def test_a_missing_file_is_not_an_empty_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalUnreadable, match="missing"):
        walk(tmp_path / "absent.db", None)
    assert list(tmp_path.iterdir()) == []


def saved(home: Home, name: str = "saved") -> tuple[Home, object]:
    directory = home.directory.parent / name
    directory.mkdir()
    target = Home(directory)
    report = salvage(home.path, home.vault(), target.path, target.mark, home.mark)
    (directory / "journal.key").write_bytes(home.key.read_bytes())
    target.key.chmod(0o600)
    return target, report


def test_salvage_of_a_whole_journal_gives_the_same_journal(home: Home) -> None:
    target, report = saved(home)
    assert (report.lost, report.doubtful) == ({}, {})
    old, new = home.open(), target.open()
    assert new.pending() == old.pending()
    assert new.counts() == old.counts()
    assert new.counters() == old.counters()
    assert new.recent(9) == old.recent(9)
    old.close()
    new.close()
    assert walk(target.path, target.vault(), target.mark).whole


def test_salvage_lists_each_lost_record_and_saves_the_others(home: Home) -> None:
    edit(home, "DELETE FROM record WHERE seq IN (2, 3)")
    edit(home, "UPDATE record SET sealed = zeroblob(80) WHERE seq = 6")
    with pytest.raises(JournalUnreadable):
        home.open()
    target, report = saved(home)
    assert set(report.lost) == {2, 3, 6}
    assert set(report.saved) == {1, 4, 5, 7, 8}
    assert 4 in report.doubtful
    journal = target.open()
    assert {stored.entry.txn_id: stored.entry.state for stored in journal.pending()} == {
        "done": "begun",
        "open": "reversing",
    }
    assert journal.get("open").entry.secret == SECRET
    journal.close()


def test_salvage_knows_from_the_mark_what_a_lost_tail_held(home: Home) -> None:
    older = home.copy(home.directory.parent / "older")
    journal = home.open()
    sale(journal, "late", "begun", "reversing")
    journal.close()
    older.mark.write_bytes(home.mark.read_bytes())
    _, report = saved(older)
    assert set(report.lost) == {9, 10}


def test_salvage_overwrites_nothing(home: Home) -> None:
    before = {path.name: path.read_bytes() for path in home.directory.iterdir()}
    with pytest.raises(JournalUnreadable, match="exists"):
        salvage(home.path, home.vault(), home.path, home.directory / "other.mark")
    saved(home)
    assert {path.name: path.read_bytes() for path in home.directory.iterdir()} == before


@pytest.mark.parametrize("where", ["header", "frame header", "page"])
def test_salvage_finds_the_commits_behind_a_damaged_frame(home: Home, where: str) -> None:
    journal = home.open()
    for number in range(8):
        sale(journal, f"late {number}", "begun")
    crashed = home.copy(home.directory.parent / "crashed")
    journal.close()
    log = bytearray(crashed.log.read_bytes())
    log[{"header": 18, "frame header": 32 + 9, "page": 32 + 24 + 4000}[where]] ^= 0x20
    crashed.log.write_bytes(log)
    with pytest.raises(JournalUnreadable):
        crashed.open()
    report = walk(crashed.path, crashed.vault(), crashed.mark)
    assert not report.whole
    target, rescued = saved(crashed)
    assert set(rescued.saved) | set(rescued.lost) == set(range(1, 17))
    assert len(rescued.lost) <= 1, rescued.lines()
    mark = read_mark(target.mark)
    assert mark is not None
    assert mark.seq == len(rescued.saved)


def test_a_file_that_is_no_database_at_all_is_told_so(home: Home) -> None:
    home.path.write_bytes(b"\xff" * 8192)
    report = walk(home.path, home.vault(), home.mark)
    assert not report.whole
    with pytest.raises(JournalUnreadable, match="nothing can be read"):
        saved(home)


def test_salvage_refuses_while_the_daemon_runs(home: Home) -> None:
    journal = home.open()
    with pytest.raises(JournalLocked):
        saved(home)
    journal.append([entry("still works")])
    journal.close()


def test_a_vault_without_the_right_key_saves_no_body(home: Home) -> None:
    target = home.directory.parent / "other.db"
    report = salvage(home.path, Vault([b"z" * 32]), target, target.with_suffix(".mark"), home.mark)
    assert set(report.lost) == {1, 4, 6}


def test_the_sums_are_told_as_money(tmp_path: Path) -> None:
    """Nobody at a counter reads 1250 156 as CNY 12.50."""
    report = VerifyReport(Path("journal.db"), sums=[BatchSum("main", "000017", "156", "parked", 2, 2500)])
    assert "  main batch 000017: 2 parked, CNY 25.00" in report.lines()
    assert said("  main batch 000017: 2 parked, CNY 25.00").zh == "  main 批次 000017：待人工 2 笔，CNY 25.00"
    balance = "balance      4 begun = 1 completed + 2 parked + 1 session; 2 pending"
    assert said(balance).zh == "核对         开始 4 笔 = 1 成功 + 2 待人工 + 1 会话；未完成 2 笔"


def test_what_is_no_money_has_no_sum() -> None:
    """A lane's session and a closed batch are records, too; their totals are not those of customers."""
    report = VerifyReport(Path("journal.db"), sums=[BatchSum("main", "000017", "", "session", 1, 0)])
    assert not [line for line in report.lines() if "000017" in line]
