"""A journal item: its facts, and its frozen reversal byte for byte with card data masked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, cast

import pytest

from agent.cli_protocol import add_commands
from agent.explain import explain_item, item_json, item_text
from agent.explain_desk import ExplainDesk
from agent.item_source import entry_in
from agent.journal import Journal
from agent.journal_contract import Entry, JournalUnreadable
from agent.lane import RefusedError
from agent.loop import Loop
from agent.records import State, Transaction, dump
from agent.rights import METHODS
from agent.rpc import Peer
from agent.vault import Vault
from tests.dialogue import PAN, transaction
from tests.unit.cli_bench import serving


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


@pytest.mark.parametrize(
    ("profile", "changes", "field", "value"),
    [
        ("unionpay-pos", {"reason": "customer"}, "39", "06"),
        ("unionpay-pos", {"reason": "timeout"}, "39", "98"),
        ("unionpay-pos", {"reason": "timeout", "last_code": "96"}, "39", "06"),
        ("iso87-ascii", {"reason": "customer", "left": True}, "mti", "0421"),
    ],
)
def test_an_owed_reversal_is_shown_as_its_next_try_will_be(
    profile: str, changes: dict[str, Any], field: str, value: str
) -> None:
    """Who certifies a host looks here for the reason that the host will read."""
    txn = transaction(profile, state=State.REVERSING, cause="application", **changes)
    told = item_json(*explain_item(dump(txn), txn.secret()))
    assert (told["mti"] if field == "mti" else told["fields"][field]) == value


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


# --- asked of the running agent ---


class Items:
    """A loop as far as the desk looks: it knows the items given."""

    def __init__(self, *items: Transaction) -> None:
        self.get = {item.id: item for item in items}.get


ANYBODY = Peer(pid=1, uid=54321, gid=54321, name="anna")


def _desk(*items: Transaction) -> ExplainDesk:
    return ExplainDesk(cast(Loop, Items(*items)), lambda: ())


def test_the_running_agent_gives_the_masked_explanation_of_its_item_and_nothing_else() -> None:
    txn = transaction(state=State.REVERSING, reason="timeout", cause="timeout")
    told = _desk(txn).explain(ANYBODY, {"id": "main-1"})
    assert (told["mti"], told["item"]["state"], told["fields"]["2"]) == ("0400", "reversing", "620000******0005")
    assert "no reply in time" in told["text_en"]
    assert "冲正" in told["text_zh"]
    digits = "".join(json.dumps(told).split()).replace(".", "")
    assert PAN not in digits
    assert txn.secret().hex().upper() not in digits.upper()


def test_an_item_that_is_not_there_is_refused_and_looking_needs_only_the_right_to_read() -> None:
    with pytest.raises(RefusedError) as caught:
        _desk().explain(ANYBODY, {"id": "main-9"})
    assert caught.value.code == "A-NO-ITEM"
    assert METHODS["reversal.explain"] == "read"


def test_the_command_asks_the_running_agent_where_no_copy_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    txn = transaction(state=State.REVERSING, reason="timeout", cause="timeout")
    parser = argparse.ArgumentParser("reversalctl")
    parser.add_argument("--socket", default=str(tmp_path / "s"))
    add_commands(parser.add_subparsers(required=True))
    question = ["explain", "--item", "main-1", "--language"]
    with serving(tmp_path / "s", _desk(txn).methods):
        for language, word in (("en", "no reply in time"), ("zh", "冲正原因")):
            options = parser.parse_args([*question, language])
            assert options.run(options) == 0
            assert word in capsys.readouterr().out
        options = parser.parse_args([*question, "en", "--json"])
        assert options.run(options) == 0
    assert json.loads(capsys.readouterr().out)["item"]["id"] == "main-1"
    options = parser.parse_args([*question, "en"])  # nobody listens any more
    assert options.run(options) not in (0, 65)
    assert "main-1" not in capsys.readouterr().out
