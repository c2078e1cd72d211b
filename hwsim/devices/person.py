"""The person in front of the PIN pad, scripted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

from hwsim.errors import BenchError

DEFAULT_PIN = "123456"
Kind = Literal["enter", "cancel", "wait"]


@dataclass(frozen=True, repr=False)
class Act:
    """What the person does at one PIN prompt, `after_s` seconds after it appears. `repr` hides the PIN."""

    kind: Kind
    pin: str = DEFAULT_PIN
    after_s: float = 0.0

    def __repr__(self) -> str:
        return f"Act({self.kind}, after {self.after_s} s)"


class Person:
    """Acts in the order planned; with nothing planned, enters the usual test PIN at once."""

    def __init__(self) -> None:
        self.usual = Act("enter")
        self._planned: deque[Act] = deque()

    def plan(self, kind: Kind, pin: str = DEFAULT_PIN, after_s: float = 0.0) -> None:
        """Adds what the person does at the next prompt that has no plan yet. Raises BenchError."""
        if kind not in get_args(Kind):
            raise BenchError(f"a person cannot '{kind}'", "a person can: " + ", ".join(get_args(Kind)))
        if not (pin.isascii() and pin.isdecimal() and 4 <= len(pin) <= 12) or after_s < 0:
            raise BenchError("a PIN has 4 to 12 digits, and a person acts after the prompt, not before")
        self._planned.append(Act(kind, pin, after_s))

    def next_act(self) -> Act:
        return self._planned.popleft() if self._planned else self.usual

    def forget(self) -> None:
        """Nothing is planned any more."""
        self._planned.clear()

    @property
    def planned(self) -> int:
        return len(self._planned)
