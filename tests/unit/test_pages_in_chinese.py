"""A page in Chinese has no English sentence left: every sentence of it comes from a key of a catalogue, in Chinese.

Two looks at each page. By key: of no key does the English text stand in it. And what is left when the Chinese texts of
all keys are taken away are facts (names, numbers, commands), never three English words in a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from agent import adjustment_form, report_html, report_text
from agent import texts as first
from agent import texts_operations as second
from agent.alerts import Notice, Seen, evaluate
from agent.case_file import Case, first_page
from agent.cli_items import list_text, show_text, why_text
from agent.config_watch import Alerts
from agent.diagnosis import DeviceFacts
from agent.reconciliation import rows
from agent.reconciliation import text as reconciled
from agent.records import State
from agent.report import Period, build
from agent.report_stories import read
from agent.report_texts import texts as report_texts
from agent.said import said
from agent.selftest import Finding
from agent.status import items, snapshot
from agent.status_html import render as page
from agent.status_html_history import History
from agent.status_html_page import words as page_words
from agent.status_text import _LABELS, render
from agent.status_timeline import timeline
from agent.texts import Text
from tests.report_scenes import bad_week
from tests.unit.status_samples import (
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
    rules,
    scene,
    transaction,
)

ROOT = Path(__file__).parents[2]
SENTENCE = re.compile(r"[A-Za-z]{2,}(?:[ ,]+[a-z]{2,}){2,}")
# Said by programs and standards, not by us: they stand in both languages as they are.
NAMES = re.compile(r"(?:reversalctl|systemctl|journalctl|sha256sum|reversald|timedatectl|chmod)(?: [-\w./]+)*")


def report_keys() -> Iterator[Text]:
    known = report_texts()
    yield from (*known.words.values(), *known.kinds.values(), *known.dimensions.values(), *known.devices.values())
    for one in known.advice.values():
        yield from (one.text, one.do)


EVERY = [
    *(text for _, text in first.all_texts(first.catalogue())),
    *(text for _, text in second.all_texts(second.operations())),
    *report_keys(),
    *page_words().values(),
    *(Text(*pair) for pair in _LABELS.values()),
]


def literals(text: str) -> list[str]:
    """What stands between the placeholders."""
    return [piece.strip() for piece in re.split(r"\{[a-z_0-9-]+\}", text) if len(piece.strip()) > 1]


CHINESE = sorted({piece for text in EVERY for piece in literals(text.zh)}, key=len, reverse=True)
SENTENCES = {piece for text in EVERY for piece in literals(text.en) if SENTENCE.search(NAMES.sub("", piece))}
ENGLISH = sorted(SENTENCES - set(CHINESE))


def left_over(shown: str) -> list[str]:
    """English sentences that no key accounts for."""
    for piece in CHINESE:
        shown = shown.replace(piece, "\n")
    return list(SENTENCE.findall(NAMES.sub("\n", shown)))


def spoken(html: str) -> str:
    """What a reader in Chinese sees of a page that holds both languages: the Chinese parts and what has no language."""
    html = re.sub(r"(?s)<(style|script)[^>]*>.*?</\1>", "", html)
    html = re.sub(r'(?s)<span lang="en"[^>]*>.*?</span>', "", html)
    return unescape(re.sub(r"<[^>]+>", "\n", html))


SILENT = "192.0.2.1:5000 did not answer in 60 s"


def document() -> dict[str, Any]:
    """Everything that a status can hold, wrong in every way."""
    loop = StillLoop(
        parked(id="main-1", evidence=(evidence("0210 that does not match", "amount differs"),)),
        owed(id="main-2", begun_at_utc=begun_before(7200), last_error=f"E-LINK-TIMEOUT: {SILENT}"),
        owed(id="main-3", held=True),
        transaction(id="main-4", state=State.APPROVED),
        lanes=(lane(),),
    )
    store = replace(STORE, bytes_free=1 << 20, warnings=("W-STORE-SPACE: 1 MiB are free, sales stop at 16 MiB",))
    devices = [DeviceFacts("printer", "printer", "gone", "no answer from the printer", 60.0, "E-DEVICE-GONE")]
    down = link("down", "E-LINK-TIMEOUT", SILENT)
    ended = (transaction(id="main-9", state=State.REVERSED, ended_at_utc=NOW.at_utc),)
    shown = snapshot(loop, scene(store=store, devices=devices, links={"main": down}, finished=ended))
    last = {"at_utc": NOW.at_utc, "due_utc": NOW.at_utc, "result": "fail", "text": "T-DISK", "overdue": True}
    return shown | {"language": "zh", "watch": {"selftest": last, "host_clock": {"main": {"offset_s": 99.0}}}}


def alerts() -> list[dict[str, Any]]:
    seen = Seen(
        document(), host_clock={"main": {"offset_s": 99.0}}, clock_warn_s=60.0, selftest=document()["watch"]["selftest"]
    )
    return [Notice("raised", alert, NOW.at_utc).document() for alert in evaluate(seen, Alerts())]


def story() -> dict[str, Any]:
    shop = bad_week()
    txn_id = next(row.txn_id for row in shop.rows if row.state == "reversed")
    txn = next(story.txn for story in read(shop.rows).stories.values() if story.txn.id == txn_id)
    view = items([txn], StillLoop(txn), scene())[0]
    history = [row for row in shop.rows if row.txn_id == txn_id]
    return {"item": view, "timeline": timeline(history, rules().profile.responses)}


def week() -> dict[str, Any]:
    sample = {"commits": 9, "commit_p50_ms": 2.0, "commit_p99_ms": 8.0, "head_seq": 5, "bytes_used": 1, "bytes_free": 9}
    return build(read(bad_week().rows), Period(), "2026-03-01T00:00:00Z", [{"at_utc": NOW.at_utc, **sample}])


def findings() -> str:
    found = [Finding(code, "warn", "main", Text("x", "x")) for code in second.operations().checks]
    return "\n".join(f"{one.title.zh} {one.text.zh} {one.action.zh}" for one in found)


def zh_of(value: Any) -> Iterator[str]:
    """Every Chinese text of a document for machines."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not str(name).endswith("_en"):
                yield from zh_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from zh_of(inner)
    elif isinstance(value, str):
        yield value


def plans() -> str:
    known = second.operations().plans.values()
    return "\n".join(text.zh for one in known for text in (one.title, one.agent, *one.people))


PAGES: dict[str, Callable[[], str]] = {
    "status.txt": lambda: render(document(), "zh", height=60),
    "status.html": lambda: spoken(page(document(), History(), 5.0)),
    "list": lambda: list_text(document()["items"], 4, "zh"),
    "show": lambda: show_text(document()["items"][1], "zh"),
    "why": lambda: why_text(story(), "zh"),
    "alerts (log, hook, webhook, slip)": lambda: "\n".join(text for one in alerts() for text in zh_of(one)),
    "self test": findings,
    "plans": plans,
    "report": lambda: report_text.render(week(), "zh"),
    "report page": lambda: spoken(report_html.render(week(), "zh")),
    "reconciliation": lambda: reconciled(rows(document()["items"]), "zh"),
}
BILINGUAL: dict[str, Callable[[], str]] = {
    "adjustment form": lambda: adjustment_form.form(document()["items"][0], NOW.at_utc),
    "case file": lambda: first_page(Case(NOW.at_utc, document(), [story()])),
}


@pytest.mark.parametrize("name", PAGES)
def test_no_english_text_of_a_key_stands_in_a_chinese_page(name: str) -> None:
    shown = PAGES[name]()
    assert [piece for piece in ENGLISH if piece in shown] == []


@pytest.mark.parametrize("name", PAGES)
def test_what_no_key_accounts_for_is_no_sentence(name: str) -> None:
    assert left_over(PAGES[name]()) == []


@pytest.mark.parametrize("name", BILINGUAL)
def test_what_goes_to_others_says_everything_in_both_languages(name: str) -> None:
    """Each sentence of a key that stands there in English stands there in Chinese too."""
    shown = " ".join(unescape(re.sub(r"(?s)<style.*?</style>|<[^>]+>", "\n", BILINGUAL[name]())).split())
    missing = []
    own = set(EVERY) - set(first.catalogue().said.values())  # those stand inside other sentences too
    for text in own:
        english, chinese = literals(text.en), literals(text.zh)
        if len(english) == 1 and SENTENCE.search(english[0]) and " ".join(english[0].split()) in shown:
            missing += [text for piece in chinese if re.sub(r"\s", "", piece) not in re.sub(r"\s", "", shown)]
    assert missing == []


def test_every_template_is_really_said_by_the_program() -> None:
    """By its own words: the longest piece of each template stands in a source file, outside the catalogues."""
    files = [path for room in ("agent", "protocol") for path in (ROOT / room).glob("*.py")]
    flat = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text(encoding="utf-8") for path in files))
    for name, text in first.catalogue().said.items():
        longest = max(re.split(r"\{\w+\}", text.en), key=len).strip()
        assert longest in flat, name


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("E-LINK-TIMEOUT: 192.0.2.1:5000 did not answer in 60 s", "192.0.2.1:5000 在 60 秒内无应答（E-LINK-TIMEOUT）"),
        ("E-LINK-TIMEOUT: something new", "主机超时无应答（E-LINK-TIMEOUT）"),
        ("lane till is not signed on: 5.5.5.5:1 cut the connection", "通道 till 未签到：5.5.5.5:1 中断了连接"),
        ("0210 that does not match", "不匹配的 0210"),
        ("held by anna: asks the bank", "anna 暂停发送：asks the bank"),
        ("parked by anna", "anna 转人工"),
        ("released by anna", "anna 恢复发送"),
        ("asked the bank, they will call", "asked the bank, they will call"),
        ("E-NEW: nobody knows it", "E-NEW: nobody knows it"),
        ("", ""),
    ],
)
def test_what_the_program_says_is_known_by_its_template_or_its_code(english: str, chinese: str) -> None:
    assert said(english) == Text(english, chinese)


def test_a_card_number_in_a_quoted_text_is_hidden_in_both_languages() -> None:
    told = said(f"{PANS[0]} did not answer in 60 s")
    assert PANS[0] not in told.en + told.zh


def test_every_refusal_of_the_agent_has_its_words_in_both_languages() -> None:
    """Those that a person at reversalctl can meet; `A-LOST` and the like are the client's own."""
    raising = re.compile(r'(?:RefusedError|Closed|RequestError)\(\s*"(A-[A-Z-]+)"')
    raised = {
        code for path in (ROOT / "agent").glob("*.py") for code in raising.findall(path.read_text(encoding="utf-8"))
    }
    assert raised - set(second.operations().refusals) == set()


def test_a_refusal_says_the_same_sentence_where_it_is_known_and_else_what_its_code_means() -> None:
    assert second.refusal("A-SETTLING", "batch 000017 is being settled").zh == "批次 000017 正在结算（A-SETTLING）"
    assert second.refusal("A-NO-LANE", "there is no lane 'x'").zh == "没有该通道。（A-NO-LANE）"
    assert second.refusal("A-NEW", "nobody knows it").zh == "A-NEW: nobody knows it"
