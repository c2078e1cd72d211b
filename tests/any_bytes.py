"""Damaged conversations of every device family, driver and simulated device in lock-step on a clock of their own.

A hundred thousand for each device (tests/property/test_drivers_any_bytes*.py): in both directions bytes are lost,
flipped, doubled, cut, made up. The driver may raise its typed errors and nothing else, and every conversation ends (a
wait without a deadline would never come back on the virtual clock).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.device import PortDevice
from drivers.pinpad_ipp import IppPinPad
from drivers.port import deadline_in
from drivers.printer_escpos import EscposPrinter
from drivers.reader_ccid import CcidReader
from drivers.reader_neo2 import NeoReader
from hwsim.devices.contactless import ContactlessReader
from hwsim.devices.device import SimDevice
from hwsim.devices.pinpad import PinPad
from hwsim.devices.printer import Printer
from hwsim.devices.reader import SerialReader
from protocol.errors import AgentError
from protocol.escpos import CutPaper, Line, Slip
from tests.virtual_line import VirtualClock, VirtualLine

EXAMPLES = 100_000
SLIP = Slip((Line("x"), CutPaper()))


@dataclass(frozen=True)
class Family:
    """One device: what is tried on the damaged line, and what must succeed on the clean one."""

    device: Callable[[], SimDevice]
    driver: Callable[[Callable[[], Any]], PortDevice[Any]]
    tries: tuple[Callable[[Any, int], object], ...]
    afterwards: Callable[[Any, int], object]
    tokens: tuple[bytes, ...]
    both_ways: bool = True


def reader() -> SerialReader:
    device = SerialReader()
    device.insert_card("unionpay-credit")
    return device


def pad() -> PinPad:
    device = PinPad()
    device.load_key(0, "master")
    return device


def slip_is_printed(printer: EscposPrinter, number: int) -> None:
    assert printer.status(3).online
    if number % 1000 == 0:
        assert printer.print_slip(SLIP, f"after-{number}", 10).outcome == "printed"


def card_is_in(reader: CcidReader, number: int) -> None:
    assert reader.slot_status(deadline_in(5))
    if number % 1000 == 0:
        assert reader.wait_card(5).protocol == 0


def reader_answers(reader: NeoReader, number: int) -> None:
    assert "answers" in reader.test(deadline_in(3))


def text_is_shown(pad: IppPinPad, number: int) -> None:
    pad.display(f"N {number}")
    assert number % 100 or pad.has_master_key(0)


FAMILIES = {
    "reader": Family(
        reader,
        lambda opener: CcidReader("virtual:", opener),
        (
            lambda device, number: device.slot_status(deadline_in(5)),
            lambda device, number: device.test(deadline_in(5)),
            lambda device, number: device.idle(),
            lambda device, number: device.power_off(2),
        ),
        card_is_in,
        (b"\x03\x06", b"\x03\x06\x80", b"\x03\x15\x16", b"\x50\x02", b"\x50\x03", b"\x80", b"\x03\x06\x81\xff\0\0\0"),
    ),
    "pinpad": Family(
        pad,
        lambda opener: IppPinPad("virtual:", opener),
        (
            lambda device, number: device.display("HELLO"),
            lambda device, number: device.has_master_key(number % 10),
            lambda device, number: device.cancel(),
            lambda device, number: device.idle(),
            lambda device, number: device.select_key(number % 3),
        ),
        text_is_shown,
        (b"\x02Z67", b"\x02", b"\x06", b"\x15", b"\x04", b"\x0f04", b"\x0f080\x0e", b"\x02710"),
    ),
    "contactless": Family(
        ContactlessReader,
        lambda opener: NeoReader("virtual:", opener),
        (
            lambda device, number: device.test(deadline_in(3)),
            lambda device, number: device.activate(1 + number % 3, number, "260101"),
            lambda device, number: device.show("HELLO"),
            lambda device, number: device.last_result(),
            lambda device, number: device.cancel(),
            lambda device, number: device.idle(),
        ),
        reader_answers,
        (b"ViVOtech2\0", b"ViVOtech2\0\x18\x00\x00\x00", b"ViVOtech2\0\x02\x23\x07\xff", b"ViVO"),
    ),
    "printer": Family(
        Printer,
        lambda opener: EscposPrinter("virtual:", opener),
        (
            lambda device, number: device.status(3),
            lambda device, number: device.idle(),
            lambda device, number: number % 1000 or device.print_slip(SLIP, f"try-{number}", 5),
        ),
        slip_is_printed,
        (b"\x12", b"\x1a", b"\x10\x00\x00\x00", b"\x37\x22", b"\x37\x22abcd", b"\x37\x23", b"\x7e"),
        both_ways=False,  # nothing protects what goes to a printer: a flipped bit there is another command
    ),
}


def converse(name: str, examples: int = EXAMPLES) -> None:
    """Any bytes leave the driver able to complete the next command."""
    family, clock = FAMILIES[name], VirtualClock()
    began, dice, seen = time.perf_counter(), random.Random(1), Counter[str]()
    with clock.running():
        line = VirtualLine(family.device(), clock, list(family.tokens), family.both_ways)
        driver = family.driver(lambda: line)
        driver.open(deadline_in(10))
        for number in range(examples):
            line.damage(number)
            try:
                dice.choice(family.tries)(driver, number)
                seen["good"] += 1
            except AgentError as error:
                seen[error.code] += 1
            line.clean()
            try:
                family.afterwards(driver, number)
            except (AgentError, AssertionError) as error:
                raise AssertionError(f"example {number} left the {name} unable to go on: {error}") from error
            seen["examples"] += 1
    assert seen["examples"] == examples
    assert line.damages > examples / 5
    print(f"{name}: {seen['examples']} damaged conversations in {time.perf_counter() - began:.1f} s, {dict(seen)}")
