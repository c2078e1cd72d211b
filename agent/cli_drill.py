"""`reversalctl plan` and `drill`: what to do in an emergency, and playing it on simulators."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import io
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine
from agent.drill import SCRIPTS, Drill
from agent.loop import Clock
from agent.status_text import wrap
from agent.texts_operations import operations, phrase

STAGE = "hwsim.drill_stage"
EX_USAGE = 64  # sysexits.h begins here; below are the results of checks
# What a trainee may type: all of it asks the drill's own agent only. `replay` and the like name a host of their own.
ALLOWED = frozenset(
    (
        *("status", "watch", "list", "show", "why", "retry", "hold", "release", "park", "settle", "confirm", "form"),
        *("plan", "selftest", "maintenance", "devices", "export", "verify", "wait-clear", "reconcile", "report"),
        *("bundle", "reprint", "sign-on", "echo"),
    )
)
# `watch` would not end: a trainee looks so often.
LOOKS = "2"
RESULTS = {"passed": "pass", "helped": "warn", "failed": "fail"}


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""
    text = "the emergency plans: which are on, what the agent does, what people do"
    shown = subparsers.add_parser("plan", help=text, description=text, parents=parents)
    shown.set_defaults(action=plan)
    shown.add_argument("name", nargs="?", default="", choices=("", *SCRIPTS), metavar="NAME")
    text = "play an emergency plan on simulators, with a score; never against a live agent"
    played = subparsers.add_parser("drill", help=text, description=text, parents=parents)
    played.set_defaults(action=drill)
    played.add_argument("name", choices=tuple(SCRIPTS), metavar="NAME", help=", ".join(SCRIPTS))
    played.add_argument("--record", type=Path, metavar="FILE", help="keep the record as JSON")
    played.add_argument("--trainee", default="", metavar="NAME", help="whose drill it is (else the user)")


def plan(command: CommandLine) -> int:
    """The plans; those that are on are marked."""
    active = _active(command)
    names = [command.options.name] if command.options.name else list(operations().plans)
    if command.options.json:
        command.print("".join(json.dumps(_plan(name, active), ensure_ascii=False) + "\n" for name in names))
        return 0
    lines: list[str] = []
    for name in names:
        texts, language = operations().plans[name], command.language
        lines += [f"{'* ' if name in active else '  '}{name}: {texts.title.of(language)}"]
        lines += wrap(texts.agent.of(language), 78, "    ")
        steps = active.get(name, {}).get(f"people_{language}") or [step.of(language) for step in texts.people]
        for number, step in enumerate(steps, 1):
            lines += wrap(f"{number}. {step}", 78, "    ")
    command.print("\n".join(lines))
    return 0


def drill(command: CommandLine, typed: Iterator[str] | None = None) -> int:
    """One drill; 0 when every step was done."""
    given = command.options
    if given.config or given.socket or given.status_file:
        raise CommandError("C-DRILL-LIVE")
    language, played = command.language, Drill(given.name)
    command.print(phrase("drill-prepares", language))
    with _stage(given.name) as (configuration, tell):
        title, began = operations().plans[given.name].title, time.perf_counter()
        command.print(phrase("drill-begins", language, plan=given.name, title=title))
        for line in typed or _keyboard():
            after_s = time.perf_counter() - began
            if line == "end" or not _typed(command, played, line, after_s, configuration, tell):
                break
    seconds, at_utc = time.perf_counter() - began, Clock().now().at_utc
    record = played.record(seconds, at_utc, given.trainee or getpass.getuser())
    _tell_record(command, played, record)
    _keep(command, record)
    return 0 if record["passed"] else 1


def _typed(
    command: CommandLine, played: Drill, line: str, after_s: float, configuration: str, tell: Callable[[str], None]
) -> bool:
    """One line of the trainee; whether the drill goes on."""
    language = command.language
    if line == "help":
        step = played.help()
        if step is not None:
            command.print(phrase("drill-help", language, step=played.text(step)))
        return step is not None
    if not line.startswith("reversalctl"):
        if line:
            command.print(phrase("drill-unknown", language))
        return True
    told, status = _run(line, configuration, language)
    command.print(told)
    step = played.enter(line, after_s, failed=status >= EX_USAGE)  # a command that could not be done is no step
    if step is not None:
        command.print(phrase("drill-step", language, step=played.text(step)))
        if step.mends:
            tell("mend")
    return played.next() is not None


def _run(line: str, configuration: str, language: str) -> tuple[str, int]:
    """A trainee's command and its exit status, always at the drill's own agent: naming another one is refused."""
    from agent.cli import main, parser  # agent/cli.py loads this file: the other way round only on use

    try:
        words = shlex.split(line)[1:]
    except ValueError as error:
        return str(error), EX_USAGE
    out, err, status = io.StringIO(), io.StringIO(), EX_USAGE
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
            meant = parser(words).parse_args(words)  # as the command itself would: abbreviations are options too
            if meant.command not in ALLOWED or meant.config or meant.socket or meant.status_file:
                return CommandError("C-DRILL-LIVE").sentence(language), EX_USAGE
            more = ["--looks", LOOKS] if meant.command == "watch" else []
            status = main(["--config", configuration, "--language", language, *words, *more], out, err)
    except SystemExit:
        pass  # a wrong command line: what it says is in `err`
    return (out.getvalue() + err.getvalue()).rstrip("\n"), status


@contextlib.contextmanager
def _stage(name: str) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The simulators' process: the drill's configuration, and how to tell it something. Raises CommandError."""
    line = [sys.executable, "-m", STAGE, name]
    # A package keeps all of us in a directory of its own, which a new interpreter does not search by itself.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    # A pipe that nobody reads would hold up the simulators once it is full of their warnings.
    process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline() or '{"error": "it ended at once"}')
        if "configuration" not in told:
            raise CommandError("C-NO-STAGE", problem=str(told["error"]))

        def tell(word: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(word + "\n")
            process.stdin.flush()
            process.stdout.readline()

        yield told["configuration"], tell
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.communicate("end\n", timeout=30)
        if process.poll() is None:
            process.kill()
            process.communicate()


def _keyboard() -> Iterator[str]:
    while True:
        try:
            yield input("drill> ").strip()
        except EOFError:
            return


def _tell_record(command: CommandLine, played: Drill, record: dict[str, Any]) -> None:
    file = command.options.record
    if file is not None:
        try:
            file.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError("C-CANNOT-WRITE", path=str(file), problem=error.strerror or "") from None
    if command.options.json:
        command.print(json.dumps(record, ensure_ascii=False))
        return
    language = command.language
    for number, step in enumerate(played.steps, 1):
        how = "missed" if step.name in record["missed"] else "alone" if step.name in record["alone"] else "helped"
        after = f", {record['times_s'][step.name]:.0f} s" if step.name in record["times_s"] else ""
        told = operations().word("drill-step", how).of(language)
        command.print(f"  {number}. {told}{after}: {played.text(step).of(language)}")
    result = phrase("drill-passed" if record["passed"] else "drill-failed", language)
    values = {name: str(len(record[name])) for name in ("done", "steps", "alone")}
    numbers = {"seconds": str(record["seconds"]), "percent": str(record["score_percent"])}
    command.print(phrase("drill-score", language, plan=record["plan"], result=result, **numbers, **values))


def _keep(command: CommandLine, record: dict[str, Any]) -> None:
    """A line in the maintenance log of this machine's agent, where one runs: the only word that a drill says to it."""
    alone = len(record["alone"]) == len(record["steps"])
    result = RESULTS["failed" if not record["passed"] else "passed" if alone else "helped"]
    missed = f"; missed: {', '.join(record['missed'])}" if record["missed"] else ""
    text = (
        f"{record['plan']}: {record['trainee']}, {record['score_percent']} %, {len(record['done'])} of "
        f"{len(record['steps'])} steps, {len(record['alone'])} alone, {record['seconds']} s{missed}"
    )
    try:
        command.call("maintenance.note", kind="drill", text=text, result=result)
        told = "drill-kept"
    except CommandError:
        told = "drill-not-kept"
    if not command.options.json:
        command.print(phrase(told, command.language))


def _active(command: CommandLine) -> dict[str, dict[str, Any]]:
    """The plans that are on; none where no agent answers: the plans are shown anyway."""
    try:
        watch = command.call("agent.status").get("watch", {})
    except CommandError:
        return {}
    return {plan["name"]: plan for plan in watch.get("plans", ())}


def _plan(name: str, active: dict[str, dict[str, Any]]) -> dict[str, Any]:
    texts = operations().plans[name]
    known = {"name": name, "on": name in active}
    for language in ("en", "zh"):
        known |= {f"title_{language}": texts.title.of(language), f"agent_{language}": texts.agent.of(language)}
        known[f"people_{language}"] = [step.of(language) for step in texts.people]
    return {**known, **active.get(name, {})}
