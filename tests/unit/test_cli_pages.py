"""Completion and man pages know what the parser knows; every command keeps the conventions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.cli import parser
from agent.cli_pages import bash, commands, options, pages, zsh
from agent.cli_rooms import ROOMS, needed
from tests.unit.cli_bench import run

MAN = Path(__file__).parents[2] / "docs" / "man"
TOP = {name: one for name, one in commands(parser()).items() if " " not in name}


@pytest.mark.parametrize("name", sorted(pages(parser())))
def test_a_man_page_is_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else: COLUMNS=100 python -m agent.cli_pages docs/man"""
    monkeypatch.setenv("COLUMNS", "100")
    assert (MAN / name).read_text(encoding="utf-8") == pages(parser())[name]


def test_there_is_a_man_page_for_every_command_and_no_other() -> None:
    assert {path.name for path in MAN.glob("*.1")} == set(pages(parser()))


@pytest.mark.parametrize("command", sorted(TOP))
def test_the_first_man_page_says_what_each_command_does_and_where_more_stands(command: str) -> None:
    page = pages(parser())["reversalctl.1"].replace("\\-", "-")
    assert f".B {command}\n{TOP[command].description}\n" in page
    assert f"reversalctl-{command}\\fR(1)" in page


@pytest.mark.parametrize("command", sorted(TOP))
def test_every_command_speaks_json(command: str) -> None:
    assert "--json" in options(TOP[command]) or command in ("profile",)  # its own commands have it


@pytest.mark.parametrize("files", [list(ROOMS)])
def test_every_room_has_the_commands_it_is_said_to_have(files: list[str]) -> None:
    said = {name for names in ROOMS.values() for name in names}
    assert said <= set(TOP)
    for file, names in ROOMS.items():
        for name in names:
            assert needed([name, "x"], ["status"]) == [file]
    assert needed(["status"], ["status"]) == []
    assert needed(["--help"], ["status"]) == list(ROOMS)
    assert needed(["statu"], ["status"]) == list(ROOMS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (["reversalctl", "sel"], "selftest"),
        (["reversalctl", "settle", "--ban"], "--bank-reference"),
        (["reversalctl", "drill", "host"], "host-outage"),
    ],
)
def test_bash_completes_commands_options_and_choices(line: list[str], wanted: str) -> None:
    words = " ".join(f"'{word}'" for word in line)
    typed = f"COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _reversalctl"
    script = f"{bash(parser())}\n{typed}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30, env={"PATH": os.environ["PATH"]}
    )
    assert wanted in done.stdout.split()


def test_the_completions_are_printed() -> None:
    assert run("completion", "bash")[:2] == (0, bash(parser()) + "\n")
    told = run("completion", "zsh")[1]
    assert told == zsh(parser()) + "\n"
    assert all(name in told for name in TOP)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_can_read_its_completion() -> None:
    subprocess.run(["zsh", "-n"], input=zsh(parser()), text=True, check=True, timeout=30)


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man here")
@pytest.mark.parametrize("name", ["reversalctl.1", "reversalctl-settle.1", "reversalctl-devices.1"])
def test_man_can_read_a_page(name: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(MAN / name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
    )
    assert "NAME" in done.stdout
