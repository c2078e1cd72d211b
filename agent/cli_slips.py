"""`reversalctl reprint`: an item's slip once more, marked as a copy."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from agent.cli_rooms import CommandLine
from agent.texts_operations import operations, phrase

SLIPS = ("cancelled", "confirmed", "parked", "settled", "adjustment")


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The command of this file. `parents`: the general options."""
    text = "print an item's slip again, marked as a copy; adjustment: the paper for the bank"
    one: argparse.ArgumentParser = subparsers.add_parser("reprint", help=text, description=text, parents=parents)
    one.set_defaults(action=reprint)
    one.add_argument("id", metavar="ID")
    one.add_argument("--slip", choices=SLIPS, default="", help="which one; else the one of its present state")


def reprint(command: CommandLine) -> int:
    """Once more."""
    answer = command.call("slip.print", id=command.options.id, what=command.options.slip)
    if command.options.json:
        command.print(json.dumps(answer, ensure_ascii=False))
        return 0
    what = operations().word("slip", answer["slip"])
    command.print(phrase("slip-queued", command.language, slip=what, waiting=str(answer["waiting"])))
    return 0
