"""The simulated host as a pure state machine: a frame's payload in, actions out. No sockets, no clock.

Order for each message: open and decode, choose the faults, faults before processing, MAC, process (the
ledger decides about money), faults in the reply, MAC of the reply, faults of the delivery. `now` is Unix
time in seconds, given by the caller.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from hwsim.host import macs
from hwsim.host.actions import Action, Close, HandleLater, Reset, Send, StopReading
from hwsim.host.codec import HostMessage, mask_card
from hwsim.host.dialect import HostTime, plain_elements
from hwsim.host.dialects import dialect
from hwsim.host.faults import DELIVERY_FAULTS, MESSAGE_FAULTS, REQUEST_FAULTS, Fault, FaultPlan
from hwsim.host.framing import HostEnvelope, open_envelope
from hwsim.host.ledger import Ledger
from hwsim.host.notices import Notice
from hwsim.host.settings import HostSettings
from hwsim.host.signon import SIGN_ON_CODES, SignOn
from protocol.errors import FrameError, MessageError

CHINA_OFFSET_S = 8 * 3600
TRANSCRIPT_LINES = 1000


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A request with its envelope and the faults that strike it."""

    envelope: HostEnvelope
    message: HostMessage
    payload: bytes
    faults: tuple[Fault, ...]

    def fault(self, name: str) -> Fault | None:
        return next((fault for fault in self.faults if fault.fault == name), None)


class HostMachine:
    """One host. `handle` for each payload, `connected` for each new connection."""

    def __init__(self, settings: HostSettings, ledger: Ledger | None = None, faults: FaultPlan | None = None) -> None:
        self.settings = settings
        self.dialect = dialect(settings.dialect)
        self.ledger = ledger or Ledger(settings.ledger_rules)
        self.faults = faults or FaultPlan()
        self.sign_on = SignOn(self.ledger, settings.key_rules)
        self.stats: Counter[str] = Counter()
        self.transcript: deque[str] = deque(maxlen=TRANSCRIPT_LINES)
        self._algorithm = settings.mac_algorithm
        self._late: list[tuple[str, bytes]] = []

    # -- entries

    def connected(self, now: float) -> list[Action]:
        """A connection opened: replies held for the next connection go out on it."""
        self.stats["connections"] += 1
        return self._release(("next-connection",))

    def handle(self, payload: bytes, now: float) -> list[Action]:
        """One frame, its length taken off."""
        self.stats["frames"] += 1
        arrived = self._read(payload)
        if arrived is None:
            return []
        self.stats[arrived.message.mti] += 1
        late = self._release(("next-message", "next-connection"))
        before = self._before(arrived)
        return late + (self._answer(arrived, now) if before is None else before)

    def handle_held(self, payload: bytes, now: float) -> list[Action]:
        """A payload that a `late-request` fault held back: processed now, without further faults."""
        envelope = self._open(payload)
        message = self.dialect.codec.unpack(envelope.body)
        return self._answer(_Arrived(envelope, message, payload, ()), now)

    # -- reading

    def _open(self, payload: bytes) -> HostEnvelope:
        return open_envelope(payload, self.dialect.tpdu_bytes, self.dialect.header_bytes)

    def _read(self, payload: bytes) -> _Arrived | None:
        """None for what this host cannot read or must not answer; a damaged message is the sender's defect."""
        try:
            envelope = self._open(payload)
            message = self.dialect.codec.unpack(envelope.body)
        except (FrameError, MessageError) as error:
            self._unreadable(str(error))
            return None
        if not self.dialect.is_request(message):
            self._unreadable(f"{message.mti} is not a request")
            return None
        return _Arrived(envelope, message, payload, tuple(self.faults.take(message)))

    def _unreadable(self, reason: str) -> None:
        self.stats["damaged"] += 1
        self.transcript.append(f"unreadable: {reason}")
        self.ledger.accuse("damaged-message", "no key", reason)

    def _release(self, until: tuple[str, ...]) -> list[Action]:
        ready = [Send(frame) for when, frame in self._late if when in until]
        self._late = [(when, frame) for when, frame in self._late if when not in until]
        return list(ready)

    # -- before processing

    def _before(self, arrived: _Arrived) -> list[Action] | None:
        """What a fault does instead of processing; None: the message is processed."""
        for fault in arrived.faults:
            if fault.fault in REQUEST_FAULTS and fault.fault != "code":
                self._note(arrived.message, f"fault {fault.fault}")
                return _instead(fault, arrived.payload)
        return None

    def _mac_is_right(self, arrived: _Arrived) -> bool:
        if self._algorithm == "none" or self.dialect.role(arrived.message) == "network":
            return True
        number = self.dialect.mac_element(arrived.message.fields)
        if not arrived.message.get(number):
            return not self.dialect.mac_required or self.dialect.role(arrived.message) in ("settlement", "notice")
        width = self._mac_width
        body, carried = arrived.envelope.body[:-width], arrived.envelope.body[-width:]
        return macs.equal(self._mac(arrived.message.get(41), body), carried)

    # -- processing

    def _answer(self, arrived: _Arrived, now: float) -> list[Action]:
        reply = self._process(arrived, now)
        for fault in arrived.faults:
            if fault.fault in MESSAGE_FAULTS:
                reply = MESSAGE_FAULTS[fault.fault](reply, fault.value)
        self._note(arrived.message, f"-> {reply.mti} {reply.get(39)} {_names(arrived)}".rstrip())
        return self._deliver(arrived, reply)

    def _process(self, arrived: _Arrived, now: float) -> HostMessage:
        message, host_time = arrived.message, HostTime.at(now, CHINA_OFFSET_S)
        ordered, refusal = arrived.fault("code"), self._refusal(arrived)
        if ordered and refusal != "A0":  # what is not authentic is never booked, whatever is ordered
            refusal = ordered.value or "96"
        role = self.dialect.role(message)
        if role in ("charge", "reversal") and refusal != "A0":
            elements = self._book(message, role, refusal, now, host_time)
        elif refusal:
            elements = plain_elements(self.dialect, message, refusal)
        else:
            elements = self._service(message, role, host_time)
        return HostMessage(self.dialect.reply_mti(message.mti), dict(sorted(elements.items())))

    def _refusal(self, arrived: _Arrived) -> str:
        """A code that stops processing: wrong MAC, wrong batch, not signed on, declined amount."""
        message, terminal = arrived.message, arrived.message.get(41)
        if not self._mac_is_right(arrived):
            self.stats["mac-wrong"] += 1
            return "A0"
        if self.dialect.role(message) != "charge":
            return ""
        state = self.ledger.terminal(terminal)
        if self.settings.require_sign_on and not state.sign_ons:
            return "77"
        if self.settings.check_batch and message.get(60)[2:8] != self.sign_on.batch(terminal):
            return "77"
        return self.settings.decline_amounts.get(message.get(4)[-2:], "")

    def _book(self, message: HostMessage, role: str, refusal: str, now: float, host_time: HostTime) -> dict[int, str]:
        facts = self.dialect.facts(message, now)
        verdict = self.ledger.reverse(facts, refusal) if role == "reversal" else self.ledger.charge(facts, refusal)
        return self.dialect.reply_elements(message, verdict.entry, verdict.code, host_time)

    def _service(self, message: HostMessage, role: str, host_time: HostTime) -> dict[int, str]:
        """Sign-on, echo, settlement, notices: nothing that moves money."""
        elements = plain_elements(self.dialect, message, "00")
        elements |= {12: host_time.time, 13: host_time.date} if self.dialect.name == "unionpay" else {}
        terminal, network_code = message.get(41), message.get(60)[8:11]
        if self.dialect.name != "unionpay":
            return elements
        if role == "settlement":
            return self._settle(message, elements)
        if role == "notice":
            self.ledger.notice(Notice.of(message))
        elements |= {32: self.dialect.acquirer, 37: f"{self.ledger.number('rrn'):012d}"}
        if role == "network" and network_code in SIGN_ON_CODES and message.mti == "0800":
            elements[62] = self.sign_on.sign_on(terminal, network_code)
            elements[60] = f"00{self.sign_on.batch(terminal)}{network_code}"
        return elements

    def _settle(self, message: HostMessage, elements: dict[int, str]) -> dict[int, str]:
        """0510 has no response code; the flag in element 48 says whether the totals agree."""
        terminal, sums = message.get(41), message.get(48).ljust(62, "0")
        flag = self.sign_on.totals_flag(terminal, message.get(60)[2:8], sums)
        self.sign_on.settle(terminal)
        del elements[39]
        return elements | {48: sums[:30] + flag + sums[31:61] + "1"}

    # -- the reply's way back

    def _deliver(self, arrived: _Arrived, reply: HostMessage) -> list[Action]:
        frame = self._frame(arrived, reply)
        held = arrived.fault("late-reply")
        if held:
            self._late.append((held.value or "next-message", frame))
            return []
        if arrived.fault("two-in-one"):
            stray = self._frame(arrived, MESSAGE_FAULTS["wrong-stan"](reply, ""))
            return [Send(stray + frame)]
        for fault in arrived.faults:
            if fault.fault in DELIVERY_FAULTS:
                return DELIVERY_FAULTS[fault.fault](frame, fault)
        return [Send(frame)]

    def _frame(self, arrived: _Arrived, reply: HostMessage) -> bytes:
        requirement = self.settings.processing_requirement
        ordered = arrived.fault("processing-requirement")
        if ordered:
            requirement = int(ordered.number(3))
        body = self._with_mac(arrived, reply)
        return arrived.envelope.answer(body, requirement).frame()

    def _with_mac(self, arrived: _Arrived, reply: HostMessage) -> bytes:
        if arrived.fault("no-mac") or not self._reply_has_mac(reply):
            return self.dialect.codec.pack(reply)
        number, width = self.dialect.mac_element(reply.fields), self._mac_width
        body = self.dialect.codec.pack(reply.changed({number: "0" * 16}))[:-width]
        mac = self._mac(arrived.message.get(41), body)
        if arrived.fault("bad-mac"):
            mac = mac[:-1] + (b"0" if mac[-1:] != b"0" else b"1")
        return body + mac

    def _reply_has_mac(self, reply: HostMessage) -> bool:
        if self._algorithm == "none" or reply.mti[1] in "58":
            return False
        return self.settings.mac_on_all_replies or self.dialect.is_approval(reply.get(39))

    @property
    def _mac_width(self) -> int:
        """Eight bytes; as hex text in the ASCII dialects."""
        return 8 if self.dialect.codec.style == "bcd" else 16

    def _mac(self, terminal: str, body: bytes) -> bytes:
        mac = macs.compute(self._algorithm, self.sign_on.mac_key(terminal), body)
        return mac if self.dialect.codec.style == "bcd" else mac.hex().upper().encode("ascii")

    def _note(self, message: HostMessage, text: str) -> None:
        self.transcript.append(
            f"{message.mti} terminal {message.get(41)} stan {message.get(11)} amount {message.get(4) or '-'} "
            f"card {mask_card(message.card) or '-'} {text}"
        )


def _instead(fault: Fault, payload: bytes) -> list[Action]:
    outcomes: dict[str, list[Action]] = {
        "drop-request": [],
        "late-request": [HandleLater(payload, fault.number(1.0))],
        "close-before-processing": [Close()],
        "reset-before-processing": [Reset()],
        "hang": [StopReading()],
    }
    return outcomes[fault.fault]


def _names(arrived: _Arrived) -> str:
    return " ".join(f"[{fault.fault}]" for fault in arrived.faults)
