"""`reversalctl watch` in a real terminal (a pty), and the options of both commands."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.cli_report import when
from agent.status import snapshot
from agent.status_alive import writer
from tests.report_commands import parser, reversalctl
from tests.unit.status_samples import StillLoop, owed, parked, scene

DEADLINE_S = 20.0


def status_file(directory: Path) -> Path:
    """A status whose writer lives: this process, now."""
    document: dict[str, Any] = snapshot(StillLoop(parked(id="main-1"), owed(id="main-2")), scene())
    document["agent"] |= writer()
    document |= {"updated_mono_s": time.monotonic(), "stale_after_s": 600}
    path = directory / "status.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


class Session:
    """A person at a terminal: what was written to it, and keys."""

    def __init__(self, file: Path, width: int = 80, height: int = 24) -> None:
        self.near, far = pty.openpty()
        self.size(width, height)
        self.before = termios.tcgetattr(far)
        self.screen: dict[int, str] = {}
        self._all = ""
        command = [sys.executable, "-m", "tests.report_commands", "watch", "--status-file", str(file), "--every", "0.2"]
        environment = {**os.environ, "TERM": "vt100", "LC_ALL": "C.UTF-8"}
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [*command, "--language", "en", "--no-colour"], stdin=far, stdout=far, stderr=far, env=environment
        )
        self.far = far

    def size(self, width: int, height: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Read the screen until something stands on it."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            ready, _, _ = select.select([self.near], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"waited in vain for {what}: {self.screen}"
            self._show(os.read(self.near, 65536).decode())

    def _show(self, text: str) -> None:
        self._all += text  # a read may end in the middle of anything: the screen follows from all that came
        self.screen.clear()
        row = 0
        for piece in re.split(r"(\x1b\[\d+;1H|\x1b\[2J)", self._all):
            if piece == "\x1b[2J":
                self.screen.clear()
            elif place := re.fullmatch(r"\x1b\[(\d+);1H", piece):
                row = int(place[1])
            elif piece.endswith("\x1b[K"):
                self.screen[row] = piece.removesuffix("\x1b[K")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.near)
        os.close(self.far)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    one = Session(status_file(tmp_path))
    yield one
    one.close()


def test_keys_move_through_the_screens_and_the_terminal_is_left_as_it_was(session: Session) -> None:
    session.until(lambda: "CRITICAL" in session.screen.get(1, ""), "the overview")
    assert max(session.screen) == 24
    os.write(session.near, b"\x1b[B")
    session.until(lambda: session.screen.get(3, "").startswith("> main-1"), "the list")
    os.write(session.near, b"\r")
    session.until(lambda: session.screen.get(1, "").startswith("main-1"), "the item")
    session.size(100, 30)
    session.until(lambda: "quit" in session.screen.get(30, ""), "the larger screen")
    os.write(session.near, b"q")
    assert session.process.wait(DEADLINE_S) == 0
    assert termios.tcgetattr(session.far) == session.before


def test_a_stop_signal_leaves_the_terminal_as_it_was(session: Session) -> None:
    session.until(lambda: "CRITICAL" in session.screen.get(1, ""), "the overview")
    session.process.send_signal(signal.SIGTERM)
    assert session.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert termios.tcgetattr(session.far) == session.before


def test_without_a_terminal_it_prints_lines(tmp_path: Path) -> None:
    code, told = reversalctl("watch", "--status-file", str(status_file(tmp_path)), "--looks", "1", "--language", "zh")
    assert code == 0
    assert told.count("\n") == 1
    assert "严重 S-PARKED" in told


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("7d", timedelta(days=7)),
        ("90m", timedelta(minutes=90)),
        ("all", None),
        ("", None),
        ("2026-03-01T08:00:00+08:00", datetime(2026, 3, 1, 0, 0, tzinfo=UTC)),
    ],
)
def test_a_moment_can_be_given_in_three_ways(given: str, meant: Any) -> None:
    assert when(given) == meant


@pytest.mark.parametrize("given", ["yesterday", "7", "2026-13-01", "99999999999999999w"])
def test_what_is_no_moment_is_refused_with_the_forms_that_are(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="7d, 12h"):
        when(given)


@pytest.mark.parametrize(
    "arguments", [["watch", "--every", "0"], ["watch", "--every", "nan"], ["watch", "--every", "x"]]
)
def test_an_impossible_rhythm_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)
    assert "--every" in capsys.readouterr().err
