"""One lane's way to its hosts, as `agent.hostlink` promises it to the loop, over connections that carry real bytes.

What this wire may do, and nothing else:
* A connection may be refused, hang while opening, break before, within or behind the message, or be half open.
* `Unsent` is said only where no byte left; in every other doubt it is `Lost`.
* Frames are lost, delayed, doubled, and (where a MAC protects them) damaged; answers arrive after the time-out, on the
  next connection, or belong to somebody else. An original is under way for less than the overtake window.
* What nobody awaits is handed on as `Stray`. Each exchange has exactly one outcome, never from within `exchange`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent import outcomes
from agent.outcomes import Exchange, LostCause, MacVerdict, UnsentCause
from hwsim.host.actions import Action, Close, HandleLater, Reset, Send, StopReading, Trickle
from hwsim.host.framing import FrameReader
from protocol.envelope import EnvelopeReader, wrap
from protocol.errors import FrameError, MacError, MessageError, ProtocolError
from protocol.mac import compute, place, split
from tests.simulation.bank import LATEST_S, Bank, mac_key
from tests.simulation.plan import LanePlan, within
from tests.simulation.world import World

CONNECT_S = 0.05
ONE_WAY_S = 0.1
PAD_S = 0.2
PAD_TIMEOUT_S = 6.0  # as agent.lanes has it
PROBE_EVERY_S = 10.0  # as agent.daemon has it
FORGERIES = {
    "forged-mac": "mac",
    "forged-without-mac": "without-mac",
    "answer-of-another-amount": "amount",
    "answer-of-another-stan": "stan",
    "answer-of-another-terminal": "terminal",
}
# Where nothing protects the messages a forger cannot be told from the host.
FORGERIES_WITHOUT_MAC = {kind: change for kind, change in FORGERIES.items() if not kind.startswith("forged")}


class Ears(Protocol):
    """Who hears what the wire has to tell: the agent's process."""

    def outcome(self, exchange_id: int, outcome: outcomes.Outcome) -> None: ...

    def stray(self, lane: str, stray: outcomes.Stray) -> None: ...

    def link_up(self, lane: str) -> None: ...

    def host_chosen(self, exchange_id: int, host: str) -> None: ...

    def started(self, exchange: Exchange) -> None:
        """An exchange begins: nothing has left yet."""

    def leaving(self, exchange: Exchange, host: str, body: bytes) -> None:
        """The first byte of this message leaves."""

    def host_down(self) -> None:
        """A host was not reached: `probe` may find it again."""


class Connection:
    """One TCP connection."""

    def __init__(self, bank: Bank, profile_reader: EnvelopeReader, half_open: bool) -> None:
        self.bank = bank
        self.reader = profile_reader
        self.host_reader = FrameReader()
        self.half_open = half_open
        self.open = True
        self.listen_only = False
        self.deaf = False


@dataclass(eq=False)
class _Waiting:
    """The exchange under way."""

    exchange: Exchange
    data: bytes = b""
    body: bytes = b""
    left: bool = False
    connection: Connection | None = None
    ways: Iterator[Connection | Bank] | None = None
    answered: bool = False
    done: bool = False


class SimLink:
    """The wire of one lane. Lives as long as the agent's process; frames under way outlive it."""

    def __init__(self, world: World, plan: LanePlan, banks: Sequence[Bank], ears: Ears) -> None:
        self.plan = plan
        self._world = world
        self._banks = {bank.name: bank for bank in banks}
        self._ears = ears
        self._profile = plan.profile
        self._key = mac_key(plan)
        self._waiting: _Waiting | None = None
        self._standing: Connection | None = None
        self._down: set[str] = set()

    # --- an exchange ---------------------------------------------------------------------------

    def exchange(self, exchange: Exchange) -> None:
        """Start it; its outcome comes later."""
        assert self._waiting is None, f"lane {self.plan.name} is in an exchange"
        self._ears.started(exchange)
        self._waiting = waiting = _Waiting(exchange)
        works = self._pad_works()
        delay_s = (PAD_S if self.plan.has_pin_pad else 0.0) if works else PAD_TIMEOUT_S
        self._world.after(delay_s, lambda: self._prepare(waiting, works), alive=True)

    def _prepare(self, waiting: _Waiting, pad_works: bool) -> None:
        if not pad_works:
            self._unsent(waiting, "device", "the PIN pad did not answer")
            return
        waiting.body = with_mac(self.plan, self._key, waiting.exchange.body)
        waiting.data = wrap(self._profile, waiting.body)
        waiting.ways = self._ways(waiting.exchange)
        self._next_way(waiting)

    def _ways(self, exchange: Exchange) -> Iterator[Connection | Bank]:
        wanted = exchange.prefer_host
        names = list(self._banks)
        if wanted is not None:
            others = [] if exchange.only_host else [name for name in names if name != wanted]
            names = [name for name in names if name == wanted] + others
        standing = self._standing
        if (
            standing
            and standing.open
            and not standing.listen_only
            and standing.bank.name == (wanted or standing.bank.name)
        ):
            yield standing
        for name in names:
            yield self._banks[name]

    def _next_way(self, waiting: _Waiting) -> None:
        assert waiting.ways is not None
        way = next(waiting.ways, None)
        if way is None:
            self._unsent(waiting, "network", "no host could be reached")
        elif isinstance(way, Connection):
            self._send(waiting, way)
        else:
            self._connect(waiting, way)

    def _connect(self, waiting: _Waiting, bank: Bank) -> None:
        strikes = self._world.swarm.strikes
        self._drop()
        if strikes("connect-timeout"):
            delay_s, opens = self._profile.retry.connect_timeout_s, False
        else:
            delay_s, opens = CONNECT_S, bank.up and not strikes("connect-refused")
        self._world.after(delay_s, lambda: self._connected(waiting, bank, opens), alive=True)

    def _connected(self, waiting: _Waiting, bank: Bank, opens: bool) -> None:
        if not opens:
            self._down.add(bank.name)
            self._ears.host_down()
            self._world.tell(f"{self.plan.name}: no connection to {bank.name}")
            self._next_way(waiting)
            return
        self._send(waiting, self._opened(bank))

    def _opened(self, bank: Bank) -> Connection:
        connection = Connection(bank, EnvelopeReader(self._profile), self._world.swarm.strikes("half-open"))
        self._standing = connection
        if bank.name in self._down:
            self._down.discard(bank.name)
            self._world.after(0.0, lambda: self._ears.link_up(self.plan.name), alive=True)
        if not connection.half_open:
            self._host_acts(connection, bank.connected())
        return connection

    def _send(self, waiting: _Waiting, connection: Connection) -> None:
        strikes = self._world.swarm.strikes
        waiting.connection = connection
        self._ears.host_chosen(waiting.exchange.id, connection.bank.name)
        if strikes("reset-before-first-byte"):
            self._world.tell(f"{self.plan.name}: the connection breaks before the first byte")
            self._drop()
            waiting.connection = None
            self._next_way(waiting)
            return
        waiting.left = True
        self._ears.leaving(waiting.exchange, connection.bank.name, waiting.body)
        if strikes("reset-after-some-bytes"):
            self._to_host(connection, waiting.data[: len(waiting.data) // 2])
            self._world.tell(f"{self.plan.name}: the connection breaks within the message")
            self._world.after(0.01, lambda: self._lost(waiting, "reset", "cut within the message"), alive=True)
            return
        self._travel_to_host(waiting, connection)
        if strikes("reset-after-all-bytes"):
            self._world.tell(f"{self.plan.name}: the connection breaks behind the message")
            self._world.after(0.01, lambda: self._lost(waiting, "reset", "cut behind the message"), alive=True)
            return
        limit_s = self._profile.retry.reply_timeout_s
        self._world.after(limit_s, lambda: self._silent(waiting), alive=True)

    def _silent(self, waiting: _Waiting) -> None:
        if not waiting.answered:
            self._lost(waiting, "timeout", f"no answer in {self._profile.retry.reply_timeout_s:g} s")

    # --- how it ends ---------------------------------------------------------------------------

    def _unsent(self, waiting: _Waiting, cause: UnsentCause, text: str) -> None:
        if waiting.done:
            return
        assert not waiting.left, "an exchange whose first byte left cannot be unsent"
        self._end(waiting, outcomes.Unsent(cause, text))

    def _lost(self, waiting: _Waiting, cause: LostCause, text: str) -> None:
        if waiting.done:
            return
        connection = waiting.connection
        assert connection is not None, "a lost exchange had a connection"
        if cause == "timeout" and self._profile.retry.persistent_connection and not connection.reader.partial:
            connection.listen_only = True
        else:
            self._drop()
        self._end(waiting, outcomes.Lost(cause, text, connection.bank.name))

    def _end(self, waiting: _Waiting, outcome: outcomes.Outcome) -> None:
        waiting.done = True
        self._waiting = None
        self._ears.outcome(waiting.exchange.id, outcome)

    def _drop(self) -> None:
        if self._standing:
            self._standing.open = False
        self._standing = None

    def close(self) -> None:
        """An orderly stop: the exchange under way gets its outcome."""
        waiting = self._waiting
        if waiting is None or waiting.done:
            return
        if waiting.left:
            self._lost(waiting, "closed", "the link was closed")
        else:
            self._unsent(waiting, "closed", "the link was closed")

    def process_died(self) -> None:
        """The kernel closes what the process had open."""
        self._drop()

    @property
    def looks_out(self) -> bool:
        """A host was down when last tried."""
        return bool(self._down)

    def probe(self) -> None:
        """Look whether a host that was down is back."""
        if self._waiting or not self._down or self._standing:
            return
        for name in sorted(self._down):
            if self._banks[name].up and not self._world.swarm.strikes("connect-refused"):
                self._opened(self._banks[name])
                if not self._profile.retry.persistent_connection:
                    self._drop()
                return

    # --- bytes to the host ---------------------------------------------------------------------

    def _travel_to_host(self, waiting: _Waiting, connection: Connection) -> None:
        swarm, data = self._world.swarm, waiting.data
        forgeries = FORGERIES if self._profile.mac.algorithm != "none" else FORGERIES_WITHOUT_MAC
        forgery = next((change for kind, change in forgeries.items() if swarm.strikes(kind)), "")
        if forgery and (forged := connection.bank.answer_for_another(data[2:], forgery)):
            self._world.tell(f"{self.plan.name}: the message is swallowed; an answer is forged: another {forgery}")
            self._world.after(2 * ONE_WAY_S, lambda: self._at_agent(connection, forged))
            return
        if connection.half_open or swarm.strikes("request-lost"):
            self._world.tell(f"{self.plan.name}: the message is lost on its way")
            return
        if self.plan.profile.mac.algorithm != "none" and swarm.strikes("request-corrupted"):
            data = damaged(data, swarm.source("request-damage").random())
            self._world.tell(f"{self.plan.name}: the message is damaged on its way")
        delay_s = ONE_WAY_S
        original = waiting.exchange.prefer_host is None and not waiting.exchange.only_host
        if swarm.strikes("request-delayed") or (original and swarm.strikes("original-delayed")):
            delay_s = swarm.source("request-delay").uniform(1.0, self.longest_delay_s)
            self._world.tell(f"{self.plan.name}: the message is {delay_s:.0f} s on its way")
        self._world.after(delay_s, lambda: self._to_host(connection, data))
        if swarm.strikes("request-doubled"):
            self._world.tell(f"{self.plan.name}: the message is doubled on its way")
            again_s = delay_s + swarm.source("request-again").uniform(0.0, 5.0)
            self._world.after(again_s, lambda: self._to_host(connection, data))

    @property
    def longest_delay_s(self) -> float:
        """With the host's own delay and a double (5 s) still shorter than the overtake window."""
        host_s = LATEST_S if "host-late" in self._world.swarm.weights else 0.0
        return self._profile.retry.overtake_window_s - host_s - 8.0

    def _to_host(self, connection: Connection, data: bytes) -> None:
        if connection.deaf or connection.half_open:
            return
        try:
            payloads = connection.host_reader.feed(data)
        except FrameError:
            self._ended(connection, "eof")
            return
        for payload in payloads:
            if not connection.deaf:
                self._host_acts(connection, connection.bank.handle(payload))

    def _host_acts(self, connection: Connection, actions: Sequence[Action]) -> None:
        delay_s = 0.0
        for action in actions:
            delay_s += _host_delay_s(action)
            connection.deaf = connection.deaf or not isinstance(action, (Send, HandleLater, Trickle))
            self._world.after(delay_s, lambda action=action: self._host_act(connection, action))  # type: ignore[misc]

    def _host_act(self, connection: Connection, action: Action) -> None:
        if isinstance(action, HandleLater):
            self._host_acts(connection, connection.bank.handle_held(action.payload))
        elif isinstance(action, (Send, Trickle)):
            self._travel_back(connection, action.data)
        elif isinstance(action, (Close, Reset)):
            cause: LostCause = "eof" if isinstance(action, Close) else "reset"
            self._world.after(ONE_WAY_S, lambda: self._ended(connection, cause))
        else:
            assert isinstance(action, StopReading)

    # --- bytes back ----------------------------------------------------------------------------

    def _travel_back(self, connection: Connection, data: bytes) -> None:
        swarm = self._world.swarm
        if swarm.strikes("reply-lost"):
            self._world.tell(f"{self.plan.name}: the answer is lost on its way")
            return
        if self.plan.profile.mac.algorithm != "none" and swarm.strikes("reply-corrupted"):
            data = damaged(data, swarm.source("reply-damage").random())
            self._world.tell(f"{self.plan.name}: the answer is damaged on its way")
        delay_s = ONE_WAY_S
        if swarm.strikes("reply-delayed"):
            delay_s = swarm.source("reply-delay").uniform(1.0, 1.3 * self._profile.retry.reply_timeout_s)
            self._world.tell(f"{self.plan.name}: the answer is {delay_s:.0f} s on its way")
        self._world.after(delay_s, lambda: self._at_agent(connection, data))
        if swarm.strikes("reply-doubled"):
            self._world.tell(f"{self.plan.name}: the answer is doubled on its way")
            self._world.after(
                delay_s + swarm.source("reply-again").uniform(0, 30), lambda: self._at_agent(connection, data)
            )

    def _at_agent(self, connection: Connection, data: bytes) -> None:
        """Bytes arrive; where this connection is gone they go to the one that stands now, or to nobody."""
        if not connection.open:
            standing = self._standing
            if standing is None or not self._world.swarm.strikes("answer-on-another-connection"):
                return
            connection = standing
        try:
            frames = connection.reader.feed(data)
        except FrameError:
            self._ended(connection, "garbage")
            return
        for frame in frames:
            self._arrived(connection, frame.body)

    def _arrived(self, connection: Connection, body: bytes) -> None:
        waiting = self._waiting
        awaited = waiting and waiting.connection is connection and waiting.left and not waiting.answered
        mac = self._verdict(body)
        if waiting and awaited and _accepts(waiting.exchange, body):
            waiting.answered = True
            reply = outcomes.Replied(body, mac, connection.bank.name, 0)
            delay_s = PAD_S if self.plan.has_pin_pad else 0.0
            self._world.after(delay_s, lambda: self._replied(waiting, reply), alive=True)
        else:
            stray = outcomes.Stray(body, mac, connection.bank.name)
            self._world.after(0.0, lambda: self._ears.stray(self.plan.name, stray), alive=True)

    def _replied(self, waiting: _Waiting, reply: outcomes.Replied) -> None:
        if waiting.done:
            return
        if not self._profile.retry.persistent_connection or self._world.swarm.strikes("idle-connection-lost"):
            self._drop()
        self._end(waiting, reply)

    def _ended(self, connection: Connection, cause: LostCause) -> None:
        """The other side ended a connection, or what came on it is no frame."""
        if not connection.open:
            return
        connection.open = False
        if self._standing is connection:
            self._standing = None
        waiting = self._waiting
        if waiting and waiting.connection is connection and waiting.left and not waiting.answered:
            lost = waiting
            self._world.after(0.0, lambda: self._lost(lost, cause, "the connection ended"), alive=True)

    # --- codes ---------------------------------------------------------------------------------

    def _pad_works(self) -> bool:
        if not self.plan.has_pin_pad or not self._world.swarm.active:
            return True
        if within(self._world.plan.pad_down, self._world.time):
            return False
        return not self._world.swarm.strikes("pin-pad-fails")

    def _verdict(self, body: bytes) -> MacVerdict:
        return verdict(self.plan, self._key, body, self._pad_works())


def with_mac(plan: LanePlan, key: bytes, body: bytes) -> bytes:
    """The message with its MAC, where the lane has one."""
    rules = plan.profile.mac
    parts = None if rules.algorithm == "none" else split(plan.profile, body)
    return place(plan.profile, body, compute(rules, key, parts[0])) if parts else body


def verdict(plan: LanePlan, key: bytes, body: bytes, pad_works: bool) -> MacVerdict:
    """What the MAC of a received message says, in the words of `agent.macs`."""
    rules = plan.profile.mac
    if rules.algorithm == "none":
        return "unchecked"
    try:
        parts = split(plan.profile, body)
    except ProtocolError:
        return "invalid"
    if parts is None:
        return "absent"
    if not pad_works:
        return "unverified"
    try:
        return "valid" if compute(rules, key, parts[0]) == parts[1] else "invalid"
    except MacError:
        return "unverified"


def damaged(data: bytes, where: float) -> bytes:
    """One bit is another."""
    bit = int(where * len(data) * 8)
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def _accepts(exchange: Exchange, body: bytes) -> bool:
    try:
        return exchange.accept(body)
    except (ProtocolError, MessageError):
        return False


def _host_delay_s(action: Action) -> float:
    if isinstance(action, (Send, HandleLater)):
        return action.delay_s
    return action.gap_s * len(action.data) if isinstance(action, Trickle) else 0.0
