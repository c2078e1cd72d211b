"""`reversalctl devices`: what is attached, and a technician's test, inhibit and release.

reversalctl devices                          every device: state, firmware, errors
reversalctl devices test printer             exercise one, by its name or its kind; 0 passed, 1 not
reversalctl devices test                     all of them, one after another
reversalctl devices inhibit printer --why "cutter is being changed"
reversalctl devices release printer
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from agent.cli_rooms import CommandLine
from agent.device_errors import WORK, errors_of
from agent.said import coded, said
from agent.status_text import colon, columns, pad, short_span, wrap

_WIDTH = 78
EXIT_PASSED, EXIT_NOT_PASSED = 0, 1

_WORDS: dict[str, tuple[str, str]] = {
    "name": ("Device", "设备"),
    "kind": ("Kind", "类型"),
    "state": ("State", "状态"),
    "since": ("Since", "持续"),
    "firmware": ("Firmware", "固件"),
    "errors": ("Errors", "错误数"),
    "none": ("No devices are configured.", "没有配置设备。"),
    "attached": (
        "Plugged in, not configured ([[device]] in the configuration):",
        "已接入但未配置（配置文件 [[device]]）：",
    ),
    "passed": ("{name}: pass. {seen}", "{name}：通过。{seen}"),
    "failed": ("{name}: NOT passed, {code}. {text}", "{name}：未通过，{code}。{text}"),
    "do": ("Do: {step}", "处理：{step}"),
    "port": ("port", "端口"),
    "counted": ("counted", "计数"),
    "last": ("last error", "最近错误"),
    "inhibited": ("taken out of service: {why}", "已停用：{why}"),
}
_KINDS: dict[str, tuple[str, str]] = {
    "reader": ("card reader", "读卡器"),
    "contactless": ("contactless reader", "非接读卡器"),
    "pinpad": ("PIN pad", "密码键盘"),
    "printer": ("printer", "打印机"),
}
# What to do, in Chinese, by error code; in English the error itself says it.
_STEPS_ZH: dict[str, str] = {
    "E-PORT": "检查连线和设备电源",
    "E-PORT-ADDRESS": "配置文件中的 port 写错，例：serial:/dev/pos/reader?baud=115200&format=8N1",
    "E-PORT-MISSING": "设备未接入：插好连线，再运行 reversalctl devices",
    "E-PORT-BUSY": "停止占用此设备的其他程序（ModemManager、pcscd、串口工具）",
    "E-PORT-DENIED": "安装 udev 规则，或把服务用户加入设备所属组",
    "E-PORT-SETTINGS": "端口不支持所配置的速率、校验或数据位",
    "E-PORT-GONE": "重新插好设备，会自动恢复服务",
    "E-PORT-TIMEOUT": "设备不接收数据：检查纸张、上盖、流控和连线",
    "E-DEVICE-TIMEOUT": "检查电源、连线和设备上设置的速率，然后再测试一次",
    "E-DEVICE-GONE": "重新插好设备，会自动恢复服务",
    "E-DEVICE-INHIBITED": "恢复使用：reversalctl devices release 设备名",
    "E-DEVICE-BUSY": "等待当前任务结束，或检查设备为何缓慢",
    "E-DEVICE-GARBLED": "检查两端的速率和格式、连线长度和屏蔽",
    "E-DEVICE-FAULT": "请将故障资料包发给厂商：reversalctl bundle",
    "E-DEVICE-REFUSED": "查看设备提示：打印机请检查纸张、上盖和切刀；其他设备请断电重启后再试",
    "E-PINPAD-KEY": "密码键盘缺少主密钥：重新灌装主密钥并签到",
    "E-CARD-MUTE": "把卡翻面或清洁芯片后再插",
    "E-CARD-GONE": "卡被拔出，请重新开始",
}


def add_commands(
    subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()
) -> argparse.ArgumentParser:
    """The command `devices` with its own commands. `parents`: the general options."""
    text = "the attached devices: list, test, inhibit, release"
    devices: argparse.ArgumentParser = subparsers.add_parser("devices", help=text, description=text, parents=parents)
    devices.set_defaults(action=list_devices)
    actions = devices.add_subparsers(metavar="ACTION")

    def add(name: str, action: Any, help_text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = actions.add_parser(name, help=help_text, description=help_text, parents=parents)
        one.set_defaults(action=action)
        return one

    add("list", list_devices, "every device: state, firmware, errors")
    for name, action, help_text in (
        ("test", test, "exercise one device: pass, or what to do"),
        ("inhibit", inhibit, "take a device out of service for a technician"),
        ("release", release, "put it back into service"),
    ):
        one = add(name, action, help_text)
        named = "its name, or its kind where there is one of it"
        if name == "test":
            one.add_argument("device", metavar="NAME", nargs="?", default="", help=f"{named}; none: all of them")
        else:
            one.add_argument("device", metavar="NAME", help=named)
        if name == "inhibit":
            one.add_argument("--why", required=True, metavar="TEXT", help="the reason; the status shows it")
    return devices


# --- the commands ------------------------------------------------------------------------------


def list_devices(command: CommandLine) -> int:
    """All devices."""
    answer = command.call("device.list")
    devices = answer["devices"]
    if command.options.json:
        command.print("".join(json.dumps(device, ensure_ascii=False) + "\n" for device in devices))
    else:
        offers = attached_text(answer.get("attached", []), command.language)
        command.print(list_text(devices, command.language) + offers)
    return EXIT_PASSED


def test(command: CommandLine) -> int:
    """One device, or all: pass, or what to do."""
    wanted = command.options.device
    names = [wanted] if wanted else [device["name"] for device in command.call("device.list")["devices"]]
    if not names:
        command.print(_word("none", command.language) + "\n")
        return EXIT_NOT_PASSED
    return max([_tested(command, name) for name in names])


def _tested(command: CommandLine, name: str) -> int:
    result = command.call("device.test", name=name)
    command.print(_json(result) if command.options.json else test_text(result, command.language))
    return EXIT_PASSED if result["passed"] else EXIT_NOT_PASSED


def inhibit(command: CommandLine) -> int:
    """Out of service."""
    return _changed(command, command.call("device.inhibit", name=command.options.device, why=command.options.why))


def release(command: CommandLine) -> int:
    """Back in service."""
    return _changed(command, command.call("device.release", name=command.options.device))


def _changed(command: CommandLine, device: Mapping[str, Any]) -> int:
    command.print(_json(device) if command.options.json else list_text([device], command.language))
    return EXIT_PASSED


def _json(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)


# --- the texts ---------------------------------------------------------------------------------


def list_text(devices: Sequence[Mapping[str, Any]], language: str) -> str:
    """A table, and under each device what is worth telling of it."""
    if not devices:
        return _word("none", language) + "\n"
    head = [_word(name, language) for name in ("name", "kind", "state", "since", "firmware", "errors")]
    rows = [head, *(_row(device, language) for device in devices)]
    widths = [max(columns(row[at]) for row in rows) for at in range(len(head))]
    lines = [_aligned(head, widths)]
    for device, row in zip(devices, rows[1:], strict=True):
        lines.append(_aligned(row, widths))
        for told in _details(device, language):
            lines += wrap(told, _WIDTH, "    ")
    return "\n".join(lines) + "\n"


def attached_text(offers: Sequence[Mapping[str, Any]], language: str) -> str:
    """What is plugged in and not configured, and what to write for it."""
    lines = [_word("attached", language)] if offers else []
    for offer in offers:
        kind = kind_word(offer["kind"], language)
        lines.append(f'    {offer["name"]} ({kind}): driver = "{offer["driver"]}", port = "{offer["port"]}"')
    return "".join(line + "\n" for line in lines)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(pad(cell, width + 2) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _row(device: Mapping[str, Any], language: str) -> list[str]:
    from agent.texts import catalogue  # reads its file: not needed where JSON is wanted

    state = catalogue().word("device_state", device["state"]).of(language)
    shown = [device["name"], kind_word(device["kind"], language), state]
    errors = str(errors_of(device["counters"]))
    return [*shown, short_span(device["for_s"], language), device["firmware"] or "-", errors]


def _details(device: Mapping[str, Any], language: str) -> list[str]:
    counted = ", ".join(f"{name} {count}" for name, count in sorted(wrong(device).items()))
    facts = {"port": device["address"], "counted": counted}
    if device["last_error"]:
        code, text = device["last_error_code"], device["last_error"]
        facts["last"] = said(coded(code, text)).zh if language == "zh" else f"{code} {text}"
    lines = [f"{_word(name, language)}{colon(language)}{value}" for name, value in facts.items() if value]
    if device["inhibited_because"]:
        lines.append(_word("inhibited", language).format(why=device["inhibited_because"]))
    elif device["last_error"] and device["state"] not in ("ready", "busy"):
        lines.append(_step(device["last_error_code"], "", language))
    return [*lines, *([said(device["detail"]).of(language)] if device["detail"] else [])]


def test_text(result: Mapping[str, Any], language: str) -> str:
    """Pass and what was seen, or what is wrong and what to do."""
    name, error = result["device"]["name"], result["error"]
    if error is None:
        return _word("passed", language).format(name=name, seen=result["seen"]) + "\n"
    said = _word("failed", language).format(name=name, code=error["code"], text=error["text"])
    return "\n".join([said, _step(error["code"], error["hint"], language)]) + "\n"


def _step(code: str, hint: str, language: str) -> str:
    english = hint or f"reversalctl devices test; docs/devices.md, {code}"
    chinese = _STEPS_ZH.get(code, english)
    return _word("do", language).format(step=chinese if language == "zh" else english)


def kind_word(kind: str, language: str) -> str:
    """What kind of device it is."""
    english, chinese = _KINDS.get(kind, (kind, kind))
    return chinese if language == "zh" else english


def wrong(device: Mapping[str, Any]) -> dict[str, int]:
    """The counters that count something wrong, without the zeros."""
    return {name: count for name, count in device["counters"].items() if count and name not in WORK}


def _word(name: str, language: str) -> str:
    english, chinese = _WORDS[name]
    return chinese if language == "zh" else english
