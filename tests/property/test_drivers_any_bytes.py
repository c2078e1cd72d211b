"""Any byte stream whatsoever leaves a driver able to complete its next command once the line is clean.

A hundred thousand damaged conversations for each device (tests/any_bytes.py); the PIN pad and the contactless reader
are in a file of their own, so that two workers share them.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.pinpad_ipp import IppPinPad
from drivers.port import deadline_in
from protocol.errors import AgentError
from tests.any_bytes import FAMILIES, converse, pad
from tests.virtual_line import VirtualClock, VirtualLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Of hypothesis itself, which is slower by far: it finds the shortest stream that breaks a rule.
SHRINKING_EXAMPLES = 150
Streams = list[tuple[int, list[bytes | int]]]
KEY = "0123456789ABCDEF0123456789ABCDEF"


@pytest.mark.parametrize("name", ["reader", "printer"])
def test_any_bytes_leave_the_driver_able_to_complete_the_next_command(name: str) -> None:
    converse(name)


streams = st.lists(
    st.tuples(st.integers(0, 99), st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 99)), max_size=4)),
    max_size=4,
)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=SHRINKING_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams=streams)
def test_any_stream_that_hypothesis_thinks_of_leaves_the_driver_able_to_go_on(name: str, streams: Streams) -> None:
    """The same property with whole streams instead of the device's answers, and shrunk to the shortest that breaks it.

    A number in a stream stands for the beginning of a frame of this family (`tokens`).
    """
    family, clock = FAMILIES[name], VirtualClock()
    with clock.running():
        line = Scripted(family.device(), clock, list(family.tokens), family.both_ways)
        driver = family.driver(lambda: line)
        driver.open(deadline_in(10))
        for number, (choice, pieces) in enumerate(streams):
            tokens = family.tokens
            line.said = [tokens[each % len(tokens)] if isinstance(each, int) else each for each in pieces]
            with suppress(AgentError):
                family.tries[choice % len(family.tries)](driver, number)
            line.said = []
            line.clean()
            family.afterwards(driver, number)


class Scripted(VirtualLine):
    """Each write is answered by the next of `said` instead of by the device, as long as there are any."""

    said: list[bytes]

    def write(self, data: bytes, deadline_s: float) -> None:
        if not getattr(self, "said", []):
            super().write(data, deadline_s)
        else:
            self._coming += self.said.pop(0)


class Babbling(VirtualLine):
    """The device never stops: every read brings the same bytes, and a millisecond passes."""

    said = b""

    def read(self, size: int, deadline_s: float) -> bytes:
        if not self.said:
            return super().read(size, deadline_s)
        self._clock.now += 0.001
        return self.said


BABBLE = [
    b"\xff",
    b"\x03\x06\x81",
    b"\x50\x03",
    b"\x80",
    b"\x06",
    b"\x15",
    b"\x0271\x03",
    b"\x12",
    b"\x10\0\0\0",
    b"ViVOtech2\0",
]
BABBLE += [bytes.fromhex(text) for text in ("03068100000000000000000084", "031516", "02373203 06", "37226162636400")]
BABBLE += [bytes.fromhex("5669564F746563683200 18 0E 0000 6ACE"), bytes.fromhex("5669564F746563683200 18 00 0000 FA83")]


@pytest.mark.parametrize("said", BABBLE, ids=lambda said: said.hex())
@pytest.mark.parametrize("name", FAMILIES)
def test_a_device_that_never_stops_talking_holds_nobody_beyond_the_deadline(name: str, said: bytes) -> None:
    family, clock = FAMILIES[name], VirtualClock()
    with clock.running():
        line = Babbling(family.device(), clock, [b""])
        driver = family.driver(lambda: line)
        driver.open(deadline_in(10))
        line.said = said
        began = clock.now
        for number, attempt in enumerate(family.tries):
            with suppress(AgentError):
                attempt(driver, number)
        assert clock.now - began < 15 * len(family.tries)


def test_the_line_in_memory_is_a_good_line_when_nothing_damages_it() -> None:
    clock = VirtualClock()
    with clock.running():
        line = VirtualLine(pad(), clock, [b""])
        driver = IppPinPad("virtual:", lambda: line)
        driver.open(deadline_in(10))
        driver.load_master_key(3, KEY)
        assert driver.has_master_key(3)
        with suppress(AgentError):
            driver.cancel()
    assert driver.counters["retransmissions"] == 0
