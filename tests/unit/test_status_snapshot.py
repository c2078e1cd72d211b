"""The status document: what it counts, in which order, and that it keeps to its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agent
from agent.diagnosis import DeviceFacts
from agent.events import Now
from agent.records import Closing, State, Transaction
from agent.status import ITEMS_MAX, snapshot, worst_first
from tests.unit.json_schema import violations
from tests.unit.status_samples import (
    MONO,
    NOW,
    PANS,
    STORE,
    StillLoop,
    begun_before,
    evidence,
    lane,
    link,
    owed,
    parked,
    scene,
    transaction,
    utc,
)

DOCS = Path(agent.__file__).parent.parent / "docs"
SCHEMA = json.loads((DOCS / "status.schema.json").read_text(encoding="utf-8"))
LEAK = f"E-LINK-TIMEOUT: card {PANS[1]} track {PANS[2]}=30122010000000000"


def many_states() -> dict[str, Any]:
    """A document with everything in it that a document can have."""
    loop = StillLoop(
        parked(id="main-7", last_error=LEAK, evidence=(evidence("late answer", f"card {PANS[0]}"),)),
        owed(id="main-8", last_code="96", held=True),
        owed(id="gone-1", lane="gone", currency="392", amount_minor=500),
        transaction(id="main-9", state=State.APPROVED, response_code="00", begun_at_utc=begun_before(5)),
        transaction(id="main-10", state=State.BEGUN, begun_at_utc=begun_before(1)),
        lanes=(lane(), lane("second", warn_only=True)),
    )
    loop.unmatched = [("main", "0410 of no known item", f"card {PANS[0]}")]
    finished = [
        transaction(id="main-1", state=State.REVERSED, acknowledged_with="00", match_grade="full"),
        transaction(id="main-2", state=State.SETTLED, closing=Closing("anna", "adjusted", "B-77", NOW.at_utc)),
    ]
    certificate = utc(2026, 1, 4)
    return snapshot(
        loop,
        scene(
            links={"main": link("down", "E-LINK-DNS", LEAK, certificate_not_after=certificate), "second": link()},
            devices=[DeviceFacts("pad", "pinpad", "gone", f"unplugged {PANS[0]}", 5.0, "E-DEVICE-GONE")],
            store=replace(STORE, warnings=("W-STORE-SLOW: a write took 900 ms",)),
            finished=finished,
        ),
    )


def codes(document: dict[str, Any]) -> list[str]:
    return [condition["code"] for condition in document["conditions"]]


@pytest.mark.parametrize("make", [many_states, lambda: snapshot(StillLoop(), scene())], ids=["full", "empty"])
def test_the_document_keeps_to_its_schema(make: Any) -> None:
    document = json.loads(json.dumps(make()))
    assert list(violations(document, SCHEMA, SCHEMA)) == []


def test_the_checker_of_the_schema_sees_what_is_wrong() -> None:
    document = snapshot(StillLoop(owed()), scene())
    document["extra"] = 1
    document["items"][0]["stan"] = 123
    del document["impact"]["owed"]
    found = " ".join(violations(document, SCHEMA, SCHEMA))
    assert "extra is not described" in found
    assert "123 is no string" in found
    assert "owed is missing" in found


def test_every_part_of_the_document_is_explained() -> None:
    page = (DOCS / "status.md").read_text(encoding="utf-8")
    item = SCHEMA["$defs"]["item"]["properties"]
    names = [*SCHEMA["properties"], *(name for name in item if not name.endswith(("_en", "_zh")))]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_no_card_number_is_in_the_document() -> None:
    told = json.dumps(many_states(), ensure_ascii=False)
    assert [pan for pan in PANS if pan in told] == []
    assert "620000******0005" in told


def test_nothing_open_is_ok() -> None:
    document = snapshot(StillLoop(), scene())
    assert document["overall"]["severity"] == "ok"
    assert codes(document) == ["S-OK"]
    assert document["impact"]["oldest_s"] is None


def test_a_parked_item_is_critical_and_stands_first() -> None:
    document = snapshot(StillLoop(owed(id="main-1"), parked(id="main-2")), scene())
    assert document["overall"] == {
        "severity": "critical",
        "code": "S-PARKED",
        "text_en": "waiting for a person: 1",
        "text_zh": "需要人工处理：1 笔",
    }
    assert "main-2" in document["conditions"][0]["action_en"]
    assert [one["id"] for one in document["items"]] == ["main-2", "main-1"]


def test_the_worst_come_first_and_the_oldest_of_each() -> None:
    pending = [
        transaction(id="d", state=State.BEGUN),
        transaction(id="c", state=State.APPROVED),
        owed(id="b2", begun_at_utc=begun_before(10)),
        owed(id="b1", begun_at_utc=begun_before(20)),
        parked(id="a"),
    ]
    assert [txn.id for txn in worst_first(pending, 10)] == ["a", "b1", "b2", "c", "d"]
    assert [txn.id for txn in worst_first(pending, 2)] == ["a", "b1"]


def test_a_lane_that_may_not_sell_is_a_warning_at_first_and_critical_after_a_minute() -> None:
    young = snapshot(StillLoop(owed(begun_at_utc=begun_before(59))), scene())
    old = snapshot(StillLoop(owed(begun_at_utc=begun_before(61))), scene())
    assert (young["overall"]["severity"], old["overall"]["severity"]) == ("warning", "critical")
    assert young["impact"]["blocked_lanes"] == ["main"]
    assert not young["lanes"][0]["may_sell"]


def test_a_lane_that_only_warns_may_sell() -> None:
    document = snapshot(StillLoop(owed(), lanes=(lane(warn_only=True),)), scene())
    assert document["lanes"][0]["may_sell"]
    assert codes(document) == ["S-PENDING"]


def test_a_lane_that_was_taken_out_of_the_configuration_is_critical() -> None:
    document = snapshot(StillLoop(owed(lane="gone")), scene())
    assert "S-NO-LANE" in codes(document)
    assert document["items"][0]["diagnosis"]["code"] == "D-NO-LANE"
    assert document["lanes"][-1] | {"name": "gone", "configured": False, "may_sell": False} == document["lanes"][-1]


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"store": replace(STORE, bytes_free=1)}, "S-STORE-FULL", "critical"),
        ({"store": replace(STORE, warnings=("W-STORE-SLOW: x",))}, "S-STORE", "warning"),
        ({"links": {"main": link("down", "E-LINK-DNS", "x")}}, "S-LINK-DOWN", "warning"),
        ({"links": {"main": link(certificate_not_after=utc(2026, 1, 20))}}, "S-CERTIFICATE", "warning"),
        ({"links": {"main": link(certificate_not_after=utc(2026, 1, 1))}}, "S-CERTIFICATE-ENDS", "critical"),
        ({"devices": [DeviceFacts("pad", "pinpad", "gone")]}, "S-DEVICE", "warning"),
        ({"devices": [DeviceFacts("pad", "pinpad", "opening")]}, "S-OK", "ok"),
        ({"devices": [DeviceFacts("pad", "pinpad", "opening", "x", 5.0, "E-PORT-MISSING")]}, "S-DEVICE", "warning"),
    ],
)
def test_each_trouble_of_the_whole_agent_has_its_condition(changes: dict[str, Any], code: str, severity: str) -> None:
    document = snapshot(StillLoop(), scene(**changes))
    assert (document["overall"]["code"], document["overall"]["severity"]) == (code, severity)


def test_an_old_reversal_is_critical_though_the_lane_may_sell() -> None:
    loop = StillLoop(owed(begun_at_utc=begun_before(3601)), lanes=(lane(warn_only=True),))
    document = snapshot(loop, scene())
    assert document["overall"]["code"] == "S-OLD"


def test_amounts_are_summed_by_currency_with_its_own_decimals() -> None:
    loop = StillLoop(
        owed(id="a", amount_minor=1250),
        owed(id="b", amount_minor=100),
        owed(id="c", currency="392", amount_minor=500),
        owed(id="d", currency="048", amount_minor=1500),
        transaction(id="e", state=State.APPROVED, amount_minor=99_999),
    )
    texts = [amount["text"] for amount in snapshot(loop, scene())["impact"]["amounts"]]
    assert texts == ["BHD 1.500", "CNY 13.50", "JPY 500"]


def test_thousands_pending_are_counted_and_the_worst_shown() -> None:
    pending = [owed(id=f"main-{number}", begun_at_utc=begun_before(number)) for number in range(3000)]
    document = snapshot(StillLoop(*pending), scene())
    assert document["pending_count"] == 3000
    assert len(document["items"]) == ITEMS_MAX
    assert document["items"][0]["id"] == "main-2999"
    assert document["impact"]["owed"] == 3000


def test_the_next_try_is_told_in_seconds_and_as_a_time() -> None:
    item = snapshot(StillLoop(owed(wake_at=MONO + 90)), scene())["items"][0]
    assert (item["next_try_s"], item["next_try_utc"]) == (90.0, "2026-01-02T05:05:35Z")
    overdue = snapshot(StillLoop(owed(wake_at=MONO - 3)), scene())["items"][0]
    assert overdue["next_try_s"] == 0
    held = snapshot(StillLoop(owed(held=True, wake_at=None)), scene())["items"][0]
    assert (held["next_try_s"], held["next_try_utc"]) == (None, "")


def test_a_clock_that_was_set_back_gives_no_age() -> None:
    early = Now(MONO, utc(1970, 1, 1))
    document = snapshot(StillLoop(owed()), scene(now=early))
    assert document["items"][0]["age_s"] is None
    assert document["impact"]["oldest_s"] is None
    assert "S-CLOCK" in codes(document)


def test_items_tell_the_response_code_in_both_languages() -> None:
    item = snapshot(StillLoop(owed(last_code="96")), scene())["items"][0]
    assert (item["last_code_en"], item["last_code_zh"]) == ("system malfunction", "系统异常，请稍后重试")


def test_why_it_is_reversed_stands_beside_why_it_is_stuck() -> None:
    def origin(txn: Transaction) -> Any:
        return snapshot(StillLoop(txn), scene())["items"][0]["origin"]

    assert origin(owed(cause="restart"))["text_en"] == "power or the program failed in the middle of the sale"
    assert origin(owed(cause="something new"))["text_en"] == "the sale could not be completed (something new)"
    assert origin(transaction(state=State.APPROVED)) is None
