"""The wall clock may say anything, at a boot, during every wait, over a suspend: the real daemon does not follow it.

`clock.c` bends the wall clock of the daemon alone; waits use the monotonic one. A suspended machine is a stopped
process whose monotonic clock stands still while the wall clock goes on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc libc6-dev"),
]

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
STEPS = {"a-day-back": -DAY_S, "an-hour-on": HOUR_S, "ten-years-on": 10 * YEAR_S, "to-1970": -int(time.time())}


class Shop(AgentBench):
    """A daemon whose wall clock the test sets: `clock(offset_s)` of it and the true time."""

    def __init__(self, directory: Path, host: HostServer, shim: Path) -> None:
        super().__init__(directory, [host.address])
        self.host = host
        self._offset = directory / "offset"
        self.clock(0)
        self.agent.environment = {"LD_PRELOAD": str(shim), "CLOCK_OFFSET_FILE": str(self._offset)}

    def clock(self, offset_s: int) -> None:
        """From now on the wall clock is so far from the true time; all at once, as a step is."""
        new = self._offset.with_name("offset.new")
        new.write_text(str(offset_s))
        new.replace(self._offset)

    def boot(self, offset_s: int) -> None:
        """The daemon starts on a machine whose clock is so far off."""
        self.clock(offset_s)
        self.agent.start()

    def owe(self, reference: str, silent_tries: int | None) -> None:
        """A sale whose answer is lost, and so many tries of its reversal."""
        self.host.faults.add("0200", "drop-reply")
        self.host.faults.add("reversal", "drop-reply", count=silent_tries)
        self.sale(reference, 2000)

    def until_reversed(self, reference: str) -> None:
        """Its reversal is acknowledged, and the books agree."""
        self.until(lambda: self.state_of(reference) == "reversed", f"the reversal of {reference} is acknowledged")
        agree(self.host, self)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that bends the wall clock."""
    target = tmp_path_factory.mktemp("shim") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl"], check=True)
    return target


@pytest.fixture
def shop(tmp_path: Path, shim: Path) -> Iterator[Shop]:
    """A host that authenticates every reply, and a daemon that is not started yet."""
    with HostServer(settings=HostSettings(mac_on_all_replies=True)) as host, Shop(tmp_path, host, shim) as shop:
        yield shop


@pytest.mark.parametrize(
    ("at_start", "later"),
    [
        (-int(time.time()), 0),
        (0, -DAY_S),
        (0, 10 * YEAR_S),
        (10 * YEAR_S, -20 * YEAR_S),
        (-int(time.time()) + 5, HOUR_S),
    ],
    ids=["1970-then-right", "a-day-back", "ten-years-on", "from-2036-to-2016", "1970-then-right-and-on"],
)
def test_a_boot_at_any_time_and_a_step_while_a_reversal_waits(shop: Shop, at_start: int, later: int) -> None:
    shop.boot(at_start)
    assert shop.sale("GOOD", 1000)["outcome"] == "approved"
    shop.agent.call("transaction.complete", {"reference": "GOOD"})
    shop.owe("LOST", silent_tries=2)
    shop.clock(later)
    shop.until_reversed("LOST")
    shop.agent.kill()
    shop.agent.start()
    assert shop.state_of("LOST") == "reversed"
    agree(shop.host, shop)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_a_step_while_the_answer_is_awaited_changes_nothing(shop: Shop, step: int) -> None:
    shop.boot(0)
    shop.host.faults.add("0200", "delay", value="0.2")
    shop.begin_sale("R1")
    shop.host.wait_for(lambda ledger: len(ledger.rows()) == 1)
    shop.clock(step)
    shop.until(lambda: shop.state_of("R1") == "approved", "the approval is taken")
    shop.agent.call("transaction.complete", {"reference": "R1"})
    assert shop.state_of("R1") == "completed"
    agree(shop.host, shop)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_a_step_while_the_confirmation_is_awaited_reverses_nothing(shop: Shop, step: int) -> None:
    """A minute's patience is not over because the clock says that it is."""
    shop.boot(0)
    assert shop.sale("R1")["outcome"] == "approved"
    shop.clock(step)
    shop.owe("LOST", silent_tries=1)
    shop.until(lambda: shop.state_of("LOST") == "reversed", "the loop has gone round")
    assert shop.state_of("R1") == "approved"
    shop.agent.call("transaction.complete", {"reference": "R1"})
    agree(shop.host, shop)


def test_a_machine_without_a_clock_of_its_own_begins_each_boot_in_1970(shop: Shop) -> None:
    """Later records bear earlier times; order and debts do not depend on them."""
    shop.boot(-int(time.time()) + HOUR_S)
    shop.owe("LOST", silent_tries=None)
    for _ in range(3):
        shop.agent.kill()
        shop.boot(-int(time.time()))
        assert shop.state_of("LOST") == "reversing"
    shop.host.faults.clear()
    shop.until_reversed("LOST")
    assert shop.sale("NEXT")["stan"] != shop.agent.call("transaction.status", {"reference": "LOST"})["stan"]


def test_a_boot_a_day_before_the_last_record_takes_up_what_is_owed(shop: Shop) -> None:
    shop.boot(0)
    shop.owe("LOST", silent_tries=None)
    shop.agent.kill()
    shop.host.faults.clear()
    shop.boot(-DAY_S)
    shop.until_reversed("LOST")


@pytest.mark.parametrize("asleep_s", [8 * HOUR_S, 400 * DAY_S], ids=["a-night", "more-than-a-year"])
def test_what_was_owed_before_a_suspend_is_acknowledged_after_it(shop: Shop, asleep_s: int) -> None:
    shop.boot(0)
    shop.owe("LOST", silent_tries=None)
    os.kill(shop.agent.pid, signal.SIGSTOP)
    stat = Path(f"/proc/{shop.agent.pid}/stat")
    shop.until(lambda: ") T " in stat.read_text(), "the process stands still")
    shop.host.drop_connections(reset=True)
    shop.clock(asleep_s)
    shop.host.faults.clear()
    os.kill(shop.agent.pid, signal.SIGCONT)
    shop.until_reversed("LOST")
    assert shop.sale("MORNING")["outcome"] == "approved"
    shop.agent.call("transaction.complete", {"reference": "MORNING"})
    agree(shop.host, shop)
