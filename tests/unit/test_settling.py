"""The API's side of closing: what is kept with the item, the evidence files, the form for the bank."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.adjustment_form import form
from agent.closing import Challenge, Person, bank_answer
from agent.closing_evidence import paths
from agent.config_schema import Configuration
from agent.engine import decide
from agent.events import Event, Noticed, Settle
from agent.lane import RefusedError
from agent.loop import Loop
from agent.records import State, Transaction
from agent.rpc_socket import Peer
from agent.settling import SettlingDesk
from agent.status import items
from tests.unit.status_samples import NOW, PANS, StillLoop, parked, rules, scene

ANNA, WEI = Peer(1, 1000, 1000, "anna"), Peer(2, 1001, 1001, "wei")
KEY = bytes(range(32))


class OneItem:
    """A loop with one item; keeps the events."""

    def __init__(self, txn: Transaction) -> None:
        self.txn = txn
        self.events: list[Event] = []

    def handle(self, txn_id: str, event: Event) -> Transaction:
        self.events.append(event)
        self.txn, _ = decide(self.txn, event, NOW, rules())
        return self.txn


class Room:
    """A settling desk over one item."""

    def __init__(self, directory: Path, rule: str = "two-persons", key: bytes = b"") -> None:
        key_file = directory / "bank.key"
        if key:
            key_file.write_text(key.hex())
        policy = SimpleNamespace(settle=rule, settle_bank_key_file=key_file if key else None)
        configuration = SimpleNamespace(policy=policy, agent=SimpleNamespace(state_dir=directory))
        self.directory = directory / "evidence"
        self.loop = OneItem(parked())
        self.desk = SettlingDesk(
            cast(Loop, self.loop),
            lambda: 1.0,
            self.story,
            lambda: cast(Configuration, configuration),
            lambda peer: Person(peer.name, peer.uid),
        )

    def story(self, txn: Transaction) -> dict[str, Any]:
        entry = {"seq": 7, "at_utc": NOW.at_utc, "event": "Settle", "state": "settled", "text_en": "x", "text_zh": "某"}
        return {"item": items([txn], StillLoop(txn), scene())[0], "timeline": [entry]}

    def ask(self) -> dict[str, Any]:
        return self.desk.settle(ANNA, self.loop.txn, "adjusted by the bank", "B-77")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_asking_closes_nothing_and_is_kept_with_the_item(room: Room) -> None:
    answer = room.ask()
    assert room.loop.txn.state is State.PARKED
    assert isinstance(room.loop.events[0], Noticed)
    assert "anna" in room.loop.txn.evidence[-1].what
    assert "B-77" in room.loop.txn.evidence[-1].detail
    assert answer["challenge"] not in str(room.loop.txn.public())
    assert not room.directory.exists()


def test_the_second_word_closes_it_and_leaves_evidence(room: Room) -> None:
    answer = room.desk.confirm(WEI, room.loop.txn, room.ask()["challenge"], "")
    assert room.loop.txn.state is State.SETTLED
    assert answer["item"]["closing"]["confirmed_by"] == "wei (uid 1001)"
    written = paths(room.directory, "main-1")
    assert answer["evidence"] == [str(path) for path in written]
    sums = dict(line.split("  ")[::-1] for line in written[2].read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written[:2]}
    assert json.loads(written[0].read_text())["item"]["closing"]["bank_reference"] == "B-77"
    assert "wei (uid 1001)" in written[1].read_text()


def test_a_wrong_answer_is_kept_with_the_item(room: Room) -> None:
    room.ask()
    with pytest.raises(RefusedError):
        room.desk.confirm(WEI, room.loop.txn, "0000-0000", "")
    assert room.loop.txn.evidence[-1].what == "settle not confirmed by wei (uid 1001)"
    assert room.loop.txn.state is State.PARKED


def test_one_person_closes_where_the_configuration_says_so(tmp_path: Path) -> None:
    room = Room(tmp_path, "one-person")
    answer = room.ask()
    assert (room.loop.txn.state, answer["item"]["closing"]["confirmed_by"]) == (State.SETTLED, "")
    assert [type(event) for event in room.loop.events] == [Settle]


def test_the_banks_answer_closes_it(tmp_path: Path) -> None:
    room = Room(tmp_path, key=KEY)
    code = room.ask()["challenge"].replace("-", "")
    challenge = Challenge("main-1", code, "", "B-77", Person("anna", 1000), 0)
    room.desk.confirm(ANNA, room.loop.txn, "", bank_answer(KEY, room.loop.txn, challenge))
    assert room.loop.txn.state is State.SETTLED


def test_without_a_key_the_banks_answer_is_refused(room: Room) -> None:
    room.ask()
    with pytest.raises(RefusedError) as caught:
        room.desk.confirm(ANNA, room.loop.txn, "", "ABCDEFGHJK")
    assert caught.value.code == "A-NO-BANK-KEY"


def test_a_full_disk_closes_the_item_and_the_next_start_makes_the_file(tmp_path: Path) -> None:
    room = Room(tmp_path, "one-person")
    (tmp_path / "evidence").write_text("a file where the directory should be")
    assert room.ask()["evidence"] == []
    assert room.loop.txn.state is State.SETTLED
    (tmp_path / "evidence").unlink()
    room.desk.make_up_for([room.loop.txn, replace(room.loop.txn, id="main-2", state=State.REVERSED)])
    assert sorted(path.name for path in room.directory.iterdir()) == [
        "settled-main-1.json",
        "settled-main-1.sha256",
        "settled-main-1.txt",
    ]


def test_no_evidence_file_and_no_form_holds_card_data(room: Room) -> None:
    page = form(room.story(parked())["item"], NOW.at_utc)
    room.desk.confirm(WEI, room.loop.txn, room.ask()["challenge"], "")
    written = "".join(path.read_text() for path in paths(room.directory, "main-1"))
    for pan in PANS:
        for shape in (pan, pan.encode().hex(), base64.b64encode(pan.encode()).decode()):
            assert shape not in page + written


@pytest.mark.parametrize("kind", ["void", "completion-void", "preauth-void", "refund"])
def test_the_form_of_a_void_or_refund_does_not_ask_the_bank_to_give_its_amount_back(kind: str) -> None:
    """It may have been given back already: the bank is asked to look."""
    txn = replace(parked(), kind=kind, attempts=0, last_try_utc="")
    page = form(items([txn], StillLoop(txn), scene())[0], NOW.at_utc)
    assert "give the amount back" not in page
    assert "将款项退回持卡人" not in page
    assert "last ?" not in page


def test_the_form_says_all_that_the_bank_needs_and_loads_nothing() -> None:
    txn = replace(parked(), last_code="57", rrn="000000000042", approval_code="123456", reference="<R&1>")
    page = form(items([txn], StillLoop(txn), scene())[0], NOW.at_utc)
    for wanted in ("CNY 12.50", "102110000000001", "10000001", "000017", "000123", "000000000042", "123456", "57"):
        assert wanted in page
    assert "人工调账" in page
    assert "manual adjustment" in page
    assert "&lt;R&amp;1&gt;" in page
    assert not any(word in page for word in ("<script", "http:", "https:", "src=", "@import", "url("))
