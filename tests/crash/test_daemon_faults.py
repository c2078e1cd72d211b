"""The unmodified daemon, killed at, and refused, its writes and syncs: nobody is charged without the goods.

A first run counts the writes and syncs below the state directory; then the n-th of them is where the process is ended
(before it, in its middle, after it), or where the disk reports an error. The restart must make good what was open.
"""

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

from agent import config as settings
from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.agent_bench import AgentBench
from tests.conftest import Counted
from tests.crash import fault_server as faults
from tests.crash.daemon_trace import HOST
from tests.crash.recovery import Outside, Recovery

KILLS = (faults.KILL_BEFORE_WRITE, faults.KILL_IN_WRITE, faults.KILL_BEFORE_SYNC, faults.KILL_AFTER_SYNC)
OF_WRITES = (faults.KILL_BEFORE_WRITE, faults.KILL_IN_WRITE, faults.EIO_WRITE)
NAMES = {
    faults.COUNT: "no-fault",
    faults.KILL_BEFORE_WRITE: "kill-before-write",
    faults.KILL_IN_WRITE: "kill-in-write",
    faults.KILL_BEFORE_SYNC: "kill-before-sync",
    faults.KILL_AFTER_SYNC: "kill-after-sync",
    faults.EIO_SYNC: "eio-of-sync",
    faults.EIO_WRITE: "eio-of-write",
}
DEADLINE_S = 30.0
IN_DOUBT, UNUSABLE = 74, 73  # exit codes of the daemon


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
        """A daemon with this fault armed."""
        assert self._process.stdin is not None
        order = {"configuration": str(bench.configuration), "log": str(bench.agent.log_file), "kind": kind, "at": at}
        order["below"] = str(bench.directory / "state")
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


class Story:
    """One sale that ends well, one whose answer is lost; the application knows what it handed over."""

    def __init__(self, directory: Path, forge: Forge) -> None:
        directory.mkdir()
        self._forge = forge
        self.host = HostServer(settings=HOST).start()
        self.bench = AgentBench(directory, [self.host.address])
        text = self.bench.configuration.read_text().replace("1048576", "0").replace("base_s = 0.2", "base_s = 0.1")
        self.bench.configuration.write_text(text)
        self.told: dict[str, str] = {}

    def play(self, kind: int, at: int) -> Ended:
        """Until the day is over or the daemon is dead."""
        self._forge.start(self.bench, kind, at)
        try:
            if self._answers():
                self._sales()
                os.kill(self._forge.pid, signal.SIGTERM)
        except DemoError:
            pass  # it is dead, or ends
        return self._forge.end()

    def _answers(self) -> bool:
        deadline = time.monotonic() + DEADLINE_S
        while not self._forge.ended:
            try:
                self.bench.agent.call("agent.status", {})
                return True
            except DemoError:
                assert time.monotonic() < deadline, self.bench.log()[-3000:]
                time.sleep(0.005)
        return False

    def _sales(self) -> None:
        self.told["GOOD"] = self.bench.sale("GOOD")["state"]
        self.bench.agent.call("transaction.complete", {"reference": "GOOD"})
        self.host.faults.add("0200", "close-before-reply")
        self.host.faults.add("reversal", "close-before-reply")
        self.told["LOST"] = self.bench.sale("LOST")["state"]
        self.bench.until(lambda: self.bench.state_of("LOST") == "reversed", "the lost sale is reversed")

    def wrong(self) -> str:
        """What is wrong after a restart; "" if nothing is."""
        self.host.faults.clear()
        outside = Outside(self.host.machine)
        outside.told.update(self.told)
        outside.left.update({row.key.stan: "0200" for row in self.host.ledger.rows()})
        recovery = Recovery(self.bench.directory / "state", settings.load(self.bench.configuration), outside)
        recovery.to_rest()
        found = "; ".join(recovery.wrongs())
        recovery.close()
        return found or ("" if recovery.verified() else "verify finds the journal damaged")

    def close(self) -> None:
        """No more host."""
        self.host.stop()


def run(forge: Forge, directory: Path, kind: int, at: int) -> Ended:
    """One day with one fault, and the restart."""
    story = Story(directory, forge)
    try:
        ended = story.play(kind, at)
        problem = story.wrong()
        assert not problem, f"{NAMES[kind]} {at}, ended {ended}: {problem}\n{story.bench.log()[-2000:]}"
    finally:
        story.close()
        shutil.rmtree(directory)
    return ended


def everywhere(forge: Forge, place: Path, kind: int, counted: Counted, every: int) -> None:
    """Every so many-th write or sync."""
    whole = run(forge, place / "whole", faults.COUNT, 0)
    assert (whole.signal, whole.code) == (0, 0)
    places = whole.writes if kind in OF_WRITES else whole.syncs
    assert places > 20
    struck = 0
    for at in range(1, places + 1, every):
        ended = run(forge, place / f"at-{at}", kind, at)
        struck += ended.signal == signal.SIGKILL if kind in KILLS else ended.code in (IN_DOUBT, UNUSABLE)
    counted("crash: the daemon at its n-th write and sync", **{NAMES[kind].replace("-", "_"): struck, "violations": 0})
    assert struck > places // every // 2, "most of the faults must have struck"


@pytest.mark.parametrize("kind", [faults.KILL_IN_WRITE, faults.KILL_BEFORE_SYNC, faults.EIO_SYNC], ids=NAMES.get)
def test_a_fault_at_some_writes_and_syncs_of_the_daemon_charges_nobody(
    forge: Forge, place: Path, counted: Counted, kind: int
) -> None:
    everywhere(forge, place, kind, counted, every=29 if kind in OF_WRITES else 7)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", list(NAMES)[1:], ids=NAMES.get)
def test_a_fault_at_every_write_and_sync_of_the_daemon_charges_nobody(
    forge: Forge, place: Path, counted: Counted, kind: int
) -> None:
    everywhere(forge, place, kind, counted, every=1)
