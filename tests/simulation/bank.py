"""The hosts: the bench's own host machine with its books, fed with bytes, and a twin that answers for others.

The twin has books of its own. It answers a message that was changed on the way (another amount, STAN, terminal):
an authentic answer that belongs to somebody else, while this host never saw the message.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.host import Entry, Fault, FaultPlan, HostMachine, HostMessage, HostSettings
from hwsim.host.actions import Action, Send
from hwsim.host.framing import open_envelope
from hwsim.host.keys import ISO87_X919_KEY, UNIONPAY_MAK_DOUBLE
from protocol.errors import AgentError
from tests.simulation.plan import LanePlan
from tests.simulation.world import World

UNIX_START = 1_772_865_000.0

_LIES = ("wrong-stan", "wrong-amount", "wrong-terminal", "wrong-merchant", "wrong-original", "wrong-mti", "two-in-one")
_BAD_DELIVERIES = (
    "close-before-reply",
    "close-after-reply",
    "close-mid-frame",
    "reset",
    "garbage",
    "length-zero",
    "length-max",
    "half-then-silence",
    "byte-by-byte",
    "answer-and-hang",
    "hang",
    "close-before-processing",
    "reset-before-processing",
)
_REFUSALS = {"unionpay": ("96", "94", "77", "A0"), "iso87": ("96", "94", "92"), "iso93": ("909", "913", "906")}
_REFUSALS_FOR_GOOD = {"unionpay": "58", "iso87": "58", "iso93": "905"}
LATEST_S = 25.0


def mac_key(lane: LanePlan) -> bytes:
    """The bench key of this lane's dialect."""
    return UNIONPAY_MAK_DOUBLE if lane.dialect.host == "unionpay" else ISO87_X919_KEY


class SwarmFaults(FaultPlan):
    """The host's own faults, drawn by the swarm; at most one strikes a message."""

    def __init__(self, world: World, lane: LanePlan) -> None:
        super().__init__()
        self._world = world
        self._lane = lane
        self._seen: dict[str, str] = {}

    def take(self, message: HostMessage) -> list[Fault]:
        """The fault for this message, if any. A request that the network doubled gets the decision of the first."""
        reversal = message.mti[1] == "4"
        found = self._drawn(reversal)
        if not reversal:
            before = self._seen.setdefault(message.get(11), found[1] if found and found[0] == "code" else "")
            found = ("code", before) if before else None if found and found[0] == "code" else found
        if found is None:
            return []
        name, value = found
        self._world.tell(f"the host's fault: {name} {value}".rstrip())
        return [Fault(message.mti, name, value=value)]

    def _drawn(self, reversal: bool) -> tuple[str, str] | None:
        swarm = self._world.swarm
        if not swarm.active:
            return None
        pick = swarm.source("host-fault")
        host = self._lane.dialect.host
        if swarm.strikes("host-drops"):
            return "drop-request", ""
        if swarm.strikes("host-late"):
            return "late-request", f"{pick.uniform(1.0, LATEST_S):.1f}"
        if reversal and swarm.strikes("host-refuses-reversal"):
            return pick.choice(("code", "code-after-effect")), pick.choice(_REFUSALS[host])
        if reversal and swarm.strikes("host-refuses-for-good"):
            return "code", _REFUSALS_FOR_GOOD[host]
        if not reversal and swarm.strikes("host-declines"):
            return "code", pick.choice(("05", "96"))
        return self._in_reply(pick.choice(_LIES), pick.choice(_BAD_DELIVERIES))

    def _in_reply(self, lie: str, delivery: str) -> tuple[str, str] | None:
        strikes = self._world.swarm.strikes
        if strikes("host-lies"):
            return lie, ""
        if strikes("host-mac-wrong"):
            return "bad-mac", ""
        if strikes("host-mac-missing"):
            return "no-mac", ""
        if strikes("host-no-code"):
            return "no-code", ""
        if strikes("host-answers-late"):
            return "late-reply", self._world.swarm.source("host-late-reply").choice(("", "next-connection"))
        if strikes("host-delivers-badly"):
            return delivery, ""
        return None


class Bank:
    """One host of one lane."""

    def __init__(self, world: World, lane: LanePlan, name: str) -> None:
        self.name = name
        self.lane = lane
        self._world = world
        settings = _settings(lane)
        self.machine = HostMachine(settings, faults=SwarmFaults(world, lane))
        self._twin = HostMachine(settings)

    @property
    def up(self) -> bool:
        """Whether it takes connections."""
        windows = self._world.plan.host_down.get(f"{self.lane.name}/{self.name}", ())
        return not self._world.swarm.active or not any(start <= self._world.time < end for start, end in windows)

    def connected(self) -> Sequence[Action]:
        """A connection opens."""
        return self.machine.connected(UNIX_START + self._world.time)

    def handle(self, payload: bytes) -> Sequence[Action]:
        """A frame arrives, its length taken off."""
        return self.machine.handle(payload, UNIX_START + self._world.time)

    def handle_held(self, payload: bytes) -> Sequence[Action]:
        """A frame that was held back is processed now."""
        return self.machine.handle_held(payload, UNIX_START + self._world.time)

    def entry(self, stan: str) -> Entry | None:
        """What the books say of a request."""
        found = [entry for entry in self.machine.ledger.rows() if entry.key.stan == stan]
        return found[-1] if found else None

    def answer_for_another(self, payload: bytes, change: str) -> bytes | None:
        """An answer that this host would give to a message changed so; b"" is never given.

        "mac": wrong MAC; "without-mac"; "amount", "stan", "terminal": of another transaction, with its right MAC.
        """
        try:
            envelope = open_envelope(payload, self.machine.dialect.tpdu_bytes, self.machine.dialect.header_bytes)
            message = self.machine.dialect.codec.unpack(envelope.body)
        except AgentError:
            return None
        changed = _changed(message, change)
        self._twin.faults.clear()
        if message.mti[1] == "4":
            original = _original(message)
            self._feed(envelope.tpdu + envelope.header, _changed(original, change))
        if change in ("mac", "without-mac"):
            self._twin.faults.add("any", "bad-mac" if change == "mac" else "no-mac")
        actions = self._feed(envelope.tpdu + envelope.header, changed)
        return next((action.data for action in actions if isinstance(action, Send)), None)

    def _feed(self, head: bytes, message: HostMessage) -> Sequence[Action]:
        body = self._twin.dialect.codec.pack(message)
        number = self._twin.dialect.mac_element(message.fields)
        if message.get(number):
            width = 8 if self._twin.dialect.codec.style == "bcd" else 16
            mac = self._twin._mac(message.get(41), body[:-width])
            body = body[:-width] + mac
        return self._twin.handle(head + body, UNIX_START + self._world.time)


def _settings(lane: LanePlan) -> HostSettings:
    return HostSettings(
        dialect=lane.dialect.host,
        mac=lane.profile.mac.algorithm,
        mac_key=mac_key(lane),
        mac_on_all_replies=lane.mac_on_all_replies,
        block_late_original=lane.host_blocks_late,
        unknown_reversal=lane.unknown_reversal,
    )


def _changed(message: HostMessage, change: str) -> HostMessage:
    if change == "amount" and message.get(4):
        return message.changed({4: f"{int(message.get(4)) + 100:012d}"})
    if change == "stan":
        other = f"{(int(message.get(11)) + 7) % 1_000_000:06d}"
        return message.changed({11: other})
    if change == "terminal":
        return message.changed({41: message.get(41)[:-1] + "9"})
    return message


def _original(reversal: HostMessage) -> HostMessage:
    """The request that a reversal undoes, as far as the twin's books need it."""
    mti = reversal.get(90)[:4] or reversal.get(56)[:4] or ("0100" if reversal.get(25) == "06" else "0200")
    drop: dict[int, str | None] = {90: None, 39: None}
    if reversal.mti[0] == "1":
        drop = {56: None, 25: None, 39: None, 24: "200"}
    return reversal.changed(drop, mti=mti)
