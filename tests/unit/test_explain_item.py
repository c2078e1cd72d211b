"""A journal item: its facts, and its frozen reversal byte for byte with card data masked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.explain import explain_item, item_json, item_text
from agent.item_source import entry_in
from agent.journal import Journal
from agent.journal_contract import Entry, JournalUnreadable
from agent.records import State, dump
from agent.vault import Vault
from tests.dialogue import PAN, transaction


def test_an_item_shows_its_frozen_reversal_masked() -> None:
    txn = transaction()
    loaded, found = explain_item(dump(txn), txn.secret())
    assert loaded.id == "main-1"
    assert found is not None
    assert found.fits
    for text in (item_text(loaded, found, "en"), item_text(loaded, found, "zh"), json.dumps(item_json(loaded, found))):
        assert PAN not in text.replace(" ", "")
        assert "620000******0005" in text


def test_an_item_may_be_given_as_a_dict() -> None:
    txn = transaction()
    _, found = explain_item(txn.public(), txn.secret())
    assert found is not None
    assert found.mti == "0400"


def test_without_its_bytes_an_item_says_how_to_see_them() -> None:
    txn = transaction()
    loaded, found = explain_item(dump(txn), b"")
    assert found is None
    assert "--journal" in item_text(loaded, found, "en")
    assert item_json(loaded, found)["item"]["card"] == "620000******0005"


def test_a_kind_that_is_never_reversed_says_so() -> None:
    txn = transaction(kind="balance")
    loaded, found = explain_item(dump(txn), txn.secret())
    assert "no reversal" in item_text(loaded, found, "en")


def test_an_item_is_read_out_of_a_copy_of_the_journal(tmp_path: Path) -> None:
    txn = transaction(state=State.REVERSING, reason="timeout", cause="timeout")
    vault = Vault.open_or_create(tmp_path / "data.key", [])
    journal = Journal.open(tmp_path / "journal.db", vault, tmp_path / "mark", presize_bytes=0, reserve_bytes=0)
    entry = Entry("main-1", "main", "R1", "reversing", True, "Begin", dump(txn), txn.secret(), "2026-01-02T03:04:05Z")
    journal.append([entry])
    journal.export(tmp_path / "copy.db")
    journal.close()
    found = entry_in("main-1", tmp_path / "copy.db", vault)
    assert found is not None
    loaded, explained = explain_item(found.public, found.secret)
    assert explained is not None
    assert explained.fits
    assert "no reply in time" in item_text(loaded, explained, "en")
    assert entry_in("main-2", tmp_path / "copy.db", vault) is None


def test_a_copy_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalUnreadable):
        entry_in("main-1", tmp_path / "none.db", Vault.open_or_create(tmp_path / "data.key", []))
