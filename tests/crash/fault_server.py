"""Runs journal_worker under faults.c, many times, fast."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

KILL_BEFORE_WRITE, KILL_IN_WRITE, KILL_BEFORE_SYNC, KILL_AFTER_SYNC, EIO_SYNC, EIO_WRITE, FULL, COUNT = range(1, 9)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """What one run told: the last acknowledged sequence number, and how it ended."""

    acknowledged: int
    lines: tuple[str, ...]
    killed: bool
    code: int
    writes: int
    syncs: int


class FaultServer:
    """The worker process, waiting for orders."""

    def __init__(self, library: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.journal_worker", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"LD_PRELOAD": str(library)},
        )

    def run(self, directory: Path, kind: int, at: int, count: int = 12, presize: int = 0, archive: bool = False) -> Run:
        """One run in its own child process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order: dict[str, object] = {
            "directory": str(directory),
            "kind": kind,
            "at": at,
            "count": count,
            "presize": presize,
        }
        order["archive"] = archive
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return _parse(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


def build(directory: Path) -> Path:
    """Compiles faults.c, or skips the test."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler; to run this test: apt install gcc libc6-dev")
    library = directory / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True)
    return library


def _parse(answer: dict[str, object]) -> Run:
    lines = answer["lines"]
    assert isinstance(lines, list)
    acknowledged = max((int(line.split()[1]) for line in lines if line.startswith("ack ")), default=0)
    counts = next((line.split()[1:] for line in lines if line.startswith("counts ")), ["0", "0"])
    code = answer["code"]
    assert isinstance(code, int)
    return Run(acknowledged, tuple(lines), bool(answer["signal"]), code, int(counts[0]), int(counts[1]))
