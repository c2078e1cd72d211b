"""Incidents and balance are those of the journal: the engine itself wrote every row that these tests read."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import report, report_csv, report_html, report_text
from agent.events import Park, Restart
from agent.report_incidents import incidents
from agent.report_stories import Reading, read
from agent.report_texts import texts
from agent.texts import placeholders
from agent.verify import walk
from tests.dialogue import STARTED, answered
from tests.journal_scenes import records_of
from tests.report_scenes import NO_LINK, SILENCE, Shop, bad_week, power_cut
from tests.unit.status_samples import PANS

NOW = "2026-02-01T00:00:00Z"


def built(reading: Reading, since_s: float | None = None, until_s: float | None = None) -> dict[str, Any]:
    """A report; the period is given in seconds after the shop opened."""
    ends = [None if s is None else STARTED + timedelta(seconds=s) for s in (since_s, until_s)]
    return report.build(reading, report.Period(*ends), NOW)


def kinds(made: dict[str, Any]) -> list[str]:
    return [one["kind"] for one in made["incidents"]]


def codes(made: dict[str, Any]) -> list[str]:
    return [one["code"] for one in made["advice"]]


def test_a_dead_link_is_one_incident_however_many_items_and_tries_it_touches() -> None:
    shop = Shop()
    first, second = shop.begin(), shop.begin()
    shop.feed(first, SILENCE)
    shop.feed(second, SILENCE)
    for _ in range(5):
        shop.failed_tries(first, 1, NO_LINK, 300)
        shop.failed_tries(second, 1, NO_LINK, 300)
    shop.acknowledged(first)
    shop.acknowledged(second)
    made = built(read(shop.rows))
    assert kinds(made) == ["silent", "link"]
    link = made["incidents"][1]
    assert (link["items"], link["symptoms"], link["open"]) == ([first, second], 10, False)
    assert link["duration_s"] == pytest.approx(3000, abs=20)
    assert link["attempts"] == 11, "ten failed, the one that ended it, and none of the other item after that"
    assert link["amounts"][0]["text"] == "CNY 25.00"


def test_an_answer_ends_an_outage_and_the_next_failure_begins_another() -> None:
    shop = Shop()
    for _ in range(2):
        txn_id = shop.begin()
        shop.feed(txn_id, SILENCE)
        shop.failed_tries(txn_id, 2, NO_LINK, 60)
        shop.acknowledged(txn_id)
        shop.good_sale()
    assert [one.kind for one in incidents(read(shop.rows))] == ["silent", "link", "silent", "link"]


def test_a_refusing_host_is_busy_until_it_does_what_was_wanted() -> None:
    shop = Shop()
    txn_id = shop.begin()
    shop.feed(txn_id, SILENCE)
    shop.failed_tries(txn_id, 3, answered("96", to="reversal"), 60)
    before = built(read(shop.rows))
    assert kinds(before) == ["silent", "host"]
    assert before["incidents"][1]["open"]
    shop.acknowledged(txn_id)
    after = built(read(shop.rows))["incidents"][1]
    assert (after["open"], after["codes"]) == (False, {"96": 3})
    assert "R-CODE" in codes(before)


def test_restarts_of_all_lanes_are_one_incident_with_the_silence_before_it() -> None:
    shop = Shop()
    sales = [shop.begin(lane="main"), shop.begin(lane="second")]
    shop.wait(500)
    for txn_id in sales:
        shop.feed(txn_id, Restart())
    found = incidents(read(shop.rows))
    assert [(one.kind, one.lane, len(one.items)) for one in found] == [("restart", "", 2)]
    assert found[0].quiet_s == pytest.approx(501, abs=2)


def test_what_nothing_ended_is_not_over() -> None:
    shop = Shop()
    txn_id = shop.begin()
    shop.feed(txn_id, SILENCE)
    shop.failed_tries(txn_id, 2, NO_LINK, 60)
    made = built(read(shop.rows))
    assert [one["open"] for one in made["incidents"]] == [False, True]
    assert made["money"]["open"] == 1
    assert codes(made)[0] == "R-OPEN"


def test_a_reversed_void_gave_nothing_back() -> None:
    """What goes back to customers is what was reversed of sales; the reversal of a void takes it away again."""
    shop = Shop()
    for kind in ("sale", "void"):
        txn_id = shop.begin(kind=kind)
        shop.feed(txn_id, SILENCE)
        shop.acknowledged(txn_id)
    made = built(read(shop.rows))
    money = made["money"]
    assert (money["returned"], money["not_given"]) == (1, 1)
    assert [one["text"] for one in money["returned_amounts"]] == ["CNY 12.50"]
    assert any("Voids and refunds taken back" in line for line in report_text.render(made, "en").splitlines())


def test_every_sale_is_in_exactly_one_column_of_the_balance() -> None:
    made = built(read(bad_week().rows))
    for one in made["balance"]:
        assert one["balanced"]
        assert one["intents"] == sum(one[name] for name in ("completed", "declined", "reversed", "settled", "pending"))
    assert sum(one["intents"] for one in made["balance"]) == made["whole"]["begun"]


def test_the_numbers_are_those_of_verify(tmp_path: Path) -> None:
    home = bad_week().journal(tmp_path)
    checked = walk(home.path, home.vault(), home.mark)
    made = built(read(records_of(home.path)))
    assert checked.whole
    assert made["whole"] == {"begun": checked.begun, "states": checked.states, "pending": checked.pending}
    assert made["records"] == checked.records
    told = {
        (one["lane"], one["batch"], one["currency"], name): (one[name], one["amounts_minor"][name])
        for one in made["balance"]
        for name in ("completed", "reversed", "settled", "pending")
        if one[name]
    }
    known = {
        (one.lane, one.batch, one.currency, "pending" if one.state == "reversing" else one.state): (
            one.count,
            one.amount_minor,
        )
        for one in checked.sums
    }
    assert told == known


def test_a_damaged_record_is_counted_and_said_first(tmp_path: Path) -> None:
    rows = bad_week().rows
    made = built(read([None, *rows]))
    assert made["unreadable"] == 1
    assert codes(made)[0] == "R-VERIFY"
    assert "cannot be read" in report_text.render(made, "en")


def test_percentiles_are_times_that_really_occurred() -> None:
    made = built(read(bad_week().rows))["acknowledge"]
    assert made["count"] == sum(one["count"] for one in made["bins"]) == 5
    assert made["p50_s"] <= made["p95_s"] <= made["p99_s"] == made["slowest_s"]


def test_a_clock_that_went_back_makes_a_time_unknown_not_short() -> None:
    shop = Shop()
    txn_id = shop.begin()
    shop.feed(txn_id, SILENCE)
    shop.wait(-7200)
    shop.acknowledged(txn_id)
    made = built(read(shop.rows))
    assert (made["acknowledge"]["count"], made["acknowledge"]["unknown"]) == (0, 1)
    assert made["cases"][0]["took_s"] is None


def test_a_period_leaves_out_what_ended_before_it_and_what_began_after_it() -> None:
    shop = Shop()
    power_cut(shop)
    reading = read(shop.rows)
    assert (len(built(reading)["cases"]), len(built(reading, 15_000)["cases"])) == (2, 1)
    assert len(built(reading, None, 15_000)["cases"]) == 1
    assert kinds(built(reading, 50_000)) == []


def test_an_open_item_belongs_to_every_later_period() -> None:
    shop = Shop()
    txn_id = shop.begin()
    shop.feed(txn_id, SILENCE, Park("root", "for the bank"))
    assert [case["id"] for case in built(read(shop.rows), 1_000_000)["cases"]] == [txn_id]


def test_nothing_wrong_gives_no_advice() -> None:
    shop = Shop()
    shop.good_sale()
    made = built(read(shop.rows))
    assert (codes(made), made["incidents"], made["offenders"]) == (["R-NONE"], [], [])
    for language in ("en", "zh"):
        assert report_text.render(made, language)
        assert report_html.render(made, language)


def test_an_empty_journal_makes_an_empty_report(tmp_path: Path) -> None:
    home = Shop().journal(tmp_path)
    made = built(read(records_of(home.path)))
    assert (made["sales"], made["balance"], made["whole"]["begun"]) == (0, [], 0)
    assert report_text.render(made, "zh")
    assert report_html.render(made, "zh")


def test_advice_names_evidence_that_is_in_the_report() -> None:
    made = built(read(bad_week().rows))
    numbers = {f"#{one['number']}" for one in made["incidents"]}
    ids = {case["id"] for case in made["cases"]}
    for one in made["advice"]:
        assert one["evidence_en"], one
        for piece in one["evidence_en"]:
            _, _, names = piece.partition(" ")
            assert set(names.split(", ")) <= numbers | ids


def test_one_card_among_equals_is_an_offender_only_when_it_has_more_than_its_share() -> None:
    shop = Shop()
    for number in range(12):
        shop.good_sale(masked_pan=f"62000{number % 10}******0005")
    for _ in range(4):
        txn_id = shop.begin(masked_pan="411111******1111")
        shop.feed(txn_id, SILENCE)
        shop.acknowledged(txn_id)
    repeated = [one for one in built(read(shop.rows))["advice"] if one["code"] == "R-REPEATS"]
    assert [one["text_en"] for one in repeated] == ["Reversals of one card, 411111******1111: 4 of 4."]


def test_no_form_of_the_report_holds_a_card_number(tmp_path: Path) -> None:
    shop = Shop()
    txn_id = shop.begin(reference=f"till {PANS[0]}")
    shop.feed(txn_id, SILENCE, Park("root", f"card {PANS[1]}"))
    made = built(read(shop.rows))
    paths = report_csv.write(made, tmp_path / "r.csv")
    forms = [json.dumps(made), *(report_text.render(made, one) for one in ("en", "zh"))]
    forms += [report_html.render(made, "en"), *(path.read_text(encoding="utf-8-sig") for path in paths)]
    for form in forms:
        assert not any(pan in form for pan in PANS)


def test_the_spreadsheet_has_a_row_a_reversal_and_runs_no_formula(tmp_path: Path) -> None:
    shop = bad_week()
    hostile = shop.begin(reference='=HYPERLINK("http://x")')
    shop.feed(hostile, SILENCE)
    made = built(read(shop.rows))
    paths = report_csv.write(made, tmp_path / "week.csv")
    assert [path.name for path in paths] == ["week.csv", "week-incidents.csv", "week-batches.csv", "week-store.csv"]
    with paths[0].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [case["id"] for case in made["cases"]]
    assert rows[-1]["reference"].startswith("'=")
    assert sum(int(row["amount_minor"]) for row in rows) == sum(case["amount_minor"] for case in made["cases"])
    with paths[2].open(encoding="utf-8-sig", newline="") as file:
        assert [int(row["intents"]) for row in csv.DictReader(file)] == [one["intents"] for one in made["balance"]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_text_fits_eighty_columns_where_words_can_be_broken(language: str) -> None:
    from agent.status_text import columns

    told = report_text.render(built(read(bad_week().rows)), language)
    assert max(columns(line) for line in told.split("\n")) <= 100
    assert "{" not in told
    assert "?" not in told.replace("??", "")


def test_both_languages_have_the_same_placeholders() -> None:
    known = texts()
    pairs = [*known.words.values(), *known.kinds.values(), *known.dimensions.values(), *known.devices.values()]
    pairs += [text for one in known.advice.values() for text in (one.text, one.do)]
    for text in pairs:
        assert text.en
        assert text.zh
        assert placeholders(text.en) == placeholders(text.zh), text
