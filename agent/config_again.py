"""A second look at a configuration that has errors: what they hid.

A section with a wrong key cannot be built, so nothing that must fit together in it could be checked. Here its wrong
keys are taken out, a lane gets stand-ins for those that it needs, and the checks are made once more. Whoever mends a
file then meets no error at the second run that the first could have told.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.config_keys import Problem, Report

Table = dict[str, Any]

# Values of the right shape for what a lane cannot be without. Nothing is checked about them: the original was told.
# A lane without a readable profile has none: what fits it cannot be known.
STAND_INS: Mapping[str, object] = {
    "name": "lane",
    "terminal_id": "00000000",
    "merchant_id": "000000000000000",
    "hosts": ["127.0.0.1:1"],
}
_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


def hidden(
    table: Table,
    told: Sequence[Problem],
    read: Callable[[Table], Mapping[str, Any]],
    check: Callable[[Mapping[str, Any], Report], None],
    lines: Mapping[str, int],
) -> list[Problem]:
    """The problems that those of `told` had hidden. `read` gives the parts of a table, `check` looks at them."""
    mended = copy.deepcopy(table)
    for problem in told:
        _take_out(mended, problem.where)
    for lane in mended.get("lane", ()) if isinstance(mended.get("lane"), list) else ():
        if isinstance(lane, dict):
            lane.update({name: value for name, value in STAND_INS.items() if name not in lane})
    report = Report(lines)
    check(read(mended), report)
    known = [problem.where for problem in told]
    return [problem for problem in report.problems if not any(_related(problem.where, where) for where in known)]


def _take_out(table: Table, where: str) -> None:
    """Removes the key that a problem names; of a list with a wrong item, the whole list."""
    steps = [name or int(number) for name, number in _STEP.findall(where)]
    while steps and isinstance(steps[-1], int):
        steps.pop()
    for step in steps[:-1]:
        try:
            table = table[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return
    if steps and isinstance(table, dict):
        table.pop(str(steps[-1]), None)


def _related(one: str, other: str) -> bool:
    """Whether one key is the other, or holds it."""
    short, long = sorted((one, other), key=len)
    return one == other or long.startswith((f"{short}.", f"{short}["))
