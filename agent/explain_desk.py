"""The API's side of `explain`: the frozen reversal of an item in words, as the agent holds it.

Only the masked explanation leaves the process, never the bytes: whoever may read the status may read it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.lane import RefusedError
from agent.loop import Loop
from agent.rpc import Peer, take


class ExplainDesk:
    """Methods by name in `methods`. `directories`: where more profiles lie, as configured now."""

    def __init__(self, loop: Loop, directories: Callable[[], Sequence[Path]]) -> None:
        self._loop = loop
        self._directories = directories
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {"reversal.explain": self.explain}

    def explain(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The object of `explain --json`, and the same in words."""
        # The dictionaries of the explanation are 2 MB that no reversal needs: loaded with the first question.
        from agent.explain import explain_item, item_json, item_text

        given = take(params, {"id": (str,)})
        txn = self._loop.get(given["id"])
        if txn is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {given['id']!r}", "see reversalctl list --all")
        known, found = explain_item(txn.public(), txn.secret(), self._directories())
        texts = {f"text_{language}": item_text(known, found, language) for language in ("en", "zh")}
        return {**item_json(known, found), **texts}
