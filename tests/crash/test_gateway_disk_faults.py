"""The gateway on a disk that fails or is full, at every write and sync: nothing goes on to the host unrecorded."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from tests.agent_bench import agree
from tests.conftest import Counted
from tests.crash import fault_server as faults
from tests.crash.forge import Ended, Forge, forge, place
from tests.e2e.test_gateway import Shop

__all__ = ["forge", "place"]  # fixtures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc libc6-dev"),
]
STANS = ("000101", "000102", "000103")
ENDS = ("completed", "reversed", "declined", "absent")
NAMES = {
    faults.COUNT: "no-fault",
    faults.EIO_WRITE: "eio-of-write",
    faults.EIO_SYNC: "eio-of-sync",
    faults.FULL: "full-from-write",
}


class Story:
    """A sale that ends well, one whose answer is lost, and one that is called off by the till."""

    def __init__(self, directory: Path, forge: Forge) -> None:
        directory.mkdir()
        self._forge = forge
        self.shop = Shop(directory, start=False, confirm_timeout_s=5.0)
        text = self.shop.bench.configuration.read_text()
        self.shop.bench.configuration.write_text(text.replace("1048576", "0").replace("base_s = 0.2", "base_s = 0.1"))
        self.approved: set[str] = set()
        self.called_off: set[str] = set()

    def play(self, kind: int, at: int) -> Ended:
        """Until the day is over or the daemon is dead."""
        self._forge.start(self.shop.bench, kind, at)
        try:
            if self._forge.until_answers(self.shop.bench):
                self._sales()
                os.kill(self._forge.pid, signal.SIGTERM)
        except (DemoError, ConnectionError, ProcessLookupError):
            pass  # it is dead, or ends
        return self._forge.end()

    def _sales(self) -> None:
        self._sell("000101")
        self.shop.host.faults.add("0200", "drop-reply")
        self._sell("000102")
        self.shop.host.faults.clear()
        self._sell("000103")
        self.called_off.add("000103")
        self.shop.reversal("000103")

    def _sell(self, stan: str) -> None:
        if self.shop.sale(stan) == "00":
            self.approved.add(stan)

    def recover(self) -> None:
        """The disk is well again: after a restart every sale has its end, and books and journal agree."""
        shop = self.shop
        shop.host.faults.clear()
        shop.bench.agent.start()
        shop.bench.until(lambda: all(shop.state(stan) in ENDS for stan in STANS), "every sale has an end")
        # The till's own reversal and ours are two messages: ours holds the approval code.
        agree(shop.host, shop.bench, allowed=frozenset({"reversal-changed"}))
        for row in shop.host.ledger.rows():
            stands = row.charges > row.effects
            assert not stands or row.key.stan in self.approved, f"charged, and the till received no approval: {row}"

    def close(self) -> None:
        """Stop all."""
        self.shop.__exit__()


def run(forge: Forge, directory: Path, kind: int, at: int) -> Ended:
    """One day with one fault, and the restart."""
    story = Story(directory, forge)
    try:
        ended = story.play(kind, at)
        try:
            story.recover()
        except AssertionError as error:
            raise AssertionError(f"{NAMES[kind]} {at}, ended {ended}: {error}") from error
    finally:
        story.close()
        shutil.rmtree(directory)
    return ended


@pytest.mark.parametrize("kind", [faults.EIO_WRITE, faults.EIO_SYNC, faults.FULL], ids=NAMES.get)
def test_at_a_failing_or_full_disk_nothing_is_relayed_that_is_not_recorded(
    forge: Forge, place: Path, counted: Counted, kind: int
) -> None:
    whole = run(forge, place / "whole", faults.COUNT, 0)
    assert (whole.signal, whole.code) == (0, 0)
    places = whole.syncs if kind == faults.EIO_SYNC else whole.writes
    assert places > 20
    every = 3 if kind == faults.EIO_SYNC else 11  # a whole run at every place takes five minutes
    for at in range(1, places + 1, every):
        run(forge, place / f"at-{at}", kind, at)
    counted("crash: the gateway on a failing disk", **{NAMES[kind].replace("-", "_"): places // every, "violations": 0})
