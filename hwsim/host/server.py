"""The simulated host on TCP: an event loop in a thread, for tests, the demo and the command.

with HostServer("unionpay") as host:
    host.faults.add("0200", "drop-reply")
    ...                                           # talk to host.address
    host.wait_for(lambda ledger: ledger.net() == {"156": 0}, deadline_s=10)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hwsim.host.connection import Connection
from hwsim.host.control import LINE_BYTES_MAX, Control
from hwsim.host.faults import FaultPlan
from hwsim.host.ledger import Ledger
from hwsim.host.machine import HostMachine
from hwsim.host.settings import HostSettings
from protocol.errors import AgentError

T = TypeVar("T")
CALL_DEADLINE_S = 10.0
"""Longest wait for the server's own thread; it never blocks, so this only ends a broken bench."""
GOODBYE_S = 1.0
"""How long connections may take to end in order before they are reset."""
BACKLOG = 128
"""Connections that may wait to be accepted."""


class HostServerError(AgentError):
    """The simulated host cannot start, or failed while it ran."""

    code = "E-HOST-SERVER"


class HostWaitExpired(AgentError):
    """The books did not get into the awaited state in time."""

    code = "E-HOST-WAIT"


class HostServer:
    """One simulated host. `control`: '' none, 'host:port' or the path of a Unix socket."""

    def __init__(
        self,
        dialect: str = "unionpay",
        *,
        settings: HostSettings | None = None,
        bind: str = "127.0.0.1",
        port: int = 0,
        control: str = "",
        ledger_path: Path | str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings or HostSettings(dialect=dialect)
        self.ledger = Ledger(self.settings.ledger_rules, ledger_path)
        self.faults = FaultPlan()
        self.machine = HostMachine(self.settings, self.ledger, self.faults)
        self._bind, self._port, self._tls = bind, port, tls
        self._control_at = control
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None
        self._control: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._hanging = False
        self._failures: list[str] = []

    # -- life

    def __enter__(self) -> HostServer:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> HostServer:
        """Listen; nothing when it listens already. Raises HostServerError when an address cannot be had."""
        if self._loop is not None:
            return self
        _clear_socket_path(self._control_at)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        self._thread = threading.Thread(target=self._loop.run_forever, name="hwsim-host", daemon=True)
        self._thread.start()
        try:
            self._call(self._open())
        except (OSError, ValueError, OverflowError) as error:
            self._call(self._close())
            self._shut_down()
            reason = getattr(error, "strerror", None) or error
            raise HostServerError(f"cannot listen: {reason}", "choose another port or path") from error
        return self

    def stop(self) -> None:
        """Stop listening and end all connections; `start` opens the same port with the same books again.

        Raises HostServerError when the bench itself failed meanwhile.
        """
        if self._loop is None:
            return
        self._call(self._close())
        self._shut_down()
        if self._failures:
            raise HostServerError(f"the simulated host failed: {self._failures[0]}")

    @property
    def address(self) -> str:
        return f"{self._bind}:{self._port}"

    @property
    def control_address(self) -> str:
        return self._control_at

    @property
    def port(self) -> int:
        return self._port

    # -- for tests

    def wait_for(self, condition: Callable[[Ledger], bool], deadline_s: float = 10.0) -> None:
        """Until the condition holds on the ledger. Raises HostWaitExpired with the books' state."""
        ends = time.monotonic() + deadline_s
        with self._changed:
            while not condition(self.ledger):
                left = ends - time.monotonic()
                if left <= 0:
                    raise HostWaitExpired(f"not so after {deadline_s} s; books: {self._books()}")
                self._changed.wait(left)

    def refuse_connections(self, on: bool = True) -> None:
        """New connections get ECONNREFUSED (the port stays ours); open ones stay."""
        self._call(self._refuse(on))

    def hang_connections(self, on: bool = True) -> None:
        """New connections are accepted and never read."""
        self.set_hanging(on)

    def drop_connections(self, reset: bool = False) -> int:
        """End all open connections, in order or with RST; how many there were."""

        async def end() -> int:
            return self.end_connections(reset)

        return self._call(end())

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    # -- for the control port (server thread)

    def set_refusing(self, on: bool) -> None:
        if on and self._listener:
            self._stop_listening()
            self._reserved = self._bound()
        elif not on and self._reserved:
            listener, self._reserved = self._reserved, None
            self._listen(listener)

    def set_hanging(self, on: bool) -> None:
        self._hanging = on

    def end_connections(self, reset: bool) -> int:
        ending = list(self._connections)
        for connection in ending:
            connection.reset() if reset else connection.close()
        return len(ending)

    # -- server thread

    async def _open(self) -> None:
        listener = self._bound()
        self._port = listener.getsockname()[1]
        self._listen(listener)
        if self._control_at:
            await self._open_control()

    def _bound(self) -> socket.socket:
        """Bound and not listening: connecting to it is refused."""
        fresh = socket.socket()
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            fresh.bind((self._bind, self._port))
        except (OSError, OverflowError):
            fresh.close()
            raise
        return fresh

    def _listen(self, listener: socket.socket) -> None:
        """Own accepting, not asyncio's server: that one loses a connection accepted while it is closed."""
        assert self._loop is not None
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self._loop.add_reader(listener, self._accept_waiting)

    def _accept_waiting(self) -> None:
        assert self._loop is not None
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                self._start(self._adopt(self._listener.accept()[0]))

    async def _adopt(self, peer: socket.socket) -> None:
        """A TLS handshake that fails is the peer's fault: counted, not raised."""
        assert self._loop is not None
        connection = Connection(self.machine, self._notify, self._connections.discard, self._hanging)
        self._connections.add(connection)
        try:
            await self._loop.connect_accepted_socket(lambda: connection, peer, ssl=self._tls)
        except OSError:
            self.machine.stats["handshakes-failed"] += 1
            self._connections.discard(connection)

    def _stop_listening(self) -> None:
        """Connections that wait already are accepted first."""
        if self._listener is None or self._loop is None:
            return
        self._accept_waiting()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_control(self) -> None:
        control = Control(self.machine, self, self._next_change)
        if "/" in self._control_at:
            self._control = await asyncio.start_unix_server(control.serve, self._control_at, limit=LINE_BYTES_MAX)
            return
        name, _, port = self._control_at.rpartition(":")
        self._control = await asyncio.start_server(control.serve, name, int(port), limit=LINE_BYTES_MAX)
        self._control_at = f"{name}:{self._control.sockets[0].getsockname()[1]}"

    async def _refuse(self, on: bool) -> None:
        self.set_refusing(on)

    async def _close(self) -> None:
        self._stop_listening()
        if self._reserved:
            self._reserved.close()
            self._reserved = None
        if self._control:
            self._control.close()
            self._control = None
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GOODBYE_S)
        for connection in list(self._connections):
            connection.close()
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        """Let connections say goodbye, then cancel what is left (control connections, delayed replies)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                while self._connections:
                    await self._next_change()
        for connection in list(self._connections):
            connection.reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _next_change(self) -> None:
        assert self._loop is not None
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _notify(self) -> None:
        for waiter in list(self._waiters):
            if not waiter.done():
                waiter.set_result(None)
        with self._changed:
            self._changed.notify_all()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody expected: kept for `stop`, never swallowed."""
        self._failures.append(f"{context.get('message')}: {type(context.get('exception')).__name__}")

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_DEADLINE_S)

    def _shut_down(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_DEADLINE_S)
        self._loop.close()
        self._loop = self._thread = None

    def _books(self) -> list[str]:
        return [f"{entry.key} {entry.state}" for entry in self.ledger.rows()]


def _clear_socket_path(address: str) -> None:
    """A socket left by a killed host is taken away; any other file stays and makes the start fail."""
    if "/" in address and Path(address).is_socket():
        Path(address).unlink()
