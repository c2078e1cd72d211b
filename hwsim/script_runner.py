"""Plays a fault script on a bench, each step at its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from hwsim.fault_script import FaultScript, Step

Perform = Callable[[str, str, dict[str, object]], None]
Sleep = Callable[[float], bool]


def play(script: FaultScript, perform: Perform, sleep: Sleep, tell: Callable[[Step], None]) -> bool:
    """Runs all steps; `sleep(seconds)` returns True to stop early. False when it was stopped."""
    began = time.monotonic()
    for step in script.steps:
        wait_s = began + step.at_s - time.monotonic()
        if wait_s > 0 and sleep(wait_s):
            return False
        perform(step.device, step.fault, dict(step.args))
        tell(step)
    return True
