"""The command `reversalctl`: `status` without anything that it does not need, all other words by agent/cli.py.

The status is asked for by monitors every minute and by people who wait: it must answer within 80 ms, also on the board.
So this path loads neither argparse nor pathlib, nor the TOML reader where the configuration names the run directory in
a plain way. Whatever is not plain (options, a writer that is not alive, a file that cannot be read, a terminal with
colours) goes the long way, which gives the same answer and knows all the words.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent.status_alive import life

DEFAULT_CONFIGURATION = "/etc/reversald/reversald.toml"
DEFAULT_RUN_DIR = "/run/reversald"
EXIT = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}  # as agent/cli_status.py; a test compares
SCHEMA = 1


def main() -> int:
    """An exit status (agent/cli.py has the list)."""
    told = quick(sys.argv[1:], os.environ) if not sys.stdout.isatty() else None
    if told is None:
        from agent.cli import main as whole  # the long way

        return whole()
    text, status = told
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # somebody closed the pager; Python must not complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def quick(words: Sequence[str], environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Text and exit status; None where the long way must be gone."""
    given = list(words)
    configuration = environment.get("REVERSALD_CONFIG") or DEFAULT_CONFIGURATION
    if len(given) == 3 and given[0] == "--config":
        configuration, given = given[1], given[2:]
    if given != ["status"]:
        return None
    directory = run_dir(configuration)
    document = _document(os.path.join(os.path.dirname(configuration), directory, "status.json")) if directory else None
    if document is None or life(document, time.clock_gettime(time.CLOCK_MONOTONIC)) != "alive":
        return None
    from agent.status_text import render

    text = render(document, document["language"])
    return text if text.endswith("\n") else text + "\n", EXIT[document["overall"]["severity"]]


def run_dir(configuration: str) -> str:
    """What [agent] says of it, where that is written plainly; "" where only a TOML reader can tell."""
    try:
        with open(configuration, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, PermissionError):
        return DEFAULT_RUN_DIR if configuration == DEFAULT_CONFIGURATION else ""
    except (OSError, ValueError):
        return ""
    head, found, table = ("\n" + text).partition("\n[agent]\n")
    if not found or "'''" in text or '"""' in text or "agent" in head.replace("reversal-agent", ""):
        return ""
    lines = table.split("\n[", 1)[0].splitlines()
    mine = [line for line in lines if "run_dir" in line and not line.lstrip().startswith("#")]
    if not mine:
        return DEFAULT_RUN_DIR
    name, _, value = mine[0].partition("=")
    value = value.strip()
    plain = len(mine) == 1 and name.strip() == "run_dir" and len(value) > 2 and value[0] == value[-1] == '"'
    return value[1:-1] if plain and not set('"\\') & set(value[1:-1]) else ""


def _document(file: str) -> dict[str, Any] | None:
    try:
        with open(file, encoding="utf-8") as stream:
            document = json.load(stream)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


if __name__ == "__main__":
    sys.exit(main())
