"""The self test finds each trouble, says what to do, and harms nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import cli_selftest, provision_trial
from agent.config import Configuration, Wrapping
from agent.config_watch import SelfTest
from agent.events import Now
from agent.lane import RefusedError
from agent.maintenance import FILE, Maintenance
from agent.power import Power, power
from agent.rpc_socket import Peer
from agent.selftest import Bench, Finding, NotPossible, run, worst
from agent.status import snapshot
from agent.status_conditions import of_selftest, with_extra
from agent.status_text import render
from agent.texts_operations import operations
from protocol.errors import AgentError
from tests.unit import config_samples
from tests.unit.status_samples import MONO, NOW, PANS, STORE, StillLoop, link, owed, parked, scene, utc

ROOT = Path(__file__).parents[2]
ANNA = Peer(1, 1000, 1000, "anna")
GOOD = config_samples.GOOD.replace('"serial:/dev/pos/reader?baud=115200"', '"serial:/dev/pos/no-such-reader"')


class Agent:
    """Answers as a running agent would."""

    def __init__(self, **devices: tuple[str, dict[str, Any] | None, str]) -> None:
        self._devices = devices or {"reader": ("reader", None, "")}
        self.wrapping = {
            "under": "wrapping program /x",
            "wanted": "wrapping program /x",
            "reached": True,
            "problem": "",
        }
        self.echo: dict[str, Any] | None = {"answered": True, "round_trip_ms": 12.5, "text": ""}

    def __call__(self, method: str, **params: Any) -> Any:
        if method == "device.list":
            return {"devices": [self._view(name) for name in self._devices]}
        if method == "device.test":
            _, error, _ = self._devices[params["name"]]
            seen = "" if error else "firmware 1.2"
            return {"device": self._view(params["name"]), "passed": error is None, "seen": seen, "error": error}
        if method == "agent.status":
            raise NotPossible("A-SHOW")
        if method == "keys.check":
            if not self.wrapping:
                raise NotPossible("no answer in 15 s")
            return self.wrapping
        if self.echo is None:
            raise NotPossible("A-NO-ECHO")
        return self.echo

    def _view(self, name: str) -> dict[str, Any]:
        kind, _, detail = self._devices[name]
        taken = "taken" if kind == "taken" else ""
        known = {
            "name": name,
            "kind": kind,
            "detail": detail,
            "inhibited_because": taken,
            "last_error_code": "E-DEVICE",
        }
        return {**known, "state": "gone" if detail == "gone" else "ready", "last_error": "it failed"}


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    loaded = config_samples.loaded(tmp_path, GOOD)
    loaded.agent.state_dir.mkdir(mode=0o700)
    loaded.keys.data_key_file.write_text("x")
    loaded.keys.data_key_file.chmod(0o600)
    return loaded


def bench(configuration: Configuration | None, tmp_path: Path, **changes: Any) -> Bench:
    synchronised = tmp_path / "synchronised"
    synchronised.touch()
    good = Bench(
        configuration=configuration,
        problem="",
        status=snapshot(StillLoop(), scene()),
        call=Agent(),
        why_not="",
        now_utc=NOW.utc,
        connect=lambda address: 0.004,
        read_power=lambda directory: Power(True, False, 90),
        synchronised=(synchronised,),
    )
    return replace(good, **changes)


def results(bench: Bench) -> dict[str, str]:
    """The worst result of each code."""
    order = ("pass", "warn", "fail")
    found: dict[str, str] = {}
    for finding in run(bench):
        found[finding.code] = max(found.get(finding.code, "pass"), finding.result, key=order.index)
    return found


def no_route(address: str) -> float:
    raise OSError(113, "No route to host")


def test_a_machine_in_order_passes_but_for_the_reader_that_is_not_there(
    configuration: Configuration, tmp_path: Path
) -> None:
    wrong = {code: result for code, result in results(bench(configuration, tmp_path)).items() if result != "pass"}
    assert wrong == {"T-UDEV": "fail"}


def test_a_device_that_this_user_may_not_test_is_a_warning_and_the_other_checks_are_made(
    configuration: Configuration, tmp_path: Path
) -> None:
    class Looker(Agent):
        def __call__(self, method: str, **params: Any) -> Any:
            if method in ("device.test", "maintenance.note"):
                raise NotPossible(f"{method} needs the right 'act'")
            return super().__call__(method, **params)

    here = bench(configuration, tmp_path, call=Looker(reader=("reader", None, ""), printer=("printer", None, "")))
    told = [finding for finding in run(here) if finding.code == "T-DEVICE"]
    assert [(one.subject, one.result) for one in told] == [("reader", "warn"), ("printer", "warn")]
    assert "needs the right 'act'" in told[0].text.en
    assert results(here)["T-LINK"] == "pass"
    assert cli_selftest._keep(here, told) is None


@pytest.mark.parametrize("host", ["a..b:5000", f"{'x' * 64}.example:5000"])
def test_a_host_name_that_cannot_be_is_a_link_that_fails(
    configuration: Configuration, tmp_path: Path, host: str
) -> None:
    lane = replace(configuration.lanes[0], hosts=(host,))
    here = bench(replace(configuration, lanes=(lane,)), tmp_path, connect=cli_selftest._connect)
    assert [f.text.en for f in run(here) if f.subject == f"{lane.name} {host}"] == ["not a possible name"]
    assert not provision_trial._connected(host).passed


CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("no agent", {"status": None, "call": None, "why_not": "no socket"}, "T-AGENT", "fail"),
    ("devices untested", {"status": None, "call": None}, "T-DEVICE", "warn"),
    ("open", {"status": snapshot(StillLoop(owed()), scene())}, "T-OPEN", "warn"),
    ("parked", {"status": snapshot(StillLoop(parked()), scene())}, "T-OPEN", "fail"),
    (
        "store",
        {"status": snapshot(StillLoop(), scene(store=replace(STORE, warnings=("W-STORE-SLOW: x",))))},
        "T-STORE",
        "warn",
    ),
    ("old clock", {"now_utc": datetime(1970, 1, 2, tzinfo=UTC)}, "T-CLOCK", "fail"),
    ("no time service", {"synchronised": ()}, "T-CLOCK", "warn"),
    (
        "clock behind an item",
        {"status": snapshot(StillLoop(owed()), scene(now=Now(MONO, utc(2025, 6, 1))))},
        "T-CLOCK",
        "fail",
    ),
    ("battery", {"read_power": lambda directory: Power(True, True, 60)}, "T-POWER", "warn"),
    ("empty battery", {"read_power": lambda directory: Power(True, True, 9)}, "T-POWER", "fail"),
    ("no sensor", {"read_power": Power}, "T-POWER", "pass"),
    (
        "device fails",
        {"call": Agent(p=("printer", {"code": "E-DEVICE-GONE", "text": "unplugged"}, ""))},
        "T-DEVICE",
        "fail",
    ),
    ("device taken", {"call": Agent(p=("taken", None, ""))}, "T-DEVICE", "warn"),
    ("paper low", {"call": Agent(p=("printer", None, "paper near end"))}, "T-PAPER", "warn"),
    ("paper out", {"call": Agent(p=("printer", None, "paper out"))}, "T-PAPER", "fail"),
    ("no route", {"connect": no_route}, "T-LINK", "fail"),
    (
        "certificate",
        {"status": snapshot(StillLoop(), scene(links={"main": link(certificate_not_after=utc(2026, 1, 20))}))},
        "T-CERTIFICATE",
        "warn",
    ),
    (
        "certificate ends",
        {"status": snapshot(StillLoop(), scene(links={"main": link(certificate_not_after=utc(2026, 1, 3))}))},
        "T-CERTIFICATE",
        "fail",
    ),
]


@pytest.mark.parametrize(("changes", "code", "result"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_trouble_is_found(
    configuration: Configuration, tmp_path: Path, changes: dict[str, Any], code: str, result: str
) -> None:
    seen = bench(configuration, tmp_path, **changes)
    assert results(seen)[code] == result
    for finding in run(seen):
        for name, text in finding.document().items():
            assert "{" not in text, name
            assert not any(pan in text for pan in PANS)
        assert bool(finding.action.en) == bool(finding.action.zh) == (finding.result != "pass")


def test_a_host_that_does_not_answer_an_echo_fails(configuration: Configuration, tmp_path: Path) -> None:
    silent, without = Agent(), Agent()
    silent.echo = {"answered": False, "round_trip_ms": 0, "text": "no answer in 60 s"}
    without.echo = None
    assert results(bench(configuration, tmp_path, call=silent))["T-LINK"] == "fail"
    assert results(bench(configuration, tmp_path, call=without))["T-LINK"] == "pass"


def wrapped(configuration: Configuration, wrapping: Wrapping) -> Configuration:
    return replace(configuration, keys=replace(configuration.keys, wrappings=(wrapping,)))


@pytest.mark.parametrize(
    ("told", "result", "chinese"),
    [
        ({}, "pass", "封装程序 /x 可用"),
        ({"under": ""}, "warn", "数据密钥尚未按配置封装"),
        (
            {"reached": False, "problem": "wrapping program /x did not answer and end within 5 s"},
            "fail",
            "5 秒内未应答",
        ),
    ],
)
def test_what_the_data_keys_are_wrapped_under_is_tried_by_the_agent(
    configuration: Configuration, tmp_path: Path, told: dict[str, Any], result: str, chinese: str
) -> None:
    agent = Agent()
    agent.wrapping |= told
    seen = bench(wrapped(configuration, Wrapping(program=("/x",))), tmp_path, call=agent)
    found = next(finding for finding in run(seen) if finding.code == "T-WRAPPING")
    assert found.result == result
    assert chinese in found.text.zh


def test_an_element_slower_than_this_command_warns(configuration: Configuration, tmp_path: Path) -> None:
    agent = Agent()
    agent.wrapping.clear()
    assert (
        results(bench(wrapped(configuration, Wrapping(program=("/x",))), tmp_path, call=agent))["T-WRAPPING"] == "warn"
    )


def test_without_an_agent_or_anything_to_wrap_under_nothing_is_tried(
    configuration: Configuration, tmp_path: Path
) -> None:
    assert "T-WRAPPING" not in results(bench(configuration, tmp_path))
    dead = bench(wrapped(configuration, Wrapping(program=("/x",))), tmp_path, call=None, status=None)
    assert results(dead)["T-WRAPPING"] == "warn"


def test_a_wrapping_key_that_others_may_read_fails_and_one_that_is_away_is_for_the_agent_to_miss(
    configuration: Configuration, tmp_path: Path
) -> None:
    file = tmp_path / "wrapping.key"
    with_file = bench(wrapped(configuration, Wrapping(key_file=file)), tmp_path)
    assert results(with_file)["T-KEYS"] == "pass"
    file.write_text("x")
    file.chmod(0o644)
    assert results(with_file)["T-KEYS"] == "fail"


def test_a_configuration_with_errors_fails_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = results(bench(None, tmp_path, problem="2 errors"))
    assert (found["T-CONFIG"], found["T-POWER"]) == ("fail", "pass")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda one: one.keys.data_key_file.chmod(0o644), "T-KEYS"),
        (lambda one: one.keys.data_key_file.unlink(), "T-KEYS"),
        (lambda one: one.agent.state_dir.chmod(0o755), "T-RIGHTS"),
        (lambda one: one.source.chmod(0o666), "T-RIGHTS"),
    ],
)
def test_rights_that_are_too_wide_fail(
    configuration: Configuration, tmp_path: Path, spoil: Callable[[Configuration], Any], code: str
) -> None:
    spoil(configuration)
    assert results(bench(configuration, tmp_path))[code] == "fail"


def test_a_full_disk_fails_and_a_filling_one_warns(configuration: Configuration, tmp_path: Path) -> None:
    huge = 1 << 60
    full = replace(configuration, journal=replace(configuration.journal, reserve_bytes=huge))
    low = replace(configuration, alerts=replace(configuration.alerts, disk_free_bytes=huge))
    assert results(bench(full, tmp_path))["T-DISK"] == "fail"
    assert results(bench(low, tmp_path))["T-DISK"] == "warn"


def test_rules_of_another_release_warn(configuration: Configuration, tmp_path: Path) -> None:
    installed, shipped = tmp_path / "installed", tmp_path / "shipped"
    shipped.write_text("new")
    known = replace(configuration, selftest=replace(configuration.selftest, udev_rules=installed))
    missing = [finding for finding in run(bench(known, tmp_path)) if finding.code == "T-UDEV"]
    installed.write_text("old")
    old = [finding for finding in run(bench(known, tmp_path, shipped_rules=shipped)) if finding.code == "T-UDEV"]
    assert [finding.result for finding in missing] == ["warn", "fail"]
    assert [finding.result for finding in old] == ["warn", "fail"]
    assert missing[0].text != old[0].text


def test_the_worst_result_decides() -> None:
    assert worst([]) == "pass"
    assert worst([Finding("T-DISK", "pass"), Finding("T-DISK", "warn")]) == "warn"
    assert worst([Finding("T-DISK", "fail"), Finding("T-DISK", "warn")]) == "fail"


def test_every_check_stands_in_the_page() -> None:
    page = (ROOT / "docs/selftest.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(T-[A-Z]+)` \|", page, re.MULTILINE)) == set(operations().checks)


# --- the maintenance log ---


def by_hand() -> SelfTest:
    return SelfTest(automatic=False, every_days=30)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Now:
        return self.now


def test_the_log_keeps_who_did_what_through_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    clock = Clock()
    log = Maintenance(tmp_path, clock, by_hand)
    assert log.selftest() is None
    log.note(ANNA, {"kind": "work", "text": f"new roller, card {PANS[0]}"})
    log.note(ANNA, {"kind": "selftest", "text": "T-DISK", "result": "warn"})
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'[1]\n"x"\n{"at_utc": "2026-')
    again = Maintenance(tmp_path, clock, by_hand)
    again.note(ANNA, {"kind": "drill", "text": "power-failing"})
    entries = Maintenance(tmp_path, clock, by_hand).entries(ANNA, {})["entries"]
    assert [(entry["by"], entry["kind"]) for entry in entries] == [
        ("anna", "work"),
        ("anna", "selftest"),
        ("anna", "drill"),
    ]
    assert PANS[0] not in (tmp_path / FILE).read_text()
    last = again.selftest()
    assert last is not None
    assert (last["result"], last["due_utc"][:10], last["overdue"]) == ("warn", "2026-02-01", False)


@pytest.mark.parametrize(
    "params",
    [
        {"kind": "other", "text": "x"},
        {"kind": "work", "text": " "},
        {"kind": "work", "text": "a\nb"},
        {"kind": "work", "text": "x", "result": "good"},
    ],
)
def test_what_makes_no_sense_is_not_kept(tmp_path: Path, params: dict[str, Any]) -> None:
    log = Maintenance(tmp_path, Clock(), by_hand)
    with pytest.raises(AgentError):
        log.note(ANNA, params)
    assert log.entries(ANNA, {})["entries"] == []


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        Maintenance(tmp_path / "no", Clock(), by_hand).note(ANNA, {"kind": "work", "text": "x"})
    assert caught.value.code == "A-NOT-KEPT"


def test_a_failed_or_overdue_self_test_shows_in_the_status() -> None:
    last = {"at_utc": NOW.at_utc, "due_utc": NOW.at_utc, "result": "pass", "overdue": False}
    assert of_selftest(None) == of_selftest(last) == []
    assert [one["code"] for one in of_selftest({**last, "overdue": True})] == ["S-SELFTEST-DUE"]
    failed = of_selftest({**last, "result": "fail"})
    assert [one["code"] for one in failed] == ["S-SELFTEST-FAILED"]
    document = snapshot(StillLoop(), scene(extra=failed))
    assert [one["code"] for one in document["conditions"]] == ["S-SELFTEST-FAILED"]
    assert document["overall"]["severity"] == "warning"
    worse = snapshot(StillLoop(parked()), scene(extra=failed))
    assert worse["overall"]["code"] == "S-PARKED"
    assert with_extra([{"code": "S-OK", "severity": "ok"}], []) == [{"code": "S-OK", "severity": "ok"}]


@pytest.mark.parametrize(("offset_s", "result"), [(0.0, "pass"), (-59.0, "pass"), (61.0, "warn"), (-601.0, "fail")])
def test_the_clock_is_compared_with_the_hosts(
    configuration: Configuration, tmp_path: Path, offset_s: float, result: str
) -> None:
    watch = {"host_clock": {"till-1": {"offset_s": offset_s, "samples": 1, "last_utc": NOW.at_utc}}}
    status = snapshot(StillLoop(), scene()) | {"watch": watch}
    findings = [
        one for one in run(bench(configuration, tmp_path, status=status, synchronised=())) if one.code == "T-CLOCK"
    ]
    assert [(one.subject, one.result) for one in findings] == [("till-1", result)]
    assert f"{offset_s:+.0f} s" in findings[0].text.en


def test_battery_and_mains_are_read_where_the_configuration_says(configuration: Configuration, tmp_path: Path) -> None:
    rules = replace(configuration.selftest, power_supply=tmp_path / "power")
    battery = tmp_path / "power" / "BAT0"
    battery.mkdir(parents=True)
    for name, value in {"type": "Battery", "status": "Discharging", "capacity": "12"}.items():
        (battery / name).write_text(value)
    found = results(bench(replace(configuration, selftest=rules), tmp_path, read_power=power))
    assert found["T-POWER"] == "fail"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_console_shows_the_last_test_the_next_and_the_hosts_clock(language: str) -> None:
    last = {"at_utc": NOW.at_utc, "due_utc": NOW.at_utc, "result": "fail", "overdue": False}
    watch = {"selftest": last, "host_clock": {"main": {"offset_s": 3.2}}}
    shown = render(snapshot(StillLoop(), scene()) | {"watch": watch}, language)
    assert ("Self test: FAILED" if language == "en" else "自检：有故障") in shown
    assert " +3 s" in shown
    assert ("none yet" if language == "en" else "尚未进行") in render(
        snapshot(StillLoop(), scene()) | {"watch": {"selftest": None}}, language
    )


@pytest.mark.parametrize(
    ("detail", "device", "paper"), [("", "pass", "pass"), ("paper low", "pass", "warn"), ("gone", "fail", "pass")]
)
def test_a_test_without_paper_asks_the_printer_and_prints_nothing(
    configuration: Configuration, tmp_path: Path, detail: str, device: str, paper: str
) -> None:
    agent = Agent(printer=("printer", {"code": "E-DEVICE", "text": "a line was printed", "hint": ""}, detail))
    found = results(bench(configuration, tmp_path, call=agent, print_test=False))
    assert (found["T-DEVICE"], found["T-PAPER"]) == (device, paper)
