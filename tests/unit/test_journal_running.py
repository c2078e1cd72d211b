"""A journal in use: failures, room, health, copies, migration."""

from __future__ import annotations

import itertools
import os
import sqlite3
from pathlib import Path

import pytest

from agent import journal_space as space
from agent.journal import Journal, JournalFailed, JournalFull, JournalUnreadable
from agent.journal_health import BASELINE_COMMITS, CommitTimes
from agent.journal_open import keep_for_ever
from agent.journal_schema import bring_up_to_date
from tests.journal_scenes import SECRET, Home, entry, sale


def damage_under(journal: Journal, statement: str) -> None:
    """Makes the next append meet an error of SQLite."""
    journal._connection.execute(statement)


def test_after_a_failed_append_nothing_is_answered(tmp_path: Path) -> None:
    home = Home(tmp_path / "a")
    home.directory.mkdir()
    journal = home.open()
    sale(journal, "a", "begun")
    damage_under(journal, "DROP TABLE record")
    with pytest.raises(JournalFailed) as caught:
        journal.append([entry("b")], {"stan L1": 5})
    assert caught.value.code == "E-JOURNAL-FAILED"
    for call in (journal.pending, journal.counts, journal.health, journal.admit, lambda: journal.append([entry("c")])):
        with pytest.raises(JournalFailed):
            call()
    journal.close()
    assert home.log.stat().st_size > 0, "a close after a failure must leave the log alone"


def test_no_card_data_and_no_plain_secret_is_in_any_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open()
    sale(journal, "a", "begun", "reversing")
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    journal.close()
    everything += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert SECRET not in everything
    assert b"amount_minor" in everything


def test_a_sale_is_refused_before_the_reserve_is_touched_and_an_acknowledgement_is_not(tmp_path: Path) -> None:
    journal = Home(tmp_path).open(reserve_bytes=1 << 60)
    sale(journal, "a", "begun")
    with pytest.raises(JournalFull) as caught:
        journal.admit()
    assert caught.value.code == "E-JOURNAL-FULL"
    sale(journal, "a", "reversing", "reversed")
    assert journal.counts() == {"reversed": 1}
    assert any("W-STORE-SPACE" in warning for warning in journal.health().warnings)
    journal.close()


def test_a_sale_is_refused_when_the_journal_holds_its_limit(tmp_path: Path) -> None:
    journal = Home(tmp_path).open(max_bytes=60_000)
    journal.admit()
    journal.append([entry("big", public="x" * 40_000)])
    with pytest.raises(JournalFull, match="holds its"):
        journal.admit()
    journal.append([entry("big", "reversed", False)])
    journal.close()


def test_admit_writes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open(presize_bytes=1 << 20)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.iterdir()}
    journal.admit()
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.iterdir()}
    journal.close()
    assert after == before


def test_room_is_taken_at_start_and_the_log_never_outgrows_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open(presize_bytes=4 << 20)
    start_bytes = home.log.stat().st_size
    assert start_bytes >= 1000 * space.FRAME_BYTES
    for number in range(600):
        journal.append([entry(f"t{number}", secret=os.urandom(600), public="x" * 500)], {"stan": number})
    assert home.log.stat().st_size == start_bytes
    assert space.filler_rows(journal._connection) == (4 << 20) // space.FILLER_BYTES
    journal.close()


def test_room_is_whole_again_after_every_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for _ in range(3):
        journal = home.open(presize_bytes=1 << 20)
        assert home.log.stat().st_size >= 250 * space.FRAME_BYTES
        assert (tmp_path / "journal.db.ballast").stat().st_size > 1 << 20
        sale(journal, f"t{home.path.stat().st_mtime_ns}", "begun")
        journal.close()


def test_export_is_a_whole_copy_without_a_log(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open()
    sale(journal, "a", "begun", "reversing")
    target = tmp_path / "copy.db"
    journal.export(target)
    sale(journal, "b", "begun")
    journal.close()
    connection = sqlite3.connect(target)
    assert connection.execute("SELECT count(*) FROM record").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert target.stat().st_mode & 0o777 == 0o600


def test_an_export_to_nowhere_says_so_and_the_journal_goes_on(tmp_path: Path) -> None:
    journal = Home(tmp_path).open()
    with pytest.raises(JournalUnreadable, match="absent"):
        journal.export(tmp_path / "absent" / "copy.db")
    assert sale(journal, "a", "begun") == 1
    journal.close()


def _add_note(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE current ADD COLUMN note TEXT NOT NULL DEFAULT ''")


def _break_half_way(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM current")
    connection.execute("SELECT * FROM absent")


def closed_journal(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    journal = home.open()
    sale(journal, "a", "begun")
    journal.close()
    return home


def test_a_migration_copies_before_it_changes(tmp_path: Path) -> None:
    home = closed_journal(tmp_path)
    connection = sqlite3.connect(home.path, isolation_level=None)
    copy = bring_up_to_date(connection, home.path, {2: _add_note}, 3)
    assert connection.execute("SELECT note FROM current").fetchall() == [("",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    assert bring_up_to_date(connection, home.path, {2: _add_note}, 3) is None
    connection.close()
    assert copy is not None
    old = sqlite3.connect(copy)
    assert old.execute("PRAGMA user_version").fetchone() == (2,)
    assert old.execute("SELECT count(*) FROM record").fetchone() == (1,)
    old.close()
    with pytest.raises(JournalUnreadable, match="newer version"):
        home.open()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    home = closed_journal(tmp_path)
    connection = sqlite3.connect(home.path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        bring_up_to_date(connection, home.path, {2: _break_half_way}, 3)
    connection.close()
    journal = home.open()
    assert journal.counts() == {"begun": 1}
    journal.close()


def test_a_version_without_a_way_here_is_refused(tmp_path: Path) -> None:
    home = closed_journal(tmp_path)
    connection = sqlite3.connect(home.path, isolation_level=None)
    with pytest.raises(JournalUnreadable, match="cannot be brought"):
        bring_up_to_date(connection, home.path, {}, 3)
    connection.close()


def times(*seconds: float) -> list[str]:
    measured = CommitTimes()
    for value in seconds:
        measured.note(value)
    return [warning.split(":")[0] for warning in measured.warnings()]


def test_commit_times_warn_of_a_disk_that_does_not_wait() -> None:
    assert times(*[10e-6] * BASELINE_COMMITS) == ["W-STORE-TOO-FAST"]
    assert times(*[10e-6] * (BASELINE_COMMITS - 1)) == []
    assert times(*[5e-3] * BASELINE_COMMITS) == []


def test_commit_times_warn_of_a_disk_that_gets_slower() -> None:
    assert times(*[1e-3] * 64, *[5e-3] * 512) == ["W-STORE-SLOWER"]
    assert times(*[1e-3] * 64, *[3e-3] * 512) == []


def test_commit_times_warn_of_long_stalls() -> None:
    assert times(*[1e-3] * 90, *[2.0] * 10) == ["W-STORE-SLOW"]


def test_percentiles_are_by_nearest_rank() -> None:
    measured = CommitTimes()
    assert measured.percentile_ms(99) == 0.0
    for value in range(1, 101):
        measured.note(value / 1000)
    assert (measured.percentile_ms(50), measured.percentile_ms(99)) == (50.0, 99.0)


def test_health_measures_with_the_given_clock(tmp_path: Path) -> None:
    ticks = itertools.count(step=0.25)
    journal = Home(tmp_path).open(clock=lambda: next(ticks))
    sale(journal, "a", "begun", "completed")
    health = journal.health()
    journal.close()
    assert (health.commits, health.commit_p50_ms, health.commit_p99_ms, health.head_seq) == (2, 250.0, 250.0, 2)
    assert health.bytes_free > 0
    assert health.bytes_used > 0


def test_a_connection_kept_for_ever_is_not_closed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open()
    sale(journal, "a", "begun")
    keep_for_ever(journal._connection)
    del journal
    assert home.log.stat().st_size > 0
