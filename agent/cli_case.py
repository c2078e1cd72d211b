"""`reversalctl bundle` and `reconcile`: the case file to send, and the books of a batch to compare."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from agent import VERSION, case_file, reconciliation
from agent import config as settings
from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine
from agent.loop import Clock
from agent.texts_operations import phrase
from protocol.errors import AgentError

LOG_LINES = "5000"
PACKAGES = ("pyserial", "pyusb", "construct", "pyiso8583", "crcmod", "cryptography", "pyudev")


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""
    text = "one archive, safe to e-mail: what happened, status, devices, configuration, log; no card data, no keys"
    case = subparsers.add_parser("bundle", help=text, description=text, parents=parents)
    case.set_defaults(action=bundle)
    case.add_argument("id", nargs="?", default="", metavar="ID", help="one item; else everything that is open")
    case.add_argument("--output", type=Path, metavar="FILE", help="else case-DATE.tar.gz here")
    case.add_argument("--log", type=Path, metavar="FILE", help="the daemon's log; else the journal of the system")
    text = "what the host's books must show of a batch: reversed, needs a person, unknown, closed by hand"
    books = subparsers.add_parser("reconcile", help=text, description=text, parents=parents)
    books.set_defaults(action=reconcile)
    books.add_argument("--batch", default="", metavar="NUMBER", help="one batch; else all")
    books.add_argument("--lane", default="", metavar="NAME", help="one lane; else all")
    books.add_argument(
        "--copy", type=Path, metavar="FILE", help="of a copy made by export, not of this agent's journal"
    )
    books.add_argument("--csv", type=Path, metavar="FILE", help="write a table for the bank")


def reconcile(command: CommandLine) -> int:
    """0: all is decided; 1: something is unknown or needs a person, or records cannot be read."""
    from agent.journal_source import Records  # not needed by `bundle`

    given = command.options
    records = Records(command, given.copy)
    items, unreadable = reconciliation.latest(records)
    found = reconciliation.rows(items, given.batch, given.lane)
    if given.csv is not None:
        _write(given.csv, reconciliation.csv_text(found))
    if given.json:
        command.print("".join(_json(row) + "\n" for row in found))
    else:
        command.print(reconciliation.text(found, command.language))
    if records.absent:
        print(phrase("records-absent", command.language, count=str(records.absent)), file=sys.stderr)
    if unreadable:
        print(phrase("records-unreadable", command.language, count=str(unreadable)), file=sys.stderr)
    return 1 if unreadable or any(row["kind"] in ("unknown", "parked") for row in found) else 0


def bundle(command: CommandLine) -> int:
    """The case file."""
    now = Clock().now()
    target = command.options.output or Path(f"case-{now.utc:%Y%m%d-%H%M%S}.tar.gz")
    status = command.call("agent.status")
    ids = [command.options.id] if command.options.id else case_file.chosen(status["items"])
    configuration, text = _configuration(command)
    messages, no_messages = _messages(command, ids, configuration)
    log, no_log = _log(command.options.log)
    case = case_file.Case(
        made_at_utc=now.at_utc,
        status=status,
        stories=[command.call("reversal.why", id=one) for one in ids],
        devices=command.call("device.list")["devices"],
        configuration=text,
        versions=versions(),
        messages=messages,
        no_messages=no_messages,
        log=log,
        no_log=no_log,
    )
    contents = case_file.files(case)
    try:
        case_file.write(target, contents)
    except OSError as error:
        raise CommandError("C-CANNOT-WRITE", path=str(target), problem=error.strerror or "") from None
    told = {"path": str(target.absolute()), "files": sorted(contents)}
    done = phrase("bundle-done", command.language, path=str(target.absolute()), files=str(len(contents) + 1))
    command.print(_json(told) if command.options.json else done)
    return 0


def versions() -> dict[str, str]:
    """Of everything that a report of a fault needs."""
    found = {"reversald": VERSION, "python": sys.version.split()[0], "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def _configuration(command: CommandLine) -> tuple[settings.Configuration | None, str]:
    """With secrets hidden; a broken file is told by its errors, which never repeat a secret."""
    try:
        configuration = settings.load(command.place.configuration_file)
    except AgentError as error:
        return None, f"# {error.text}\n".replace("\n  ", "\n#   ")
    return configuration, settings.effective(configuration)


def _messages(
    command: CommandLine, ids: Sequence[str], configuration: settings.Configuration | None
) -> tuple[dict[str, str], str]:
    """Each item's own message, explained and masked; or why not. The copy of the journal does not stay."""
    from agent.explain import explain_item, item_text  # 100 ms, only here
    from agent.item_source import from_copy

    if configuration is None:
        return {}, "E-CONFIG"
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="case-", dir=_where(configuration)) as directory:
        copy = Path(directory) / "copy.db"
        try:
            command.call("journal.export", target=str(copy))
            for one in ids:
                entry = from_copy(one, copy, command.place.configuration_file)
                if entry is not None:
                    txn, explained = explain_item(entry.public, entry.secret, configuration.profiles_directories)
                    found[one] = "\n".join(item_text(txn, explained, language) for language in case_file.LANGUAGES)
        except AgentError as error:
            return found, f"{error.code}: {error.text}"
    return found, ""


def _where(configuration: settings.Configuration) -> Path | None:
    """A directory in which the daemon may write too; the system's own where we may not."""
    directory = configuration.agent.state_dir
    try:
        probe = tempfile.mkdtemp(dir=directory)
    except OSError:
        return None
    Path(probe).rmdir()
    return directory


def _log(file: Path | None) -> tuple[str, str]:
    """The daemon's log, or why there is none."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8", errors="replace"), ""
        except OSError as error:
            raise CommandError("C-CANNOT-READ", path=str(file), problem=error.strerror or "") from None
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        return "", "no journalctl"
    line = [journalctl, "-u", "reversald", "-n", LOG_LINES, "--no-pager", "-o", "short-iso"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"journalctl: {type(error).__name__}"
    return (done.stdout, "") if done.returncode == 0 else ("", f"journalctl: {done.returncode}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8-sig", newline="")  # spreadsheets know UTF-8 by its mark
    except OSError as error:
        raise CommandError("C-CANNOT-WRITE", path=str(path), problem=error.strerror or "") from None


def _json(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)
