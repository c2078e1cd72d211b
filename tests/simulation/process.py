"""The agent's process: the shipped loop on a simulated store, wire and clock, with the daemon's few duties around it.

It dies where the world says so, also between a record and its effects, and is started again by the service manager.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agent import outcomes
from agent.events import Alarm, Now, Slip
from agent.journal_contract import Entry, JournalUnreadable, Store
from agent.lane import Gate, Lane, Listener
from agent.loop import Clock, Loop
from agent.outcomes import Exchange
from agent.policy import Policy
from agent.records import OWED, Transaction
from tests.simulation.bank import Bank
from tests.simulation.disk import DiskJournal, SimulatedDisk
from tests.simulation.plan import REPORT_SLACK_S, LanePlan
from tests.simulation.watch import Watch
from tests.simulation.wire import PROBE_EVERY_S, SimLink
from tests.simulation.world import EPSILON_S, Died, World

RESTART_S = 2.0
POWER_BACK_S = 20.0
TECHNICIAN_S = 60.0
# So many pending items a start takes up whole, in turns; of more it reads the others later (agent/backlog.py).
AT_ONCE = (500, 0, 1)
SURVEY_S = 0.15
# Outcomes of this span are decided together. The daemon's is a turn of its event loop; longer, so that it happens.
GATHER_S = 0.25
MERCHANT_ID = "102110000000001"
BATCH = "000017"


class SimClock(Clock):
    """The world's time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> Now:
        """See `World.now`."""
        return self._world.now()


class Storage(Protocol):
    """What holds the journal's files while processes come and go."""

    disk: SimulatedDisk

    def open(self, journal_step: Callable[[str], None]) -> Store:
        """Raises JournalUnreadable."""

    def process_ends(self, *, power: bool) -> None:
        """The process died, perhaps with the whole machine."""


class ModelStorage:
    """The journal's contract on the simulated disk."""

    def __init__(self, world: World) -> None:
        self.disk = SimulatedDisk()
        self._world = world

    def open(self, journal_step: Callable[[str], None]) -> Store:
        """See `Storage`."""
        swarm = self._world.swarm
        return DiskJournal(self.disk, journal_step, lambda: swarm.strikes("sync-fails"))

    def process_ends(self, *, power: bool) -> None:
        """See `Storage`."""
        if power:
            self.disk.power_ends(self._world.swarm.source("torn"))
        else:
            self.disk.process_ends()


class Watched:
    """A store that tells the watch of every durable commit; everything else is the store's own."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        """One commit, then the watch."""
        seq = self._store.append(entries, counters or {})
        self._watch.stored(entries, seq)
        return seq

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


class Agent(Listener):
    """See the module. `told` hears of every new record, `woken` of every start."""

    def __init__(
        self,
        world: World,
        storage: Storage,
        lanes: Sequence[LanePlan],
        banks: Mapping[str, Sequence[Bank]],
        watch: Watch,
    ) -> None:
        self._world = world
        self.storage = storage
        self._plans = {lane.name: lane for lane in lanes}
        self._banks = banks
        self._watch = watch
        self._links: dict[str, SimLink] = {}
        self._armed: float | None = None
        self._ended: list[tuple[int, outcomes.Outcome]] = []
        self._arming = 0
        self.up = False
        self.loop: Loop
        self.told: list[Callable[[Transaction], None]] = []
        self.lane_freed: list[Callable[[str], None]] = []
        self.woken: list[Callable[[], None]] = []
        self._first_start = True
        self._started_at = 0.0
        self._probes = False
        self._works = False

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the journal back, take up what is pending."""
        world = self._world
        world.life += 1
        self._armed = None
        self._ended = []
        try:
            store = self.storage.open(world.crash_point)
        except JournalUnreadable as error:
            world.tell(f"the agent does not start: {error.code}; a technician is called")
            world.after(TECHNICIAN_S, self._technician)
            return
        self._read_back(store)
        lanes = [_lane(plan) for plan in self._plans.values()]
        self._links = {name: SimLink(world, plan, self._banks[name], self) for name, plan in self._plans.items()}
        at_once = AT_ONCE[world.life % len(AT_ONCE)]
        self.loop = Loop(Watched(store, self._watch), lanes, self, SimClock(world), self, at_once)  # type: ignore[arg-type]
        world.tell("the agent starts")
        self._started_at, self._probes = world.time, False
        self.loop.start()
        self._works = True
        self.timers()
        self._survey()

    def _survey(self) -> None:
        """Read what the start left in the journal, in between; nobody is served before all of it is known."""
        if self.loop.survey(1):
            self._world.after(SURVEY_S, self._survey, alive=True)
            return
        self._watch.restarted(self.loop, self._started_at)
        self.up = True
        self.timers()
        for hear in self.woken:
            hear()

    def _read_back(self, store: Store) -> None:
        if self._first_start:
            self._first_start = False
            store.append([], {f"stan:{plan.name}": plan.first_stan for plan in self._plans.values()})
        newest = {row.txn_id: store.get(row.txn_id) for row in store.recent(10_000)}
        entries = {txn_id: stored.entry for txn_id, stored in newest.items() if stored}
        self._watch.compare(entries)
        for entry in entries.values():
            self._watch.adopt(entry)

    def _technician(self) -> None:
        self.storage.disk.restore()
        self.start()

    def died(self, death: Died) -> None:
        """The process is gone; what was on its way goes on."""
        self._world.tell(f"{'power fails' if death.power else 'the process dies'}: {death.where}")
        self._end(power=death.power)

    def failed(self, text: str) -> None:
        """A write failed: the process ends and reads back."""
        self._world.tell(f"the agent ends itself: {text}")
        self._end(power=False)

    def stop(self) -> None:
        """An orderly restart."""
        if not self.up:
            return
        self._world.tell("the agent is restarted")
        for link in self._links.values():
            link.close()
        self._hand_over()
        self._end(power=False)

    def _end(self, *, power: bool) -> None:
        self.up = self._works = False
        self._world.life += 1
        for link in self._links.values():
            link.process_died()
        self.storage.process_ends(power=power)
        if power:
            self._world.power_on()
        self._world.after(POWER_BACK_S if power else RESTART_S, self.start)

    # --- the wire that the loop sends on, and its ears -----------------------------------------

    def exchange(self, exchange: Exchange) -> None:
        """The loop's wire. The process may die before and after."""
        self._world.crash_point("between the record and the sending")
        self._links[exchange.lane].exchange(exchange)
        self._world.crash_point("when the sending was ordered")

    def started(self, exchange: Exchange) -> None:
        """An exchange begins."""
        lane = self.loop.lanes[exchange.lane]
        self._watch.started(lane, exchange, self._purpose(exchange))

    def leaving(self, exchange: Exchange, host: str, body: bytes) -> None:
        """Its first byte leaves."""
        self._watch.leaving(self._purpose(exchange), exchange.lane, exchange.txn_id, host, body)
        self._world.crash_point("with the first byte")

    def _purpose(self, exchange: Exchange) -> str:
        return self.loop.lanes[exchange.lane].purpose

    def outcome(self, exchange_id: int, outcome: outcomes.Outcome) -> None:
        """An exchange ended."""
        self._world.tell(f"exchange {exchange_id} ends: {_told(outcome)}")
        self._world.crash_point("with the outcome at hand")
        if not self._ended:
            self._world.after(GATHER_S, self._hand_over, alive=True)
        self._ended.append((exchange_id, outcome))

    def _hand_over(self) -> None:
        """As the daemon's outcome desk: what ended at the same time is decided together, in one commit."""
        ended, self._ended = self._ended, []
        if ended:
            self.loop.all_ended(ended)

    def stray(self, lane: str, stray: outcomes.Stray) -> None:
        """A frame that nobody awaited."""
        self._world.tell(f"{lane}: a frame that nobody awaited, MAC {stray.mac}")
        self.loop.stray(lane, stray)

    def link_up(self, lane: str) -> None:
        """A host is back."""
        self.loop.resume(lane, "link-up")

    def host_chosen(self, exchange_id: int, host: str) -> None:
        """The first byte is about to leave to this host."""
        self.loop.host_chosen(exchange_id, host)
        self._world.crash_point("before the first byte")

    def pad_ready(self) -> None:
        """The PIN pad is back."""
        for plan in self._plans.values():
            if plan.has_pin_pad and self.up:
                self.loop.resume(plan.name, "device-ready")

    # --- listener of the loop ------------------------------------------------------------------

    def changed(self, txn: Transaction) -> None:
        """A record is stored and its effects are performed."""
        self._world.crash_point("before anybody is told")
        for hear in self.told:
            hear(txn)

    def effect(self, txn: Transaction, effect: Alarm | Slip) -> None:
        """An alarm or a slip: the process may die between two effects."""
        self._world.crash_point("between two effects")

    def lane_free(self, lane: str) -> None:
        """A waiting sale may take its turn."""
        for hear in self.lane_freed:
            hear(lane)

    def timers(self) -> None:
        """Arm the one timer anew."""
        if not self._works:
            return
        due = self.loop.next_wake()
        if due == self._armed and due is not None:
            return
        self._armed = due
        self._arming += 1
        if due is not None:
            mine = self._arming
            delay_s = max(0.0, self._world.since_power_on(due) - self._world.time) + EPSILON_S
            self._world.after(delay_s, lambda: self._fire(mine), alive=True)

    def _fire(self, arming: int) -> None:
        if arming == self._arming:
            self._armed = None
            self.loop.wake()  # it is the loop's business to say when the next timer is due, as in the daemon

    def host_down(self) -> None:
        """From now on the daemon's steady probing can find something: the next time it is due."""
        if not self._probes:
            self._probes = True
            since_s = self._world.time - self._started_at
            next_s = PROBE_EVERY_S * (1 + (since_s + EPSILON_S) // PROBE_EVERY_S)
            self._world.after(next_s - since_s, self._probe, alive=True)

    def _probe(self) -> None:
        self._probes = False
        waiting = {txn.lane for txn in self.loop.pending() if txn.state in OWED and not txn.held}
        for name, link in self._links.items():
            if name in waiting:
                link.probe()
        if any(link.looks_out for link in self._links.values()):
            self.host_down()


def _lane(plan: LanePlan) -> Lane:
    profile = plan.profile
    policy = Policy(
        profile=profile,
        retry=profile.retry,
        terminal_id=plan.terminal_id,
        confirm_timeout_s=plan.confirm_timeout_s,
        nobody_knows=plan.nobody_knows,
        reply_deadline_s=profile.retry.reply_timeout_s + REPORT_SLACK_S,
    )
    return Lane(
        name=plan.name,
        policy=policy,
        merchant_id=MERCHANT_ID,
        batch=BATCH,
        currency="156",
        gate=Gate(count=plan.gate_count),
        warn_only=plan.warn_only,
        several_hosts=len(plan.hosts) > 1,
    )


def _told(outcome: outcomes.Outcome) -> str:
    if isinstance(outcome, outcomes.Replied):
        return f"answered, MAC {outcome.mac}"
    if isinstance(outcome, outcomes.Lost):
        return f"lost, {outcome.text}"
    return f"not sent, {outcome.text}"
