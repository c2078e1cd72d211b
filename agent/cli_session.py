"""`reversalctl sign-on`, `echo`, `settle-batch`, `wait-clear`: a lane and its host, by a person or by a script.

Exit status: 0 signed on, answered, settled with equal totals, clear. 1 not signed on, no answer, totals unequal.
1 also while script results wait.
75 (try again): the settlement has no usable answer, or something is still owed. 65: refused, with the reason.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.cli_call import Caller
from agent.cli_rooms import CommandLine
from agent.client import AgentClient

EXIT_DONE, EXIT_NOT_DONE, EXIT_TRY_AGAIN = 0, 1, 75
# Longer than every wait of the daemon for these methods: reversals first, the gate, connect, send and reply.
PATIENCE_S = 300.0
# One call waits this long; a longer wait asks again, so that a dead daemon is noticed. Assumed.
SLICE_S = 10
DEFAULT_WAIT_S = 60

_WORDS: Mapping[str, tuple[str, str]] = {
    "signed-on": (
        "lane {lane}: signed on, batch {batch}, check value of the MAC key {check}",
        "通道 {lane}：签到成功，批次 {batch}，MAC 密钥校验值 {check}",
    ),
    "not-signed-on": ("lane {lane}: NOT signed on: {why}", "通道 {lane}：签到失败：{why}"),
    "echo": ("lane {lane}: {text}, {ms} ms", "通道 {lane}：{text}，{ms} 毫秒"),
    "no-echo": ("lane {lane}: no answer: {text}", "通道 {lane}：无应答：{text}"),
    "totals": (
        "  debits {debits}: {debit_minor}, credits {credits}: {credit_minor} (minor units)",
        "  借方 {debits} 笔：{debit_minor}，贷方 {credits} 笔：{credit_minor}（最小货币单位）",
    ),
    "overridden": ("  open items at that moment, recorded with your reason:", "  结算时未完成的交易（已记录原因）："),
    "upload-done": ("  details uploaded: {accepted}", "  已上送明细：{accepted} 笔"),
    "upload-details": (
        "  details uploaded: {accepted}; {waiting} wait and are sent by themselves",
        "  已上送明细：{accepted} 笔；{waiting} 笔待上送，系统会自动继续",
    ),
    "upload-end": (
        "  details uploaded: {accepted}; the end of the upload is sent by itself",
        "  已上送明细：{accepted} 笔；系统会自动发送批上送结束报文",
    ),
    "upload-refused": ("  refused by the host: {id}, code {why}", "  主机拒绝：{id}，应答码 {why}"),
    "upload-left": ("  not uploaded, tell the bank: {id}: {why}", "  未上送，请告知银行：{id}：{why}"),
    "next": ("  next batch: {next_batch}", "  下一批次：{next_batch}"),
    "why": ("  {why}", "  {why}"),
    "script": (
        "  {id}  STAN {stan}  result {result}  {tries} tries  {last_error}",
        "  {id}  流水号 {stan}  结果 {result}  已发送 {tries} 次  {last_error}",
    ),
    "script-ended": ("  {id}  STAN {stan}  {how} {code}  {at_utc}", "  {id}  流水号 {stan}  {how} {code}  {at_utc}"),
    "scripts": ("lane {lane}: {count} script results wait for the host", "通道 {lane}：{count} 笔脚本结果等待主机应答"),
    "closed": ("{closed}: closed and recorded", "{closed}：已关闭并记录"),
    "clear": ("nothing is owed", "没有未完成的冲正"),
    "not-clear": ("still open: {count}", "未完成：{count} 笔"),
    "item": (
        "  {id}  {state}  {kind}  {amount}  STAN {stan}  batch {batch}",
        "  {id}  {state}  {kind}  {amount}  流水号 {stan}  批次 {batch}",
    ),
}


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""

    def add(name: str, action: Callable[[CommandLine], int], text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text, parents=list(parents))
        one.set_defaults(action=action)
        return one

    _with_lane(add("sign-on", sign_on, "sign on now: working keys and batch number from the host"))
    _with_lane(add("echo", echo, "does the host answer, and how fast"))
    settling = _with_lane(add("settle-batch", settle_batch, "send what is owed, then settle the batch with the host"))
    settling.add_argument("--override", action="store_true", help="in spite of open items; it is recorded")
    settling.add_argument("--reason", default="", metavar="TEXT", help="why, with --override")
    scripts = add("script-results", script_results, "what issuers' scripts did on cards and the host must still hear")
    scripts.add_argument(
        "--close", default="", metavar="ID", help="end one that the host never answers; it is recorded"
    )
    scripts.add_argument("--why", default="", metavar="TEXT", help="why, with --close")
    waiting = _with_lane(add("wait-clear", wait_clear, "wait until no reversal is owed"))
    waiting.add_argument("--timeout", type=int, default=DEFAULT_WAIT_S, metavar="SECONDS", help="longest wait")


def sign_on(command: CommandLine) -> int:
    """Working keys and batch number from the host, now."""
    view = _asked(command, "session.sign_on", lane=_lane(command))
    if command.options.json:
        command.print(_json(view))
    elif view["signed_on"] and not view["failures"]:
        check = view["key_check_value"] or "-"
        _say(command, "signed-on", lane=view["lane"], batch=view["batch"], check=check)
    else:
        _say(command, "not-signed-on", lane=view["lane"], why=_said(command, view["last_error"] or view["step"]))
    return EXIT_DONE if view["signed_on"] and not view["failures"] else EXIT_NOT_DONE


def echo(command: CommandLine) -> int:
    """One echo test."""
    answer = _asked(command, "session.echo", lane=_lane(command))
    if command.options.json:
        command.print(_json(answer))
    else:
        name = "echo" if answer["answered"] else "no-echo"
        _say(command, name, lane=answer["lane"], text=_said(command, answer["text"]), ms=str(answer["round_trip_ms"]))
    return EXIT_DONE if answer["answered"] else EXIT_NOT_DONE


def settle_batch(command: CommandLine) -> int:
    """0500 with the journal's totals."""
    given = command.options
    answer = _asked(command, "batch.settle", lane=_lane(command), override=given.override, reason=given.reason)
    if given.json:
        command.print(_json(answer))
    else:
        _print_settlement(command, answer)
    if not answer["settled"]:
        return EXIT_TRY_AGAIN
    return EXIT_NOT_DONE if answer["outcome"] == "unequal" else EXIT_DONE


def script_results(command: CommandLine) -> int:
    """What waits and what ended lately; with --close, the end of one."""
    if command.options.close:
        closed = _asked(command, "script.close", id=command.options.close, why=command.options.why)
        if command.options.json:
            command.print(_json(closed))
        else:
            _say(command, "closed", **closed)
        return EXIT_DONE
    lanes = _asked(command, "script.list")["lanes"]
    if command.options.json:
        command.print(_json({"lanes": lanes}))
    else:
        _print_script_results(command, lanes)
    return EXIT_NOT_DONE if any(tray["waiting"] for tray in lanes.values()) else EXIT_DONE


def _print_script_results(command: CommandLine, lanes: Mapping[str, Any]) -> None:
    for lane, tray in lanes.items():
        _say(command, "scripts", lane=lane, count=str(len(tray["waiting"])))
        for name, items in (("script", tray["waiting"]), ("script-ended", tray["ended"])):
            for one in items:
                _say(command, name, **{key: str(value) for key, value in one.items()})


def wait_clear(command: CommandLine) -> int:
    """Until nothing is owed, or the time is over."""
    left_s = max(0, command.options.timeout)
    answer = _asked(command, "reversal.wait_clear", lane=_lane(command), timeout_s=min(SLICE_S, left_s))
    while not answer["clear"] and (left_s := left_s - SLICE_S) > 0:
        answer = _asked(command, "reversal.wait_clear", lane=_lane(command), timeout_s=min(SLICE_S, left_s))
    if command.options.json:
        command.print(_json(answer))
    elif answer["clear"]:
        _say(command, "clear")
    else:
        _say(command, "not-clear", count=str(len(answer["open"])))
        _print_items(command, answer["open"])
    return EXIT_DONE if answer["clear"] else EXIT_TRY_AGAIN


def _print_settlement(command: CommandLine, answer: Mapping[str, Any]) -> None:
    command.print(str(answer["text_zh" if command.language == "zh" else "text_en"]))
    if answer["why"]:
        _say(command, "why", why=answer["why"])
    _say(command, "totals", **{name: str(value) for name, value in answer["totals"].items()})
    if answer["overridden"]:
        _say(command, "overridden")
        _print_items(command, answer["open"])
    if upload := answer.get("upload"):
        _print_upload(command, upload)
    if answer["settled"]:
        _say(command, "next", next_batch=answer["next_batch"])


def _print_upload(command: CommandLine, upload: Mapping[str, Any]) -> None:
    _say(command, f"upload-{upload['step']}", **{name: str(upload[name]) for name in ("accepted", "waiting")})
    for name in ("refused", "left"):
        for one in upload[name]:
            _say(command, f"upload-{name}", **one)


def _print_items(command: CommandLine, items: Sequence[Mapping[str, Any]]) -> None:
    from agent.currency import money  # the catalogue: only where something is open
    from agent.texts import catalogue

    for item in items:
        values = {name: str(value) for name, value in item.items()}
        values["amount"] = money(item["amount_minor"], item["currency"])
        for name in ("state", "kind"):
            values[name] = catalogue().word(name, item[name]).of(command.language)
        _say(command, "item", **values)


class _PatientCaller(Caller):
    """Waits as long as the daemon may for the host."""

    def _connected(self) -> AgentClient:
        if self._client is None:
            self._client = AgentClient(self._place.socket, PATIENCE_S)
        return self._client


def _asked(command: CommandLine, method: str, **params: Any) -> Any:
    caller = _PatientCaller(command.place)
    try:
        return caller(method, **params)
    finally:
        caller.close()


def _with_lane(one: argparse.ArgumentParser) -> argparse.ArgumentParser:
    one.add_argument("lane", nargs="?", default="", metavar="LANE", help="may be left out where there is one lane")
    return one


def _said(command: CommandLine, text: str) -> str:
    from agent.said import said  # the catalogue: not needed for JSON

    return said(text).of(command.language)


def _lane(command: CommandLine) -> str:
    return str(command.options.lane)


def _say(command: CommandLine, name: str, **values: str) -> None:
    english, chinese = _WORDS[name]
    command.print((chinese if command.language == "zh" else english).format(**values))


def _json(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)
