"""The person in front of the PIN pad, scripted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

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
        """Adds what the person does at the next prompt that has no plan yet."""
        self._planned.append(Act(kind, pin, after_s))

    def next_act(self) -> Act:
        return self._planned.popleft() if self._planned else self.usual

    @property
    def planned(self) -> int:
        return len(self._planned)
