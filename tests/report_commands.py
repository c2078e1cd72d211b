"""The commands of agent/cli_report.py, run as the command line runs them; as a module it is a program of its own."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from typing import TextIO

from agent.cli import Command
from agent.cli_report import add_commands


def parser() -> argparse.ArgumentParser:
    """`watch` and `report` with the general options."""
    general = argparse.ArgumentParser(add_help=False)
    for name in ("--config", "--socket", "--status-file", "--language"):
        general.add_argument(name)
    for name in ("--json", "--no-colour"):
        general.add_argument(name, action="store_true")
    top = argparse.ArgumentParser(prog="reversalctl")
    add_commands(top.add_subparsers(), [general])
    return top


def reversalctl(*arguments: str) -> tuple[int, str]:
    """Exit status and what it printed."""
    out = io.StringIO()
    return run(arguments, out), out.getvalue()


def run(arguments: Sequence[str], out: TextIO) -> int:
    """One command."""
    return Command(parser().parse_args(arguments), out).run()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], sys.stdout))
