"""The second copy: either one may be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.mirror import Mirror, MirrorError, image_of, merge
from agent.vault import Vault
from tests.journal_scenes import SECRET, Home, sale

KEY = b"k" * 32


def make(tmp_path: Path, name: str) -> Home:
    directory = tmp_path / name
    directory.mkdir()
    (directory / "journal.key").touch(mode=0o600)
    (directory / "journal.key").write_bytes(KEY)
    return Home(directory)


def test_a_lost_journal_is_made_again_from_the_second_copy(tmp_path: Path) -> None:
    journal = make(tmp_path, "first").open(create=True)
    sale(journal, "open", "begun", "reversing")
    sale(journal, "done", "begun", "completed")
    mirror = Mirror(tmp_path / "mirror", Vault([KEY]))
    assert mirror.save(image_of(journal))
    before = journal.pending()
    journal.close()
    image = Mirror(tmp_path / "mirror", Vault([KEY])).load()
    assert image is not None
    fresh = make(tmp_path, "second").open(create=True)
    assert merge(fresh, image).added == ("open",)
    assert [stored.entry for stored in fresh.pending()] == [stored.entry for stored in before]
    assert fresh.counters() == {"stan L1": 2}
    assert merge(fresh, image).added == ()
    fresh.close()


def test_an_older_copy_of_the_journal_gets_its_newer_states_back(tmp_path: Path) -> None:
    home = make(tmp_path, "first")
    journal = home.open(create=True)
    sale(journal, "open", "begun")
    older = home.copy(tmp_path / "older")
    sale(journal, "open", "reversing")
    image = image_of(journal)
    journal.close()
    restored = older.open()
    assert merge(restored, image).added == ("open",)
    assert restored.pending()[0].entry.state == "reversing"
    assert restored.pending()[0].entry.secret == SECRET
    restored.close()


def test_what_is_over_in_the_journal_is_never_opened_again(tmp_path: Path) -> None:
    journal = make(tmp_path, "first").open(create=True)
    sale(journal, "open", "begun", "approved")
    image = image_of(journal)
    sale(journal, "open", "completed")
    merged = merge(journal, image)
    assert (merged.added, merged.doubtful) == ((), ())
    assert journal.counts() == {"completed": 1}
    journal.close()


def test_a_pending_state_of_another_journal_is_left_to_a_person(tmp_path: Path) -> None:
    journal = make(tmp_path, "first").open(create=True)
    sale(journal, "open", "begun", "approved")
    image = image_of(journal)
    journal.close()
    other = make(tmp_path, "salvaged").open(create=True)
    sale(other, "open", "begun", "reversing")
    merged = merge(other, image)
    assert (merged.added, merged.doubtful) == ((), ("open",))
    assert other.pending()[0].entry.state == "reversing"
    other.close()


def two_copies(tmp_path: Path) -> tuple[Path, Path]:
    journal = make(tmp_path, "first").open(create=True)
    mirror = Mirror(tmp_path / "mirror", Vault([KEY]))
    for txn_id in ("a", "b"):
        sale(journal, txn_id, "begun")
        assert mirror.save(image_of(journal))
    journal.close()
    return tmp_path / "mirror.a", tmp_path / "mirror.b"


def test_damage_anywhere_in_the_newer_copy_leaves_the_older_one(tmp_path: Path) -> None:
    _, newer = two_copies(tmp_path)
    whole = newer.read_bytes()
    for position in range(0, len(whole), 7):
        newer.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        image = Mirror(tmp_path / "mirror", Vault([KEY])).load()
        assert image is not None
        assert image.head_seq == 1
    newer.write_bytes(whole)
    image = Mirror(tmp_path / "mirror", Vault([KEY])).load()
    assert image is not None
    assert [stored.entry.txn_id for stored in image.pending] == ["a", "b"]


def test_two_damaged_copies_are_an_error_and_none_is_not(tmp_path: Path) -> None:
    assert Mirror(tmp_path / "mirror", Vault([KEY])).load() is None
    for path in two_copies(tmp_path):
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MirrorError, match="damaged"):
        Mirror(tmp_path / "mirror", Vault([KEY])).load()


def test_another_key_does_not_open_the_copy(tmp_path: Path) -> None:
    two_copies(tmp_path)
    with pytest.raises(MirrorError, match="not in the key file"):
        Mirror(tmp_path / "mirror", Vault([b"z" * 32])).load()


def test_a_medium_that_is_gone_is_told_and_does_not_stop_the_agent(tmp_path: Path) -> None:
    journal = make(tmp_path, "first").open(create=True)
    sale(journal, "a", "begun")
    mirror = Mirror(tmp_path / "gone" / "mirror", Vault([KEY]))
    assert not mirror.save(image_of(journal))
    status = mirror.status(journal.health().head_seq)
    assert (status.head_seq, status.behind) == (0, 1)
    assert "cannot be written" in status.error
    (tmp_path / "gone").mkdir()
    assert mirror.save(image_of(journal))
    assert mirror.status(1).error == ""
    journal.close()


def test_the_second_copy_holds_no_plain_secret(tmp_path: Path) -> None:
    for path in two_copies(tmp_path):
        assert SECRET not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
