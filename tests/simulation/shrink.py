"""A failing run made small: faults, sales and acts are left out as long as the same rule stays broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.plan import Options
from tests.simulation.run import Result, run
from tests.simulation.world import World

ROUNDS_MAX = 3


def shrink(seed: int, options: Options, again: Callable[[int, Options], Result] = run) -> tuple[Options, Result]:
    """The smallest options found that still break the same rule, and their run."""
    smallest = again(seed, options)
    for _ in range(ROUNDS_MAX):
        before = options
        for leave_out in _parts(seed, options):
            candidate = leave_out(options)
            result = again(seed, candidate)
            if result.rule == smallest.rule:
                options, smallest = candidate, result
        if options == before:
            break
    return options, smallest


def _parts(seed: int, options: Options) -> Iterator[Callable[[Options], Options]]:
    """What may be left out, one by one."""
    world = World(seed, options)
    for kind in sorted(world.swarm.weights):
        yield lambda now, kind=kind: replace(now, without=now.without | {kind})  # type: ignore[misc]
    for sale in world.plan.sales:
        yield lambda now, index=sale.index: replace(now, no_sales=now.no_sales | {index})  # type: ignore[misc]
    for act in world.plan.acts:
        yield lambda now, index=act.index: replace(now, no_acts=now.no_acts | {index})  # type: ignore[misc]


def command(seed: int, options: Options) -> str:
    """The command that replays this run."""
    words = ["python -m tests.simulation", f"--seed {seed}"]
    if options.without:
        words.append("--without " + ",".join(sorted(options.without)))
    if options.no_sales:
        words.append("--no-sales " + ",".join(map(str, sorted(options.no_sales))))
    if options.no_acts:
        words.append("--no-acts " + ",".join(map(str, sorted(options.no_acts))))
    return " ".join(words)


def story(result: Result, lines_max: int = 0) -> str:
    """The run as a time line; of a long one, the beginning and the end."""
    lines = [f"{at:10.2f} s  {text}" for at, text in result.story]
    if lines_max and len(lines) > lines_max:
        half = lines_max // 2
        lines = [*lines[:half], f"            ... {len(lines) - 2 * half} lines ...", *lines[-half:]]
    return "\n".join(lines)
