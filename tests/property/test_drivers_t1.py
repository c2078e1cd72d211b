"""T=1 on a line that loses and damages blocks: the right answer or a typed error, and never a command executed twice.

The driver's end and the simulated card's end, each written from the standard by itself, in one process.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.card_t1 import T1
from drivers.errors import CardMute, DeviceError
from hwsim.devices.card_t1 import T1Link

CONVERSATIONS = 10_000
# Damage that an 8-bit check byte sees: what it cannot see is no fault of the drivers.
DAMAGES = (*["none"] * 24, "flip", "cut", "lose", "rubbish")


class Line:
    """Between driver and card; `damaging` says whether blocks suffer."""

    def __init__(self, dice: random.Random, ifsc: int, size: int, slow: bool) -> None:
        self._dice = dice
        self.damaging = False
        self.executed: list[bytes] = []
        self.counters: Counter[str] = Counter()
        self.card = T1Link(self._execute, lambda command: float(slow), ifsc, size)
        self.driver = T1(self._transfer, ifsc, self.counters)

    def _execute(self, command: bytes) -> bytes:
        self.executed.append(command)
        return answer_to(command)

    def _transfer(self, block: bytes, deadline_s: float, waiting: int) -> bytes:
        answer = self.card.block(self._passed(block))
        if answer is None or (passed := self._passed(answer)) == b"":
            raise CardMute("nothing came")
        return passed

    def _passed(self, block: bytes) -> bytes:
        match self._dice.choice(DAMAGES) if self.damaging else "none":
            case "flip":
                place = self._dice.randrange(len(block))
                return block[:place] + bytes([block[place] ^ 1 << self._dice.randrange(8)]) + block[place + 1 :]
            case "cut":
                return block[: self._dice.randrange(len(block))]
            case "lose":
                return b""
            case "rubbish":
                return b"\xff" * self._dice.randrange(1, 12)
        return block


def answer_to(command: bytes) -> bytes:
    return command[:1] * (command[0] % 200 + 40) + b"\x90\x00"


def converse(dice: random.Random, ifsc: int, size: int, slow: bool, faults: list[str]) -> tuple[int, int]:
    """Ten commands on a bad line, one on a good one: how many were answered and how many failed."""
    line, answered, failed = Line(dice, ifsc, size, slow), 0, 0
    for name in faults:
        line.card.fail(name, 1)
    line.driver.announce_size(0.0)
    for number in range(10):
        line.damaging = True
        command = bytes([number]) + dice.randbytes(dice.randrange(4, 90))
        try:
            assert line.driver.transmit(command, 0.0) == answer_to(command)
            answered += 1
        except DeviceError:
            failed += 1
        assert line.executed.count(command) <= 1, "a command was executed twice"
    line.damaging = False
    line.card.faults.clear()
    last = b"\xfe" + dice.randbytes(50)
    assert line.driver.transmit(last, 0.0) == answer_to(last)
    assert line.executed[-1] == last
    return answered, failed


@pytest.mark.slow
def test_no_damage_gives_a_wrong_answer_or_a_second_execution() -> None:
    dice, answered, failed = random.Random(4), 0, 0
    for _ in range(CONVERSATIONS // 10):
        good, bad = converse(dice, dice.choice((5, 16, 32, 254)), dice.choice((7, 32, 254)), dice.random() < 0.3, [])
        answered, failed = answered + good, failed + bad
    assert answered + failed == CONVERSATIONS
    assert answered > CONVERSATIONS / 10
    assert failed > CONVERSATIONS / 10
    print(f"T=1: {answered} commands answered, {failed} ended with a typed error, none executed twice")


FAULTS = ["garbled", "deaf", "lost", "asks for time", "new size", "aborts", "out of step"]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 254), st.integers(1, 254), st.lists(st.sampled_from(FAULTS)))
def test_the_cards_own_faults_on_a_bad_line(seed: int, ifsc: int, size: int, faults: list[str]) -> None:
    answered, failed = converse(random.Random(seed), ifsc, size, False, faults)
    assert answered + failed == 10
