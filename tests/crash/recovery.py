"""A start on what a crash left: the shipped journal and loop, brought to rest against the host's own books.

The host of before the crash is made again from the bytes that had left by then; its books are the oracle, together with
what the application had been told. The application hands goods over as soon as it hears "approved" (`DELIVERED`) and
answers, when the agent is back, for everything that it is asked.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent import config as settings
from agent import outcomes
from agent.events import Complete, Now, Reverse
from agent.journal import Journal
from agent.lane import Listener
from agent.lanes import ProfileShelf, lane_profile, make_lane
from agent.loop import Clock, Loop, unconfirmed
from agent.vault import Vault
from agent.verify import walk
from hwsim.host import HostMachine
from hwsim.host.actions import Send
from hwsim.host.framing import FrameReader
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE
from protocol.envelope import EnvelopeReader, wrap
from protocol.mac import compute, place, split
from protocol.rules import Profile
from tests.crash.daemon_trace import DELIVERED, HOST
from tests.crash.powercut import Call

UNIX_TIME = 1_772_865_000.0
STEPS_MAX = 500
_PROFILES = ProfileShelf()  # read once for all starts


@dataclass
class Outside:
    """What the world knew at the moment of the cut: the host's books, and what the application was told.

    `goods`: the sales whose goods are handed over once the application hears "approved".
    """

    machine: HostMachine = field(default_factory=lambda: HostMachine(HOST))
    goods: frozenset[str] = DELIVERED
    left: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    _reader: FrameReader = field(default_factory=FrameReader)

    def hear(self, call: Call) -> None:
        """One call of the daemon that the outside notices."""
        if call.name == "sent":
            for payload in self._reader.feed(call.data):
                message = self.machine.dialect.codec.unpack(payload[11:])
                self.left[message.get(11)] = message.mti
                self.machine.handle(payload, UNIX_TIME)
        elif call.name == "told":
            self._told(json.loads(call.data).get("result"))

    def _told(self, result: object) -> None:
        if isinstance(result, dict) and "reference" in result and "state" in result:
            self.told[result["reference"]] = result["state"]

    @property
    def delivered(self) -> set[str]:
        """The goods that are over the counter."""
        return {reference for reference in self.told if reference in self.goods and self._approved(reference)}

    def _approved(self, reference: str) -> bool:
        return self.told[reference] in ("approved", "completed")


class _Clock(Clock):
    """Jumps to whatever is waited for."""

    def __init__(self) -> None:
        self.mono = 1000.0

    def now(self) -> Now:
        return Now(self.mono, datetime(2026, 3, 7, 7, tzinfo=UTC))


class _Wire:
    """Carries each message to the host and its answer back, without faults, when `next` is called."""

    def __init__(self, machine: HostMachine, profile: Profile) -> None:
        self._machine = machine
        self._profile = profile
        self._orders: deque[outcomes.Exchange] = deque()

    def exchange(self, exchange: outcomes.Exchange) -> None:
        """To be carried."""
        self._orders.append(exchange)

    def next(self) -> tuple[int, outcomes.Outcome] | None:
        """One exchange and its outcome; None when nothing is ordered."""
        if not self._orders:
            return None
        exchange = self._orders.popleft()
        data = (split(self._profile, exchange.body) or (exchange.body, b""))[0]
        body = place(self._profile, exchange.body, compute(self._profile.mac, UNIONPAY_MAK_DOUBLE, data))
        (payload,) = FrameReader().feed(wrap(self._profile, body))
        for action in self._machine.handle(payload, UNIX_TIME):
            if isinstance(action, Send):
                (frame,) = EnvelopeReader(self._profile).feed(action.data)
                assert exchange.accept(frame.body), "the host's answer is not taken for one"
                return exchange.id, outcomes.Replied(frame.body, self._verdict(frame.body), "host", 0)
        return exchange.id, outcomes.Lost("timeout", "no answer", "host")

    def _verdict(self, body: bytes) -> outcomes.MacVerdict:
        parts = split(self._profile, body)
        if parts is None:
            return "absent"
        return "valid" if compute(self._profile.mac, UNIONPAY_MAK_DOUBLE, parts[0]) == parts[1] else "invalid"


class Recovery:
    """One start. Raises JournalUnreadable and VaultError where the files are refused."""

    def __init__(self, state: Path, configuration: settings.Configuration, outside: Outside) -> None:
        self._state = state
        self._outside = outside
        paths = (state / "journal.db", state / "highwater")
        self._vault = Vault.open_or_create(state / "data.key", paths)
        self.journal = Journal.open(paths[0], self._vault, paths[1], presize_bytes=0, reserve_bytes=0, check_last=None)
        lane = configuration.lanes[0]
        profile = lane_profile(lane, configuration.profiles_directories, _PROFILES.load)
        self._clock, self._wire = _Clock(), _Wire(outside.machine, profile)
        made = make_lane(configuration, lane, profile)
        self._loop = Loop(self.journal, [made], self._wire, self._clock, Listener())

    def to_rest(self) -> None:
        """Start, let the application answer, and go on until nothing is owed."""
        self._loop.start()
        for _ in range(STEPS_MAX):
            if (done := self._wire.next()) is not None:
                self._loop.outcome(*done)
                continue
            for txn in unconfirmed(self._loop.pending()):
                delivered = txn.reference in self._outside.delivered
                self._loop.handle(txn.id, Complete("till") if delivered else Reverse("till", "other"))
            due = self._loop.next_wake()
            if due is None:
                return
            self._clock.mono = max(self._clock.mono, due)
            self._loop.wake()
        raise AssertionError("no rest")

    def wrongs(self) -> Iterable[str]:
        """What does not agree between the journal, the host's books and what the application was told."""
        rows = {entry.key.stan: entry for entry in self._outside.machine.ledger.rows()}
        items = {row.reference: self._loop.find(row.lane, row.reference) for row in self.journal.recent(1000)}
        by_stan = {txn.stan: txn for txn in items.values() if txn is not None}
        if self._loop.pending() or self._loop.unreadable:
            yield f"{len(self._loop.pending())} items are still pending, {len(self._loop.unreadable)} unreadable"
        yield from (f"STAN {stan} left and is in no record" for stan in self._outside.left.keys() - by_stan.keys())
        yield from (f"{name} was told of and is in no record" for name in self._outside.told.keys() - items.keys())
        for stan, row in rows.items():
            txn = by_stan.get(stan)
            stands = row.charges - row.effects
            wanted = int(txn is not None and txn.reference in self._outside.delivered)
            if stands != wanted or row.effects > 1:
                yield f"STAN {stan}: {stands} charges stand, {wanted} goods were delivered"
            if txn is not None and (str(txn.state) == "completed") != bool(stands):
                yield f"STAN {stan}: {stands} charges stand, the journal says {txn.state}"

    def close(self) -> None:
        """An orderly end."""
        self.journal.close()

    def verified(self) -> bool:
        """The whole chain, its seals and the high-water mark, after `close`."""
        return walk(self._state / "journal.db", self._vault, self._state / "highwater").whole
