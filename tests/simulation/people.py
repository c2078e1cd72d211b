"""The applications at the tills, and the operators: what they know, what they forget, when they die.

An application keeps its own book: it alone knows whether the goods were handed over. It hands over only after it was
told "approved", and answers for what it did when the agent or it itself comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.events import Answered, Complete, Event, Hold, Park, Release, Retry, Reverse, Settle
from agent.lane import Order, RefusedError
from agent.loop import unconfirmed
from agent.records import OWED, State, Transaction
from hwsim.host.actions import Send
from hwsim.host.framing import FrameReader
from protocol.envelope import EnvelopeReader, wrap
from protocol.errors import AgentError, ProtocolError
from protocol.matching import match_reply
from protocol.reversal import Learnt
from tests.simulation.bank import Bank, mac_key
from tests.simulation.plan import ActPlan, SalePlan
from tests.simulation.process import Agent
from tests.simulation.watch import Watch
from tests.simulation.wire import ONE_WAY_S, verdict, with_mac
from tests.simulation.world import World

ASK_AGAIN_S = 5.0
BEFORE_SALE_WAIT_S = 10.0  # as agent.api has it
CARD = {"pan": "6200000000000005", "expiry": "3012"}
EARLIER = {
    "rrn": "000000000042",
    "approval_code": "424242",
    "batch": "000016",
    "stan": "000042",
    "date": "0306",
    "time": "101010",
}


@dataclass
class Sale:
    """One sale in the application's own book."""

    plan: SalePlan
    txn_id: str = ""
    told: str = ""
    asked: bool = False
    delivered: bool = False
    confirmed: bool = False
    called_off: bool = False
    over: bool = False
    handled: bool = False


class Till:
    """The application of one lane: one sale after the other has the lane's turn."""

    def __init__(self, world: World, agent: Agent, lane: str, watch: Watch, bank: Bank) -> None:
        self._world = world
        self._agent = agent
        self._lane = lane
        self._watch = watch
        self._bank = bank
        self._queue: list[Sale] = []
        self._turn: Sale | None = None
        self._reserved = False
        self.book: dict[str, Sale] = {}
        self._deaf_until = 0.0
        agent.told.append(self._told)
        agent.lane_freed.append(self._lane_freed)
        agent.woken.append(self._agent_is_back)

    # --- a sale's turn -------------------------------------------------------------------------

    def want(self, plan: SalePlan) -> None:
        """A customer stands at the till."""
        sale = self.book.setdefault(plan.reference, Sale(plan))
        if sale.asked or sale.over:
            return
        if not self._agent.up:
            self._world.after(ASK_AGAIN_S, lambda: self.want(plan))
            return
        if plan.own_wire:
            self._begin(sale)
            return
        self._queue.append(sale)
        self._next()

    def _next(self) -> None:
        if self._turn is None and self._queue:
            self._turn = self._queue.pop(0)
            self._before_sale(self._turn)

    def _before_sale(self, sale: Sale) -> None:
        """What is owed goes first, one try each, for a while."""
        loop = self._agent.loop
        tries = {
            txn.id: txn.attempts
            for txn in loop.pending()
            if txn.lane == self._lane and txn.state is State.REVERSING and not txn.held
        }
        if "before-sale" not in loop.lane(self._lane).policy.retry.triggers or not tries:
            self._reserve(sale)
            return
        loop.resume(self._lane, "before-sale")
        self._wait_for_tries(sale, tries, self._world.time + BEFORE_SALE_WAIT_S)

    def _wait_for_tries(self, sale: Sale, tries: dict[str, int], until: float) -> None:
        if self._turn is not sale:
            return
        loop = self._agent.loop
        open_tries = [
            txn
            for txn_id, attempts in tries.items()
            if (txn := loop.get(txn_id)) and txn.state is State.REVERSING and (txn.attempts == attempts or txn.sending)
        ]
        if not open_tries or self._world.time >= until:
            self._reserve(sale)
        else:
            self._world.after(0.5, lambda: self._wait_for_tries(sale, tries, until), alive=True)

    def _reserve(self, sale: Sale) -> None:
        self._reserved = True
        self._agent.loop.reserve(self._lane, wanted=True)
        if self._agent.loop.lane(self._lane).busy is None:
            self._take_turn(sale)

    def _lane_freed(self, lane: str) -> None:
        if lane == self._lane and self._reserved and self._turn is not None:
            sale = self._turn
            self._world.after(0.0, lambda: self._take_turn(sale), alive=True)

    def _take_turn(self, sale: Sale) -> None:
        if self._turn is not sale or self._agent.loop.lane(self._lane).busy is not None:
            return
        self._begin(sale)
        self._reserved = False
        self._turn = None
        self._agent.loop.reserve(self._lane, wanted=False)
        self._next()

    def _begin(self, sale: Sale) -> None:
        loop = self._agent.loop
        sale.asked = True
        try:
            txn = loop.begin(self._lane, _order(sale.plan, self._bank))
        except (RefusedError, AgentError) as error:
            if not _is_refusal(error):
                raise
            self._world.tell(f"{sale.plan.reference} is refused: {error.code}")
            sale.over = not sale.txn_id
            return
        self._watch.may_begin(self._bank.lane, self._agent.storage.disk.full)
        sale.txn_id = txn.id
        if sale.plan.own_wire:
            self._talk_to_host(
                sale, loop.lane(self._lane).policy.profile.codec.pack(loop.lane(self._lane).requests[txn.id])
            )
        if self._world.swarm.strikes("application-asks-twice"):
            self._begin(sale)
        if sale.plan.cancel_s:
            self._world.after(sale.plan.cancel_s, lambda: self._cancel(sale))

    def _cancel(self, sale: Sale) -> None:
        """The customer changes his mind while the outcome is open."""
        if not sale.delivered and not sale.handled and self._agent.up and sale.txn_id:
            sale.handled = True
            self._world.tell(f"{sale.plan.reference}: the application calls it off")
            self._say(sale, Reverse("till", "customer"))

    # --- what the application is told ----------------------------------------------------------

    def _told(self, txn: Transaction) -> None:
        sale = self.book.get(txn.reference)
        if sale is None or txn.lane != self._lane:
            return
        sale.txn_id = txn.id
        sale.told = str(txn.state)
        if self._world.time < self._deaf_until:
            return
        if txn.state is State.APPROVED and not sale.handled:
            self._approved(sale)
        if txn.state is State.COMPLETED and txn.confirm == "on-approval" and not sale.delivered:
            sale.delivered = sale.handled = True

    def _approved(self, sale: Sale) -> None:
        sale.handled = True
        if self._world.swarm.strikes("application-dies"):
            self._dies(sale.plan.deaf_s)
            return
        if sale.plan.hands_over:
            self._world.after(sale.plan.hand_over_s, lambda: self._hand_over(sale))
        else:
            self._world.tell(f"{sale.plan.reference}: the goods cannot be handed over")
            self._world.after(sale.plan.hand_over_s, lambda: self._say(sale, Reverse("till", "other")))

    def _hand_over(self, sale: Sale) -> None:
        if self._world.time < self._deaf_until or sale.told != "approved" or sale.called_off:
            return
        sale.delivered = True
        self._world.tell(f"{sale.plan.reference}: the goods are handed over")
        if self._world.swarm.strikes("application-dies"):
            self._dies(sale.plan.deaf_s)
        else:
            self._world.after(sale.plan.confirm_s, lambda: self._say(sale, Complete("till")))

    def _dies(self, seconds: float) -> None:
        self._world.tell(f"the application of {self._lane} dies for {seconds:.0f} s")
        self._deaf_until = self._world.time + seconds
        self._world.after(seconds, self.ask_unconfirmed)

    def _say(self, sale: Sale, event: Event) -> None:
        """Tell the agent; where it is away, `ask_unconfirmed` says it later."""
        if not self._agent.up or self._world.time < self._deaf_until or not sale.txn_id:
            return
        sale.called_off = sale.called_off or isinstance(event, Reverse)  # said is said, whether it was heard or not
        try:
            after = self._agent.loop.handle(sale.txn_id, event)
            self._watch.heard(sale.txn_id, event)
            sale.told = str(after.state)
            self._agent.loop.wake()
        except RefusedError as error:
            self._world.tell(f"{sale.plan.reference}: the agent refuses {type(event).__name__}: {error.code}")
            return
        sale.confirmed = sale.confirmed or after.state is State.COMPLETED
        self._world.tell(f"{sale.plan.reference}: the agent grants {type(event).__name__}")

    def comes_back(self) -> None:
        """Somebody starts the application again."""
        self._deaf_until = min(self._deaf_until, self._world.time)

    def ask_unconfirmed(self) -> None:
        """Answer for everything that the agent waits for, from the own book."""
        if not self._agent.up or self._world.time < self._deaf_until:
            return
        for txn in unconfirmed(self._agent.loop.pending()):
            sale = self.book.get(txn.reference)
            if txn.lane != self._lane or sale is None:
                continue
            sale.txn_id, sale.handled = txn.id, True
            stands = sale.delivered
            self._say(sale, Complete("till") if stands else Reverse("till", "other"))

    def _agent_is_back(self) -> None:
        """The connection was broken: ask how everything stands, and sell on."""
        self._turn, self._reserved = None, False
        waiting, self._queue = self._queue, []
        for sale in self.book.values():
            if sale in waiting:
                continue
            found = self._agent.loop.find(self._lane, sale.plan.reference)
            if sale.asked and found is None and not sale.over:
                sale.asked = False
                self._world.after(1.0, lambda plan=sale.plan: self.want(plan))  # type: ignore[misc]
            elif found is not None:
                self._learns_late(sale, found)
        for sale in waiting:
            self._world.after(1.0, lambda plan=sale.plan: self.want(plan))  # type: ignore[misc]
        self._world.after(2.0, self.ask_unconfirmed)

    def _learns_late(self, sale: Sale, txn: Transaction) -> None:
        sale.txn_id, sale.told = txn.id, str(txn.state)
        if txn.state is State.COMPLETED and txn.confirm == "on-approval":
            sale.delivered = sale.handled = True

    def decide_parked(self) -> None:
        """A person asks the shop about what nobody confirmed in time, and says so."""
        for txn in self._agent.loop.pending() if self._agent.up else ():
            sale = self.book.get(txn.reference)
            if sale is not None and txn.lane == self._lane and txn.undecided:
                self._world.tell(f"{sale.plan.reference}: a person asks the shop")
                self._say(sale, Complete("keeper") if sale.delivered else Reverse("keeper", "other"))

    # --- an application that talks to the host itself ------------------------------------------

    def _talk_to_host(self, sale: Sale, body: bytes) -> None:
        """One message, one answer; nothing is tried again."""
        strikes, profile = self._world.swarm.strikes, self._bank.lane.profile
        data = with_mac(self._bank.lane, mac_key(self._bank.lane), body)
        self._watch.leaving("request", self._lane, sale.txn_id, self._bank.name, data)
        if strikes("request-lost"):
            return
        reader = FrameReader()
        self._world.after(ONE_WAY_S, lambda: self._own_answer(sale, reader.feed(wrap(profile, data))))

    def _own_answer(self, sale: Sale, payloads: list[bytes]) -> None:
        strikes = self._world.swarm.strikes
        for payload in payloads:
            answers = [action.data for action in self._bank.handle(payload) if isinstance(action, Send)]
            if answers and not strikes("reply-lost"):
                self._world.after(ONE_WAY_S, lambda data=answers[0]: self._report(sale, data))  # type: ignore[misc]

    def _report(self, sale: Sale, data: bytes) -> None:
        """Tell the agent what the host answered; the goods follow the agent's word."""
        if not self._agent.up or self._world.time < self._deaf_until:
            return
        txn = self._agent.loop.get(sale.txn_id)
        profile = self._bank.lane.profile
        try:
            body = EnvelopeReader(profile).feed(data)[0].body
            message = profile.codec.unpack(body)
        except (ProtocolError, IndexError):
            return
        assert txn is not None
        match = match_reply(txn.request_identity, message, profile)
        mac = verdict(self._bank.lane, mac_key(self._bank.lane), body, True)
        learnt = Learnt(message.get(38), message.get(37), message.get(13), message.get(12))
        event = Answered("request", True, message.get(39), mac, match, learnt, f"reported {message.mti}")
        self._say(sale, event)


class Office:
    """The operators, the clock's keeper and the service technician: acts at planned moments."""

    def __init__(self, world: World, agent: Agent, watch: Watch) -> None:
        self._world = world
        self._agent = agent
        self._watch = watch

    def act(self, plan: ActPlan) -> None:
        """One planned act."""
        if plan.what.startswith("wall-clock"):
            self._world.jump(plan.what, plan.amount)
        elif plan.what == "restart":
            self._agent.stop()
        elif plan.what == "bit-flip":
            if self._agent.storage.disk.flip(self._world.swarm.source("flipped")):
                self._world.tell("a bit on the disk flips")
                self._agent.stop()
        elif self._agent.up:
            self._operate(plan)

    def _operate(self, plan: ActPlan) -> None:
        owed = [txn for txn in self._agent.loop.pending() if txn.state in OWED]
        if not owed:
            self._world.after(30.0, lambda: self._try_once_more(plan))
            return
        txn = owed[plan.index % len(owed)]
        if plan.what == "operator-settles":
            self._watch.settled_by_hand.add(txn.id)
        self.say(txn.id, _ACTS[plan.what]())

    def _try_once_more(self, plan: ActPlan) -> None:
        owed = self._agent.up and [txn for txn in self._agent.loop.pending() if txn.state in OWED]
        if owed:
            self._operate(plan)

    def say(self, txn_id: str, event: Event) -> None:
        """One command."""
        self._world.tell(f"an operator: {type(event).__name__} {txn_id}")
        try:
            self._agent.loop.handle(txn_id, event)
            self._agent.loop.wake()
        except RefusedError as error:
            self._world.tell(f"refused: {error.code}")

    def release_all(self) -> None:
        """At the end of the day nothing stays held."""
        for txn in self._agent.loop.pending():
            if txn.held:
                self.say(txn.id, Release("keeper"))


_ACTS: dict[str, Callable[[], Event]] = {
    "operator-retries": lambda: Retry("keeper"),
    "operator-holds": lambda: Hold("keeper", "asks the bank"),
    "operator-parks": lambda: Park("keeper", "asks the bank"),
    "operator-settles": lambda: Settle("keeper", "the bank adjusted it", "case 42"),
}


def _order(plan: SalePlan, bank: Bank) -> Order:
    dialect = bank.lane.dialect
    facts = {**CARD, "pos_entry_mode": dialect.mode}
    earlier = {**EARLIER, "date": "260306"} if dialect.host == "iso93" else EARLIER
    original = earlier if plan.kind in ("void", "refund") else {}
    driver = "application" if plan.own_wire else "agent"
    return Order(plan.reference, plan.kind, plan.amount_minor, facts, original, driver, bank.lane.confirm)


def _is_refusal(error: AgentError) -> bool:
    return isinstance(error, RefusedError) or error.code == "E-JOURNAL-FULL"
