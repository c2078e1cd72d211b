"""reversalctl: the operators' command. Reads arguments, calls one function, prints; nothing else.

Rules not to break:
1. No traceback ever reaches a user: every failure is a sentence, a next step and an exit status.
2. Exit status: 0 done; `status` 0, 1, 2, 3 for ok, warning, critical, unknown; errors as in sysexits.h.
3. What only some commands need is imported by those: `status` must answer within 80 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agent import VERSION
from agent.cli_place import CommandError, Place
from agent.cli_rooms import add_rooms, needed
from protocol.errors import AgentError

if TYPE_CHECKING:
    from agent.cli_call import Caller

EX_OK, EX_USAGE, EX_UNAVAILABLE, EX_IOERR, EX_INTERRUPTED = 0, 64, 69, 74, 130
# A retry that a person ordered: connect, send and the host's longest answer fit in this. Assumed.
RETRY_WAIT_S = 45.0

# Chargebacks and questions of customers come within weeks; a report looks back at most a month by itself. Assumed.
ARCHIVE_DAYS = 90
_COLOURS = {0: "32", 1: "33", 2: "31;1", 3: "35"}


class Command:
    """One run: options, where the agent is, and where to print."""

    def __init__(self, options: argparse.Namespace, out: TextIO) -> None:
        self.options = options
        self.place = Place(options)
        self._out = out
        self._caller: Caller | None = None

    def run(self) -> int:
        """Do it; the exit status. Raises AgentError, OSError."""
        if hasattr(self.options, "run"):  # commands that need neither agent nor configuration (agent/cli_protocol.py)
            return int(self.options.run(self.options))
        action: Callable[[Command], int] = self.options.action
        try:
            return action(self)
        finally:
            if self._caller is not None:
                self._caller.close()

    def call(self, method: str, **params: Any) -> Any:
        """One call of the running agent. Raises CommandError."""
        if self._caller is None:
            from agent.cli_call import DEADLINE_S, Caller  # socket and client: 25 ms that `status` does not need

            self._caller = Caller(self.place, getattr(self.options, "deadline_s", DEADLINE_S))
        return self._caller(method, **params)

    def print(self, text: str) -> None:
        """To standard output; what its character set lacks becomes "?"."""
        self._out.write(text if text.endswith("\n") else text + "\n")

    @property
    def language(self) -> str:
        """Of everything that is printed."""
        return self.place.language()


def main(argv: Sequence[str] | None = None, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """The command `reversalctl`."""
    out, err = out or sys.stdout, err or sys.stderr
    for stream in (out, err):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a serial console in an old locale still shows the rest
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser(words).parse_args(words)
    command = Command(options, out)
    try:
        status = command.run()
        out.flush()
        return status
    except CommandError as error:
        return _say(error, command, err)
    except AgentError as error:
        _print(f"{error.code}: {error.text}" + (f"\n  {error.hint}" if error.hint else ""), err)
        return _status_of(error)
    except BrokenPipeError:
        # Somebody closed the pager: not an error. Python must not complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_OK
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    except Exception as error:
        if os.environ.get("REVERSALCTL_DEBUG"):
            raise
        return _say(CommandError("C-INTERNAL", problem=type(error).__name__), command, err)


def _say(error: CommandError, command: Command, err: TextIO) -> int:
    language = command.language
    if command.options.json:
        told = {"code": error.code, "exit": error.exit_status}
        for each in ("en", "zh"):
            told |= {f"text_{each}": error.sentence(each), f"action_{each}": error.step(each)}
        _print(json.dumps({"error": told}, ensure_ascii=False), err)
    else:
        _print(f"{error.code}: {error.sentence(language)}\n  {error.step(language)}", err)
    return error.exit_status


def _print(text: str, err: TextIO) -> None:
    """To standard error. What somebody typed is repeated there, and it may have been a card number."""
    from protocol.masking import scrub  # only when something went wrong

    print(scrub(text), file=err)


def _status_of(error: AgentError) -> int:
    from agent.config_keys import ConfigError  # only when a command over the journal failed

    return 78 if isinstance(error, ConfigError) else EX_IOERR


# --- the commands ------------------------------------------------------------------------------


def status(command: Command) -> int:
    """How things stand."""
    from agent.cli_status import show_status  # not needed by the other commands

    text, exit_status = show_status(command.place, command.options.json, time.clock_gettime(time.CLOCK_MONOTONIC))
    command.print(text if command.options.json else _coloured(text, exit_status, command))
    return exit_status


def list_items(command: Command) -> int:
    """What is open."""
    from agent.cli_items import json_lines, list_text  # not needed by `status`

    answer, exit_status = _items_or_file(command)
    items = answer["items"]
    if command.options.json:
        command.print(json_lines(items) if items else "")
    else:
        command.print(list_text(items, answer["pending_count"], command.language))
    return exit_status


def _items_or_file(command: Command) -> tuple[dict[str, Any], int]:
    """From the agent; when it is not running, from its last status file, and that is said."""
    from agent.cli_status import read_status  # only as the second choice
    from agent.status_alive import age_s
    from agent.status_text import short_span

    try:
        return command.call("reversal.list", all=command.options.all), EX_OK
    except CommandError as error:
        if error.code != "C-NO-DAEMON":
            raise
        try:
            document = read_status(command.place.status_file)
        except CommandError:
            raise error from None
        age = age_s(document, time.clock_gettime(time.CLOCK_MONOTONIC))
        _say(CommandError("C-FROM-FILE", age=short_span(age, command.language)), command, sys.stderr)
        extra = document["finished"] if command.options.all else []
        return {"items": document["items"] + extra, "pending_count": document["pending_count"]}, EX_UNAVAILABLE


def show(command: Command) -> int:
    """One item."""
    return _print_item(command, command.call("reversal.show", id=command.options.id))


def why(command: Command) -> int:
    """One item's story."""
    from agent.cli_items import why_text  # not needed by `status`

    answer = command.call("reversal.why", id=command.options.id)
    told = _json(answer) if command.options.json else why_text(answer, command.language, full=command.options.full)
    command.print(told)
    return EX_OK


def retry(command: Command) -> int:
    """Try now."""
    from agent import cli_act  # not needed by `status`

    if command.options.all:
        ids = cli_act.retry_all(command.call)
        command.print(_json({"retried": ids}) if command.options.json else " ".join(ids) or "-")
        return EX_OK
    item = cli_act.retry(command.call, command.options.id, command.options.wait, time.sleep)
    return _print_item(command, item)


def decide(command: Command) -> int:
    """Say whether an approved sale took place."""
    from agent import cli_act  # not needed by `status`

    return _print_item(command, cli_act.decide(command.call, command.options.id, command.options.answer))


def hold(command: Command) -> int:
    """Stop the tries."""
    return _print_item(command, command.call("reversal.hold", id=command.options.id, why=command.options.why))


def release(command: Command) -> int:
    """Let them go on."""
    return _print_item(command, command.call("reversal.release", id=command.options.id))


def park(command: Command) -> int:
    """Say that a person must act."""
    return _print_item(command, command.call("reversal.park", id=command.options.id, why=command.options.why))


def verify(command: Command) -> int:
    """Is anything missing?"""
    from agent import cli_journal  # configuration and cryptography: 200 ms

    report = cli_journal.verify(command.place.configuration_file, command.options.copy, command.call)
    facts = {"whole": report.whole, "copy_of_running_agent": report.exported, "lines": report.lines()}
    command.print(_json(facts) if command.options.json else _lines(report, command.language))
    return cli_journal.EXIT_WHOLE if report.whole else cli_journal.EXIT_NOT_WHOLE


def export(command: Command) -> int:
    """A copy of the journal while the agent runs."""
    from agent import cli_journal  # configuration and cryptography: 200 ms

    path = cli_journal.export(command.call, command.options.target)
    command.print(_json({"path": path}) if command.options.json else path)
    return EX_OK


def archive(command: Command) -> int:
    """What ended long ago leaves the journal, while the agent runs."""
    from agent import cli_journal  # configuration and cryptography: 200 ms
    from agent.said import said  # the catalogue: not needed by `status`

    told = cli_journal.archive(command.call, command.options.older_than)
    text = f"{told['transactions']} transactions ({told['records']} records) moved into {told['path']}"
    shown = said(text if told["records"] else "nothing to archive").of(command.language)
    command.print(_json(told) if command.options.json else shown)
    return EX_OK


def salvage(command: Command) -> int:
    """Save what can be read of a damaged journal."""
    from agent import cli_journal  # configuration and cryptography: 200 ms

    report = cli_journal.save(command.place.configuration_file, command.options.target)
    lost = {str(seq): reason for seq, reason in report.lost.items()}
    saved = {"saved": len(report.saved), "lost": lost}
    command.print(_json(saved) if command.options.json else _lines(report, command.language))
    return cli_journal.EXIT_NOT_WHOLE if report.lost or report.doubtful else cli_journal.EXIT_WHOLE


def reload(command: Command) -> int:
    """The configuration, read again by the running agent: taken over as a whole or not at all."""
    from agent.said import said  # the catalogue: not needed by `status`

    told = command.call("agent.reload")
    text = f"taken over: {told['reloaded']}; lanes: {', '.join(told['lanes'])}"
    command.print(_json(told) if command.options.json else said(text).of(command.language))
    return EX_OK


def version(command: Command) -> int:
    """The release."""
    command.print(_json({"version": VERSION}) if command.options.json else f"reversalctl {VERSION}")
    return EX_OK


# --- printing ----------------------------------------------------------------------------------


def _print_item(command: Command, item: dict[str, Any]) -> int:
    from agent.cli_items import show_text  # not needed by `status`

    command.print(_json(item) if command.options.json else show_text(item, command.language))
    return EX_OK


def _json(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)


def _lines(report: Any, language: str) -> str:
    from agent.said import said  # the catalogue: not needed by `status`

    return "\n".join(said(line).of(language) for line in report.lines())


def _coloured(text: str, severity: int, command: Command) -> str:
    """The first word in the colour of the severity, on a terminal that wants colours."""
    wanted = sys.stdout.isatty() and not command.options.no_colour and "NO_COLOR" not in os.environ
    first, blank, rest = text.partition(" ")
    return f"\x1b[{_COLOURS[severity]}m{first}\x1b[0m{blank}{rest}" if wanted else text


# --- arguments ---------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Ends with the exit status of sysexits.h for a wrong command line."""

    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def parser(argv: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """All commands, or as many as `argv` needs. The general options may stand before or after the command."""
    top = _Parser(
        prog="reversalctl",
        description="Shows what the reversal agent still owes (冲正), why, and lets people act on it.",
        epilog="Exit status of `status`: 0 ok, 1 warning, 2 critical, 3 unknown. Errors as in sysexits.h.",
        parents=[_general(None)],
    )
    top.add_argument("--version", action="version", version=f"reversalctl {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, action: Callable[[Command], int], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[_general(argparse.SUPPRESS)])
        one.set_defaults(action=action)
        return one

    add("status", status, "how things stand, worst first; also when the agent is dead")
    add("list", list_items, "what is open, one line each").add_argument(
        "--all", action="store_true", help="also what was finished last"
    )
    _with_id(add("show", show, "everything about one item"))
    cause = _with_id(add("why", why, "why an item is stuck: cause, evidence, what to do, what happened"))
    cause.add_argument("--full", action="store_true", help="every try, also those that ended as the one before them")
    again = add("retry", retry, "send an item's reversal now and wait for the result")
    which = again.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID")
    which.add_argument("--all", action="store_true", help="everything that is owed")
    again.add_argument("--wait", type=float, default=RETRY_WAIT_S, metavar="SECONDS", help="0: do not wait")
    said = _with_id(add("decide", decide, "say whether an approved sale took place, where nobody else could tell"))
    said.add_argument("answer", choices=("handed-over", "not-handed-over"), help="the goods; the second reverses it")
    _with_why(_with_id(add("hold", hold, "stop the tries of an item for the time being")))
    _with_id(add("release", release, "let a held item go on"))
    _with_why(_with_id(add("park", park, "say that a person must act on an item")))
    _add_journal(add)
    add("reload", reload, "have the running agent take over its changed configuration, or say why it does not")
    add("version", version, "the release of this command")
    words = ["--help"] if argv is None else argv
    add_rooms(needed(words, commands.choices), commands, [_general(argparse.SUPPRESS)])
    return top


def _add_journal(add: Callable[[str, Callable[[Command], int], str], argparse.ArgumentParser]) -> None:
    add("verify", verify, "is anything missing in the journal and its archive? also while the agent runs").add_argument(
        "--copy", type=Path, metavar="FILE", help="check a copy made by export instead"
    )
    add("export", export, "a whole copy of the running agent's journal; card data stays sealed").add_argument(
        "target", type=Path, metavar="FILE"
    )
    add("archive", archive, "move what ended long ago into the archive, while the agent runs").add_argument(
        "--older-than", type=int, default=ARCHIVE_DAYS, metavar="DAYS", help=f"ended before; default {ARCHIVE_DAYS}"
    )
    add("salvage", salvage, "build a new journal from what can be read of a damaged one").add_argument(
        "target", type=Path, metavar="FILE"
    )


def _general(default: Any) -> _Parser:
    general = _Parser(add_help=False, argument_default=default)
    general.add_argument("--config", metavar="FILE", help="configuration (else REVERSALD_CONFIG, /etc/reversald)")
    general.add_argument("--socket", metavar="FILE", help="the agent's socket")
    general.add_argument("--status-file", metavar="FILE", help="status.json")
    general.add_argument("--language", choices=("en", "zh"))
    flags = argparse.SUPPRESS if default is argparse.SUPPRESS else False
    general.add_argument("--json", action="store_true", default=flags, help="for machines: one object a line")
    general.add_argument("--no-colour", action="store_true", default=flags, help="plain text on a terminal, too")
    return general


def _with_id(one: argparse.ArgumentParser) -> argparse.ArgumentParser:
    one.add_argument("id", metavar="ID")
    return one


def _with_why(one: argparse.ArgumentParser) -> argparse.ArgumentParser:
    one.add_argument("--why", required=True, metavar="TEXT", help="the reason; it is kept with the item")
    return one


if __name__ == "__main__":
    sys.exit(main())
