"""The transport of the local API: JSON-RPC 2.0 over a Unix socket, one object a line both ways.

    client ──line──▶ Connection ──Request──▶ method (a task of its own) ──line──▶ Connection ──line──▶ client

Rules not to break:
1. A request that was read is carried out, also when its client has gone: what it began goes on.
2. Answers leave in the order in which they are ready, each with its request's id.
3. No client can stall the others or fill the memory: lines, connections, requests under way and
   unread answers are limited. Waiting for the next request is not limited.
4. An AgentError is an answer. Anything else is our own fault, and so is a journal that failed to
   write: it is logged without its text (which could hold card data) and the process is told to end.
   Where it ends at once, the client sees its connection end, and asks for the status.
5. What a client sends is never logged, except the method's name.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent.journal_contract import JournalFailed
from agent.rpc_connection import TOO_MANY, Answer, Connection, Limits
from agent.rpc_messages import INTERNAL, ParameterError, Request, RequestError, error_line, result_line, take
from agent.rpc_socket import Peer, SocketError, listen, peer_of, remove
from protocol.errors import AgentError

__all__ = ["Limits", "Method", "ParameterError", "Peer", "RequestError", "RpcServer", "SocketError", "take"]

Method = Callable[[Peer, dict[str, Any]], Awaitable[Any] | Any]


def _anybody(peer: Peer, method: str) -> None:
    """No rights: whoever may open the socket may call everything."""


def _at_once(uid: int) -> float:
    """No limit of the rate."""
    return 0.0


class RpcServer:
    """Serves `methods` on a Unix socket at `path` until `close`.

    `guard(peer, method)` raises an AgentError where this peer may not call it; `pace(uid)` counts a
    request and tells how many seconds the user's next one must wait.
    `on_fault` is called once for each exception that is our own fault, after it was logged. Methods
    in `quiet` are logged at debug level only (a status page asks every second). `fatal`: errors that
    are faults although they are AgentErrors.
    """

    def __init__(
        self,
        path: Path,
        methods: Mapping[str, Method],
        *,
        on_fault: Callable[[BaseException], None],
        mode: int = 0o660,
        group: str | None = None,
        log: logging.Logger | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        quiet: Collection[str] = (),
        fatal: tuple[type[BaseException], ...] = (JournalFailed,),
        guard: Callable[[Peer, str], None] = _anybody,
        pace: Callable[[int], float] = _at_once,
    ) -> None:
        self.path = path
        self.methods = methods
        self.limits = limits
        self._mode, self._group = mode, group
        self._on_fault, self._fatal = on_fault, fatal
        self._log = log or logging.getLogger(__name__)
        self._quiet = quiet
        self._guard, self._pace = guard, pace
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._work: set[asyncio.Task[bytes]] = set()
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Listen. Raises SocketError: another daemon listens, no such group, directory missing, ..."""
        channel = listen(self.path, self._mode, self._group or "", self.limits.connections)
        self._inode = self.path.stat(follow_symlinks=False).st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=channel)

    async def close(self) -> None:
        """Listen no more, give requests under way a moment, end all connections, remove the socket file."""
        if self._server is not None:
            self._server.close()
            remove(self.path, self._inode)
        for connection in self._connections:
            connection.stop_reading()
        await self._connections_ended()
        for work in self._work:
            work.cancel()
        await self._connections_ended()
        for task in self._connections.values():
            task.cancel()
        await self._connections_ended()

    async def _connections_ended(self) -> None:
        tasks = {*self._connections.values(), *self._work}
        if tasks:
            await asyncio.wait(tasks, timeout=self.limits.close_grace_s)

    # --- connections ---------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        streams, pace = (reader, writer), partial(self._pace, peer.uid)
        connection = Connection(peer, streams, self.methods, self._begin, self.limits, self._log, pace)
        task = asyncio.get_running_loop().create_task(connection.serve(self._objection(peer)))
        self._connections[connection] = task
        task.add_done_callback(lambda done: self._ended(connection, done))

    def _objection(self, peer: Peer) -> RequestError | None:
        """Why this user gets no further connection. One user cannot take them all."""
        of_user = sum(connection.peer.uid == peer.uid for connection in self._connections)
        if len(self._connections) < self.limits.connections and of_user < self.limits.connections_per_user:
            return None
        self._log.warning("api: too many connections, refused one of %s", peer)
        return TOO_MANY

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        del self._connections[connection]
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fault("connection", fault)

    # --- requests ------------------------------------------------------------------------------

    def _begin(self, request: Request, peer: Peer, answer: Answer) -> None:
        """Carry out one request; `answer` gets its line when it is ready."""
        level = logging.DEBUG if request.method in self._quiet else logging.INFO
        self._log.log(level, "api: %s by %s", request.method, peer)
        task = asyncio.get_running_loop().create_task(self._call(request, peer))
        self._work.add(task)
        task.add_done_callback(lambda done: self._finished(request, done, answer))

    async def _call(self, request: Request, peer: Peer) -> bytes:
        self._guard(peer, request.method)
        result = self.methods[request.method](peer, request.params)
        if inspect.isawaitable(result):
            result = await result
        return result_line(request.id, result)

    def _finished(self, request: Request, task: asyncio.Task[bytes], answer: Answer) -> None:
        """The outermost handler of a method: its exception, if any, is looked at here and nowhere else."""
        self._work.discard(task)
        fault = None if task.cancelled() else task.exception()
        if task.cancelled():
            answer(error_line(request.id, _unanswered("A-ENDING", "the daemon ends")))
        elif fault is None:
            answer(task.result())
        elif isinstance(fault, AgentError) and not isinstance(fault, self._fatal):
            self._log.info("api: %s: %s", request.method, fault.code)
            answer(error_line(request.id, fault))
        else:
            answer(error_line(request.id, _unanswered("A-INTERNAL", "internal error")))
            self._fault(request.method, fault)

    def _fault(self, where: str, fault: BaseException) -> None:
        places = "".join(traceback.format_tb(fault.__traceback__))
        self._log.critical("api: own fault in %s: %s\n%s", where, type(fault).__name__, places)
        self._on_fault(fault)


def _unanswered(code: str, text: str) -> RequestError:
    hint = "what became of it is not known here: ask transaction.status when the daemon runs again"
    return RequestError(INTERNAL, code, text, hint)
