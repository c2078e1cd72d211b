"""One TCP connection of the simulated host: bytes to the machine, its actions back onto the wire."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable

from hwsim.host.actions import Action, Close, HandleLater, Reset, Send, StopReading, Trickle
from hwsim.host.framing import FrameReader
from hwsim.host.machine import HostMachine
from protocol.errors import FrameError

LINGER_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST instead of FIN."""


class Connection(asyncio.Protocol):
    """`changed` is called after everything that the machine did; `gone` when the connection has ended."""

    def __init__(
        self, machine: HostMachine, changed: Callable[[], None], gone: Callable[[Connection], None], hang: bool
    ) -> None:
        self._machine = machine
        self._changed = changed
        self._gone = gone
        self._hang = hang
        self._deaf = False
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._hang:
            self._machine.stats["connections-hung"] += 1
            transport.pause_reading()
            return
        self._perform(self._machine.connected(time.time()))

    def data_received(self, data: bytes) -> None:
        try:
            payloads = self._reader.feed(data)
        except FrameError:
            self._machine.stats["bad-frames"] += 1
            self.close()
            return
        for payload in payloads:
            if self._deaf:
                return
            self._perform(self._machine.handle(payload, time.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Delayed work goes on: a host processes what it has received, whether or not the terminal still listens."""
        if self._reader.partial:
            self._machine.stats["partial-frames"] += 1
        self._transport = None
        self._gone(self)
        self._changed()

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def reset(self) -> None:
        """Break the connection so that the peer reads ECONNRESET."""
        if self._transport is None:
            return
        peer = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self._transport.abort()

    def _perform(self, actions: list[Action]) -> None:
        """At once where nothing waits, so that replies keep the order of their requests; else in a task."""
        if any(_waits(action) for action in actions):
            task = asyncio.get_running_loop().create_task(self._perform_slowly(actions))
            self._tasks.add(task)
            task.add_done_callback(self._finished)
        else:
            for action in actions:
                self._act(action)
        self._changed()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            task.get_loop().call_exception_handler({"message": "delayed action", "exception": task.exception()})

    async def _perform_slowly(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                await asyncio.sleep(action.delay_s)
                self._write(action.data)
            elif isinstance(action, Trickle):
                await self._trickle(action)
            elif isinstance(action, HandleLater):
                await asyncio.sleep(action.delay_s)
                self._perform(self._machine.handle_held(action.payload, time.time()))
            else:
                self._act(action)

    async def _trickle(self, action: Trickle) -> None:
        for index in range(len(action.data)):
            if self._transport is None:
                return
            self._write(action.data[index : index + 1])
            await asyncio.sleep(action.gap_s)

    def _act(self, action: Action) -> None:
        """After a closing action nothing more is heard, not even what came in the same segment."""
        self._deaf = self._deaf or not isinstance(action, Send)
        if isinstance(action, Send):
            self._write(action.data)
        elif isinstance(action, Close):
            self.close()
        elif isinstance(action, Reset):
            self.reset()
        elif isinstance(action, StopReading) and self._transport:
            self._transport.pause_reading()

    def _write(self, data: bytes) -> None:
        """A reply to a peer that has gone is lost; the ledger knows, and that is the point."""
        if self._transport is None or self._transport.is_closing():
            self._machine.stats["replies-undeliverable"] += 1
            return
        with contextlib.suppress(ConnectionError):
            self._transport.write(data)
            self._machine.stats["writes"] += 1


def _waits(action: Action) -> bool:
    return isinstance(action, Trickle | HandleLater) or (isinstance(action, Send) and action.delay_s > 0)
