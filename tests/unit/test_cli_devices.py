"""`reversalctl devices` against a real socket: the table, pass or what to do, in both languages."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli_devices
from agent.cli import Command
from tests.unit.cli_bench import serving

PRINTER: dict[str, Any] = {
    "name": "printer",
    "kind": "printer",
    "address": "usb:04B8:0202",
    "state": "ready",
    "firmware": "TM-T88V",
    "detail": "paper near end",
    "for_s": 125.0,
    "counters": {"bytes_read": 900, "opened": 1, "read_timeouts": 4, "noise_bytes": 3, "status_timeouts": 1, "naks": 0},
    "last_error_code": "",
    "last_error": "",
    "inhibited_because": "",
}
PAD = PRINTER | {
    "name": "pad-1",
    "kind": "pinpad",
    "address": "serial:/dev/pos/pinpad",
    "state": "gone",
    "firmware": "",
    "detail": "",
    "counters": {"E-PORT-MISSING": 7},
    "last_error_code": "E-PORT-MISSING",
    "last_error": "serial:/dev/pos/pinpad cannot be opened: ENOENT after 0.0 s",
}
FAILED = {
    "device": PRINTER,
    "passed": False,
    "seen": "",
    "error": {
        "code": "E-DEVICE-REFUSED",
        "text": "the test line was not printed: paper out",
        "hint": "change the paper and close the cover",
    },
}
PASSED = {"device": PRINTER, "passed": True, "seen": "test line printed", "error": None}


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    heard: list[tuple[str, dict[str, Any]]] = []

    def answer(method: str, result: Any) -> Any:
        def method_of(peer: Any, params: dict[str, Any]) -> Any:
            heard.append((method, params))
            return result

        return method_of

    def test(peer: Any, params: dict[str, Any]) -> Any:
        heard.append(("device.test", params))
        return PASSED if params["name"] == "pad-1" else FAILED

    methods = {
        "device.list": answer("device.list", {"devices": [PRINTER, PAD]}),
        "device.test": test,
        "device.inhibit": answer("device.inhibit", PRINTER | {"state": "inhibited", "inhibited_because": "new cutter"}),
        "device.release": answer("device.release", PRINTER),
    }
    with serving(tmp_path / "agent.sock", methods):
        yield heard


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    general = argparse.ArgumentParser(add_help=False)
    for name in ("--config", "--status-file"):
        general.add_argument(name)
    general.add_argument("--socket", default=str(tmp_path / "agent.sock"))
    general.add_argument("--language", default="en")
    general.add_argument("--json", action="store_true")
    parser = argparse.ArgumentParser()
    cli_devices.add_commands(parser.add_subparsers(), [general])
    out = io.StringIO()
    status = Command(parser.parse_args(["devices", *arguments]), out).run()
    return status, out.getvalue()


def test_the_list_shows_state_firmware_and_how_much_went_wrong(
    tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    status, text = run(tmp_path, "list")
    assert status == 0
    assert text.splitlines() == [
        "Device   Kind     State    Since  Firmware  Errors",
        "printer  printer  ready    2 min  TM-T88V   4",
        "    port: usb:04B8:0202",
        "    counted: noise_bytes 3, status_timeouts 1",
        "    paper near end",
        "pad-1    PIN pad  missing  2 min  -         7",
        "    port: serial:/dev/pos/pinpad",
        "    counted: E-PORT-MISSING 7",
        "    last error: E-PORT-MISSING serial:/dev/pos/pinpad cannot be opened: ENOENT",
        "    after 0.0 s",
        "    Do: reversalctl devices test; docs/devices.md, E-PORT-MISSING",
    ]
    assert asked == [("device.list", {})]


def test_without_an_action_all_are_listed(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert run(tmp_path) == run(tmp_path, "list")


def test_the_list_in_chinese_and_for_machines(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    _, text = run(tmp_path, "--language", "zh")
    assert "密码键盘  未连接" in text
    assert "处理：设备未接入" in text
    _, lines = run(tmp_path, "list", "--json")
    assert [json.loads(line)["name"] for line in lines.splitlines()] == ["printer", "pad-1"]


def test_a_test_says_pass_or_what_to_do(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert run(tmp_path, "test", "pad-1") == (0, "printer: pass. test line printed\n")
    status, text = run(tmp_path, "test", "printer")
    assert status == 1
    assert text.splitlines() == [
        "printer: NOT passed, E-DEVICE-REFUSED. the test line was not printed: paper out",
        "Do: change the paper and close the cover",
    ]
    _, chinese = run(tmp_path, "test", "printer", "--language", "zh")
    assert "未通过" in chinese
    assert "处理：查看设备提示：打印机请检查纸张" in chinese


def test_a_technician_takes_a_device_and_gives_it_back(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    _, text = run(tmp_path, "inhibit", "printer", "--why", "new cutter")
    assert "taken out of service: new cutter" in text
    run(tmp_path, "release", "printer")
    assert asked == [
        ("device.inhibit", {"name": "printer", "why": "new cutter"}),
        ("device.release", {"name": "printer"}),
    ]


def test_no_devices_are_said_so() -> None:
    assert cli_devices.list_text([], "zh") == "没有配置设备。\n"


def test_without_a_name_every_device_is_tested_and_one_that_fails_is_the_exit_status(
    asked: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    status, text = run(tmp_path, "test")
    assert status == cli_devices.EXIT_NOT_PASSED
    assert "paper out" in text
    assert "test line printed" in text
    assert [params["name"] for method, params in asked if method == "device.test"] == ["printer", "pad-1"]


OFFER = {"name": "Epson TM-T20II", "kind": "printer", "driver": "escpos", "port": "usb:04B8:0E15:SN1"}


@pytest.mark.parametrize(("language", "words"), [("en", "Plugged in, not configured"), ("zh", "已接入但未配置")])
def test_what_is_plugged_in_and_not_configured_is_offered(language: str, words: str) -> None:
    text = cli_devices.attached_text([OFFER], language)
    assert words in text
    assert 'driver = "escpos", port = "usb:04B8:0E15:SN1"' in text
    assert cli_devices.attached_text([], language) == ""
