"""No client can stall, confuse or fill the daemon; each request has its answer under its id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.journal_contract import JournalFailed
from agent.rpc import Limits, Method, Peer, RpcServer
from protocol.errors import AgentError

PAN = "6200000000000005"
DEADLINE_S = 10.0
QUICK = Limits(line_timeout_s=0.05, unread_timeout_s=0.05, close_grace_s=0.05)


class Bench:
    """A server, its faults, and gates that methods wait at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[BaseException] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []
        self.done: list[str] = []
        self.server: RpcServer

    def methods(self) -> dict[str, Method]:
        return {"echo": self._echo, "wait": self._wait, "fail": self._fail, "whoami": self._whoami, "big": self._big}

    def _echo(self, peer: Peer, params: dict[str, Any]) -> Any:
        return params

    async def _wait(self, peer: Peer, params: dict[str, Any]) -> Any:
        self.begun.append(params["gate"])
        await self.gates.setdefault(params["gate"], asyncio.Event()).wait()
        self.done.append(params["gate"])
        return params["gate"]

    def _fail(self, peer: Peer, params: dict[str, Any]) -> Any:
        errors = {
            "agent": lambda: TillError("no such till", "look again"),
            "journal": lambda: JournalFailed("commit failed"),
            "own": lambda: ValueError(f"invalid literal: {PAN}"),
        }
        raise errors[params["how"]]()

    async def _whoami(self, peer: Peer, params: dict[str, Any]) -> Any:
        return [peer.pid, peer.uid, peer.gid, peer.name, sorted(peer.groups)]

    def _big(self, peer: Peer, params: dict[str, Any]) -> Any:
        return "x" * 300_000

    def open(self, gate: str) -> None:
        self.gates.setdefault(gate, asyncio.Event()).set()

    async def connect(self) -> Client:
        return Client(*await asyncio.open_unix_connection(str(self.path), limit=1 << 20))


class TillError(AgentError):
    code = "A-TILL"


class Client:
    """Sends lines, reads answers; what it expects comes within the deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, method: str, request_id: Any = 1, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def answer(self) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return json.loads(await self.reader.readline())

    async def call(self, method: str, **params: Any) -> Any:
        self.send(method, **params)
        return await self.answer()

    async def ended(self) -> bool:
        """True when the server has ended the connection and nothing more came."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(directory: Path, limits: Limits = Limits(), **options: Any) -> AsyncIterator[Bench]:  # noqa: B008
    bench = Bench(directory / "a.sock")
    bench.server = RpcServer(bench.path, bench.methods(), on_fault=bench.faults.append, limits=limits, **options)
    await bench.server.start()
    try:
        yield bench
    finally:
        await bench.server.close()


Dialogue = Callable[[Bench, Client], Awaitable[None]]


def converse(directory: Path, dialogue: Dialogue, limits: Limits = Limits(), **options: Any) -> Bench:  # noqa: B008
    """Run one dialogue against a server of its own; returns the bench as it was left."""

    async def run() -> Bench:
        async with serving(directory, limits, **options) as bench:
            client = await bench.connect()
            try:
                await dialogue(bench, client)
            finally:
                await client.close()
        return bench

    return _run(run())


def _run(work: Coroutine[Any, Any, Bench]) -> Bench:
    return asyncio.run(work)


def test_a_request_is_answered_under_its_id(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.send("echo", "till-7", text="冲正")
        assert await client.answer() == {"jsonrpc": "2.0", "id": "till-7", "result": {"text": "冲正"}}

    assert converse(tmp_path, dialogue).faults == []


def test_answers_leave_when_they_are_ready_not_in_the_order_of_requests(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.send("wait", 1, gate="a")
        client.send("wait", 2, gate="b")
        client.send("echo", 3)
        assert (await client.answer())["id"] == 3
        bench.open("b")
        assert (await client.answer())["id"] == 2
        bench.open("a")
        assert (await client.answer())["id"] == 1

    converse(tmp_path, dialogue)


def test_many_requests_in_one_write_and_one_request_in_many_writes(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        for number in range(100):
            client.send("echo", number)
        assert sorted([(await client.answer())["id"] for _ in range(100)]) == list(range(100))
        for byte in b'\n \r\n{"jsonrpc":"2.0","id":5,"method":"echo"}\r\n':
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.answer())["id"] == 5

    converse(tmp_path, dialogue)


def test_an_error_of_a_method_is_an_answer_with_its_code_and_hint(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        error = (await client.call("fail", how="agent"))["error"]
        assert error == {"code": -32000, "message": "no such till", "data": {"code": "A-TILL", "hint": "look again"}}
        assert (await client.call("echo"))["result"] == {}

    assert converse(tmp_path, dialogue).faults == []


def test_our_own_fault_is_told_to_the_process_and_shows_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        error = (await client.call("fail", how="own"))["error"]
        assert error["data"]["code"] == "A-INTERNAL"
        assert "transaction.status" in error["data"]["hint"]

    bench = converse(tmp_path, dialogue)
    assert [type(fault) for fault in bench.faults] == [ValueError]
    assert "own fault in fail: ValueError" in caplog.text
    assert PAN not in caplog.text


def test_a_journal_that_failed_is_never_an_ordinary_answer(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        assert (await client.call("fail", how="journal"))["error"]["data"]["code"] == "A-INTERNAL"

    assert [type(fault) for fault in converse(tmp_path, dialogue).faults] == [JournalFailed]


def test_a_wrong_line_is_answered_and_the_next_one_works(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.writer.write(b"garbage\n[1]\n")
        assert (await client.answer())["error"]["code"] == -32700
        assert (await client.answer())["error"]["code"] == -32600
        assert (await client.call("echo"))["result"] == {}

    converse(tmp_path, dialogue)


def test_one_id_is_not_under_way_twice(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.send("wait", 1, gate="a")
        client.send("echo", 1)
        assert "under way already" in (await client.answer())["error"]["message"]
        bench.open("a")
        assert (await client.answer())["result"] == "a"
        assert (await client.call("echo"))["result"] == {}

    converse(tmp_path, dialogue)


def test_a_client_that_closes_its_side_still_gets_its_answer(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.send("wait", 1, gate="a")
        client.writer.write_eof()
        await until(lambda: bench.begun == ["a"])
        bench.open("a")
        assert (await client.answer())["result"] == "a"
        assert await client.ended()

    converse(tmp_path, dialogue)


def test_a_request_is_carried_out_although_its_client_has_gone(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.send("wait", 1, gate="a")
        await until(lambda: bench.begun == ["a"])
        client.writer.transport.abort()
        bench.open("a")
        await until(lambda: bench.done == ["a"])

    assert converse(tmp_path, dialogue).faults == []


def test_half_a_request_is_never_carried_out(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.writer.write(b'{"jsonrpc":"2.0","id":1,"method":"wait","params":{"gate":"a"}}')
        client.writer.write_eof()
        assert "has no end" in (await client.answer())["error"]["message"]
        assert await client.ended()

    assert converse(tmp_path, dialogue).begun == []


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_longer_than_the_limit_ends_the_connection(tmp_path: Path, end: bytes) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.writer.write(b"x" * (64 * 1024 + 1) + end)
        assert "longer than 65536 bytes" in (await client.answer())["error"]["message"]
        assert await client.ended()

    converse(tmp_path, dialogue)


def test_a_line_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        head, tail = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":"', b'"}}'
        client.writer.write(head + b"x" * (64 * 1024 - len(head) - len(tail)) + tail + b"\n")
        assert len((await client.answer())["result"]["a"]) > 65_000

    converse(tmp_path, dialogue)


def test_a_line_that_does_not_end_in_time_ends_the_connection(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        client.writer.write(b"{")
        assert "not complete after 0.05 s" in (await client.answer())["error"]["message"]
        assert await client.ended()

    converse(tmp_path, dialogue, QUICK)


def test_drops_of_bytes_do_not_prolong_a_slow_line(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            client.writer.write(b" ")
            await asyncio.sleep(0.001)
        assert "not complete" in answer.result()["error"]["message"]

    converse(tmp_path, dialogue, QUICK)


def test_an_idle_client_is_left_alone(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        await client.call("echo")
        slow = await bench.connect()
        slow.writer.write(b"{")
        assert "not complete" in (await slow.answer())["error"]["message"]
        await slow.close()
        assert (await client.call("echo"))["result"] == {}

    converse(tmp_path, dialogue, QUICK)


def test_a_client_that_never_reads_is_dropped_and_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        deaf = await bench.connect()
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(8):
            deaf.send("big", number)
        await until(lambda: "does not take its answers" in caplog.text)
        assert (await client.call("echo"))["result"] == {}
        await deaf.close()

    assert converse(tmp_path, dialogue, QUICK).faults == []


def test_no_more_requests_are_begun_than_the_limit_allows(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        for number, gate in enumerate("abc"):
            client.send("wait", number, gate=gate)
        other = await bench.connect()
        await until(lambda: len(bench.begun) == 2)
        assert (await other.call("echo"))["result"] == {}
        assert bench.begun == ["a", "b"]
        bench.open("b")
        assert (await client.answer())["result"] == "b"
        await until(lambda: bench.begun == ["a", "b", "c"])
        await other.close()

    converse(tmp_path, dialogue, Limits(in_flight=2, close_grace_s=0.05))


def test_one_user_cannot_take_all_connections(tmp_path: Path) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        others = [await bench.connect() for _ in range(2)]
        for other in others:
            await other.call("echo")
        refused = await bench.connect()
        assert (await refused.answer())["error"]["data"]["code"] == "A-BUSY"
        assert await refused.ended()
        for other in (*others, refused):
            await other.close()
        again = await bench.connect()
        while "error" in await again.call("echo"):
            await again.close()
            again = await bench.connect()
        await again.close()

    converse(tmp_path, dialogue, Limits(connections=4))


def test_the_kernel_says_who_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        pid, uid, gid, name, groups = (await client.call("whoami"))["result"]
        assert (pid, uid, gid) == (os.getpid(), os.getuid(), os.getgid())
        assert gid in groups
        assert name

    caplog.set_level(logging.INFO)
    converse(tmp_path, dialogue)
    assert f"whoami by {Path.home().owner() if os.getuid() else 'root'} (pid {os.getpid()}" in caplog.text


def test_nothing_that_a_client_sends_is_logged_but_the_methods_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        for method in ("echo", "fail", PAN, f"echo {PAN}"):
            client.send(method, request_id=f"{method} {PAN}", how="agent", pan=PAN, **{PAN: PAN})
            await client.answer()
        client.writer.write(f"{PAN}\n".encode())
        await client.answer()
        client.writer.write(PAN.encode() * 5000)
        await client.answer()

    caplog.set_level(logging.DEBUG)
    converse(tmp_path, dialogue)
    assert "api: echo by" in caplog.text
    assert PAN not in caplog.text


def test_quiet_methods_are_not_in_the_ordinary_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def dialogue(bench: Bench, client: Client) -> None:
        await client.call("echo")
        await client.call("whoami")

    caplog.set_level(logging.INFO)
    converse(tmp_path, dialogue, quiet={"echo"})
    assert "whoami" in caplog.text
    assert "echo" not in caplog.text


def test_at_the_end_requests_under_way_are_told_so(tmp_path: Path) -> None:
    async def run() -> Bench:
        async with serving(tmp_path, QUICK) as bench:
            client = await bench.connect()
            client.send("wait", 1, gate="never")
            await until(lambda: bench.begun == ["never"])
        assert (await client.answer())["error"]["data"]["code"] == "A-ENDING"
        assert await client.ended()
        await client.close()
        return bench

    bench = _run(run())
    assert not bench.path.exists()
    assert bench.faults == []
