"""`reversalctl selftest` and `maintenance`: look the machine over; what was done to it, by whom, and when."""

from __future__ import annotations

import argparse
import errno
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent import config as settings
from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine
from agent.loop import Clock
from agent.selftest import Bench, Finding, NotPossible, run, worst
from agent.status_text import colon, columns, local_time, pad, wrap
from agent.texts_operations import operations, phrase
from protocol.errors import AgentError

EXIT = {"pass": 0, "warn": 1, "fail": 2}
CONNECT_S = 5.0
# Open reversals are shown, but they are no state of the machine: they have alerts of their own, which end with them.
NOT_KEPT = frozenset({"T-OPEN"})
# Beside this release's sources; an installed package has none, and then the rules are not compared.
SHIPPED_RULES = Path(__file__).parents[1] / "udev" / "70-pos-devices.rules"


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""
    text = "devices, paper, power, disk, clock, links, keys, rights: each pass, warning or failure, and what to do"
    test = subparsers.add_parser("selftest", help=text, description=text, parents=parents)
    test.set_defaults(action=selftest)
    test.add_argument("--no-paper", action="store_true", help="ask a printer how it is, but print no test line")
    text = "the maintenance log: self tests, drills and work done; --note adds an entry"
    done = subparsers.add_parser("maintenance", help=text, description=text, parents=parents)
    done.set_defaults(action=maintenance)
    done.add_argument("--note", default="", metavar="TEXT", help="what was done")
    done.add_argument("--limit", type=int, default=50, metavar="COUNT", help="how many entries are shown")


def selftest(command: CommandLine) -> int:
    """All checks, each as it ends; the result is kept with its date."""
    bench = _bench(command)
    findings: list[Finding] = []
    for finding in run(bench):
        findings.append(finding)
        command.print(_json(finding.document()) if command.options.json else _shown(finding, command.language))
    counts = Counter(str(finding.result) for finding in findings)
    kept = _keep(bench, findings)
    due = kept["selftest"]["due_utc"] if kept else "-"
    if command.options.json:
        command.print(_json({"result": worst(findings), **{name: counts[name] for name in EXIT}, "due_utc": due}))
    else:
        values = {str(name): str(counts[name]) for name in ("pass", "warn", "fail")}
        command.print(phrase("selftest-done", command.language, due=due, **values))
        if kept is None:
            command.print(phrase("selftest-not-kept", command.language))
    return EXIT[worst(findings)]


def maintenance(command: CommandLine) -> int:
    """The log, or one more entry."""
    if command.options.note:
        command.call("maintenance.note", kind="work", text=command.options.note)
    entries = command.call("maintenance.list", limit=command.options.limit)["entries"]
    if command.options.json:
        command.print("".join(_json(entry) + "\n" for entry in entries))
        return 0
    lines = [
        f"{local_time(one['at_utc'])}  {one['by']}  {_word('maintenance', one['kind'], command.language)}  "
        f"{_word('result', one['result'], command.language) or '-'}  {one['text']}"
        for one in entries
    ]
    command.print("\n".join(lines) or phrase("maintenance-none", command.language))
    return 0


def _bench(command: CommandLine) -> Bench:
    configuration, problem = None, ""
    try:
        configuration = settings.load(command.place.configuration_file)
    except AgentError as error:
        problem = error.text.replace("\n", ";")
    status, why_not = None, ""
    try:
        status = command.call("agent.status")
    except CommandError as error:
        why_not = error.text
    return Bench(
        configuration=configuration,
        problem=problem,
        status=status,
        call=_asking(command.call) if status is not None else None,
        why_not=why_not,
        now_utc=Clock().now().utc,
        connect=_connect,
        print_test=not command.options.no_paper,
        shipped_rules=SHIPPED_RULES if SHIPPED_RULES.exists() else None,
    )


def _asking(call: Callable[..., Any]) -> Callable[..., Any]:
    def ask(method: str, **params: Any) -> Any:
        try:
            return call(method, **params)
        except CommandError as error:
            raise NotPossible(error.text) from None

    return ask


def _connect(address: str) -> float:
    began = time.perf_counter()
    try:
        with socket.create_connection(settings.split_host(address), CONNECT_S):
            return time.perf_counter() - began
    except UnicodeError:  # a part of the name is empty or too long
        raise OSError(errno.EINVAL, "not a possible name") from None


def _keep(bench: Bench, findings: Sequence[Finding]) -> dict[str, Any] | None:
    """Into the maintenance log; None where there is no agent that keeps it, or where this user may not."""
    if bench.call is None:
        return None
    of_machine = [one for one in findings if one.code not in NOT_KEPT]
    wrong = [f"{one.code} {one.subject}".strip() for one in of_machine if one.result != "pass"]
    text = ", ".join(wrong)[:400] or "all checks passed"
    try:
        kept: dict[str, Any] = bench.call("maintenance.note", kind="selftest", text=text, result=worst(of_machine))
    except NotPossible:
        return None
    return kept


def _shown(finding: Finding, language: str) -> str:
    result = operations().word("result", finding.result).of(language)
    head = f"{pad(result, 6)}{pad(finding.code, 15)}{finding.title.of(language)}{colon(language)}"
    head += finding.text.of(language)
    if finding.result == "pass":
        return head
    return "\n".join([head, *wrap(finding.action.of(language), 78, " " * columns(pad(result, 6)))])


def _word(kind: str, name: str, language: str) -> str:
    return operations().word(kind, name).of(language)


def _json(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)
