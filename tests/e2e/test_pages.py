"""status.html and the report in a real browser, from a real agent: the numbers of status.json, no network, any screen.

Pictures of every page are left in build/pages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.status_html import render
from agent.status_html_history import History
from agent.status_text import local_time
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import CARD, AgentBench
from tests.browser import INSTALL, Browser, found
from tests.report_commands import reversalctl
from tests.report_scenes import bad_week

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(found() is None, reason=f"no Chromium here: {INSTALL}"),
]

PICTURES = Path(__file__).resolve().parents[2] / "build/pages"
PHONE, DESK = (360, 740), (1280, 900)
LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests: it takes seconds to start."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as one:
        yield one


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBench]:
    """An agent with one sale done, one parked and one that the host answers with "busy"."""
    with (
        HostServer(settings=HostSettings(mac_on_all_replies=True)) as host,
        AgentBench(tmp_path_factory.mktemp("agent"), [host.address], confirm="on-approval") as one,
    ):
        one.agent.start()
        one.sale("good", 3300)
        host.faults.add("0200", "drop-reply", count=2)
        host.faults.add("reversal", "code", value="57")
        one.sale("refused", 1250)
        one.until(lambda: one.state_of("refused") == "parked", "the first is parked")
        host.faults.add("reversal", "code", value="96", count=None)
        one.sale("busy", 4500)
        one.until(lambda: one.state_of("busy") == "reversing", "the second is tried again and again")
        yield one


def pages_of(bench: AgentBench) -> tuple[Path, dict[str, Any]]:
    """A page and the status.json that it was made from, as they lie there: the agent writes on meanwhile."""
    copy = bench.directory / "page.html"
    pair: dict[str, Any] = {}

    def caught() -> bool:
        try:
            document = json.loads((bench.directory / "run/status.json").read_text(encoding="utf-8"))
            page = (bench.directory / "run/status.html").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        copy.write_text(page, encoding="utf-8")
        pair.update(document)
        return f"number {document['sequence']}." in page and document["impact"]["owed"] == 2

    bench.until(caught, "page and document are of the same moment")
    return copy, pair


def choose(browser: Browser, language: str) -> None:
    """Press the button of a language."""
    browser.value(f"document.querySelector('label[for=language-{language}]').click()")


def without_faults(browser: Browser, page: Path) -> None:
    """Nothing on the console, and the page itself is all that was asked for."""
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]


@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_status_page_shows_the_numbers_of_status_json_on_any_screen(
    browser: Browser, bench: AgentBench, screen: tuple[int, int], dark: bool, language: str
) -> None:
    page, document = pages_of(bench)
    browser.screen(*screen, dark=dark)
    browser.open(page)
    choose(browser, language)
    impact = document["impact"]
    assert browser.text("#sums") == impact["amounts"][0]["text"] == "CNY 57.50"
    assert browser.text("#figure-open") == str(impact["owed"]) == "2"
    assert browser.text("#figure-parked") == str(impact["parked"]) == "1"
    assert browser.text("#headline") == document["overall"][f"text_{language}"]
    shown = browser.text("main")
    for item in document["items"]:
        for value in (item["id"], item["amount"], item["card"], item["stan"], item["diagnosis"]["code"]):
            assert value in shown
        assert item["diagnosis"][f"action_{language}"] in shown
        assert browser.text(f"[data-tries='{item['id']}']") == str(item["tries"])
    assert CARD["pan"] not in browser.value("document.documentElement.outerHTML")
    assert browser.sideways() == 0
    without_faults(browser, page)
    browser.picture(PICTURES / f"status-{screen[0]}-{'dark' if dark else 'light'}-{language}.png")


def test_only_the_chosen_language_is_seen_also_without_scripts(browser: Browser, bench: AgentBench) -> None:
    page, document = pages_of(bench)
    for scripts in (True, False):
        browser.screen(*PHONE, scripts=scripts)
        browser.open(page)
        browser.screen(*PHONE)  # a test may look, whatever the page may do
        for language, other in (LANGUAGES, LANGUAGES[::-1]):
            choose(browser, language)
            shown = browser.text("main")
            action = "action_" + language
            assert document["conditions"][0][action] in shown
            assert document["conditions"][0]["action_" + other] not in shown
        if not scripts:
            assert "30" in browser.text("[role=alert]"), "it says that it cannot tell its age"


def test_the_choice_of_language_survives_the_next_page(browser: Browser, bench: AgentBench) -> None:
    page, _ = pages_of(bench)
    browser.screen(*PHONE)
    browser.open(page)
    choose(browser, "zh")
    browser.open(page)
    assert browser.value("document.documentElement.lang") == "zh-CN"
    choose(browser, "en")


def test_a_page_says_itself_that_it_is_old_or_from_the_future(
    browser: Browser, bench: AgentBench, tmp_path: Path
) -> None:
    _, document = pages_of(bench)
    history = History()
    history.note(document)
    now = datetime.now(UTC)
    for written, stale, early in (
        (now, False, False),
        (now - timedelta(minutes=10), True, False),
        (now + timedelta(hours=1), False, True),
    ):
        page = tmp_path / "page.html"
        at = written.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        page.write_text(render({**document, "updated_utc": at, "stale_after_s": 60.0}, history, 5.0), encoding="utf-8")
        browser.screen(*PHONE)
        browser.open(page)
        assert browser.value("!document.getElementById('stale').hidden") is stale
        assert browser.value("!document.getElementById('clock').hidden") is early
        if stale:
            assert "10 min ago" in browser.text(".verdict")
            browser.picture(PICTURES / "status-stale.png")


def test_text_can_be_read_against_its_background(browser: Browser, bench: AgentBench) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for every text, in light and dark."""
    page, _ = pages_of(bench)
    for dark in (False, True):
        browser.screen(*DESK, dark=dark)
        browser.open(page)
        assert browser.value(CONTRAST) == "[]", f"dark: {dark}"


CONTRAST = """(() => {
const numbers = c => c.match(/[\\d.]+/g).map(Number);
const light = c => { const [r, g, b] = numbers(c).map(v => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 }); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (numbers(c).length === 3) return c } return "rgb(255, 255, 255)" };
const bad = [];
for (const e of document.querySelectorAll("main *, header *, footer *")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !e.offsetParent) continue;
  const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.outerHTML.slice(0, 80));
}
return JSON.stringify(bad) })()"""


def test_the_stopped_agents_last_page_says_so(browser: Browser, tmp_path: Path) -> None:
    with HostServer() as host, AgentBench(tmp_path, [host.address], key=b"") as bench:
        bench.agent.start()
        page = tmp_path / "run/status.html"
        assert page.exists(), "there is a page from the start"
        bench.agent.stop()
        browser.screen(*PHONE)
        browser.open(page)
        assert "STOPPED" in browser.text("[role=alert]")
        without_faults(browser, page)


# --- the report --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy of a journal in which much happened."""
    return bad_week().journal(tmp_path_factory.mktemp("week")).path


@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_shows_its_numbers_on_any_screen(
    browser: Browser, week: Path, tmp_path: Path, screen: tuple[int, int], language: str
) -> None:
    page = tmp_path / "report.html"
    code, told = reversalctl(
        "report", "--since", "all", "--copy", str(week), "--language", language, "--html", str(page)
    )
    assert (code, str(page) in told) == (0, True)
    made = json.loads(reversalctl("report", "--since", "all", "--copy", str(week), "--json")[1])
    browser.screen(*screen)
    browser.open(page)
    choose(browser, language)
    for name, value in (("open", made["money"]["open"]), ("sales", made["sales"]), ("reversals", made["reversals"])):
        assert browser.text(f"#figure-{name}") == str(value)
    assert browser.text("#sums") == made["money"]["open_amounts"][0]["text"]
    assert browser.text("#whole").count(str(made["whole"]["begun"])) >= 1
    shown = browser.text("main")
    for one in made["advice"]:
        assert one[f"text_{language}"] in shown
    for one in made["incidents"]:
        assert f"#{one['number']}" in shown
    assert local_time(made["since_utc"]) in shown
    drawn = browser.value("document.querySelectorAll('svg rect.bar').length")
    assert drawn == sum(1 for one in made["acknowledge"]["bins"] if one["count"])
    assert browser.sideways() == 0
    without_faults(browser, page)
    browser.picture(PICTURES / f"report-{screen[0]}-{language}.png")


def test_the_report_prints_on_paper(browser: Browser, week: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    reversalctl("report", "--since", "all", "--copy", str(week), "--html", str(page))
    browser.screen(*DESK, dark=True)
    browser.open(page)
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser.paper(PICTURES / "report.pdf")
    printed = (PICTURES / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page[^s]", printed)) <= 8


def test_a_running_agents_report_agrees_with_its_status_and_leaves_no_copy_behind(bench: AgentBench) -> None:
    arguments = ("--config", str(bench.configuration), "--since", "1h")
    made = json.loads(reversalctl("report", *arguments, "--json")[1])
    status = bench.agent.call("agent.status", {})
    assert made["money"]["open"] == status["impact"]["owed"] == 2
    assert made["money"]["open_amounts"] == status["impact"]["amounts"]
    assert made["whole"]["pending"] == status["pending_count"]
    assert (made["balance"][0]["intents"], made["balance"][0]["completed"]) == (3, 1)
    assert "R-OPEN" in [one["code"] for one in made["advice"]]
    assert not [name for name in os.listdir(bench.directory / "state") if name.startswith("report-")]
    code, told = reversalctl("report", *arguments, "--language", "zh")
    assert code == 0
    assert "冲正报告" in told
    assert CARD["pan"] not in told + json.dumps(made)


def test_watch_without_a_terminal_says_a_line(bench: AgentBench) -> None:
    code, told = reversalctl("watch", "--config", str(bench.configuration), "--looks", "1", "--language", "en")
    assert code == 0
    assert "CRITICAL S-PARKED" in told
