"""reversalctl against a real socket: the API's server in a thread, methods as the test gives them."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.cli import main
from agent.rpc import Method, RpcServer


@contextmanager
def serving(path: Path, methods: Mapping[str, Method]) -> Iterator[None]:
    """The server runs until the block ends."""
    started, faults = threading.Event(), list[BaseException]()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        server = RpcServer(path, methods, on_fault=faults.append)
        await server.start()
        started.set()
        await ended.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
    assert faults == []


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    status = main(arguments, out, err)
    return status, out.getvalue(), err.getvalue()


class Desk:
    """Methods over a few items; keeps what was asked."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = {item["id"]: item for item in items}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.timeline: list[dict[str, Any]] = []

    def methods(self) -> dict[str, Method]:
        return {
            "reversal.list": self._list,
            "reversal.show": self._show,
            "reversal.why": self._why,
            **{f"reversal.{name}": self._acted(name) for name in ("hold", "release", "park", "retry")},
            **{f"transaction.{name}": self._decided(name) for name in ("complete", "reverse")},
            "reversal.settle": self._settle,
            "reversal.confirm": self._confirm,
        }

    def _list(self, peer: Any, params: dict[str, Any]) -> Any:
        self.asked.append(("list", params))
        return {"items": list(self.items.values()), "pending_count": len(self.items)}

    def _show(self, peer: Any, params: dict[str, Any]) -> Any:
        return self._item(params)

    def _why(self, peer: Any, params: dict[str, Any]) -> Any:
        return {"item": self._item(params), "timeline": self.timeline}

    def _item(self, params: dict[str, Any]) -> dict[str, Any]:
        from agent.lane import RefusedError

        item = self.items.get(params["id"])
        if item is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {params['id']!r}", "see reversalctl list --all")
        return item

    def _acted(self, name: str) -> Method:
        def act(peer: Any, params: dict[str, Any]) -> Any:
            from agent.lane import RefusedError

            self.asked.append((name, params))
            if name == "retry":
                return self._retried(params)
            if self.items[params["id"]]["state"] == "reversed":
                raise RefusedError("A-NOTHING-OWED", "no reversal is owed: the item is reversed", "nothing to do")
            return self.items[params["id"]]

        return act

    def _decided(self, name: str) -> Method:
        def decide(peer: Any, params: dict[str, Any]) -> Any:
            self.asked.append((name, params))
            return {}

        return decide

    def _settle(self, peer: Any, params: dict[str, Any]) -> Any:
        self.asked.append(("settle", params))
        item = self._item(params)
        return {"challenge": "K7Q2-M9XD", "expires_s": 899, "bank_code_possible": True, "item": item}

    def _confirm(self, peer: Any, params: dict[str, Any]) -> Any:
        self.asked.append(("confirm", params))
        return {"item": self._item(params), "evidence": ["/var/lib/reversald/evidence/settled-main-8.json"]}

    def _retried(self, params: dict[str, Any]) -> Any:
        ids = list(self.items) if params.get("all") else [params["id"]]
        for one in ids:
            self.items[one] = {**self.items[one], "tries": self.items[one]["tries"] + 1, "last_code": "00"}
        return {"retried": ids}
