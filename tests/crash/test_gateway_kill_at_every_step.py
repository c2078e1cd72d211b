"""The daemon is killed at every step of a sale through the gateway; afterwards books and journal agree.

The till knows nothing of the agent. What it must never see: money taken, and no approval received. What it may
see, and docs/gateway.md says so: an approval received in the very moment of the crash, and the sale reversed.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from tests.conftest import Counted
from tests.crash.forge import Forge, ForgedAgent
from tests.crash.test_kill_at_every_step import VARIANTS, forge
from tests.e2e.test_gateway import Shop

__all__ = ["forge"]  # a fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc libc6-dev"),
]
STAN = "000101"
# Connects and renames are the other story's (test_kill_at_every_step.py): the gateway adds none.
KINDS = ("sync", "send", "recv")
ENDS = ("completed", "reversed", "declined", "absent")


class Story:
    """One sale of a till that has never heard of the agent."""

    def __init__(self, directory: Path, forge: Forge, *, reply_is_lost: bool) -> None:
        directory.mkdir()
        self.shop = Shop(directory, start=False, confirm_timeout_s=5.0)
        self.shop.bench.agent = ForgedAgent(self.shop.bench.configuration, directory, forge)
        self.reply_is_lost = reply_is_lost
        self.approved = False

    def play(self, environment: dict[str, str]) -> bool:
        """Until the sale has its end, or the daemon is dead. Whether it died."""
        if self.reply_is_lost:
            self.shop.host.faults.add("0200", "drop-reply")
        process = self.shop.bench.agent.spawn(environment)
        try:
            while process.poll() is None and not self._ready():
                time.sleep(0.01)
            self.approved = self.shop.sale(STAN) == "00"
            while process.poll() is None and self.shop.state(STAN) not in ("completed", "reversed"):
                time.sleep(0.01)
            process.terminate()
            return process.wait(10) < 0
        except (DemoError, ConnectionError):
            process.wait(10)
            return True

    def _ready(self) -> bool:
        try:
            self.shop.bench.agent.call("agent.status", {})
        except DemoError:
            return False
        return True

    def recover(self) -> str:
        """Start again and wait for the end; books and journal agree."""
        shop = self.shop
        shop.bench.agent.start()
        shop.bench.until(lambda: shop.state(STAN) in ENDS, "the sale has an end")
        shop.agree()
        charged = sum(row.charges - row.effects for row in shop.host.ledger.rows())
        assert charged in (0, 1)
        assert self.approved or not charged, "charged, and the till received no approval"
        return shop.state(STAN)

    def close(self) -> None:
        """Stop all."""
        self.shop.__exit__()


def steps(directory: Path, forge: Forge, *, reply_is_lost: bool) -> list[tuple[str, int]]:
    """Every call that a run without a kill makes."""
    story = Story(directory / "trace", forge, reply_is_lost=reply_is_lost)
    trace = directory / "trace.txt"
    try:
        story.play({"KILLPOINTS_TRACE": str(trace)})
        assert story.approved != reply_is_lost
        story.recover()
    finally:
        story.close()
    calls = [line.split() for line in trace.read_text().splitlines()]
    return [(kind, int(number)) for kind, number in calls if kind in KINDS]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("reply_is_lost", [False, True], ids=["good-sale", "lost-reply"])
def test_killed_at_every_step_nobody_is_charged_without_an_approval(
    tmp_path: Path, forge: Forge, counted: Counted, reply_is_lost: bool
) -> None:
    killed, undone, ends = 0, 0, set()
    for kind, number in steps(tmp_path, forge, reply_is_lost=reply_is_lost):
        for when in VARIANTS[kind]:
            story = Story(tmp_path / f"{kind}-{number}-{when}", forge, reply_is_lost=reply_is_lost)
            try:
                died = story.play({"KILLPOINT": f"{kind} {number} {when}"})
                killed += died
                end = story.recover()
                ends.add(end)
                undone += story.approved and end == "reversed"
            except (AssertionError, subprocess.TimeoutExpired) as error:
                raise AssertionError(f"killed {when} {kind} {number}: {error}") from error
            finally:
                story.close()
    counted("crash: the gateway killed at every system call", kills=killed, violations=0, approved_and_undone=undone)
    assert killed > 20
    assert "reversed" in ends
    assert undone <= 6  # between the last byte to the till and the record of it: a send, a sync, a rename
