"""status.html says what status.json says, and nothing that it quotes can steer the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.diagnosis import DeviceFacts
from agent.records import State
from agent.status import snapshot
from agent.status_html import ITEMS_MAX, render
from agent.status_html_history import History
from agent.status_html_markup import both, escape, tag
from agent.status_html_page import words
from agent.status_text import local_time
from agent.texts import placeholders
from tests.unit.status_samples import PANS, StillLoop, evidence, link, owed, parked, scene, status_writer

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'& \u202e\x1b[31m"
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Elements, their order, and every text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, name: str) -> int:
        return sum(found == name for found, _ in self.tags)


def shown(*pending: Any, **changes: Any) -> tuple[dict[str, Any], str]:
    """A status and its page."""
    document = snapshot(StillLoop(*pending), scene(**changes))
    history = History()
    history.note(document)
    return document, render(document, history, 5.0)


def test_the_page_shows_the_money_the_counts_and_every_item() -> None:
    document, page = shown(owed(id="main-1"), parked(id="main-2", amount_minor=4_500))
    impact = document["impact"]
    assert impact["amounts"][0]["text"] in page
    assert f'<b id="figure-open">{impact["owed"]}</b>' in page
    assert f'<b id="figure-parked">{impact["parked"]}</b>' in page
    for item in document["items"]:
        assert item["id"] in page
        assert item["diagnosis"]["action_en"].split(":")[0] in page
        assert item["diagnosis"]["action_zh"] in page


def test_the_worst_stands_first() -> None:
    _, page = shown(owed(id="main-1"), parked(id="main-2"))
    assert page.index("more-main-2") < page.index("more-main-1")
    assert page.index('id="money"') < page.index('id="queue"') < page.index('id="lanes"')


def test_a_quoted_text_stays_a_text() -> None:
    item = owed(reference=HOSTILE, last_error=f"E-LINK-RESET: {HOSTILE}", evidence=(evidence(HOSTILE, HOSTILE),))
    loop = StillLoop(item)
    loop.unmatched.append(("main", HOSTILE, HOSTILE))
    around = scene(
        links={"main": link("down", "E-LINK-RESET", HOSTILE)},
        devices=[DeviceFacts("printer", "printer", "gone", HOSTILE, 5.0, "E-PORT-GONE")],
    )
    history = History()
    document = snapshot(loop, around)
    history.note(document)
    page = Page(render(document, history, 5.0))
    assert (page.count("script"), page.count("img"), page.count("style")) == (1, 0, 1)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not re.search("[\u202e\x1b]", "".join(page.texts))
    assert any("alert(2)" in text for text in page.texts), "it is shown, harmless"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_survives_as_text_in_content_and_in_an_attribute(first: str, second: str) -> None:
    page = Page(str(tag("p", both(first, second), title=first)))
    assert page.count("p") == 1
    assert {name for name, _ in page.tags} <= {"p", "span"}


def test_a_text_is_escaped_once_wherever_it_is_joined() -> None:
    assert tag("p", "<b>") + "<i>" == "<p>&lt;b&gt;</p>&lt;i&gt;"
    assert escape(escape("<")) == "&lt;"


def test_no_card_number_reaches_the_page() -> None:
    item = parked(last_error=f"card {PANS[0]}", evidence=(evidence(f"parked by root {PANS[1]}", PANS[2]),))
    document, page = shown(item, devices=[DeviceFacts("reader", "reader", "gone", PANS[0])])
    assert not any(pan in page for pan in PANS)
    assert item.masked_pan in page
    assert document["items"][0]["card"] == item.masked_pan


def test_nothing_in_the_page_asks_a_network() -> None:
    _, page = shown(owed())
    for _, attributes in Page(page).tags:
        for name in ("src", "href", "action", "srcset"):
            assert attributes.get(name, "data:,") == "data:,"
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_this_style_and_this_script_only() -> None:
    _, page = shown()
    policy = next(a["content"] for n, a in Page(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert policy.count("sha256-") == 2


def test_every_table_names_its_columns_and_every_plot_its_meaning() -> None:
    _, page = shown(owed(), finished=[owed(id="main-9", state=State.REVERSED, ended_at_utc="2026-01-02T03:00:00.000Z")])
    parsed = Page(page)
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    heads = [attributes for name, attributes in parsed.tags if name == "th"]
    assert heads
    assert all(attributes["scope"] == "col" for attributes in heads)
    for name, attributes in parsed.tags:
        if name in ("svg", "table", "section"):
            assert attributes["aria-labelledby"] in ids
    assert len(ids - {None}) == sum(a.get("id") is not None for _, a in parsed.tags), "no id stands twice"


def test_thousands_of_items_make_a_bounded_page() -> None:
    many = [owed(id=f"main-{number}") for number in range(2000)]
    document, page = shown(*many)
    assert page.count("<details") == ITEMS_MAX
    assert f"{document['pending_count'] - ITEMS_MAX} more are not shown" in page
    assert len(page) < 400_000


def test_a_stopped_agent_is_said_above_everything() -> None:
    document, _ = shown()
    page = render({**document, "stopped": {"reason": "E-JOURNAL-FAILED: <disk>"}}, History(), 5.0)
    assert page.index("THE AGENT HAS STOPPED") < page.index('id="money"')
    assert "E-JOURNAL-FAILED: &lt;disk&gt;" in page


def test_the_page_believes_itself_as_long_as_the_slower_of_both_writers() -> None:
    document, page = shown()
    assert f'data-stale="{document["stale_after_s"] + 5:g}"' in page


def test_alerts_self_test_and_sign_on_are_shown_where_there_are_some() -> None:
    document, without = shown()
    assert "alerts-all" not in without
    alert = {
        "code": "W-PAPER", "severity": "warning", "since_utc": "2026-01-02T03:00:00Z",
        "text_en": "paper <low>", "text_zh": "纸将尽", "action_en": "new roll", "action_zh": "换纸",
    }  # fmt: skip
    test = {"at_utc": "2026-01-01T00:00:00Z", "result": "warn", "due_utc": "2026-01-08T00:00:00Z", "overdue": True}
    session = {"signs_on": True, "signed_on": False, "since_utc": "", "last_error": "E-LINK-DNS: <x>"}
    lanes = [{**document["lanes"][0], "session": session}]
    page = render({**document, "lanes": lanes, "watch": {"alerts": [alert], "selftest": test}}, History(), 5.0)
    for text in (
        "paper &lt;low&gt;",
        "换纸",
        "W-PAPER",
        "NOT SIGNED ON",
        "E-LINK-DNS: &lt;x&gt;",
        f"due {local_time('2026-01-08T00:00:00Z')}",
    ):
        assert text in page


def test_history_keeps_changes_and_forgets_what_is_older_than_its_window() -> None:
    history = History(window_s=100, changes_max=50)
    for second in range(1000):
        history.note(_document(second, "up" if second % 20 < 15 else "down"))
    points = history.points("lane main")
    assert len(points) <= 12
    assert history.start_s == 899
    spans = history.spans("lane main")
    assert spans[0][0] == 899
    assert sum(end - began for began, end, _ in spans) == 100


def test_history_of_a_flapping_link_is_bounded_in_number_too() -> None:
    history = History(window_s=1e9, changes_max=50)
    for second in range(1000):
        history.note(_document(second, "up" if second % 2 else "down"))
    assert len(history.points("lane main")) == 50


def test_history_forgets_a_lane_that_is_gone() -> None:
    history = History()
    history.note(_document(1, "up"))
    history.note({**_document(2, "up"), "lanes": []})
    assert history.points("lane main") == []


def _document(second: float, state: str) -> dict[str, Any]:
    lanes = [{"name": "main", "link": {"state": state}}]
    return {"updated_mono_s": second, "impact": {"owed": 0}, "lanes": lanes, "devices": []}


def test_the_writer_replaces_the_page_as_a_whole_and_from_the_last_status(tmp_path: Path) -> None:
    writer = status_writer(tmp_path)
    assert writer.write_page(5.0)
    assert not (tmp_path / "status.html").exists(), "no status yet, no page"
    document, _ = shown(owed(id="main-1"))
    writer.write(document)
    assert writer.write_page(5.0)
    page = (tmp_path / "status.html").read_text(encoding="utf-8")
    written = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert f"number {written['sequence']}." in page
    assert (tmp_path / "status.html").stat().st_mode & 0o777 == 0o644
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_page_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    writer = status_writer(tmp_path)
    document, _ = shown()
    writer.write(document)
    (tmp_path / "status.html").mkdir()
    assert writer.write_page(5.0) is False
    assert writer.write(document)


@pytest.mark.parametrize("name", sorted(words()))
def test_both_languages_say_the_same(name: str) -> None:
    text = words()[name]
    assert text.en
    assert text.zh
    assert placeholders(text.en) == placeholders(text.zh)
