"""The daemon is killed again and again at chance moments of a busy day, and two of them start at once.

The moment is drawn: after so many frames at the host, or as soon as an answer is at hand. The application hands goods
over when it hears "approved", dies with the daemon as far as it knows, and answers for its sales after each start.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from agent import config as settings
from hwsim.agent_process import AgentProcess, DemoError
from hwsim.host import HostServer
from tests.agent_bench import AgentBench, agree
from tests.conftest import Counted
from tests.crash import fault_server as faults
from tests.crash.daemon_trace import HOST
from tests.crash.forge import Forge, forge, place, quick_bench
from tests.crash.recovery import Outside, Recovery

__all__ = ["forge", "place"]  # fixtures

HOST_FAULTS = ("close-before-reply", "close-before-processing", "reset", "bad-mac")
LOCKED = 73  # exit code of a daemon whose journal cannot be used


class Day:
    """Sales and kills, drawn from one seed."""

    def __init__(self, seed: int, place: Path, forge: Forge) -> None:
        self._draw = Random(seed)
        self._forge = forge
        self._number = 0
        self.host = HostServer(settings=HOST).start()
        self.bench = quick_bench(place, self.host)
        self.told: dict[str, str] = {}
        self.delivered: set[str] = set()

    def round(self) -> None:
        """A start, the application's answers, a sale or two, a kill."""
        self._forge.start(self.bench, faults.COUNT, 0)
        assert self._forge.until_answers(self.bench), self.bench.log()[-3000:]
        self._answer()
        if self._draw.random() < 0.5:
            self.host.faults.add(self._draw.choice(("0200", "reversal")), self._draw.choice(HOST_FAULTS))
        if self._draw.random() < 0.5:
            self._sale_heard()
        else:
            self._sale_not_heard(self._draw.randrange(3))
        self._forge.kill()
        self.bench.agent.stop()  # the calls that were open are closed

    def _answer(self) -> None:
        """For every sale that the agent asks about, from the application's own book."""
        for item in self.bench.agent.call("transaction.unconfirmed", {})["transactions"]:
            answer = "complete" if item["reference"] in self.delivered else "reverse"
            self.bench.agent.call(f"transaction.{answer}", {"reference": item["reference"]})

    def _reference(self) -> str:
        self._number += 1
        return f"S{self._number}"

    def _sale_heard(self) -> None:
        reference = self._reference()
        result = self.bench.sale(reference)
        self.told[reference] = result["state"]
        if result["outcome"] == "approved":
            self.delivered.add(reference)
            if self._draw.random() < 0.5:
                self.bench.agent.call("transaction.complete", {"reference": reference})

    def _sale_not_heard(self, frames: int) -> None:
        """Killed after so many frames, or when the agent has nothing more to say."""
        stats = self.host.machine.stats
        until, reference = stats["frames"] + frames, self._reference()
        self.bench.begin_sale(reference)
        ends = ("approved", "declined", "reversed")
        self.bench.until(
            lambda: stats["frames"] >= until or self.bench.state_of(reference) in ends, "the moment of the kill"
        )

    def wrong(self) -> str:
        """What is wrong after the last start; "" if nothing is."""
        self.host.faults.clear()
        outside = Outside(self.host.machine, goods=frozenset(self.delivered))
        outside.told.update(self.told)
        outside.left.update({row.key.stan: "0200" for row in self.host.ledger.rows()})
        recovery = Recovery(self.bench.directory / "state", settings.load(self.bench.configuration), outside)
        recovery.to_rest()
        found = "; ".join(recovery.wrongs())
        recovery.close()
        return found or ("" if recovery.verified() else "verify finds the journal damaged")


def kill_again_and_again(seed: int, kills: int, place: Path, forge: Forge, counted: Counted) -> None:
    """The books agree at the end."""
    day = Day(seed, place, forge)
    try:
        for _ in range(kills):
            day.round()
        assert not (problem := day.wrong()), f"seed {seed}: {problem}"
        assert day.delivered
        assert len(day.host.ledger.rows()) > len(day.delivered)
    finally:
        day.host.stop()
    counted("crash: SIGKILL loops", kills=kills, sales=len(day.host.ledger.rows()), violations=0)


def test_a_few_kills_at_chance_moments_charge_nobody(place: Path, forge: Forge, counted: Counted) -> None:
    kill_again_and_again(1, 8, place, forge, counted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_fifty_kills_at_chance_moments_charge_nobody(place: Path, forge: Forge, counted: Counted, seed: int) -> None:
    kill_again_and_again(seed, 50, place, forge, counted)


@pytest.mark.slow
def test_of_two_daemons_that_start_at_once_one_works_and_one_ends(place: Path) -> None:
    """On an empty directory, and on the journal that the winner left when it was killed."""
    with HostServer(settings=HOST) as host, AgentBench(place, [host.address]) as bench:
        second = AgentProcess(bench.configuration, bench.directory)
        second.log_file = place / "second.log"
        for number in range(3):
            both = (bench.agent, second)
            running = {agent.spawn(): agent for agent in both}
            bench.until(lambda: any(one.poll() is not None for one in running), "one of the two has ended")  # noqa: B023
            (loser,) = (one for one in running if one.poll() is not None)
            assert loser.returncode == LOCKED
            assert "E-JOURNAL-LOCKED" in running[loser].log_file.read_text()
            winner = next(agent for one, agent in running.items() if one is not loser)
            bench.until(lambda: _answers(winner), "the other one works")  # noqa: B023
            assert bench.sale(f"R{number}")["outcome"] == "approved"
            bench.agent.call("transaction.complete", {"reference": f"R{number}"})
            agree(host, bench)
            winner.kill()


def _answers(agent: AgentProcess) -> bool:
    try:
        agent.call("agent.status", {})
    except DemoError:
        return False
    return True
