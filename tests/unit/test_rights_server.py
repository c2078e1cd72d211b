"""The server asks for the right before a method runs, and lets a fast user wait."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from agent.rights import RightsError
from agent.rpc import Peer, RpcServer

ROOT = Path(__file__).parents[2]


def api_methods() -> set[str]:
    """Every method that the API offers, as its file names them."""
    text = "".join(path.read_text() for path in (ROOT / "agent").glob("*.py"))
    return set(re.findall(r'"([a-z]+\.[a-z_]+)": (?:self|lambda)\b', text))


async def ask(path: Path, *methods: str) -> list[dict[str, Any]]:
    """Call each, in order, on one connection."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answers = []
    for number, method in enumerate(methods):
        writer.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method}).encode() + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return answers


def test_a_refused_method_never_runs(tmp_path: Path) -> None:
    ran: list[str] = []

    def guard(peer: Peer, method: str) -> None:
        if method == "closed":
            raise RightsError("closed needs a right", "ask")

    async def story() -> list[dict[str, Any]]:
        methods = {name: lambda peer, params, name=name: ran.append(name) for name in ("open", "closed")}
        server = RpcServer(tmp_path / "s", methods, on_fault=lambda fault: None, guard=guard)
        await server.start()
        try:
            return await ask(tmp_path / "s", "closed", "open")
        finally:
            await server.close()

    refused, done = asyncio.run(story())
    assert refused["error"]["data"]["code"] == "A-RIGHTS"
    assert "result" in done
    assert ran == ["open"]


def test_a_user_beyond_the_rate_is_read_later_and_answered_all_the_same(tmp_path: Path) -> None:
    waits = iter([0.0, 0.2, 0.0, 0.0])

    async def story() -> tuple[float, list[dict[str, Any]]]:
        server = RpcServer(
            tmp_path / "s",
            {"m": lambda peer, params: 1},
            on_fault=lambda fault: None,
            pace=lambda uid: next(waits),
        )
        await server.start()
        began = asyncio.get_running_loop().time()
        try:
            answers = await ask(tmp_path / "s", "m", "m", "m")
            return asyncio.get_running_loop().time() - began, answers
        finally:
            await server.close()

    took_s, answers = asyncio.run(story())
    assert [answer["result"] for answer in answers] == [1, 1, 1]
    assert took_s >= 0.2
