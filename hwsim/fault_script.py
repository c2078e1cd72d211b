"""Fault scripts: what goes wrong, when, as a TOML file.

    title = "Paper ends in the middle of the slip"
    [[step]]
    device = "printer"                 # printer, reader, pinpad or contactless
    fault = "paper-out"                # a fault of that device, or an action: insert-card, remove-card, person
    after_lines = 3                    # arguments of the fault
    [[step]]
    at_s = 2.0                         # seconds after the start of the script (default 0)
    device = "printer"
    fault = "paper-ok"

Faults on the n-th frame are arguments too: `fault = "corrupt"`, `nth = 2`, `count = 1`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import BenchError

DEVICES = ("printer", "reader", "pinpad", "contactless")


@dataclass(frozen=True)
class Step:
    """One thing that happens at `at_s`."""

    at_s: float
    device: str
    fault: str
    args: dict[str, object]


@dataclass(frozen=True)
class FaultScript:
    """Steps in the order of their times; `values` are the file's other keys (statement, expectation)."""

    title: str
    steps: tuple[Step, ...]
    values: dict[str, object]


def load_script(path: Path) -> FaultScript:
    """Reads and checks a script. Raises BenchError naming the step and the key."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BenchError(f"the script {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"the script {path} is not valid TOML: {error}") from None
    title, raw_steps = values.pop("title", path.stem), values.pop("step", [])
    if not isinstance(raw_steps, list) or not isinstance(title, str):
        raise BenchError(f"the script {path} needs a text `title` and tables `[[step]]`")
    steps = [checked_step(path, number, raw) for number, raw in enumerate(raw_steps, 1)]
    return FaultScript(title, tuple(sorted(steps, key=lambda step: step.at_s)), values)


def checked_step(path: Path, number: int, raw: object) -> Step:
    where = f"the script {path}, step {number}"
    if not isinstance(raw, dict):
        raise BenchError(f"{where} is not a table")
    args = dict(raw)
    at_s, device, fault = args.pop("at_s", 0.0), args.pop("device", None), args.pop("fault", None)
    if not isinstance(at_s, int | float) or at_s < 0:
        raise BenchError(f"{where}: at_s is not a number of seconds")
    if device not in DEVICES:
        raise BenchError(f"{where}: device is {device!r}", "it is one of " + ", ".join(DEVICES))
    if not isinstance(fault, str) or not fault:
        raise BenchError(f"{where} has no `fault`")
    return Step(float(at_s), device, fault, args)
