"""The daemon is killed at every step of a sale and of a reversal; afterwards books and journal agree.

The steps are not listed by hand: a first run writes down every sync, connect, send, receive and rename that
the daemon makes; each of them is then a place to die, before it, in the middle of it and after it.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree
from tests.conftest import Counted
from tests.crash.forge import Forge, ForgedAgent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc libc6-dev"),
]

VARIANTS = {
    "sync": ("before", "after"),
    "connect": ("before", "after"),
    "send": ("before", "half", "after"),
    "recv": ("half", "after"),
    "rename": ("before", "after"),
}
# Calls after these many of a kind repeat what was seen before (status files are renamed all the time).
RENAMES_MAX = 6


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Daemons with the library that kills."""
    target = tmp_path_factory.mktemp("shim") / "killpoints.so"
    source = Path(__file__).with_name("killpoints.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl"], check=True)
    made = Forge(target)
    yield made
    made.close()


class Story:
    """One sale, played by an application that knows whether it handed over the goods."""

    def __init__(self, directory: Path, forge: Forge, *, reply_is_lost: bool) -> None:
        directory.mkdir()
        self.reply_is_lost = reply_is_lost
        self.delivered = False
        self.on_ready = lambda: None
        self.host = HostServer(settings=HostSettings(mac_on_all_replies=True)).start()
        self.bench = AgentBench(directory, [self.host.address])
        self.bench.agent = ForgedAgent(self.bench.configuration, directory, forge)

    def close(self) -> None:
        """Stop both."""
        self.bench.agent.stop()
        self.host.stop()

    def play(self, environment: dict[str, str]) -> bool:
        """Until the sale has its end, or the daemon is dead. Whether it died."""
        if self.reply_is_lost:
            self.host.faults.add("0200", "drop-reply")
        process = self.bench.agent.spawn(environment)
        try:
            while process.poll() is None and not self._ready():
                time.sleep(0.01)
            self.on_ready()
            result = self.bench.sale("S1")
            if result["outcome"] == "approved":
                self.delivered = True  # the goods are over the counter before anybody is told
                self.bench.agent.call("transaction.complete", {"reference": "S1"})
            while process.poll() is None and self.bench.state_of("S1") not in ("completed", "reversed"):
                time.sleep(0.01)
            return self._died_late(process)
        except DemoError:
            process.wait(10)
            return True

    def _ready(self) -> bool:
        try:
            self.bench.agent.call("agent.status", {})
        except DemoError:
            return False
        return True

    def _died_late(self, process: subprocess.Popen[bytes]) -> bool:
        """The last acts are the status files and the end of the process."""
        process.terminate()
        return process.wait(10) < 0

    def recover(self) -> str:
        """Start again, let the application answer what it is asked, wait for the end."""
        self.bench.agent.start()
        for open_sale in self.bench.agent.call("transaction.unconfirmed", {})["transactions"]:
            answer = "transaction.complete" if self.delivered else "transaction.reverse"
            self.bench.agent.call(answer, {"reference": open_sale["reference"]})
        ends = ("completed", "reversed", "declined", "absent")
        self.bench.until(lambda: self.bench.state_of("S1") in ends, "the sale has an end")
        return self.bench.state_of("S1")


def steps(tmp_path: Path, forge: Forge, *, reply_is_lost: bool) -> list[tuple[str, int]]:
    """Every call that a run without a kill makes; the start is the same in both stories and taken in one of them."""
    story = Story(tmp_path / "trace", forge, reply_is_lost=reply_is_lost)
    trace = tmp_path / "trace.txt"
    passed_over = 0

    def ready() -> None:
        nonlocal passed_over
        passed_over = len(trace.read_text().splitlines()) if reply_is_lost else 0

    story.on_ready = ready
    try:
        story.play({"KILLPOINTS_TRACE": str(trace)})
        agree_after(story)
    finally:
        story.close()
    calls = [line.split() for line in trace.read_text().splitlines()[passed_over:]]
    first_rename = min((int(number) for kind, number in calls if kind == "rename"), default=0)
    last_rename = first_rename + RENAMES_MAX
    return [(kind, int(number)) for kind, number in calls if kind != "rename" or int(number) < last_rename]


def agree_after(story: Story) -> str:
    """Recover and compare. The oracle starts from the host's books and from the application's own knowledge."""
    end = story.recover()
    agree(story.host, story.bench)
    charged = sum(row.charges - row.effects for row in story.host.ledger.rows())
    assert charged == (1 if story.delivered else 0), f"delivered: {story.delivered}, charged: {charged}, {end}"
    return end


@pytest.mark.timeout(600)
@pytest.mark.parametrize("reply_is_lost", [False, True], ids=["good-sale", "lost-reply"])
def test_killed_at_every_step_no_charge_without_delivery(
    tmp_path: Path, forge: Forge, counted: Counted, reply_is_lost: bool
) -> None:
    killed, ends = 0, set()
    for kind, number in steps(tmp_path, forge, reply_is_lost=reply_is_lost):
        for when in VARIANTS[kind]:
            story = Story(tmp_path / f"{kind}-{number}-{when}", forge, reply_is_lost=reply_is_lost)
            try:
                died = story.play({"KILLPOINT": f"{kind} {number} {when}"})
                killed += died
                ends.add(agree_after(story))
            except AssertionError as error:
                raise AssertionError(f"killed {when} {kind} {number}: {error}") from error
            finally:
                story.close()
    counted("crash: the daemon killed at every system call", kills=killed, violations=0)
    assert killed > 15
    assert "reversed" in ends
