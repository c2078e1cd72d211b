"""Daemons made fast: a process that has loaded the daemon once (daemon_server.py) forks it at each order."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hwsim.agent_process import AgentProcess, DemoError
from hwsim.host import HostServer
from tests.agent_bench import AgentBench
from tests.crash import fault_server as faults

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Ended:
    """How a daemon ended."""

    signal: int
    code: int
    writes: int
    syncs: int


class Forge:
    """The process that forks daemons."""

    def __init__(self, library: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.daemon_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=faults.ROOT,
            env=os.environ | {"LD_PRELOAD": str(library)},
            bufsize=0,
        )
        self.pid = 0

    def start(self, bench: AgentBench, kind: int, at: int) -> None:
        """A daemon with this fault of faults.c armed."""
        below = {"below": str(bench.directory / "state"), "kind": kind, "at": at}
        self.order(bench.configuration, bench.agent.log_file, {}, below)

    def order(
        self, configuration: Path, log: Path, environment: dict[str, str], faults: dict[str, object] | None = None
    ) -> None:
        """A daemon."""
        assert self._process.stdin is not None
        order = {"configuration": str(configuration), "log": str(log), "environment": environment, **(faults or {})}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self.pid = self._line()["pid"]

    @property
    def ended(self) -> bool:
        """Whether it has ended: `end` will not wait."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def end(self) -> Ended:
        """Wait for its end."""
        return Ended(**self._line())

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], DEADLINE_S)[0], "the daemon neither starts nor ends"
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def until_answers(self, bench: AgentBench) -> bool:
        """Wait for the daemon's socket; False if it ended before."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.ended:
            try:
                bench.agent.call("agent.status", {})
                return True
            except DemoError:
                assert time.monotonic() < deadline, bench.log()[-3000:]
                time.sleep(0.005)
        return False

    def kill(self) -> Ended:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        return self.end()

    def close(self) -> None:
        """No more daemons."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE_S)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    made = Forge(faults.build(tmp_path_factory.mktemp("faults")))
    yield made
    made.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """A memory disk where there is one: a kill does not touch the page cache, so the real disk adds only time."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="daemon-", dir=memory if memory.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


class ForgedAgent(AgentProcess):
    """`AgentProcess` whose process is forked, not started: the same daemon in a third of the time."""

    def __init__(self, configuration: Path, directory: Path, forge: Forge) -> None:
        super().__init__(configuration, directory)
        self._forge = forge

    def spawn(self, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """As `AgentProcess`; `environment` holds the orders of the preloaded library."""
        self._forge.order(self.configuration, self.log_file, environment or {})
        self._process = _Forged(self._forge)  # type: ignore[assignment]
        return self._process  # type: ignore[return-value]


class _Forged:
    """What `AgentProcess` uses of a Popen."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self.pid = forge.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.returncode is None and self._forge.ended:
            self.wait()
        return self.returncode

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """Its exit code, once it has ended; what does not end fails the test."""
        if self.returncode is None:
            self.returncode = self._forge.end().code
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As Popen's."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def quick_bench(directory: Path, host: HostServer) -> AgentBench:
    """A configuration with small files and short waits."""
    bench = AgentBench(directory, [host.address])
    text = bench.configuration.read_text().replace("1048576", "0").replace("base_s = 0.2", "base_s = 0.1")
    bench.configuration.write_text(text)
    return bench
