"""One run: a day of faults, then calm; rules checked at every step and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.journal_contract import JournalFailed
from agent.lane import RefusedError
from protocol.errors import AgentError
from tests.simulation.bank import Bank
from tests.simulation.people import Office, Till
from tests.simulation.plan import LanePlan, Options
from tests.simulation.process import Agent, ModelStorage, Storage
from tests.simulation.watch import Counts, Watch
from tests.simulation.world import BrokenRule, Died, World

STEPS_MAX = 20_000
LAST_WORDS_S = 200.0
EVERYTHING = Options()


@dataclass
class Result:
    """What one run gave. `rule` is "" when every rule held."""

    seed: int
    rule: str = ""
    text: str = ""
    story: list[tuple[float, str]] = field(default_factory=list)
    digest: str = ""
    decisions: list[tuple[float, str, str, str, int]] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0


class Run:
    """Everything of one run, put together."""

    def __init__(self, seed: int, options: Options, storage: Callable[[World], Storage] = ModelStorage) -> None:
        self.world = World(seed, options)
        plan = self.world.plan
        self.banks = {lane.name: [Bank(self.world, lane, host) for host in lane.hosts] for lane in plan.lanes}
        self.watch = Watch(self.world, plan.lanes, self.banks)
        self.agent = Agent(self.world, storage(self.world), plan.lanes, self.banks, self.watch)
        self.tills = [
            Till(self.world, self.agent, lane.name, self.watch, self.banks[lane.name][0]) for lane in plan.lanes
        ]
        self.office = Office(self.world, self.agent, self.watch)

    def whole(self) -> None:
        """From the first start to rest. Raises BrokenRule."""
        self._plan()
        self._until(self.world.plan.faults_end_s)
        self._calm()
        self._until(self.world.plan.faults_end_s + self.patience_s())
        self.world.tell("everything has come to rest, or should have")
        book = {name: sale for till in self.tills for name, sale in till.book.items()}
        self.watch.finish(
            {name: sale.delivered for name, sale in book.items()},
            frozenset(name for name, sale in book.items() if sale.confirmed),
        )

    def patience_s(self) -> float:
        """The stated bound: in this time after the last fault everything pending is acknowledged, parked or closed.

        The slow schedule once with its jitter, the longest wait once, confirmation and overtake window once, and for
        every item of a lane two exchanges that take as long as they may.
        """
        return max(self._lane_patience_s(lane) for lane in self.world.plan.lanes)

    def _lane_patience_s(self, lane: LanePlan) -> float:
        retry, items = lane.retry, len(self.world.plan.sales) + 1
        longest_exchange_s = 2 * retry.connect_timeout_s + retry.send_timeout_s + retry.reply_timeout_s + 6.0
        waits_s = (retry.parked_every_s + retry.cap_s) * (1 + retry.jitter) + retry.overtake_window_s
        return LAST_WORDS_S + lane.confirm_timeout_s + waits_s + 2 * items * longest_exchange_s

    def _plan(self) -> None:
        world, plan, disk = self.world, self.world.plan, self.agent.storage.disk
        self._guarded(self.agent.start)
        for sale in plan.sales:
            till = self.tills[sale.lane]
            world.after(sale.at, lambda till=till, sale=sale: till.want(sale))  # type: ignore[misc]
        for act in plan.acts:
            world.after(act.at, lambda act=act: self.office.act(act))  # type: ignore[misc]
        for start, end in plan.disk_full:
            world.after(start, lambda: setattr(disk, "full", True))
            world.after(end, lambda: setattr(disk, "full", False))
        for start, end in plan.read_only:
            world.after(start, lambda: setattr(disk, "read_only", True))
            world.after(end, lambda: setattr(disk, "read_only", False))
        for _, end in plan.pad_down:
            world.after(end, lambda: self.agent.up and self.agent.pad_ready())

    def _calm(self) -> None:
        """The faults are over; people do what they owe."""
        world, disk = self.world, self.agent.storage.disk
        world.swarm.stop()
        world.may_crash = False
        world.tell("the faults are over")
        disk.full = disk.read_only = False
        if disk.flipped and self.agent.up:
            disk.restore()
        world.after(60.0, lambda: self._last_words(last=False))
        world.after(150.0, lambda: self._last_words(last=True))

    def _last_words(self, *, last: bool) -> None:
        if not self.agent.up:
            self.world.after(10.0, lambda: self._last_words(last=last))
            return
        self.watch.nobody_waits_for_ever()
        self.office.release_all()
        for till in self.tills:
            if last:
                till.comes_back()
            till.ask_unconfirmed()
            till.decide_parked()

    def _until(self, until: float) -> None:
        for _ in range(STEPS_MAX):
            act = self.world.step(until)
            if act is None or (not self.world.swarm.active and self._at_rest()):
                self.world.time = max(self.world.time, until) if act is None else self.world.time
                return
            self._guarded(act)
        raise BrokenRule("no-rest", f"{STEPS_MAX} steps and no end: something goes round in circles")

    def _at_rest(self) -> bool:
        """Nothing can change any more: only probes and last words are left."""
        if self.world.time < self.world.plan.faults_end_s + LAST_WORDS_S or not self.agent.up:
            return False
        return not any(item.entry.pending for item in self.watch.items.values())

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Died as death:
            self.agent.died(death)
        except JournalFailed as error:
            self.agent.failed(error.code)


def run(seed: int, options: Options = EVERYTHING, storage: Callable[[World], Storage] = ModelStorage) -> Result:
    """One seed. Never raises: an error of the agent's own is a broken rule, too."""
    one = Run(seed, options, storage)
    rule, text = "", ""
    try:
        one.whole()
    except BrokenRule as broken:
        rule, text = broken.rule, broken.text
    except RefusedError as error:
        rule, text = "refused-by-itself", f"{error.code}: {error.text}"
    except AgentError as error:
        rule, text = "error-of-our-own", f"{error.code}: {error.text}"
    except (AssertionError, LookupError, ValueError, TypeError, AttributeError) as error:
        rule, text = "error-of-our-own", f"{type(error).__name__}: {error}"
    if rule:
        one.world.tell(f"BROKEN RULE {rule}: {text}")
    world = one.world
    return Result(
        seed,
        rule,
        text,
        world.story,
        world.digest(),
        world.decisions,
        world.swarm.struck,
        world.crashes,
        one.watch.counts,
        world.time,
    )
