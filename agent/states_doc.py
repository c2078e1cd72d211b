"""Prints docs/states.md from the decision table: `python -m agent.states_doc > docs/states.md`."""

from __future__ import annotations

import inspect

from agent.engine import HANDLERS
from agent.events import EVENTS
from agent.records import PENDING, State

HEAD = """\
# States and events

Printed from `HANDLERS` in `agent/engine.py` by `python -m agent.states_doc`; a test keeps the two together.
A cell names the handler; "·" means that the event changes nothing in that state, "impossible" that it is our own
fault: the process ends and the journal resumes.

"""


def markdown() -> str:
    """The whole page."""
    states = [state for state in State if state is not State.NEW]
    lines = [f"| event | {' | '.join(states)} |", "|---|" + "---|" * len(states)]
    for event in EVENTS:
        cells = [_cell(HANDLERS[state, event].__name__) for state in states]
        lines.append(f"| {event.__name__} | {' | '.join(cells)} |")
    pending = ", ".join(state for state in State if state in PENDING)
    return HEAD + "\n".join(lines) + f"\n\nPending states: {pending}.\n\n## What happens\n\n" + _words()


def _cell(name: str) -> str:
    return {"ignore": "·", "_impossible": "impossible"}.get(name, name.replace("_", " "))


def _words() -> str:
    handlers = {handler.__name__: handler for handler in HANDLERS.values()}
    told = sorted(name for name in handlers if not name.startswith("_") and name != "ignore")
    return "".join(f"* **{name.replace('_', ' ')}**: {_first(handlers[name].__doc__)}\n" for name in told)


def _first(text: str | None) -> str:
    return inspect.cleandoc(text or "").split("\n\n", 1)[0].replace("\n", " ")


if __name__ == "__main__":
    print(markdown(), end="")
