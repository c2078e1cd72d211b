"""The client gives results or a clear error, keeps its deadlines, and never mixes up answers."""

from __future__ import annotations

import contextlib
import inspect
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from agent import api
from agent.client import AgentClient, ApiError, OutcomeUnknownError, Sale, UnreachableError
from agent.outcome_texts import describe
from agent.records import State
from tests.unit.api_methods import METHODS

PAN = "6200000000000005"
DEADLINE_S = 10.0
Script = Callable[[socket.socket, Any], None]


class Daemon:
    """Stands in for the daemon: for each line of a client, the next script does what it likes."""

    def __init__(self, path: Path, scripts: list[Script]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self._scripts = scripts
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(4)
        self._server.settimeout(DEADLINE_S)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._scripts:
            connection, _ = self._server.accept()
            self.connections += 1
            connection.settimeout(DEADLINE_S)
            with connection, connection.makefile("rb") as lines:
                while self._scripts and (line := lines.readline()):
                    self.requests.append(json.loads(line))
                    self._scripts.pop(0)(connection, self.requests[-1])
                if not self._scripts:
                    lines.read()  # the client is the one that ends it

    def close(self) -> None:
        self._thread.join(DEADLINE_S)
        self._server.close()
        assert not self._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


@contextlib.contextmanager
def talking(path: Path, *scripts: Script, deadline_s: float = DEADLINE_S) -> Iterator[tuple[Daemon, AgentClient]]:
    daemon = Daemon(path, list(scripts))
    try:
        with AgentClient(path, deadline_s) as client:
            yield daemon, client
    finally:
        daemon.close()


def result(value: Any) -> Script:
    return lambda connection, request: reply(connection, {"id": request["id"], "result": value})


def then_hang_up(script: Script) -> Script:
    def both(connection: socket.socket, request: Any) -> None:
        script(connection, request)
        hang_up(connection, request)

    return both


def error(code: str, request_id: Any = ..., number: int = -32000) -> Script:
    shown = {"code": number, "message": "no", "data": {"code": code, "hint": "do this"}}
    return lambda connection, request: reply(
        connection, {"id": request["id"] if request_id is ... else request_id, "error": shown}
    )


def raw(data: bytes) -> Script:
    return lambda connection, request: connection.sendall(data)


def hang_up(connection: socket.socket, request: Any) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def nothing(connection: socket.socket, request: Any) -> None:
    """A daemon that hangs."""


def reply(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def test_a_call_gives_the_result(path: Path) -> None:
    with talking(path, result({"outcome": "approved"})) as (daemon, client):
        assert client.run("4711", 1250, lane="till-1", pan=PAN, wait=False)["outcome"] == "approved"
    assert daemon.requests == [
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "transaction.run",
            "params": {
                "reference": "4711",
                "amount_minor": 1250,
                "lane": "till-1",
                "kind": "sale",
                "pan": PAN,
                "wait": False,
                "checkout": False,
            },
        }
    ]


def test_calls_share_one_connection_and_count_their_ids(path: Path) -> None:
    with talking(path, result({}), result({"transactions": [1]})) as (daemon, client):
        client.status("a")
        assert client.unconfirmed() == [1]
    assert [request["id"] for request in daemon.requests] == [1, 2]
    assert daemon.connections == 1


def test_an_amount_of_nothing_is_still_an_amount(path: Path) -> None:
    with talking(path, result({})) as (daemon, client):
        client.begin("4711", 0, kind="balance")
    assert daemon.requests[0]["params"]["amount_minor"] == 0


def test_an_answer_may_come_byte_by_byte_and_be_long(path: Path) -> None:
    def drip(connection: socket.socket, request: Any) -> None:
        for byte in b'{"jsonrpc":"2.0","id":1,"result":[]}\n':
            connection.sendall(bytes([byte]))

    with talking(path, drip, result("x" * 1_000_000)) as (_, client):
        assert client.reversal_list() == []
        assert len(client.reversal_list()) == 1_000_000


def test_a_refusal_has_the_daemons_code_and_hint(path: Path) -> None:
    with talking(path, error("A-NO-REFERENCE"), result({})) as (_, client):
        with pytest.raises(ApiError, match="no") as caught:
            client.status("4711")
        client.status("4711")
    assert (caught.value.code, caught.value.hint, caught.value.number) == ("A-NO-REFERENCE", "do this", -32000)
    assert not isinstance(caught.value, OutcomeUnknownError)


@pytest.mark.parametrize("code", ["A-INTERNAL", "A-ENDING"])
def test_an_internal_error_leaves_the_outcome_open(path: Path, code: str) -> None:
    with talking(path, error(code)) as (_, client), pytest.raises(OutcomeUnknownError):
        client.complete("4711")


def test_a_refused_connection_is_not_used_again(path: Path) -> None:
    with talking(path, then_hang_up(error("A-BUSY", None)), result({})) as (daemon, client):
        with pytest.raises(ApiError) as caught:
            client.status("4711")
        client.status("4711")
    assert caught.value.code == "A-BUSY"
    assert (len(daemon.requests), daemon.connections) == (2, 2)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (hang_up, "A-LOST"),
        (raw(b"not json\n"), "A-STRANGE"),
        (raw(b"[]\n"), "A-STRANGE"),
        (raw(b'{"id": 99, "result": {}}\n'), "A-STRANGE"),
        (raw(b'{"id": 1}\n'), "A-STRANGE"),
        (raw(b'{"id": null, "result": {}}\n'), "A-STRANGE"),
    ],
)
def test_without_a_proper_answer_the_outcome_is_unknown(path: Path, script: Script, code: str) -> None:
    with talking(path, script) as (_, client), pytest.raises(OutcomeUnknownError) as caught:
        client.reverse("4711", reason="customer")
    assert caught.value.code == code
    assert "same reference" in caught.value.hint


def test_a_missed_deadline_closes_the_connection_so_that_a_late_answer_is_never_taken(path: Path) -> None:
    def late(connection: socket.socket, request: Any) -> None:
        with contextlib.suppress(OSError):
            reply(connection, {"id": 1, "result": "of the first call"})
        hang_up(connection, request)

    with talking(path, nothing, late, result("of the third"), deadline_s=0.05) as (_, client):
        with pytest.raises(OutcomeUnknownError) as caught:
            client.status("4711")
        assert caught.value.code == "A-DEADLINE"
        with pytest.raises(OutcomeUnknownError):
            client.call("agent.status", {}, DEADLINE_S)
        assert client.call("agent.status", {}, DEADLINE_S) == "of the third"


def test_nobody_there_says_what_to_do(path: Path) -> None:
    with AgentClient(path) as client, pytest.raises(UnreachableError) as caught:
        client.agent_status()
    assert caught.value.code == "A-NOT-RUNNING"
    assert "systemctl start reversald" in str(caught.value)


def test_a_dead_socket_is_a_daemon_that_is_not_running(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    with AgentClient(path) as client, pytest.raises(UnreachableError, match="A-NOT-RUNNING"):
        client.agent_status()


def test_a_path_that_cannot_be_one_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with AgentClient(tmp_path / "file" / "a.sock") as client, pytest.raises(UnreachableError, match="A-NOT-REACHED"):
        client.agent_status()


def test_no_error_repeats_what_was_sent_or_received(path: Path) -> None:
    with talking(path, raw(f"{PAN}\n".encode())) as (_, client), pytest.raises(ApiError) as caught:
        client.run("4711", 1, pan=PAN)
    assert PAN not in str(caught.value)
    assert caught.value.__context__ is None or PAN not in str(caught.value.__context__)


def test_the_client_is_quick_to_import() -> None:
    program = "import sys, agent.client; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "cryptography", "logging", "sqlite3", "dataclasses", "tomllib"} & set(modules)


# --- the same words on both sides ---------------------------------------------------------------

SCHEMAS: dict[str, set[str]] = {
    "run": {*api.ORDER_SCHEMA, "wait", "checkout"},
    "begin": set(api.ORDER_SCHEMA),
    "reply": {*api.WHICH_SCHEMA, "message_hex", "response_code", "approval_code", "rrn", "mac"},
    "complete": set(api.WHICH_SCHEMA),
    "reverse": {*api.WHICH_SCHEMA, "reason", "chip_data"},
    "status": set(api.WHICH_SCHEMA),
    "unconfirmed": {"lane"},
    "reversal_list": {"all", "limit"},
    "reversal_retry": {"id", "all"},
    "device_list": set(),
    "device_inhibit": {"name", "why"},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_client_knows_every_parameter_of_the_daemon(name: str) -> None:
    parameters = set(inspect.signature(getattr(AgentClient, name)).parameters) - {"self", "deadline_s"}
    assert parameters == SCHEMAS[name]


def test_the_client_has_a_method_for_every_method_of_the_daemon() -> None:
    """`transaction.run` is `run`, `reversal.list` is `reversal_list`."""
    names = {method.removeprefix("transaction.").replace(".", "_") for method in METHODS}
    methods = {name for name, _ in inspect.getmembers(AgentClient, inspect.isfunction) if not name.startswith("_")}
    assert names == methods - {"call", "close"}


def test_a_sale_has_the_facts_that_the_daemon_describes() -> None:
    told = describe(cast(Any, MagicMock(state=State.COMPLETED, response_code="")), None)
    assert set(told) == set(Sale.__annotations__)
