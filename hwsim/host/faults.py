"""Scripted faults of the simulated host: what may go wrong, and when.

A fault is chosen by message class, nth occurrence and count:
`FaultPlan.add("reversal", "drop-reply", nth=2, count=3)` strikes the 2nd, 3rd and 4th reversal from now on.
Three families: REQUEST_FAULTS act before the ledger hears of the message, MESSAGE_FAULTS change the decoded
reply (its MAC is right again, save where the fault is about the MAC), DELIVERY_FAULTS change how the frame travels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from threading import RLock
from typing import Any

from hwsim.host.actions import Action, Close, Reset, Send, StopReading, Trickle
from hwsim.host.codec import HostMessage
from protocol.errors import AgentError

CLASSES: Mapping[str, str] = {
    "authorisation": "1",
    "financial": "2",
    "reversal": "4",
    "settlement": "5",
    "upload": "3",
    "notice": "6",
    "network": "8",
}
"""Names of message classes, by the second digit of the MTI. `charge` is 1 or 2, `any` is all."""


class FaultError(AgentError):
    """A fault order cannot be understood."""

    code = "E-HOST-FAULT"


@dataclass(frozen=True, slots=True)
class Fault:
    """One order. `on`: MTI, MTI with x ('04x0'), class name or 'any'; `count` None: until cleared."""

    on: str
    fault: str
    nth: int = 1
    count: int | None = 1
    value: str = ""
    terminal: str = ""
    seen: int = 0
    fired: int = 0

    def matches(self, message: HostMessage) -> bool:
        return self.terminal in ("", message.get(41)) and _on(self.on, message.mti)

    @property
    def spent(self) -> bool:
        return self.count is not None and self.fired >= self.count

    def number(self, default: float) -> float:
        return float(self.value) if self.value else default


def _on(pattern: str, mti: str) -> bool:
    if pattern == "any":
        return True
    if pattern == "charge":
        return mti[1] in "12"
    if pattern in CLASSES:
        return mti[1] == CLASSES[pattern]
    return all(wanted in ("x", digit) for wanted, digit in zip(pattern, mti, strict=True))


REQUEST_FAULTS: Mapping[str, str] = {
    "drop-request": "not processed, no reply, connection stays",
    "late-request": "processed and answered only after `value` seconds (default 1): the original that is overtaken",
    "close-before-processing": "not processed, connection closed",
    "reset-before-processing": "not processed, connection reset",
    "hang": "not processed; this connection is never read again",
    "code": "not processed; answered with response code `value` (default 96)",
}


def _shift(value: str) -> str:
    """Another number of the same width: last digit plus one."""
    return value[:-1] + str((int(value[-1]) + 1) % 10) if value[-1:].isdigit() else value[:-1] + "9"


def _shifted(number: int) -> Callable[[HostMessage, str], HostMessage]:
    def change(message: HostMessage, value: str) -> HostMessage:
        present = message.get(number)
        return message.changed({number: value or _shift(present)}) if present else message

    return change


def _wrong_original(message: HostMessage, value: str) -> HostMessage:
    """Another original in DE 90 (or DE 56): its STAN digit 6."""
    number = 90 if message.get(90) else 56
    named = message.get(number)
    return message.changed({number: value or named[:4] + _shift(named[4:10]) + named[10:]}) if named else message


def _wrong_mti(message: HostMessage, value: str) -> HostMessage:
    """A financial reply comes as a reversal reply and the other way round."""
    other = {"1": "2", "2": "4", "4": "2", "5": "8", "8": "2"}.get(message.mti[1], "2")
    return message.changed({}, mti=value or message.mti[0] + other + "10")


# Script template 72 with the id 00000001 and one command, PIN unblock (EMV Book 3, 10.10); its MAC is made up.
ISSUER_SCRIPT = "7212" + "9F180400000001" + "8609842400000401020304"

MESSAGE_FAULTS: Mapping[str, Callable[[HostMessage, str], HostMessage]] = {
    "wrong-stan": _shifted(11),
    "wrong-amount": _shifted(4),
    "wrong-terminal": _shifted(41),
    "wrong-merchant": _shifted(42),
    "wrong-original": _wrong_original,
    "wrong-mti": _wrong_mti,
    "code-after-effect": lambda message, value: message.changed({39: value or "96"}),
    "issuer-script": lambda message, value: message.changed({55: value or ISSUER_SCRIPT}),
    "no-code": lambda message, value: message.changed({39: None}),
}
"""Processed; the reply lies. `value` replaces the wrong value, else it is made from the right one."""

MAC_FAULTS: Mapping[str, str] = {
    "bad-mac": "processed; the reply's MAC is wrong",
    "no-mac": "processed; the reply has no MAC",
}

HEADER_FAULTS: Mapping[str, str] = {
    "processing-requirement": "processed; the header's sixth digit is `value` (default 3: sign on again)",
}

HELD_FAULTS: Mapping[str, str] = {
    "late-reply": "processed; the reply goes out before the reply to the next message, on whatever connection that "
    "comes; with value 'next-connection' as soon as the next connection opens",
    "two-in-one": "processed; a reply with another STAN and the right one arrive in one segment",
}


def _delay(frame: bytes, fault: Fault) -> list[Action]:
    return [Send(frame, fault.number(1.0))]


def _duplicate(frame: bytes, fault: Fault) -> list[Action]:
    return [Send(frame), Send(frame, fault.number(0.0))]


def _close_mid_frame(frame: bytes, fault: Fault) -> list[Action]:
    return [Send(frame[: int(fault.number(len(frame) // 2))]), Close()]


def _garbage(frame: bytes, fault: Fault) -> list[Action]:
    """Reproducible noise in place of the reply; its first two bytes may look like a length."""
    noise = random.Random(len(frame)).randbytes(int(fault.number(64)))
    return [Send(noise)]


DELIVERY_FAULTS: Mapping[str, Callable[[bytes, Fault], list[Action]]] = {
    "drop-reply": lambda frame, fault: [],
    "delay": _delay,
    "duplicate-reply": _duplicate,
    "close-before-reply": lambda frame, fault: [Close()],
    "close-after-reply": lambda frame, fault: [Send(frame), Close()],
    "close-mid-frame": _close_mid_frame,
    "reset": lambda frame, fault: [Reset()],
    "garbage": _garbage,
    "length-zero": lambda frame, fault: [Send(b"\x00\x00" + frame[2:])],
    "length-max": lambda frame, fault: [Send(b"\xff\xff" + frame[2:])],
    "half-then-silence": lambda frame, fault: [Send(frame[: len(frame) // 2])],
    "byte-by-byte": lambda frame, fault: [Trickle(frame, fault.number(0.002))],
    "answer-and-hang": lambda frame, fault: [Send(frame), StopReading()],
}
"""Processed; the frame travels badly. `value`: seconds (delay, duplicate-reply, byte-by-byte) or bytes."""

FAULT_NAMES: tuple[str, ...] = (
    *REQUEST_FAULTS,
    *MESSAGE_FAULTS,
    *MAC_FAULTS,
    *HEADER_FAULTS,
    *HELD_FAULTS,
    *DELIVERY_FAULTS,
)


class FaultPlan:
    """The faults ordered so far; thread-safe."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._faults: list[Fault] = []

    def add(
        self,
        on: str,
        fault: str,
        *,
        nth: int = 1,
        count: int | None = 1,
        value: str | float = "",
        terminal: str = "",
    ) -> None:
        """Order a fault. Raises FaultError for an unknown name, class or number."""
        order = _checked(Fault(on, fault, nth, count, str(value), terminal))
        with self._lock:
            self._faults.append(order)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def rows(self) -> list[dict[str, Any]]:
        """Every order with how often it was looked at and how often it struck."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def fired(self, fault: str = "") -> int:
        """How often faults (of this name) struck."""
        with self._lock:
            return sum(row.fired for row in self._faults if fault in ("", row.fault))

    def take(self, message: HostMessage) -> list[Fault]:
        """The faults that strike this message; counts the occurrence."""
        with self._lock:
            struck = []
            for index, fault in enumerate(self._faults):
                if not fault.matches(message):
                    continue
                fault = replace(fault, seen=fault.seen + 1)
                if fault.seen >= fault.nth and not fault.spent:
                    fault = replace(fault, fired=fault.fired + 1)
                    struck.append(fault)
                self._faults[index] = fault
            return struck


def _checked(fault: Fault) -> Fault:
    if fault.fault not in FAULT_NAMES:
        raise FaultError(f"no fault {fault.fault!r}", f"use one of {', '.join(FAULT_NAMES)}")
    known = fault.on in (*CLASSES, "any", "charge")
    if not known and not (len(fault.on) == 4 and set(fault.on) <= set("0123456789x")):
        raise FaultError(f"no message class {fault.on!r}", f"use an MTI, 'any', 'charge', {', '.join(CLASSES)}")
    if fault.nth < 1 or (fault.count is not None and fault.count < 1):
        raise FaultError("nth and count begin at 1", "leave count out for once, null for always")
    return _check_value(fault)


NUMERIC = frozenset(
    {"late-request", "delay", "duplicate-reply", "close-mid-frame", "garbage", "byte-by-byte", "processing-requirement"}
)


def _check_value(fault: Fault) -> Fault:
    if fault.fault not in NUMERIC:
        return fault
    try:
        fault.number(0.0)
    except ValueError as error:
        raise FaultError(f"fault {fault.fault} takes a number, not {fault.value!r}") from error
    return fault
