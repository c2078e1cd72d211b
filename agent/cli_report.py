"""`reversalctl watch` and `reversalctl report`: the two commands that show much at once.

reversalctl watch                  live; q ends, arrows choose an item, Enter shows it, l changes the language
reversalctl report --since 7d      what went wrong in the last seven days, as text
reversalctl report --since 2026-03-01 --until 2026-04-01 --html march.html
reversalctl report --since all --copy journal-copy.db --csv march.csv
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine

EXIT_WHOLE, EXIT_NOT_WHOLE = 0, 1
_SPAN = re.compile(r"(\d+)([mhdw])")
_UNIT_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands `watch` and `report`. `parents`: the general options."""
    text = "how things stand, live: q ends, arrows choose, Enter shows one, l changes the language"
    live = subparsers.add_parser("watch", help=text, description=text, parents=parents)
    live.set_defaults(action=watch)
    live.add_argument("--every", type=_seconds, default=1.0, metavar="SECONDS", help="how often it looks (1)")
    live.add_argument("--looks", type=int, metavar="COUNT", help="end after so many looks (not in a terminal)")
    text = "what went wrong, what it cost, what to do: incidents, times, repeat offenders, balance per batch"
    told = subparsers.add_parser("report", help=text, description=text, parents=parents)
    told.set_defaults(action=report)
    told.add_argument(
        "--since", type=when, default="7d", metavar="WHEN", help="7d, 12h, 2026-03-01, 2026-03-01T08:00, all (7d)"
    )
    told.add_argument("--until", type=when, default="", metavar="WHEN", help="the same forms; else until now")
    told.add_argument("--copy", type=Path, metavar="FILE", help="of a copy made by export, not of this agent's journal")
    form = told.add_mutually_exclusive_group()
    form.add_argument("--html", type=Path, metavar="FILE", help="a page with plots, one file, no network needed")
    form.add_argument("--csv", type=Path, metavar="FILE", help="reversals; incidents and batches go beside it")
    form.add_argument("--text", action="store_true", help="for a terminal (the usual form)")


# --- watch -------------------------------------------------------------------------------------


def watch(command: CommandLine) -> int:
    """Live, until q or the end of the terminal."""
    from agent.cli_status import read_status, trouble  # not needed by `report`
    from agent.watch import Reader, follow_lines, live_screen

    def now_mono() -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC)

    reader = Reader(lambda: read_status(command.place.status_file), trouble, now_mono)
    language = command.language
    every_s: float = command.options.every
    if command.options.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        as_json: bool = command.options.json
        return follow_lines(
            reader, language, command.print, as_json=as_json, every_s=every_s, rounds=command.options.looks
        )
    colour = not command.options.no_colour and "NO_COLOR" not in os.environ
    return live_screen(reader, language, every_s, colour=colour)


# --- report ------------------------------------------------------------------------------------


def report(command: CommandLine) -> int:
    """Text to the terminal, or a page or tables into files."""
    from agent import report as reports  # reads catalogues: not needed by `watch`
    from agent.journal_source import Records
    from agent.report_stories import read

    given = command.options
    now = datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), UTC)
    period = reports.Period(_moment(given.since, now), _moment(given.until, now))
    records = Records(command, given.copy)
    reading = read(records)
    made = reports.build(reading, period, now.strftime("%Y-%m-%dT%H:%M:%SZ"), _samples(command, period))
    made["absent"] = records.absent
    _show(command, made)
    return EXIT_NOT_WHOLE if made["unreadable"] else EXIT_WHOLE


def when(given: str) -> datetime | timedelta | None:
    """A moment as people give it, or how long ago; None: no limit. Without a zone it is this machine's time."""
    if given in ("", "all"):
        return None
    span = _SPAN.fullmatch(given)
    try:
        if span is not None:
            return timedelta(seconds=int(span[1]) * _UNIT_S[span[2]])
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{given!r} is no time: 7d, 12h, 2026-03-01, 2026-03-01T08:00 or all"
        ) from None


def _moment(given: datetime | timedelta | None, now: datetime) -> datetime | None:
    if not isinstance(given, timedelta):
        return given
    return now - min(given, now - datetime(1970, 1, 1, tzinfo=UTC))


def _samples(command: CommandLine, period: Any) -> list[dict[str, Any]]:
    """How the store did: of the running agent, of a stopped one's directory; a copy of the journal has none."""
    if command.options.copy is not None:
        return []
    span = {"since_utc": _stamp(period.since), "until_utc": _stamp(period.until)}
    try:
        found: list[dict[str, Any]] = command.call("store.history", **span)["samples"]
    except CommandError as error:
        if error.code != "C-NO-DAEMON":
            raise
        from agent import config as settings  # 100 ms that a running agent's samples do not need
        from agent.store_history import FILE, thinned

        state_dir = settings.load(command.place.configuration_file).agent.state_dir
        return thinned(state_dir / FILE, **span)[0]
    return found


def _stamp(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _show(command: CommandLine, made: dict[str, Any]) -> None:
    from agent import report_csv, report_html, report_text
    from agent.report_files import writing
    from agent.report_texts import word

    given, language = command.options, command.language
    if given.html is not None:
        with writing(given.html) as file:
            file.write(report_html.render(made, language))
        command.print(word("written", path=str(given.html)).of(language))
    elif given.csv is not None:
        for path in report_csv.write(made, given.csv):
            command.print(word("written", path=str(path)).of(language))
    elif given.json:
        command.print(json.dumps(made, ensure_ascii=False))
    else:
        command.print(report_text.render(made, language))


def _seconds(given: str) -> float:
    seconds = float(given)
    if not 0.2 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("0.2 to 3600 seconds")
    return seconds
