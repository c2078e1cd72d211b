"""The script and the score of a drill: which commands a trainee should type, in which order help is given.

Pure: the stage is hwsim's process, the terminal is `agent/cli_drill.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from agent.texts import Text
from agent.texts_operations import operations
from protocol.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its text's name, and which command line does it."""

    name: str
    pattern: str
    mends: bool = False  # from here on the cause is gone, as if the step had found it


LOOK = Step("look", r"reversalctl( .*)? (status|watch)\b.*")
PLAN = Step("plan", r"reversalctl( .*)? plan\b.*")
WHY = Step("why", r"reversalctl( .*)? why \S+.*")
NOTE = Step("note", r"reversalctl( .*)? maintenance .*--note.*")
RETRY = Step("retry", r"reversalctl( .*)? retry\b.*")
LIST = Step("list", r"reversalctl( .*)? list\b.*")
SCRIPTS: Mapping[str, Sequence[Step]] = {
    "host-outage": (LOOK, PLAN, WHY, Step("selftest", r"reversalctl( .*)? selftest\b.*", mends=True), RETRY, NOTE),
    "power-failing": (LOOK, PLAN, LIST, WHY, Step("note", NOTE.pattern, mends=True), RETRY),
    "storage-failing": (
        LOOK,
        PLAN,
        Step("selftest", r"reversalctl( .*)? selftest\b.*", mends=True),
        Step("export", r"reversalctl( .*)? export \S+.*"),
        Step("wait", r"reversalctl( .*)? (wait-clear|list)\b.*"),
        NOTE,
    ),
    "device-lost": (LOOK, PLAN, Step("devices", r"reversalctl( .*)? devices\b.*", mends=True), WHY, NOTE),
}


@dataclass(slots=True)
class Drill:
    """One drill under way: what was done, and what was helped with."""

    plan: str
    done: list[str] = field(default_factory=list)
    helped: set[str] = field(default_factory=set)
    typed: list[str] = field(default_factory=list)
    wrong: int = 0  # commands that could not be done
    times_s: dict[str, float] = field(default_factory=dict)  # after how many seconds each step was done

    @property
    def steps(self) -> Sequence[Step]:
        """The whole script."""
        return SCRIPTS[self.plan]

    def text(self, step: Step) -> Text:
        """A step in words."""
        return operations().drills[step.name].fill({"plan": self.plan})

    def next(self) -> Step | None:
        """The first step that is not done."""
        return next((step for step in self.steps if step.name not in self.done), None)

    def help(self) -> Step | None:
        """The next step, shown: it does not count as done alone."""
        step = self.next()
        if step is not None:
            self.helped.add(step.name)
        return step

    def enter(self, line: str, after_s: float, *, failed: bool = False) -> Step | None:
        """A typed command; the step that it does, if any. Order is advice: a later step done early counts."""
        self.typed.append(line)
        if failed:
            self.wrong += 1
            return None
        for step in self.steps:
            if step.name not in self.done and re.fullmatch(step.pattern, line):
                self.done.append(step.name)
                self.times_s[step.name] = round(after_s, 1)
                return step
        return None

    def record(self, seconds: float, at_utc: str, trainee: str) -> dict[str, Any]:
        """What is kept of it. A step done alone counts whole, one done with help counts half."""
        alone = [name for name in self.done if name not in self.helped]
        points = len(alone) + len(self.done)
        return {
            "plan": self.plan,
            "at_utc": at_utc,
            "trainee": trainee,
            "seconds": round(seconds),
            "steps": [step.name for step in self.steps],
            "done": list(self.done),
            "alone": alone,
            "missed": [step.name for step in self.steps if step.name not in self.done],
            "times_s": dict(self.times_s),
            "wrong_commands": self.wrong,
            "score_percent": 100 * points // (2 * len(self.steps)),
            "passed": len(self.done) == len(self.steps),
            "typed": list(self.typed),
        }
