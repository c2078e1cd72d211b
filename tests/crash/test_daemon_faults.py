"""The unmodified daemon, killed at, and refused, its writes and syncs: nobody is charged without the goods.

A first run counts the writes and syncs below the state directory; then the n-th of them is where the process is ended
(before it, in its middle, after it), or where the disk reports an error. The restart must make good what was open.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from agent import config as settings
from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.conftest import Counted
from tests.crash import fault_server as faults
from tests.crash.daemon_trace import HOST
from tests.crash.forge import Ended, Forge, forge, place, quick_bench
from tests.crash.recovery import Outside, Recovery

__all__ = ["forge", "place"]  # fixtures

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
IN_DOUBT, UNUSABLE = 74, 73  # exit codes of the daemon


class Story:
    """One sale that ends well, one whose answer is lost; the application knows what it handed over."""

    def __init__(self, directory: Path, forge: Forge) -> None:
        directory.mkdir()
        self._forge = forge
        self.host = HostServer(settings=HOST).start()
        self.bench = quick_bench(directory, self.host)
        self.told: dict[str, str] = {}

    def play(self, kind: int, at: int) -> Ended:
        """Until the day is over or the daemon is dead."""
        self._forge.start(self.bench, kind, at)
        try:
            if self._forge.until_answers(self.bench):
                self._sales()
                os.kill(self._forge.pid, signal.SIGTERM)
        except DemoError:
            pass  # it is dead, or ends
        return self._forge.end()

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
