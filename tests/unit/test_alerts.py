"""Alerts: raised at their threshold, told once, repeated, cleared; delivered without ever waiting for anybody."""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent import metrics
from agent.alert_delivery import Delivery
from agent.alerts import Alert, Board, Notice, Seen, evaluate
from agent.config_schema import Configuration
from agent.config_watch import Alerts, SelfTest
from agent.diagnosis import DeviceFacts
from agent.events import Now
from agent.host_clock import HostClocks
from agent.maintenance import Maintenance
from agent.monitor import Monitor
from agent.power import Power, power
from agent.records import State, Transaction
from agent.show_only import ShowOnly
from agent.status import snapshot
from agent.texts_operations import operations
from agent.trends import Span, Trends
from agent.webhook import WebhookChannel
from tests.unit.status_samples import (
    MONO,
    NOW,
    PANS,
    STORE,
    StillLoop,
    begun_before,
    lane,
    link,
    owed,
    parked,
    scene,
    show_only,
    transaction,
    utc,
)

RULES = Alerts()
ROOT = Path(__file__).parents[2]


def document(*pending: Transaction, **changes: Any) -> dict[str, Any]:
    return snapshot(StillLoop(*pending, lanes=(lane(),)), scene(**changes))


def codes(seen: Seen, rules: Alerts = RULES) -> set[str]:
    return {alert.code for alert in evaluate(seen, rules)}


def last_test(result: str, *, overdue: bool = False) -> dict[str, Any]:
    return {"at_utc": NOW.at_utc, "due_utc": NOW.at_utc, "result": result, "text": "T-DISK", "overdue": overdue}


LOW = replace(STORE, bytes_free=32 << 20)
CASES: list[tuple[str, Seen, Alerts, set[str]]] = [
    ("all well", Seen(document()), RULES, set()),
    ("first", Seen(document(owed(begun_at_utc=begun_before(10)))), RULES, {"N-PENDING", "N-BLOCKED"}),
    ("old", Seen(document(owed(begun_at_utc=begun_before(700)))), RULES, {"N-PENDING", "N-PENDING-OLD", "N-BLOCKED"}),
    (
        "many",
        Seen(document(*(owed(id=f"main-{n}", begun_at_utc=begun_before(10)) for n in range(3)))),
        replace(RULES, pending_count=2),
        {"N-PENDING", "N-PENDING-MANY", "N-BLOCKED"},
    ),
    (
        "much",
        Seen(document(owed(begun_at_utc=begun_before(10)))),
        replace(RULES, pending_amount_minor=1249),
        {"N-PENDING", "N-PENDING-AMOUNT", "N-BLOCKED"},
    ),
    ("parked", Seen(document(parked())), RULES, {"N-PENDING", "N-PENDING-OLD", "N-PARKED", "N-BLOCKED"}),
    ("link down", Seen(document(links={"main": link("down", "E-LINK-DNS", "x")})), RULES, {"N-LINK-DOWN"}),
    (
        "certificate",
        Seen(document(links={"main": link(certificate_not_after=utc(2026, 1, 20))})),
        RULES,
        {"N-CERTIFICATE"},
    ),
    ("pad gone", Seen(document(devices=[DeviceFacts("pad", "pinpad", "gone", "", 5.0, "E-X")])), RULES, {"N-DEVICE"}),
    ("paper", Seen(document(devices=[DeviceFacts("p", "printer", "ready", "paper near end")])), RULES, {"N-PAPER"}),
    ("reader errors", Seen(document(), device_errors={"printer": 5}), RULES, {"N-DEVICE-ERRORS"}),
    ("disk low", Seen(document(store=LOW)), RULES, {"N-DISK"}),
    ("disk full", Seen(document(store=replace(STORE, bytes_free=1))), RULES, {"N-DISK-FULL"}),
    ("slow disk", Seen(document(store=replace(STORE, commit_p99_ms=1001))), RULES, {"N-STORE-SLOW"}),
    ("store", Seen(document(store=replace(STORE, warnings=("W-STORE-SLOWER: x",)))), RULES, {"N-STORE"}),
    ("clock", Seen(document(), clock_jump_s=-3600), RULES, {"N-CLOCK"}),
    ("rising", Seen(document(), {"main": Span(20, 3, 0.0, 20.0)}), RULES, {"N-TIMEOUTS-RISING"}),
    ("bad line", Seen(document(), {"main": Span(8, 4, 4.0, 12.0)}), RULES, {"N-LINK-QUALITY"}),
    ("retries", Seen(document(), {"main": Span(9, 0, tries=6, reversed=2)}), RULES, {"N-RETRIES-RISING"}),
    ("codes", Seen(document(), {"main": Span(6, 0, refused=3, code="05")}), RULES, {"N-CODES"}),
    ("slow host", Seen(document(), {"main": Span(6, slowest_s=31)}, {"main": 60.0}), RULES, {"N-REPLIES-SLOW"}),
    (
        "host clock",
        Seen(document(), host_clock={"main": {"offset_s": -61.0}, "other": {"offset_s": 59.0}}, clock_warn_s=60.0),
        RULES,
        {"N-CLOCK-HOST"},
    ),
    ("self test failed", Seen(document(), selftest=last_test("fail")), RULES, {"N-SELFTEST-FAILED"}),
    ("self test warns", Seen(document(), selftest=last_test("warn")), RULES, {"N-SELFTEST-WARNS"}),
    ("self test overdue", Seen(document(), selftest=last_test("pass", overdue=True)), RULES, {"N-SELFTEST-DUE"}),
    ("self test passed", Seen(document(), selftest=last_test("pass")), RULES, set()),
]


@pytest.mark.parametrize(("seen", "rules", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_trouble_has_its_alerts_and_no_others(seen: Seen, rules: Alerts, expected: set[str]) -> None:
    assert codes(seen, rules) == expected


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_no_alert_leaves_a_gap_in_its_texts_or_shows_a_card(case: Any) -> None:
    for alert in evaluate(case[1], case[2]):
        for text in (alert.text.en, alert.text.zh, alert.action.en, alert.action.zh):
            assert "{" not in text
            assert not re.search(r"(?:^|[\s(（：])\?", text), text
            assert not any(pan in text for pan in PANS)


def test_every_alert_of_the_catalogue_has_a_case_and_stands_in_the_page() -> None:
    page = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")
    told = set().union(*(case[3] for case in CASES)) | {"N-ON-BATTERY", "N-BATTERY-LOW", "N-SHOW"}
    assert told == set(operations().alerts)
    rows = dict(re.findall(r"^\| `(N-[A-Z-]+)` \| (\w+) \|", page, re.MULTILINE))
    assert rows == {code: texts.severity for code, texts in operations().alerts.items()}


@pytest.mark.parametrize(
    ("span", "rising"),
    [
        (Span(20, 2, 0.0, 20.0), False),  # two may be an accident
        (Span(1, 3, 0.0, 20.0), False),  # too few to tell
        (Span(40, 3, 0.0, 20.0), False),  # not one in ten
        (Span(20, 3, 2.0, 23.0), False),  # it was always like that
        (Span(20, 3, 0.5, 23.0), True),
    ],
)
def test_rising_means_more_than_before_and_no_accident(span: Span, rising: bool) -> None:
    assert span.rising is rising


# --- the board ---


def test_an_alert_is_told_once_then_repeated_then_cleared() -> None:
    board, alert = Board(), Alert("N-DISK", "", {"free": "1 MB"})
    rules = replace(RULES, repeat_s=100, clear_after_s=30)

    def told(found: list[Alert], mono: float) -> list[str]:
        return [notice.told for notice in board.update(found, rules, mono, NOW.at_utc)]

    assert told([alert], 0) == ["raised"]
    assert told([alert], 99) == []
    assert told([alert], 100) == ["again"]
    assert told([], 110) == []  # it may flicker
    assert told([alert], 115) == []
    assert told([], 144) == []
    assert told([], 145) == ["cleared"]
    assert told([], 146) == []
    assert told([alert], 147) == ["raised"]


def test_two_subjects_are_two_alerts_and_the_worst_stands_first() -> None:
    board = Board()
    board.update([Alert("N-LINK-DOWN", "a"), Alert("N-LINK-DOWN", "b"), Alert("N-PARKED", "a-1")], RULES, 0, NOW.at_utc)
    assert [notice.alert.subject for notice in board.standing()] == ["a-1", "a", "b"]
    assert Notice("cleared", Alert("N-PARKED", "a-1"), NOW.at_utc).document()["severity"] == "ok"


# --- trends ---


def sale(number: int, state: State = State.BEGUN, **changes: Any) -> Transaction:
    return transaction(id=f"main-{number}", state=state, **changes)


def test_time_outs_are_seen_rising_before_anything_is_stuck() -> None:
    trends = Trends(900)
    for number in range(40):  # an hour in order
        trends.note(sale(number, request_left_at=number * 60.0), number * 60.0)
        trends.note(sale(number, State.COMPLETED, response_code="00", request_left_at=number * 60.0), number * 60.0 + 1)
    assert not trends.span("main", 2400).rising
    for number in range(40, 46):
        at = number * 60.0
        trends.note(sale(number), at)
        lost = number % 2 == 0
        if lost:
            trends.note(sale(number, State.REVERSING, cause="timeout"), at + 60)
            trends.note(sale(number, State.REVERSING, cause="timeout", attempts=1, sending=True), at + 61)
            trends.note(sale(number, State.REVERSED, attempts=1, ended_at_utc="z"), at + 62)
        else:
            trends.note(sale(number, State.COMPLETED, response_code="00"), at + 2)
    span = trends.span("main", 2760)
    assert (span.unanswered, span.rising) == (3, True)
    assert "N-TIMEOUTS-RISING" in codes(Seen(document(), {"main": span}))
    assert trends.last_success_utc == "z"


def test_tries_refusals_and_slow_answers_are_counted() -> None:
    trends = Trends(900)
    for number in range(10):
        trends.note(sale(number, request_left_at=0.0), 0.0)
        trends.note(sale(number, State.DECLINED, response_code="05", request_left_at=0.0), float(number))
    trends.note(owed(attempts=3, sending=True), 1)
    trends.note(owed(attempts=3, last_error="E-LINK-TIMEOUT: x"), 2)
    trends.note(owed(attempts=4, sending=True), 3)
    trends.note(owed(attempts=4, last_code="96"), 4)
    trends.note(owed(attempts=5, sending=True), 5)
    trends.note(owed(attempts=5, state=State.REVERSED), 6)
    span = trends.span("main", 10)
    assert (span.refused, span.code, span.unanswered, span.reversed, span.tries) == (11, "05", 1, 1, 5)
    assert span.slowest_s == 9.0
    assert trends.span("main", 10_000) == Span()
    assert trends.results["refused"] == 10


def test_a_devices_errors_count_in_the_span_only() -> None:
    trends = Trends(900)
    devices = [{"name": "reader"}]
    for mono, total in ((0.0, 7), (10.0, 9), (20.0, 12)):
        trends.devices(devices, mono, {"reader": total})
    assert trends.device_errors("reader", 20.0) == 5  # what was there before the first look is no news
    assert trends.device_errors("reader", 915.0) == 3


# --- delivery ---


def delivered(rules: Alerts, notices: list[Notice], until: Callable[[], bool]) -> None:
    """Runs a delivery in a loop that must stay free all the time."""

    async def main() -> None:
        tasks: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            tasks.add(asyncio.get_running_loop().create_task(work))

        delivery = Delivery(spawn, lambda notice: None, lambda: "en")
        began = time.perf_counter()
        for notice in notices:
            delivery.deliver(notice, rules)
        assert time.perf_counter() - began < 0.5
        async with asyncio.timeout(20):
            while not until():  # noqa: ASYNC110 - logs and files give no event
                await asyncio.sleep(0.005)
            await asyncio.gather(*tasks)
        delivery.close()

    asyncio.run(main())


RAISED = Notice("raised", Alert("N-DISK", "", {"free": "1 MB; $(touch x) `id` | cat"}), NOW.at_utc)


def test_a_program_gets_the_alert_on_standard_input_without_a_shell(tmp_path: Path) -> None:
    target = tmp_path / "got.json"
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + sys.argv[2])"
    rules = replace(RULES, command=(sys.executable, "-c", program, str(target), "$HOME; x"))
    delivered(rules, [RAISED], lambda: target.exists() and target.read_text().endswith("$HOME; x"))
    assert json.loads(target.read_text().removesuffix("$HOME; x")) == RAISED.document()


def test_a_program_that_hangs_is_killed_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    rules = replace(RULES, command=(sys.executable, "-c", "import time; time.sleep(60)"), command_timeout_s=0.1)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "did not end" in record.getMessage()]

    delivered(rules, [RAISED, RAISED], lambda: bool(told()))
    assert len(told()) == 1


@pytest.mark.parametrize("command", [("/nowhere/to/be/found",), (sys.executable, "-c", "raise SystemExit(3)")])
def test_a_program_that_fails_is_said_once(command: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    def told() -> int:
        return sum("do not get through" in record.getMessage() for record in caplog.records)

    delivered(replace(RULES, command=command), [RAISED, RAISED], lambda: told() > 0)
    assert told() == 1


class _Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cast(Any, self.server).got.append(json.loads(body))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "/alerts")
        else:
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def collector() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    cast(Any, server).got = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_webhook_gets_the_alert(collector: Any) -> None:
    rules = replace(RULES, webhook=f"http://127.0.0.1:{collector.server_port}/alerts")
    cleared = replace(RAISED, told="cleared")
    delivered(rules, [RAISED, cleared], lambda: len(collector.got) == 2)
    assert [got["told"] for got in collector.got] == ["raised", "cleared"]


def test_a_webhook_is_not_led_elsewhere(collector: Any, caplog: pytest.LogCaptureFixture) -> None:
    rules = replace(RULES, webhook=f"http://127.0.0.1:{collector.server_port}/away")
    delivered(rules, [RAISED], lambda: any("HTTP 302" in record.getMessage() for record in caplog.records))
    assert len(collector.got) == 1


@pytest.mark.parametrize("impossible", [f"http://{'a' * 64}.example/", "http://127.0.0.1:99999/"])
def test_an_impossible_address_costs_its_own_alerts_only(
    impossible: str, collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    channel = WebhookChannel()
    channel.put(RAISED, replace(RULES, webhook=impossible))
    channel.put(RAISED, replace(RULES, webhook=f"http://127.0.0.1:{collector.server_port}/alerts"))
    channel.close()
    assert channel._thread is not None
    channel._thread.join(20)
    assert len(collector.got) == 1
    assert sum("do not get through" in record.getMessage() for record in caplog.records) == 1


def test_a_webhook_nobody_listens_to_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    rules = replace(RULES, webhook="http://127.0.0.1:1/alerts")
    delivered(rules, [RAISED] * 300, lambda: any("webhook" in record.getMessage() for record in caplog.records))


def test_the_log_says_what_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reversald.alert")
    delivered(RULES, [RAISED, replace(RAISED, told="cleared")], lambda: True)
    lines = [record.getMessage() for record in caplog.records if record.name == "reversald.alert"]
    assert lines[0].startswith("ALERT N-DISK -: Only 1 MB")
    assert "Make room" in lines[0]
    assert lines[1].startswith("ALL CLEAR N-DISK")


# --- the monitor as a whole ---


class Paper:
    def __init__(self) -> None:
        self.slips_waiting = 0
        self.printed: list[list[str]] = []

    def notice(self, reference: str, lines: list[str]) -> None:
        self.printed.append(lines)


def monitor(
    rules: Alerts,
    paper: Paper,
    supply: Power = Power(),  # noqa: B008
    show: ShowOnly | None = None,
    clocks: HostClocks | None = None,
) -> Monitor:
    configuration = SimpleNamespace(alerts=rules, selftest=SelfTest(), plans=(), agent=SimpleNamespace(language="zh"))
    return Monitor(
        lambda: cast(Configuration, configuration),
        lambda: [{"name": "printer", "counters": {"bytes_read": 9, "frame_errors": 2}}],
        lambda: {"main": 60.0},
        paper,
        lambda work: work.close(),
        Maintenance(Path("/nowhere"), lambda: NOW, lambda: SelfTest(automatic=False, every_days=30)),
        show or show_only(),
        clocks or HostClocks(),
        lambda directory: supply,
    )


def later(seconds: float, jump_s: float = 0.0) -> Now:
    return Now(MONO + seconds, NOW.utc + timedelta(seconds=seconds + jump_s))


def test_the_monitor_tells_prints_and_measures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, paper = tmp_path / "reversald.prom", Paper()
    watch = monitor(replace(RULES, metrics_file=file, slip="critical"), paper)
    watch.look(document(parked()), later(0))
    assert [alert["code"] for alert in watch.shown()["alerts"]][:1] == ["N-PENDING-OLD"]
    assert any("N-PARKED main-1" in line for lines in paper.printed for line in lines)
    assert 'reversal_parked{lane="main"} 1' in file.read_text()
    assert "告警 N-PARKED main-1" in caplog.text
    watch.look(document(), later(0.5))  # too soon: nothing is looked at
    assert watch.shown()["alerts"]
    watch.look(document(), later(100))
    assert watch.shown()["alerts"] == []
    watch.close()


def test_a_clock_that_jumps_is_told_and_one_that_drifts_is_not() -> None:
    watch = monitor(RULES, Paper())
    watch.look(document(), later(0))
    watch.look(document(), later(60, jump_s=1))
    assert watch.shown()["alerts"] == []
    watch.look(document(), later(120, jump_s=3601))
    assert [alert["code"] for alert in watch.shown()["alerts"]] == ["N-CLOCK"]
    assert "+3600" in watch.shown()["alerts"][0]["text_en"]


@pytest.mark.parametrize(
    ("supply", "code"),
    [
        (Power(), None),
        (Power(True, False, 10), None),
        (Power(True, True, 80), "N-ON-BATTERY"),
        (Power(True, True, 9), "N-BATTERY-LOW"),
    ],
)
def test_power_that_goes_is_told(supply: Power, code: str | None) -> None:
    watch = monitor(RULES, Paper(), supply)
    watch.look(document(), later(0))
    assert [alert["code"] for alert in watch.shown()["alerts"]] == ([code] if code else [])


def test_a_metrics_file_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = monitor(replace(RULES, metrics_file=tmp_path / "no" / "x.prom"), Paper())
    watch.look(document(), later(0))
    watch.look(document(), later(2))
    assert sum("x.prom" in record.getMessage() for record in caplog.records) == 1


def test_sysfs_tells_of_mains_and_battery(tmp_path: Path) -> None:
    assert power(tmp_path / "none") == Power()
    for name, facts in {
        "AC": {"type": "Mains", "online": "0"},
        "BAT0": {"type": "Battery", "capacity": "41", "status": "Discharging"},
        "mouse": {"type": "Battery", "capacity": "3", "status": "Discharging", "scope": "Device"},
    }.items():
        (tmp_path / name).mkdir()
        for key, value in facts.items():
            (tmp_path / name / key).write_text(value + "\n")
    assert power(tmp_path) == Power(True, True, 41)
    (tmp_path / "AC/online").write_text("1\n")
    (tmp_path / "BAT0/status").write_text("Charging\n")
    assert power(tmp_path) == Power(True, False, 41)


# --- metrics ---


def test_metrics_have_help_and_type_no_timestamp_and_a_final_newline() -> None:
    text = metrics.render(
        {
            **document(parked(), links={"main": link(certificate_not_after=utc(2026, 2, 2))}),
            "watch": {"host_clock": {"main": {"offset_s": -2.5}}, "selftest": last_test("warn")},
        },
        {"answered": 3, 'od"d\\': 1},
        "2026-01-02T03:04:05.000Z",
        {"critical": 2, "warning": 0},
        4,
    )
    assert text.endswith("\n")
    sample = re.compile(r'[a-z_]+(?:\{[a-z]+="(?:[^"\\]|\\.)*"\})? -?[0-9.e+]+')
    named: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# "):
            _, kind, name, _ = line.split(" ", 3)
            named |= {name} if kind == "TYPE" else set()
        else:
            assert sample.fullmatch(line), line
            assert re.split(r"[ {]", line)[0] in named
    assert text.count("# TYPE") == text.count("# HELP") == len(named) == len(metrics._METRICS)
    assert 'reversal_attempts_total{result="od\\"d\\\\"} 1' in text
    assert "reversal_last_success_timestamp_seconds 1767323045\n" in text


def test_an_amount_of_fifteen_digits_stands_in_the_metrics_to_the_last_minor_unit() -> None:
    shown = document(parked())
    amount = {**shown["impact"]["amounts"][0], "amount_minor": 987_654_321_098_765}
    text = metrics.render({**shown, "impact": {**shown["impact"], "amounts": [amount]}}, {}, "", {}, 0)
    assert 'reversal_pending_amount_minor{currency="CNY"} 987654321098765\n' in text


def test_the_metrics_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.prom"
    metrics.write(file, "a 1\n")
    metrics.write(file, "a 2\n")
    assert (file.read_text(), [path.name for path in tmp_path.iterdir()]) == ("a 2\n", ["x.prom"])


def test_a_fault_in_an_alert_leaves_the_others_standing_and_is_told_itself() -> None:
    show = show_only()
    watch = monitor(RULES, Paper(), show=show)
    watch.look(document(parked()), later(0))
    before = {alert["code"] for alert in watch.shown()["alerts"]}
    watch.look({"items": []}, later(120))  # no status has this shape: evaluating it raises
    shown = watch.shown()
    assert {alert["code"] for alert in shown["alerts"]} == before | {"N-SHOW"}  # no all-clear
    assert [fault["part"] for fault in shown["faults"]] == ["alerts"]
    assert any(found["code"] == "S-SHOW" and "KeyError" in found["text_en"] for found in watch.conditions())
    watch.look(None, later(240))
    assert {alert["code"] for alert in watch.shown()["alerts"]} == before | {"N-SHOW"}
    watch.look(document(parked()), later(360))
    assert watch.shown()["faults"] == []


def test_a_host_whose_clock_differs_stands_in_the_status() -> None:
    clocks = HostClocks()
    watch = monitor(RULES, Paper(), clocks=clocks)
    clocks.told("main", "+00:00", NOW.utc.strftime("%m%d"), (NOW.utc + timedelta(seconds=90)).strftime("%H%M%S"), NOW)
    watch.look(document(), later(0))
    assert [found["code"] for found in watch.conditions()] == ["S-CLOCK-HOST"]
    assert [alert["code"] for alert in watch.shown()["alerts"]] == ["N-CLOCK-HOST"]
    assert watch.shown()["host_clock"]["main"]["offset_s"] == pytest.approx(90, abs=1)
