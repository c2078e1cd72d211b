"""What the fuzzer calls: one function a way into the program, bytes in, nothing out.

Rules not to break:
1. A target raises only when the program broke its word: an error that is not typed, a reply that clears what it must
   not, a limit that does not hold. Hangs and memory are the fuzzer's to notice.
2. No state outlives a call: the same bytes do the same again, so that a finding is one file.
3. The oracle of `reply` is the simulated host's own codec and MAC.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import cache
from typing import Any

from agent.api import ORDER_SCHEMA
from agent.hostlink import verdict
from agent.lane import Lane, Listener
from agent.loop import Loop
from agent.macs import MacVerdict, SoftwareMac
from agent.outcomes import Replied, Stray
from agent.records import State
from agent.rpc_messages import ParameterError, RequestError, error_line, parse, take
from drivers.device import PortDevice
from drivers.pinpad_ipp import IppPinPad
from drivers.port import PortCounters, UsbBytePort, deadline_in
from drivers.printer_escpos import EscposPrinter
from drivers.reader_ccid import CcidReader
from drivers.reader_neo2 import NeoReader
from hwsim.host.codec import HostMessage
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE
from protocol.envelope import EnvelopeReader
from protocol.errors import AgentError, FrameError, MessageError, ProtocolError
from protocol.escpos import CutPaper, Line, Slip
from protocol.explain import explain
from protocol.matching import match_reply
from protocol.profile import Profile, load_profile, profile_names
from tests.property.test_fuzz_replies import CODEC, may_clear, signed
from tests.simulation.memory_journal import MemoryJournal
from tests.unit.test_loop import StillClock, Wire, World
from tests.virtual_line import VirtualClock

NAMES = tuple(sorted(profile_names()))
PAN = b"6200000000000005"
METHODS = ("transaction.run", "reversal.settle", "reversal.list", "keys.destroy", "agent.status")
ANSWER_BYTES_MAX = 4096
SLIP = Slip((Line("x"), CutPaper()))


@cache
def profile(number: int) -> Profile:
    """One of the shipped ones."""
    return load_profile(NAMES[number % len(NAMES)])


# --- the host ----------------------------------------------------------------------------------


class Shop(World):
    """A loop with one lane; its rules are read once."""

    def __init__(self) -> None:
        self.journal, self.clock = MemoryJournal(), StillClock()
        self.wire = Wire(self.journal)
        self.lane = replace(_lane())
        self.loop = Loop(self.journal, [self.lane], self.wire, self.clock, Listener())  # type: ignore[arg-type]


@cache
def _lane() -> Lane:
    return World().lane


def reply(data: bytes) -> None:
    """An answer to a reversal that is on the wire: raw bytes, or changes of the right answer under the right MAC."""
    if not data:
        return
    world = Shop()
    begun = world.begin()
    world.lose()
    exchange = world.wire.sent[-1][0]
    sent = CODEC.unpack(exchange.body)
    body = data[1:] if data[0] % 2 else _changed(sent, data[1:])
    mac = _at_once(verdict(world.lane.policy.profile, _macs(), body))
    if _accepts(exchange.accept, body):
        world.loop.outcome(exchange.id, Replied(body, mac, "h1", 0))
    else:
        world.loop.stray("main", Stray(body, mac, "h1"))
    state = State(world.journal.history(begun.id)[-1].state)
    if state is State.REVERSED and not may_clear(body, sent):
        raise AssertionError("a reply cleared a reversal that it must not clear")
    if state not in (State.REVERSED, State.REVERSING, State.PARKED):
        raise AssertionError(f"a reply made a reversal {state}")


def _changed(sent: HostMessage, data: bytes) -> bytes:
    """The right answer with elements changed, removed or added, four bytes a change, under a right MAC."""
    kept = {number: value for number, value in sent.fields.items() if number in (2, 3, 4, 11, 25, 41, 42, 49, 60)}
    message = HostMessage("0410", {**kept, 39: "00"})
    for at in range(0, len(data) - 3, 4):
        number, position, value, how = data[at : at + 4]
        message = _once_changed(message, number % 64 + 1, position, value, how)
    try:
        return signed(message)
    except (MessageError, ValueError, KeyError):
        return data


def _once_changed(message: HostMessage, number: int, position: int, value: int, how: int) -> HostMessage:
    match how % 4:
        case 0:
            return message.changed({number: None})
        case 1:
            types = ("0200", "0210", "0400", "0401", "0411", "0410", "0430", "0110", "0810", "0510")
            return message.changed({}, mti=types[value % len(types)])
        case _:
            text = message.get(number) or "0" * (how % 13)
            at = position % max(1, len(text))
            return message.changed({number: text[:at] + chr(48 + value % 43) + text[at + 1 :]})


@cache
def _macs() -> SoftwareMac:
    return SoftwareMac(load_profile("unionpay-pos").mac, UNIONPAY_MAK_DOUBLE)


def _at_once(work: Coroutine[Any, Any, MacVerdict]) -> MacVerdict:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: MacVerdict = done.value
        return result
    raise AssertionError("a MAC in software waits for nothing")


def _accepts(accept: Callable[[bytes], bool], body: bytes) -> bool:
    try:
        return accept(body)
    except ProtocolError:
        return False


def message(data: bytes) -> None:
    """A message of any dialect: what is accepted packs to the same bytes, matches without a fault, and is explained."""
    if not data:
        return
    dialect, body = profile(data[0]), data[1:]
    if data[0] >= 224:
        explain(dialect, body)
        return
    try:
        found = dialect.codec.unpack(body)
    except MessageError:
        return
    again = dialect.codec.unpack(dialect.codec.pack(found))
    if dict(again.fields) != dict(found.fields) or again.mti != found.mti:
        raise AssertionError("a message that was accepted packs to another one")
    match_reply({"mti": "0200", "3": "000000", "4": "000000001250", "11": "000001", "41": "10000001"}, found, dialect)


def stream(data: bytes) -> None:
    """What comes over a host's connection: the same frames whole and byte by byte, or the same failure."""
    if not data:
        return
    dialect, content = profile(data[0]), data[1:]
    whole, pieces = _frames(dialect, [content]), _frames(dialect, [bytes([byte]) for byte in content])
    if whole != pieces:
        raise AssertionError("a stream reads differently in pieces")


def _frames(dialect: Profile, pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """The bodies of all frames, and whether the stream could be followed to its end."""
    reader, found = EnvelopeReader(dialect), list[bytes]()
    try:
        for piece in (*pieces, b""):  # what stands behind a good frame is complained of at the next call
            found += [frame.body for frame in reader.feed(piece)]
    except FrameError:
        return found, False
    return found, True


# --- the local interface -----------------------------------------------------------------------


def api(data: bytes) -> None:
    """A line of a till: a request or a typed refusal, and an answer that is one line of JSON without a card number."""
    try:
        request = parse(data, METHODS)
        take(request.params, ORDER_SCHEMA)
    except (RequestError, ParameterError) as error:
        line = error_line(getattr(error, "request_id", None), error)
        json.loads(line)
        if len(line) > ANSWER_BYTES_MAX or line.count(b"\n") != 1:
            raise AssertionError("a refusal is not one short line") from None
        if PAN in line:
            raise AssertionError("a refusal repeats a card number") from None


# --- devices -----------------------------------------------------------------------------------

_READER: tuple[Callable[[Any], object], ...] = (
    lambda device: device.slot_status(deadline_in(5)),
    lambda device: device.test(deadline_in(5)),
    lambda device: device.wait_card(5),
    lambda device: device.idle(),
)
# How a driver is made, and what is tried on it.
Family = tuple[Callable[[Any], PortDevice[Any]], tuple[Callable[[Any], object], ...]]
SERIAL: tuple[Family, ...] = (
    (lambda opener: CcidReader("fuzz:", opener), _READER),
    (
        lambda opener: IppPinPad("fuzz:", opener),
        (lambda device: device.display("HELLO"), lambda device: device.has_master_key(1), lambda device: device.idle()),
    ),
    (
        lambda opener: EscposPrinter("fuzz:", opener),
        (lambda device: device.status(3), lambda device: device.print_slip(SLIP, "r", 5), lambda device: device.idle()),
    ),
    (
        lambda opener: NeoReader("fuzz:", opener),
        (
            lambda device: device.test(deadline_in(3)),
            lambda device: device.activate(1, 1, "260101"),
            lambda device: device.idle(),
        ),
    ),
)


class SaidPort:
    """A BytePort on which each read brings the next piece of what was given: its length in a byte, then itself."""

    address = "fuzz:"

    def __init__(self, data: bytes, clock: VirtualClock) -> None:
        self.counters = PortCounters()
        self._data = bytearray(data)
        self._clock = clock

    def read(self, size: int, deadline_s: float) -> bytes:
        """A piece of length 0 is a silence until the deadline."""
        length = self._data[0] if self._data else 0
        piece = bytes(self._data[1 : 1 + min(length, size)])
        del self._data[: 1 + len(piece)]
        self._clock.now = self._clock.now + 0.001 if piece else max(self._clock.now, deadline_s)
        return piece

    def write(self, data: bytes, deadline_s: float) -> None:
        """Goes nowhere."""

    def close(self) -> None:
        """Nothing to close."""


class SaidUsbPort(SaidPort, UsbBytePort):
    """The same for USB: transfers, interrupts, class requests."""

    address = "fuzz:"  # type: ignore[assignment]
    counters = PortCounters()  # type: ignore[assignment]
    readable = True  # type: ignore[assignment]
    ccid_features = 0x00010230  # type: ignore[assignment]

    def read_interrupt(self, deadline_s: float) -> bytes:
        """One interrupt transfer."""
        return self.read(64, deadline_s)

    def ccid_abort(self, seq: int, deadline_s: float) -> None:
        """Goes nowhere."""

    def printer_device_id(self) -> bytes:
        """What GET_DEVICE_ID brings."""
        return self.read(255, 0)

    def printer_port_status(self) -> int | None:
        """One byte."""
        return next(iter(self.read(1, 0)), None)


def serial(data: bytes) -> None:
    """Anything a device may say over a serial line: typed errors, and every step ends."""
    _drive(SERIAL[data[0] % len(SERIAL)] if data else SERIAL[0], data[1:], SaidPort)


def usb(data: bytes) -> None:
    """Anything a reader or printer may say over USB."""
    family = SERIAL[2] if data and data[0] % 2 else SERIAL[0]
    _drive(family, data[1:], SaidUsbPort)


def _drive(
    family: tuple[Callable[[Any], PortDevice[Any]], tuple[Callable[[Any], object], ...]],
    data: bytes,
    port: type[SaidPort],
) -> None:
    make, steps = family
    clock = VirtualClock()
    with clock.running():
        device = make(lambda: port(data, clock))
        began = time.monotonic()
        for step in (lambda device: device.open(deadline_in(5)), *steps):
            try:
                step(device)
            except AgentError:
                continue
        if time.monotonic() - began > 60 * len(steps):
            raise AssertionError("a device held the driver beyond its deadlines")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (reply, message, stream, api, serial, usb)
}
