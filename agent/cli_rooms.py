"""The commands of reversalctl that have files of their own, and how few of them are loaded for one command line.

A file gives `add_commands(subparsers, parents)`. Only the files whose command is named are imported, so that `status`
answers at once; `--help`, a mistyped command, completion and man pages load all.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import argparse

    from agent.cli_place import Place

# file: its commands
ROOMS: dict[str, tuple[str, ...]] = {
    "agent.cli_case": ("bundle", "reconcile"),
    "agent.cli_closing": ("settle", "confirm", "form"),
    "agent.cli_devices": ("devices",),
    "agent.cli_keys": ("keys",),
    "agent.cli_drill": ("plan", "drill"),
    "agent.cli_pages": ("completion",),
    "agent.cli_protocol": ("explain", "profile", "replay"),
    "agent.cli_provision": ("provision",),
    "agent.cli_report": ("watch", "report"),
    "agent.cli_selftest": ("selftest", "maintenance"),
    "agent.cli_session": ("sign-on", "echo", "settle-batch", "wait-clear"),
    "agent.cli_slips": ("reprint",),
}
# These know their options themselves.
WITHOUT_PARENTS = frozenset({"agent.cli_protocol"})


class CommandLine(Protocol):
    """What a command needs of the command line (agent/cli.py's Command)."""

    options: argparse.Namespace
    place: Place

    def call(self, method: str, **params: Any) -> Any: ...
    def print(self, text: str) -> None: ...
    @property
    def language(self) -> str: ...


def needed(words: Iterable[str], core: Iterable[str]) -> list[str]:
    """The files to load for these words of the command line; all of them where no known command is among the words."""
    said = {word for word in words if not word.startswith("-")}
    files = [file for file, names in ROOMS.items() if said & set(names)]
    if files or said & set(core):
        return files
    return list(ROOMS)


def add_rooms(files: Iterable[str], commands: Any, parents: Sequence[Any]) -> None:
    """Adds the commands of these files to the parser's subcommands."""
    for file in files:
        add = importlib.import_module(file).add_commands
        if file in WITHOUT_PARENTS:
            add(commands)
        else:
            add(commands, parents)
