"""What must hold at every step and at the end. The oracle stands outside: the hosts' books, the bytes that left, and
what the applications know of delivery. From the agent's journal it takes only what was durably stored.

A broken rule ends the run with `BrokenRule`, whose name is stable: mutants and shrinking rely on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.events import Complete, Event, Reverse
from agent.journal_contract import Entry
from agent.lane import Lane
from agent.loop import Loop
from agent.outcomes import Exchange
from agent.records import OWED, State
from hwsim.host import Entry as BookEntry
from hwsim.host import HostMessage
from tests.simulation.bank import Bank
from tests.simulation.plan import LanePlan
from tests.simulation.world import EPSILON_S, BrokenRule, World

CARD_SECRETS = ("6200000000000005", "4111111111111111")

MAY_FOLLOW: Mapping[str, frozenset[str]] = {
    "": frozenset({"begun"}),
    "begun": frozenset({"begun", "approved", "completed", "declined", "reversing", "parked"}),
    "approved": frozenset({"approved", "completed", "reversing", "parked"}),
    "completed": frozenset({"completed"}),
    "declined": frozenset({"declined", "reversing"}),
    "reversing": frozenset({"reversing", "reversed", "parked", "settled", "declined"}),
    "reversed": frozenset({"reversed", "reversing"}),
    "parked": frozenset({"parked", "reversed", "settled", "declined", "completed", "reversing"}),
    "settled": frozenset({"settled"}),
}
FIXED = (
    "id",
    "lane",
    "reference",
    "kind",
    "amount_minor",
    "currency",
    "stan",
    "batch",
    "terminal_id",
    "merchant_id",
    "profile",
    "driver",
    "request_identity",
)
QUEUE_S = 120.0  # A timer may stand behind that of a reversal which waits for its lane.
_CHANGES_EACH_TRY = (7, 64, 128)


@dataclass
class Item:
    """What the outside knows of one transaction."""

    txn_id: str
    entry: Entry
    public: dict[str, Any]
    secret: bytes = b""
    request: HostMessage | None = None
    request_host: str = ""
    request_left: bool = False
    reversal: HostMessage | None = None
    tries: int = 0
    reversals_left: int = 0
    state_since: float = 0.0
    wake_counts_from: float = 0.0
    fault_free_tries: int = 0


@dataclass
class Counts:
    """Figures of a run."""

    exchanges: int = 0
    reversals: int = 0
    commits: int = 0
    batches: int = 0
    starts: int = 0
    states: dict[str, int] = field(default_factory=dict)


class Watch:
    """See the module."""

    def __init__(self, world: World, lanes: Sequence[LanePlan], banks: Mapping[str, Sequence[Bank]]) -> None:
        self._world = world
        self._lanes = {lane.name: lane for lane in lanes}
        self._banks = banks
        self.items: dict[str, Item] = {}
        self.counts = Counts()
        self.settled_by_hand: set[str] = set()
        self._stans: dict[tuple[str, str], str] = {}
        self._references: dict[tuple[str, str], str] = {}
        self._last_seq = 0

    # --- the store -----------------------------------------------------------------------------

    def stored(self, entries: Sequence[Entry], seq: int) -> None:
        """A commit is durable."""
        self.counts.commits += 1
        self.counts.batches += len(entries) > 1
        _hold(seq > self._last_seq, "sequence", f"sequence number {seq} after {self._last_seq}")
        self._last_seq = seq
        for entry in entries:
            self._step(entry)

    def _step(self, entry: Entry) -> None:
        public = json.loads(entry.public)
        item = self.items.get(entry.txn_id)
        before = item.entry.state if item else ""
        self._world.tell(_line(before, entry, public))
        self._world.decisions.append(
            (round(self._world.time, 6), entry.txn_id, entry.event, entry.state, int(public["attempts"]))
        )
        _hold(
            entry.state in MAY_FOLLOW[before],
            "impossible-step",
            f"{entry.txn_id} went from {before or 'nothing'} to {entry.state}",
        )
        _hold(entry.pending == (State(entry.state) in _PENDING), "pending-mark", f"{entry.txn_id} is marked wrongly")
        _hold(
            not any(secret in entry.public for secret in CARD_SECRETS),
            "card-data-in-clear",
            f"the public part of {entry.txn_id} shows a card number",
        )
        if item is None:
            self._first(entry, public)
        else:
            self._next(item, entry, public)

    def _first(self, entry: Entry, public: dict[str, Any]) -> None:
        key = (entry.lane, public["stan"])
        _hold(key not in self._stans, "stan-used-twice", f"{entry.txn_id} bears the STAN of {self._stans.get(key)}")
        name = (entry.lane, entry.reference)
        _hold(name not in self._references, "reference-used-twice", f"{name} begins a second time")
        self._stans[key] = self._references[name] = entry.txn_id
        now = self._world.time
        self.items[entry.txn_id] = Item(
            entry.txn_id, entry, public, entry.secret, state_since=now, wake_counts_from=now
        )

    def _next(self, item: Item, entry: Entry, public: dict[str, Any]) -> None:
        changed = [name for name in FIXED if item.public[name] != public[name]]
        _hold(not changed, "identity-changed", f"{item.txn_id} is not what it was: {', '.join(changed)}")
        if entry.secret and item.reversals_left:
            _hold(entry.secret == item.secret, "reversal-changed", f"the stored reversal of {item.txn_id} changed")
        _hold(public["attempts"] >= item.public["attempts"], "attempts-forgotten", f"{item.txn_id} counts backwards")
        if entry.state != item.entry.state:
            self._new_state(item, entry, public)
            item.state_since = item.wake_counts_from = self._world.time
        item.secret = entry.secret or item.secret
        item.entry, item.public = entry, public

    def _new_state(self, item: Item, entry: Entry, public: dict[str, Any]) -> None:
        before, after = item.entry.state, entry.state
        if public["cause"] == "not-confirmed" and before == "approved":
            waited_s = self._world.time - item.wake_counts_from
            patience_s = self._lanes[entry.lane].confirm_timeout_s
            _hold(waited_s >= patience_s - EPSILON_S, "too-early", f"{item.txn_id} waited {waited_s:.1f} s only")
        if after == "declined":
            self._declined(item, public)
        if after == "completed":
            self._completed(item, entry, public)
        if after == "reversed":
            self._reversed(item, entry)
        if after == "settled":
            done = item.txn_id in self.settled_by_hand and entry.event == "Settle" and public["closing"]
            _hold(bool(done), "settled-by-nobody", f"{item.txn_id} was closed by {entry.event}")
        if before == "parked" and after in ("completed", "reversing"):
            said = item.public["undecided"] and entry.event in ("Complete", "Reverse")
            _hold(bool(said), "decided-by-nobody", f"{entry.event} took {item.txn_id} out of parked")
        if before == "reversed":
            lane = self._lanes[entry.lane]
            unseen = lane.profile.responses.reversal(item.public["acknowledged_with"]) == "overtaken"
            _hold(entry.event == "Answered" and unseen, "reopened", f"{item.txn_id} was reversed and is open again")

    def _declined(self, item: Item, public: dict[str, Any]) -> None:
        if public["cause"].startswith("not-sent") or item.entry.state in ("reversing", "parked"):
            _hold(not item.request_left, "left-called-unsent", f"a byte of {item.txn_id} had left")
        book = self.book(item)
        charged = book is not None and standing(book) != 0 and item.public["on_unknown"] != "none"
        _hold(not charged, "declined-but-charged", f"{item.txn_id} stands in the books")

    def _completed(self, item: Item, entry: Entry, public: dict[str, Any]) -> None:
        lane = self._lanes[entry.lane]
        if public["on_unknown"] == "none":
            return
        _hold(
            entry.event == "Complete" or public["confirm"] == "on-approval" or lane.nobody_knows == "complete",
            "completed-by-nobody",
            f"{entry.event} completed {item.txn_id}",
        )
        book = self.book(item)
        _hold(
            book is not None and standing(book) == 1, "completed-without-charge", f"{item.txn_id} is not in the books"
        )

    def _reversed(self, item: Item, entry: Entry) -> None:
        _hold(entry.event == "Answered", "reversed-without-answer", f"{entry.event} ended {item.txn_id}")
        _hold(item.reversals_left > 0, "reversed-without-try", f"no reversal of {item.txn_id} ever left")
        book = self.book(item)
        _hold(book is None or standing(book) == 0, "reversed-but-charged", f"{item.txn_id} still stands in the books")

    # --- the wire ------------------------------------------------------------------------------

    def started(self, lane: Lane, exchange: Exchange, purpose: str) -> None:
        """The loop starts an exchange: the record must say so by now."""
        self.counts.exchanges += 1
        item = self.items.get(exchange.txn_id)
        _hold(item is not None, "sent-before-stored", f"{exchange.txn_id} is sent and not stored")
        assert item is not None
        if purpose == "request":
            _hold(item.entry.state == "begun", "request-sent-late", f"{item.txn_id} is {item.entry.state}")
            return
        self.counts.reversals += 1
        item.tries += 1
        item.fault_free_tries += 0 if self._world.swarm.active else 1
        _hold(State(item.entry.state) in OWED, "reversal-not-owed", f"{item.txn_id} is {item.entry.state}")
        _hold(not item.public["held"], "held-but-sent", f"{item.txn_id} is held by a person")
        _hold(
            item.public["attempts"] >= item.tries and item.public["sending"],
            "try-not-counted",
            f"try {item.tries} of {item.txn_id} leaves, {item.public['attempts']} are recorded",
        )

    def leaving(self, purpose: str, lane_name: str, txn_id: str, host: str, body: bytes) -> None:
        """The first byte of a message leaves to a host."""
        item = self.items.get(txn_id)
        _hold(item is not None, "sent-before-stored", f"{txn_id} leaves and is not stored")
        assert item is not None
        lane = self._lanes[lane_name]
        message = self._banks[lane_name][0].machine.dialect.codec.unpack(body)
        self._world.tell(f"{lane_name}: {message.mti} of {txn_id}, STAN {message.get(11)}, leaves to {host}")
        if purpose == "request":
            _hold(item.request is None, "request-sent-twice", f"the request of {txn_id} leaves again")
            item.request, item.request_host, item.request_left = message, host, True
        else:
            self._reversal_leaves(item, lane, host, message)

    def _reversal_leaves(self, item: Item, lane: LanePlan, host: str, message: HostMessage) -> None:
        if item.request is not None:
            _hold(host == item.request_host, "another-host", f"{item.txn_id} is reversed at {host}")
            for number in (3, 4, 41, 42, 49):
                same = message.get(number) == item.request.get(number)
                _hold(same, "reversal-of-another", f"element {number} of {item.txn_id} is not the request's")
            self._same_key(item, lane, message)
        if item.reversal is not None:
            rules = lane.profile.reversal
            anew = {rules.local_time_field, rules.local_date_field}
            if rules.reason_after_refusal and message.get(rules.reason_field) == rules.reason_after_refusal:
                anew.add(rules.reason_field)  # the host has answered a try, and the profile says so
            changed = [number for number in _differences(item.reversal, message) if number not in anew]
            _hold(not changed, "reversal-changed", f"elements {changed} of {item.txn_id} differ from the first try")
        if lane.profile.reversal.repeats:
            repeat = message.mti[3] in "135"
            _hold(
                repeat or not item.reversals_left, "repeat-not-marked", f"{message.mti} of {item.txn_id} leaves again"
            )
            first = item.public["attempts"] == 1
            _hold(not (repeat and first), "first-marked-as-repeat", f"{message.mti} of {item.txn_id} is the first")
        item.reversal = item.reversal or message
        item.reversals_left += 1

    def _same_key(self, item: Item, lane: LanePlan, message: HostMessage) -> None:
        assert item.request is not None
        dialect = self._banks[lane.name][0].machine.dialect
        same = dialect.key(message) == dialect.key(item.request)
        _hold(same, "reversal-of-another", f"the reversal of {item.txn_id} names another original")

    # --- a new sale, a restart -----------------------------------------------------------------

    def may_begin(self, lane: LanePlan, disk_full: bool) -> None:
        """A sale was granted: could it be?"""
        _hold(not disk_full, "sale-on-full-disk", "a sale began although the disk has no room for it")
        owed = [i for i in self.items.values() if i.entry.lane == lane.name and State(i.entry.state) in OWED]
        if lane.gate_count is not None and not lane.warn_only:
            _hold(len(owed) <= lane.gate_count, "gate-ignored", f"{len(owed)} reversals are owed on {lane.name}")

    def restarted(self, loop: Loop, started_at: float) -> None:
        """The agent has read its journal back: nothing is forgotten, nothing invented."""
        self.counts.starts += 1
        known = {txn.id: txn for txn in loop.pending()}
        for item in self.items.values():
            if item.entry.pending:
                _hold(item.txn_id in known, "forgotten-on-restart", f"{item.txn_id} was {item.entry.state}")
            if item.entry.state == "approved":
                item.wake_counts_from = started_at
        for txn_id in known:
            _hold(txn_id in self.items, "invented-on-restart", f"{txn_id} was never stored")

    def compare(self, stored: Mapping[str, Entry]) -> None:
        """What the journal gives back after a start is what was acknowledged, or the one step that was in doubt."""
        for item in self.items.values():
            found = stored.get(item.txn_id)
            _hold(found is not None, "vanished", f"{item.txn_id} is not in the journal any more")

    def adopt(self, entry: Entry) -> None:
        """A step whose commit was in doubt turns out to be stored."""
        item = self.items.get(entry.txn_id)
        if item is None or item.entry.public != entry.public:
            self._world.tell(f"{entry.txn_id}: the step in doubt had been stored")
            self._step(entry)

    def heard(self, txn_id: str, event: Event) -> None:
        """The agent granted what the application said: it is recorded."""
        state = self.items[txn_id].entry.state
        if isinstance(event, Complete):
            _hold(state == "completed", "word-not-recorded", f"{txn_id} was confirmed and is {state}")
        if isinstance(event, Reverse):
            wrong = state in ("begun", "approved", "completed")
            _hold(not wrong, "word-not-recorded", f"{txn_id} was called off and is {state}")

    def nobody_waits_for_ever(self) -> None:
        """An approved sale that nobody confirms is decided by the configuration, in time."""
        for item in self.items.values():
            if item.entry.state == "approved":
                waited_s = self._world.time - item.wake_counts_from
                limit_s = self._lanes[item.entry.lane].confirm_timeout_s + QUEUE_S
                _hold(waited_s <= limit_s, "waits-for-ever", f"{item.txn_id} is approved for {waited_s:.0f} s")

    # --- the end -------------------------------------------------------------------------------

    def finish(self, delivered: Mapping[str, bool], confirmed: frozenset[str]) -> None:
        """Everything has come to rest."""
        for item in self.items.values():
            self.counts.states[item.entry.state] = self.counts.states.get(item.entry.state, 0) + 1
            self._at_rest(item)
            self._money(item, delivered.get(item.entry.reference, False), item.entry.reference in confirmed)
        self._books()

    def _at_rest(self, item: Item) -> None:
        waits = item.entry.state == "parked" and item.public["frozen"] is None
        if item.entry.state == "parked" and item.fault_free_tries:
            return  # the slow schedule runs; a host that refuses for good is a person's business
        _hold(
            not item.entry.pending or waits,
            "not-at-rest",
            f"{item.txn_id} is still {item.entry.state} ({item.public['cause'] or 'no cause'})",
        )

    def _money(self, item: Item, delivered: bool, confirmed: bool) -> None:
        state, public = item.entry.state, item.public
        book = self.book(item)
        charged = standing(book) if book else 0
        if state in ("settled", "parked") or public["on_unknown"] == "none":
            return
        if state == "completed":
            _hold(charged == 1, "completed-without-charge", f"{item.txn_id}: {charged} charges stand")
        else:
            _hold(charged == 0, "charged-without-sale", f"{item.txn_id} is {state} and stands in the books")
        if confirmed:
            _hold(state == "completed", "confirmed-but-undone", f"{item.txn_id} was confirmed and is {state}")
        nobody = public["cause"] == "not-confirmed"
        if delivered and state != "completed":
            _hold(nobody, "delivered-but-undone", f"{item.txn_id}: goods handed over, the sale is {state}")
        if not delivered and state == "completed":
            _hold(nobody, "charged-without-goods", f"{item.txn_id} is completed, the goods were never handed over")

    def _books(self) -> None:
        for lane_name, banks in self._banks.items():
            for bank in banks:
                for book in bank.machine.ledger.rows():
                    _hold(book.charges <= 1 and book.effects <= 1, "two-effects", f"{book.key}: {book.charges} charges")
                    known = (lane_name, book.key.stan) in self._stans
                    _hold(known or not book.charges, "charged-without-record", f"{book.key} is in no journal")

    def book(self, item: Item) -> BookEntry | None:
        """What the books of the host that saw the request say of it."""
        stan = item.public["stan"]
        banks = self._banks[item.entry.lane]
        found = [book for bank in banks if (book := bank.entry(stan)) and (book.charges or book.requests)]
        return found[-1] if found else None


_PENDING = frozenset({State.BEGUN, State.APPROVED, State.REVERSING, State.PARKED})


def standing(book: BookEntry) -> int:
    """How many effects of this request stand on the customer's account."""
    return book.charges - book.effects


def _differences(first: HostMessage, now: HostMessage) -> list[int]:
    numbers = {*first.fields, *now.fields} - set(_CHANGES_EACH_TRY)
    changed = sorted(number for number in numbers if first.get(number) != now.get(number))
    return changed if first.mti[:3] == now.mti[:3] else [0, *changed]


def _hold(condition: bool, rule: str, text: str) -> None:
    if not condition:
        raise BrokenRule(rule, text)


def _line(before: str, entry: Entry, public: Mapping[str, Any]) -> str:
    what = f"{entry.txn_id} ({entry.reference}): {entry.event}: "
    what += entry.state if before == entry.state or not before else f"{before} becomes {entry.state}"
    notes = [public["cause"]] if public["cause"] else []
    if State(entry.state) in OWED:
        notes.append(f"try {public['attempts']}" + (" goes out" if public["sending"] else ""))
    if public["held"]:
        notes.append("held")
    if public["response_code"]:
        notes.append(f"code {public['response_code']}")
    return what + (f" ({', '.join(notes)})" if notes else "")
