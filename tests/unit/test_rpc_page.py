"""docs/api.md names every method, parameter, error code and limit as the program has it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from agent import api, client, device_desk, engine, loop, operator_desk, rpc, rpc_connection, rpc_messages
from agent.client import AgentClient, Sale
from agent.records import State
from agent.rpc_connection import Limits
from tests.unit.api_methods import METHODS

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()

# Served by another room of the daemon, with the same beginning.
OTHER_ROOMS = {"journal.rows", "reversal.explain"}


def cells(first: str) -> list[list[str]]:
    """The rows of all tables whose first cell matches."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in rows if re.fullmatch(first, row[0])]


def test_every_method_stands_in_a_table_and_no_other() -> None:
    rows = cells(r"`(transaction|reversal|agent|journal|device)\.[a-z]+`")
    assert {row[0].strip("`") for row in rows} - OTHER_ROOMS == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_of_a_method_stands_beside_it(method: str) -> None:
    (row,) = cells(re.escape(f"`{method}`"))
    told = set(re.findall(r"`([a-z0-9_]+)`", row[1]))
    if method == "transaction.begin":
        assert row[1] == "the same without `wait` and `checkout`"
        told = set(api.ORDER_SCHEMA)
    name = method.removeprefix("transaction.").replace(".", "_")
    parameters = set(inspect.signature(getattr(AgentClient, name)).parameters) - {"self", "deadline_s"}
    assert told == parameters


def test_every_error_code_of_the_daemon_stands_in_the_table() -> None:
    sources = "".join(
        map(inspect.getsource, (api, device_desk, engine, loop, operator_desk, rpc, rpc_connection, rpc_messages))
    )
    raised = set(re.findall(r'"(A-[A-Z-]+)"', sources))
    told = {row[1].strip("`") for row in cells(r"-32\d\d\d")}
    assert len(raised) > 15
    assert raised <= told


def test_every_number_in_the_table_is_one_that_the_daemon_sends() -> None:
    numbers = {
        value for name, value in vars(rpc_messages).items() if name.isupper() and type(value) is int and value < 0
    }
    assert {int(row[0]) for row in cells(r"-32\d\d\d")} == numbers


def test_every_member_of_a_sale_is_explained() -> None:
    for member in Sale.__annotations__:
        assert f"`{member}`" in PAGE, member


def test_every_outcome_is_explained() -> None:
    told = {row[0].strip("`") for row in cells(r"`[a-z]+`") if len(row) == 3 and row[2] != "the sale"}
    assert {"unknown", *map(str, State)} - {"new", "begun"} <= told


def test_the_limits_are_the_programs() -> None:
    limits = Limits()
    assert f"| a line that you send | {limits.line_bytes // 1024} KiB |" in PAGE
    assert f"| time from a line's first byte to its last | {limits.line_timeout_s:g} s |" in PAGE
    assert f"| requests open on one connection | {limits.in_flight} |" in PAGE
    assert f"| connections | `agent.socket_connections` ({limits.connections}), three quarters of them" in PAGE
    assert limits.connections_per_user == limits.connections * 3 // 4
    assert f"| answers not read | {limits.unread_bytes // 1024} KiB for {limits.unread_timeout_s:g} s |" in PAGE
    assert f"| nesting of JSON | {rpc_messages.DEPTH_MAX} |" in PAGE


def test_the_page_names_the_socket_that_the_client_uses() -> None:
    assert f"Socket: `{client.DEFAULT_SOCKET}`" in PAGE
