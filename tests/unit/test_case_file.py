"""The case file tells a stranger everything, and no card number in any coding; the books of a batch add up."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent import reconciliation
from agent.case_file import Case, files, without_blobs, write
from agent.records import Closing, State, Transaction
from agent.status import items, snapshot
from tests.full_disk import room_for
from tests.unit.status_samples import NOW, PANS, StillLoop, evidence, owed, parked, scene, transaction

FORMS = {
    "clear": lambda pan: pan,
    "bcd in hex": lambda pan: pan + "F" * (len(pan) % 2),
    "ascii in hex": lambda pan: pan.encode().hex(),
    "base64": lambda pan: base64.b64encode(pan.encode()).decode(),
    "base64 of bcd": lambda pan: base64.b64encode(bytes.fromhex(pan + "F" * (len(pan) % 2))).decode(),
}


def leaky_log() -> str:
    """A log as it must never be: card numbers in every coding, alone and inside messages."""
    lines = []
    for pan in PANS:
        bcd = pan + "F" * (len(pan) % 2)
        message = "0200" + "7024048020C09811" + "16" + bcd + "000000" * 4
        lines += [
            f"card {pan} declined",
            f"sent {message}",
            f"sent {' '.join(message[at : at + 2] for at in range(0, len(message), 2))}",
            f"sent {pan.encode().hex()}{'00' * 8}",
            f"sent {base64.b64encode(b'0200' + pan.encode() + bytes(12)).decode()}",
            f"track {pan}=30122010000000000",
        ]
    return "\n".join(lines) + "\n"


def case(**changes: Any) -> Case:
    leak = f"E-LINK-TIMEOUT: card {PANS[0]} lost"
    txn = parked(last_error=leak, evidence=(evidence("late answer", f"card {PANS[1]}"),))
    loop = StillLoop(txn)
    entry = {"seq": 1, "at_utc": NOW.at_utc, "event": "Begin", "state": "begun", "text_en": "begun", "text_zh": "开始"}
    given: dict[str, Any] = {
        "made_at_utc": NOW.at_utc,
        "status": snapshot(loop, scene()),
        "stories": [{"item": items([txn], loop, scene())[0], "timeline": [entry]}],
        "devices": [{"name": "pad", "last_error": f"card {PANS[2]}"}],
        "configuration": "# effective configuration\n",
        "versions": {"reversald": "0.1.0"},
        "messages": {"main-1": "element 2: 620000******0005\n"},
        "log": leaky_log(),
        **changes,
    }
    return Case(**given)


def assert_no_card(text: str) -> None:
    squeezed = "".join(text.split()).replace(":", "").upper()
    for pan in PANS:
        for name, form in FORMS.items():
            assert form(pan) not in text, name
            if name != "clear" and not name.startswith("base64"):
                assert form(pan).upper() not in squeezed, name
        inner = base64.b64encode(b"0200" + pan.encode() + bytes(12)).decode()[8:24]
        assert inner not in text


def test_nothing_in_the_archive_is_a_card_number_in_any_coding(tmp_path: Path) -> None:
    path = tmp_path / "case.tar.gz"
    write(path, files(case()))
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            assert stream is not None
            assert_no_card(stream.read().decode())


@pytest.mark.parametrize("form", FORMS)
def test_the_search_for_card_numbers_would_find_one(form: str) -> None:
    with pytest.raises(AssertionError):
        assert_no_card(f"x {FORMS[form](PANS[0])} y")


def test_the_checksums_fit_and_the_same_case_is_the_same_archive(tmp_path: Path) -> None:
    path = tmp_path / "case.tar.gz"
    write(path, files(case()))
    with tarfile.open(path) as archive:
        contents = {m.name.split("/", 1)[1]: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    sums = dict(line.split("  ")[::-1] for line in contents.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    assert {"first-page.txt", "items/main-1.txt", "items/main-1-message.txt", "log.txt", "status.json"} <= set(contents)
    assert [path.name for path in tmp_path.iterdir()] == ["case.tar.gz"]


def test_the_first_page_says_what_is_wrong_and_what_to_do_in_both_languages() -> None:
    page = files(case())["first-page.txt"]
    for wanted in ("main-1", "CNY 12.50", "D-NO-REPLY", "S-PARKED", "Ask the bank", "请联系银行", "故障资料包"):
        assert wanted in page


def test_what_is_missing_is_said() -> None:
    contents = files(case(messages={}, no_messages="no right", log="", no_log="no journalctl"))
    assert "no right" in contents["items/main-1-message.txt"]
    assert "no journalctl" in contents["log.txt"]


def test_a_log_keeps_what_people_read_and_loses_what_machines_do() -> None:
    line = "2026-01-02T03:04:05+0000 reversald main-1 sale R1: reversing, try 3 failed: E-LINK-TIMEOUT (main-1)"
    assert without_blobs(line) == line
    assert "<hidden 32>" in without_blobs("x " + "0a" * 16 + " y")


# --- reconciliation ---


def book(*transactions: Transaction) -> list[dict[str, Any]]:
    return items(list(transactions), StillLoop(*transactions), scene())


def many() -> list[dict[str, Any]]:
    closing = Closing("anna", "adjusted", "B-77", NOW.at_utc, "wei")
    return book(
        transaction(id="main-1", stan="000001", state=State.COMPLETED),
        transaction(id="main-2", stan="000002", state=State.REVERSED, acknowledged_with="00"),
        transaction(id="main-3", stan="000003", state=State.SETTLED, closing=closing, reference="=cmd()"),
        parked(id="main-4", stan="000004"),
        owed(id="main-5", stan="000005"),
        transaction(id="main-6", stan="000006", state=State.APPROVED),
        transaction(id="main-7", stan="000007", state=State.DECLINED),
        transaction(id="main-8", stan="000008", state=State.REVERSED, batch="000018"),
        transaction(id="main-9", stan="000009", state=State.COMPLETED, currency="392", amount_minor=500),
    )


def test_every_item_counts_as_one_kind_and_what_is_open_stands_first() -> None:
    found = reconciliation.rows(many(), "000017")
    assert [(row["stan"], row["kind"]) for row in found] == [
        ("000004", "parked"),
        ("000005", "unknown"),
        ("000006", "unknown"),
        ("000002", "reversed"),
        ("000003", "settled"),
        ("000001", "stands"),
        ("000009", "stands"),
        ("000007", "none"),
    ]


@pytest.mark.parametrize(
    ("language", "words"), [("en", ("closed by hand", "unknown: 2")), ("zh", ("人工结案", "未知：2 笔"))]
)
def test_the_text_gives_references_and_sums(language: str, words: tuple[str, ...]) -> None:
    told = reconciliation.text(reconciliation.rows(many()), language)
    for wanted in (*words, "B-77", "CNY 25.00", "JPY 500", "000018"):
        assert wanted in told
    assert not any(pan in told for pan in PANS)
    assert reconciliation.text([], language).strip()


def test_a_sum_never_adds_what_was_paid_to_what_was_given_back_or_held() -> None:
    """A batch of one sale and its void comes to nothing, not to twice the sale."""
    kinds = ("sale", "void", "refund", "preauth", "balance")
    batch = [
        transaction(id=f"main-{number}", stan=f"{number:06d}", kind=kind, state=State.COMPLETED)
        for number, kind in enumerate(kinds)
    ]
    found = reconciliation.rows(book(*batch))
    told = reconciliation.text(found, "en").splitlines()
    assert "stands: 1, CNY 12.50" in told
    assert "stands, to the customer: 2, CNY 25.00" in told
    assert "stands, held on the card: 1, CNY 12.50" in told
    assert any("void" in line and "000001" in line for line in told)
    assert [row["transaction"] for row in csv.DictReader(io.StringIO(reconciliation.csv_text(found)))] == list(kinds)


def test_the_table_for_the_bank_reads_back_and_no_cell_computes() -> None:
    found = reconciliation.rows(many())
    read = list(csv.DictReader(io.StringIO(reconciliation.csv_text(found))))
    assert [row["stan"] for row in read] == [row["stan"] for row in found]
    assert next(row for row in read if row["id"] == "main-3")["reference"] == "'=cmd()"
    assert next(row for row in read if row["id"] == "main-3")["bank_reference"] == "B-77"


def test_a_lane_can_be_chosen() -> None:
    assert reconciliation.rows(many(), lane="other") == []
    assert len(reconciliation.rows(many(), lane="main")) == 9


def test_an_archive_that_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with room_for(512), pytest.raises(OSError, match="too large"):
        write(tmp_path / "case.tar.gz", {"log.txt": random.Random(1).randbytes(50_000).hex()})
    assert list(tmp_path.iterdir()) == []
