"""The control port: one JSON object a line in, one JSON object a line out.

    {"do": "fault", "on": "0200", "fault": "drop-reply", "nth": 1, "count": 1, "value": "", "terminal": ""}
    {"do": "faults"}  {"do": "clear-faults"}
    {"do": "ledger"}  {"do": "notices"}  {"do": "net"}  {"do": "violations"}  {"do": "stats"}  {"do": "transcript"}
    {"do": "refuse-connections", "on": true}  {"do": "hang-connections", "on": true}
    {"do": "drop-connections"}  {"do": "reset-connections"}
    {"do": "wait", "state": "reversed", "count": 1, "deadline_s": 10}
    {"do": "help"}

Every answer has "ok"; a refused order has "error" and "hint". No answer holds a card number or a key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from hwsim.host.faults import CLASSES, FAULT_NAMES
from hwsim.host.machine import HostMachine
from protocol.errors import AgentError

LINE_BYTES_MAX = 64 * 1024


class ControlError(AgentError):
    """A control order cannot be understood."""

    code = "E-HOST-CONTROL"


class Connections(Protocol):
    """What the control port may do to the server's connections."""

    def set_refusing(self, on: bool) -> None: ...
    def set_hanging(self, on: bool) -> None: ...
    def end_connections(self, reset: bool) -> int: ...


Order = Mapping[str, Any]


class Control:
    """Answers orders; `wait_change` returns when the books may have changed."""

    def __init__(
        self, machine: HostMachine, connections: Connections, wait_change: Callable[[], Awaitable[None]]
    ) -> None:
        self._machine = machine
        self._connections = connections
        self._wait_change = wait_change
        self._orders: dict[str, Callable[[Order], dict[str, Any]]] = {
            "fault": self._fault,
            "faults": lambda order: {"faults": machine.faults.rows()},
            "clear-faults": self._clear_faults,
            "ledger": lambda order: {"rows": [entry.as_dict() for entry in machine.ledger.rows()]},
            "notices": lambda order: {"rows": [asdict(one) for one in machine.ledger.notices()]},
            "net": lambda order: {"net": machine.ledger.net(), "held": machine.ledger.held()},
            "violations": lambda order: {"violations": [asdict(found) for found in machine.ledger.violations()]},
            "stats": lambda order: {"stats": dict(machine.stats)},
            "transcript": lambda order: {"lines": list(machine.transcript)},
            "refuse-connections": self._refuse,
            "hang-connections": self._hang,
            "drop-connections": lambda order: {"ended": connections.end_connections(reset=False)},
            "reset-connections": lambda order: {"ended": connections.end_connections(reset=True)},
            "help": self._help,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control connection, until its peer or the server ends it."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(line)).encode("ascii") + b"\n")
                await writer.drain()
        except ValueError:
            writer.write(b'{"ok": false, "error": "E-HOST-CONTROL: the line is too long"}\n')
        except ConnectionError:
            self._machine.stats["control-broken"] += 1
        except asyncio.CancelledError:
            # The server stops. A cancelled task would break asyncio's own callback of stream servers (3.11).
            self._machine.stats["control-ended"] += 1
        finally:
            writer.close()

    async def answer(self, line: bytes) -> dict[str, Any]:
        try:
            order = _order(line)
            if order["do"] == "wait":
                return {"ok": True, **await self._wait(order)}
            return {"ok": True, **self._obey(order)}
        except AgentError as error:
            return {"ok": False, "error": f"{error.code}: {error.text}", "hint": error.hint}

    def _obey(self, order: Order) -> dict[str, Any]:
        handler = self._orders.get(str(order["do"]))
        if handler is None:
            raise ControlError(f"no order {order['do']!r}", f"use one of wait, {', '.join(self._orders)}")
        return handler(order)

    def _fault(self, order: Order) -> dict[str, Any]:
        count = order.get("count", 1)
        numbers_fit = isinstance(order.get("nth", 1), int) and (count is None or isinstance(count, int))
        if not numbers_fit or not order.get("on") or not order.get("fault"):
            raise ControlError("a fault needs 'on' and 'fault'; 'nth' and 'count' are whole numbers")
        self._machine.faults.add(
            str(order["on"]),
            str(order["fault"]),
            nth=order.get("nth", 1),
            count=count,
            value=str(order.get("value", "")),
            terminal=str(order.get("terminal", "")),
        )
        return {}

    def _clear_faults(self, order: Order) -> dict[str, Any]:
        self._machine.faults.clear()
        return {}

    def _refuse(self, order: Order) -> dict[str, Any]:
        self._connections.set_refusing(_switch(order))
        return {}

    def _hang(self, order: Order) -> dict[str, Any]:
        self._connections.set_hanging(_switch(order))
        return {}

    def _help(self, order: Order) -> dict[str, Any]:
        return {"orders": ["wait", *self._orders], "faults": FAULT_NAMES, "on": ["any", "charge", *CLASSES, "MTI"]}

    async def _wait(self, order: Order) -> dict[str, Any]:
        """Until `count` entries are in `state`, or the deadline."""
        try:
            count, deadline_s = int(order.get("count", 1)), float(order.get("deadline_s", 10))
        except (TypeError, ValueError) as error:
            raise ControlError("'count' and 'deadline_s' are numbers") from error
        try:
            async with asyncio.timeout(deadline_s):
                while self._count(str(order.get("state"))) < count:
                    await self._wait_change()
        except TimeoutError as error:
            found = self._count(str(order.get("state")))
            raise ControlError(f"{found} of {count} entries {order.get('state')} after {deadline_s} s") from error
        return {"count": self._count(str(order.get("state")))}

    def _count(self, state: str) -> int:
        return sum(entry.state == state for entry in self._machine.ledger.rows())


def _order(line: bytes) -> Order:
    try:
        order = json.loads(line)
    except ValueError as error:
        raise ControlError("the line is not JSON", 'example: {"do": "ledger"}') from error
    if not isinstance(order, dict) or "do" not in order:
        raise ControlError("an order is an object with 'do'", 'example: {"do": "ledger"}')
    return order


def _switch(order: Order) -> bool:
    on = order.get("on", True)
    if not isinstance(on, bool):
        raise ControlError("'on' is true or false")
    return on
