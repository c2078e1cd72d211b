"""A malicious host: 100,000 mutated acknowledgements against the real link and loop, never a wrong clear.

The oracle is the simulated host's own codec and MAC: a reversal may end only if one of the frames that were sent bears
the right MAC and names this reversal. What is sent follows from the seed; a failure names the round.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import resource
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from agent.connection import Host
from agent.hostlink import LaneLink
from agent.journal_contract import Entry
from agent.lane import Lane, Listener, Order
from agent.loop import Clock, Loop
from agent.macs import SoftwareMac
from agent.outcomes import Exchange, Outcome, Replied, Stray
from agent.policy import Policy
from agent.records import State, Transaction
from hwsim.host import macs
from hwsim.host.codec import HostMessage
from hwsim.host.dialects import dialect
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE
from protocol.errors import MessageError
from protocol.profile import load_profile
from tests.simulation.memory_journal import MemoryJournal

REPLIES = 100_000
PER_CONNECTION = 200
SEED = 20261122
GROWTH_KIB_MAX = 40_000
CODEC = dialect("unionpay").codec
ENVELOPE_BYTES = 11
TERMINAL, MERCHANT = "10000001", "102110000000001"
DONE = {"00", "12", "25"}
ACKNOWLEDGEMENT = bytes.fromhex("0410")
_DIGITS = b"0123456789ABCDEF\x00\xff"

Mutation = Callable[[random.Random, HostMessage], bytes]


def signed(message: HostMessage) -> bytes:
    """With the right MAC: the host has the key."""
    body = CODEC.pack(message.changed({64: "0" * 16}))[:-8]
    return body + macs.compute("up-ecb", UNIONPAY_MAK_DOUBLE, body)


def flipped(chance: random.Random, right: HostMessage) -> bytes:
    """Some bytes are others; the MAC is that of the right message."""
    body = bytearray(signed(right))
    for _ in range(chance.randrange(1, 4)):
        body[chance.randrange(len(body))] = chance.choice((chance.randrange(256), *_DIGITS))
    return bytes(body)


def other_value(chance: random.Random, right: HostMessage) -> bytes:
    """One element says something else of the same form, under a right MAC."""
    number = chance.choice([3, 4, 11, 25, 39, 41, 42, 49, 60])
    value = list(right.get(number))
    if value:
        at = chance.randrange(len(value))
        value[at] = chance.choice("0123456789")
    return signed(right.changed({number: "".join(value)}))


def without(chance: random.Random, right: HostMessage) -> bytes:
    """Elements are missing, under a right MAC."""
    gone = chance.sample(sorted(right.fields), chance.randrange(1, 5))
    return signed(right.changed(dict.fromkeys(gone)))


def other_type(chance: random.Random, right: HostMessage) -> bytes:
    """Another message type, under a right MAC."""
    mti = chance.choice(["0200", "0210", "0400", "0401", "0411", "0420", "0430", "0110", "0810", "1410", "0510"])
    return signed(right.changed({}, mti=mti))


def cut(chance: random.Random, right: HostMessage) -> bytes:
    """Cut, doubled or with noise behind."""
    body = signed(right)
    return chance.choice([body[: chance.randrange(10, len(body))], body + body, body + chance.randbytes(9), body[::-1]])


def noise(chance: random.Random, right: HostMessage) -> bytes:
    """Random bytes behind a right type."""
    return b"\x04\x10" + chance.randbytes(chance.randrange(8, 120))


def unsigned(chance: random.Random, right: HostMessage) -> bytes:
    """Right, but the MAC is missing, zero or random."""
    body = signed(right)
    return chance.choice([CODEC.pack(right), body[:-8] + bytes(8), body[:-8] + chance.randbytes(8)])


MUTATIONS: tuple[Mutation, ...] = (flipped, flipped, other_value, without, other_type, cut, noise, unsigned)


def names_it(body: bytes, sent: HostMessage) -> bool:
    """Half of the oracle: an acknowledgement of this reversal, authentic or not."""
    if body[:2] != ACKNOWLEDGEMENT:
        return False
    try:
        message = CODEC.unpack(body)
    except (MessageError, ValueError):
        return False
    same = all(message.get(number) == sent.get(number) for number in (11, 41))
    return same and message.get(4) in ("", sent.get(4))


def may_clear(body: bytes, sent: HostMessage) -> bool:
    """The oracle: an acknowledgement of this reversal, authentic, with a code that means that it is done."""
    if not names_it(body, sent):
        return False
    message = CODEC.unpack(body)
    right_mac = macs.equal(macs.compute("up-ecb", UNIONPAY_MAK_DOUBLE, body[:-8]), body[-8:])
    return bool(message.get(64)) and right_mac and message.get(39) in DONE


class EvilHost:
    """Answers each reversal with a burst of mutations; the last is a near miss, and now and then the right answer."""

    def __init__(self) -> None:
        self.chance = random.Random(SEED)
        self.rounds = 0
        self.could_clear: set[str] = set()
        self.must_clear: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            frame = await reader.readexactly(length)
            sent = CODEC.unpack(frame[ENVELOPE_BYTES:])
            if sent.mti == "0400":
                self._burst(frame[:ENVELOPE_BYTES], sent, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the agent has heard enough of this connection, or the attack is over
        finally:
            writer.close()

    def _burst(self, envelope: bytes, sent: HostMessage, writer: asyncio.StreamWriter) -> None:
        self.rounds += 1
        kept = {number: value for number, value in sent.fields.items() if number in (2, 3, 4, 11, 25, 41, 42, 49, 60)}
        right = HostMessage("0410", {**kept, 39: "00"})
        made = [self.chance.choice(MUTATIONS)(self.chance, right) for _ in range(PER_CONNECTION)]
        # The first frame that names the reversal ends the wait, so one such stands last, for better or worse.
        named = [names_it(body, sent) for body in made]
        bodies = [body for body, names in zip(made, named, strict=True) if not names]
        close = [body for body, names in zip(made, named, strict=True) if names]
        if self.rounds % 20 == 0:
            bodies.append(signed(right))
            self.must_clear.add(sent.get(11))
        elif close:
            bodies.append(close[0])
        if may_clear(bodies[-1], sent):
            self.could_clear.add(sent.get(11))
        for body in bodies:
            content = envelope + body
            writer.write(len(content).to_bytes(2, "big") + content)


class Forgetful(MemoryJournal):
    """Keeps the latest record of each item only, so that what grows is the agent's own."""

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        head = super().append(entries, counters)
        for seq in [seq for seq, (_, entry) in self._rows.items() if self._newest[entry.txn_id] != seq]:
            del self._rows[seq]
        return head


class Wire:
    """The lane's real link."""

    link: LaneLink

    def exchange(self, exchange: Exchange) -> None:
        self.link.exchange(exchange)


class Terminal(Listener):
    """The real loop over the real link; one sale after the other whose answer is lost."""

    def __init__(self, port: int) -> None:
        loaded = load_profile("unionpay-pos")
        retry = dataclasses.replace(
            loaded.retry,
            base_s=0.001,
            cap_s=0.002,
            reply_timeout_s=5.0,
            overtake_window_s=0.0,
            park_after_attempts=10**6,
            parked_every_s=0.002,
        )
        self.profile = dataclasses.replace(loaded, retry=retry)
        policy = Policy(self.profile, retry, TERMINAL, 60.0, "reverse", 60.0)
        lane = Lane("main", policy, MERCHANT, "000017", "156", warn_only=True)
        wire = Wire()
        self.loop = Loop(Forgetful(), [lane], wire, Clock(), self)
        key = SoftwareMac(self.profile.mac, UNIONPAY_MAK_DOUBLE)
        deliver, stray = self._outcome, self._stray
        hosts = [Host("127.0.0.1", port)]
        wire.link = self.link = LaneLink("main", self.profile, hosts, key, deliver, time.monotonic, stray=stray)
        self.cleared: set[str] = set()
        self.sales = 0
        self.examined = 0
        self.closing = False
        self.timer: asyncio.TimerHandle | None = None

    def sell(self) -> None:
        """A sale; the host closes without a word, so it is reversed."""
        if self.closing:
            return
        self.sales += 1
        facts = {"pan": "6212345678901232", "expiry": "3012", "pos_entry_mode": "012"}
        self.loop.begin("main", Order(f"R{self.sales}", "sale", 1000 + self.sales, facts))

    def changed(self, txn: Transaction) -> None:
        stands = (State.BEGUN, State.REVERSING, State.PARKED, State.REVERSED)  # parked: by its code
        not_sent = self.closing and txn.cause == "not-sent-closed"  # the end came before a byte of it had left
        assert txn.state in stands or not_sent, f"{txn.state}, {txn.cause}"
        if txn.state is State.REVERSED:
            self.cleared.add(txn.stan)

    def lane_free(self, lane: str) -> None:
        if not self.loop.pending() and not self.closing:
            asyncio.get_running_loop().call_soon(self.sell)

    def timers(self) -> None:
        if self.timer:
            self.timer.cancel()
        due = self.loop.next_wake()
        self.timer = asyncio.get_running_loop().call_at(due, self.loop.wake) if due is not None else None

    def _outcome(self, exchange_id: int, outcome: Outcome) -> None:
        self.examined += isinstance(outcome, Replied)
        self.loop.outcome(exchange_id, outcome)

    def _stray(self, lane: str, exchange_id: int | None, stray: Stray) -> None:
        self.examined += 1
        self.loop.stray(lane, stray)


def memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def attack(faults: list[str]) -> tuple[EvilHost, Terminal, int]:
    """Until enough mutations were sent."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context)))
    evil = EvilHost()
    server = await asyncio.start_server(evil.serve, "127.0.0.1", 0)
    terminal = Terminal(server.sockets[0].getsockname()[1])
    terminal.sell()
    started_kib = 0
    while terminal.examined < REPLIES and not faults:
        await asyncio.sleep(0.05)
        if not started_kib and terminal.examined > REPLIES // 5:
            started_kib = memory_kib()  # after the first items, everything that is kept is there once
    terminal.closing = True
    terminal.loop.reserve("main", wanted=True)  # as the daemon does before it closes a link
    if terminal.timer:
        terminal.timer.cancel()
    await terminal.link.close()
    server.close()
    await server.wait_closed()
    return evil, terminal, memory_kib() - started_kib


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_mutated_acknowledgements_never_clear_wrongly() -> None:
    faults: list[str] = []
    began = time.monotonic()
    evil, terminal, grown_kib = asyncio.run(attack(faults))
    took_s = time.monotonic() - began
    cleared = terminal.cleared
    print(
        f"{terminal.examined} replies, {evil.rounds} bursts, {len(cleared)} cleared, {took_s:.0f} s, +{grown_kib} KiB"
    )
    assert not faults, faults[0][-1500:]
    assert terminal.examined >= REPLIES
    assert cleared <= evil.could_clear, f"cleared without a right acknowledgement: {sorted(cleared - evil.could_clear)}"
    last = f"{terminal.sales:06d}"
    assert evil.must_clear - {last} <= cleared
    assert len(cleared) > 20
    assert grown_kib < GROWTH_KIB_MAX
