"""One client of the API: its lines are read, its answers are written, its limits are kept.

`pace()` counts a line and gives the seconds until the next one is read.

Two tasks: reading stops at the end of input or at the first line that cannot be followed; writing
stops when the client is gone or does not read. A client that has closed its own side still gets
the answers that it is owed (`socat` does that).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from agent.rpc_messages import INVALID_REQUEST, REFUSED_LINK, Request, RequestError, RequestId, error_line, parse
from agent.rpc_socket import Peer
from protocol.frozen import dataclass

_READ_BYTES = 1 << 16

Answer = Callable[[bytes], None]
Begin = Callable[[Request, Peer, Answer], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take. All assumed: a till sends one line of 1 KiB at a time.

    `in_flight`: requests under way or answers unread; then no further line is read. `line_timeout_s`
    runs from a line's first byte to its last. `unread_timeout_s`: how long more than `unread_bytes`
    of answers may lie unread. `close_grace_s`: what requests under way get when the daemon ends.
    """

    line_bytes: int = 64 * 1024
    connections: int = 32
    in_flight: int = 16
    line_timeout_s: float = 10.0
    unread_timeout_s: float = 30.0
    unread_bytes: int = 64 * 1024
    close_grace_s: float = 1.0

    @property
    def connections_per_user(self) -> int:
        """A quarter is left for others: a till that leaks connections cannot lock the operator out."""
        return self.connections - self.connections // 4


class Connection:
    """Reads requests and hands them to `begin`; writes each answer when it is ready."""

    def __init__(
        self,
        peer: Peer,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        methods: Iterable[str],
        begin: Begin,
        limits: Limits,
        log: logging.Logger,
        pace: Callable[[], float] = float,
    ) -> None:
        self.peer = peer
        self._reader, self._writer = streams
        self._methods, self._begin = methods, begin
        self._limits, self._log, self._pace = limits, log, pace
        self._held = bytearray()
        self._slots = asyncio.Semaphore(limits.in_flight)
        self._ids: set[RequestId] = set()
        self._owed = 0
        self._nothing_owed = asyncio.Event()
        self._nothing_owed.set()
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._writer.transport.set_write_buffer_limits(high=limits.unread_bytes)

    async def serve(self, objection: RequestError | None = None) -> None:
        """Until the client goes, breaks a limit, or the daemon ends. With an `objection` only that is said."""
        loop = asyncio.get_running_loop()
        self._reading = loop.create_task(self._refuse(objection) if objection else self._read())
        writing = loop.create_task(self._write())
        try:
            await asyncio.wait({self._reading})
            await self._nothing_owed.wait()
            await self._hang_up()
        finally:
            writing.cancel()
            self._reading.cancel()
            self._writer.transport.abort()
            await asyncio.wait({self._reading, writing})
        _raise_fault(self._reading, writing)

    def stop_reading(self) -> None:
        """Take no further request; what is owed is still answered."""
        if self._reading is not None:
            self._reading.cancel()

    # --- in ------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while (line := await self._line()) is not None:
                if line.strip():
                    await self._take(line)
                if (wait_s := self._pace()) > 0:
                    await asyncio.sleep(wait_s)
        except RequestError as refused:
            self._log.warning("api: %s by %s, connection ended", refused.text, self.peer)
            await self._refuse(refused)

    async def _line(self) -> bytes | None:
        """The next line, without its end; None at the end of input. Raises RequestError: too long, slow or cut."""
        scanned, deadline = 0, None
        while (end := self._held.find(b"\n", scanned)) < 0:
            scanned = len(self._held)
            self._check_length(scanned)
            if scanned and deadline is None:
                deadline = asyncio.get_running_loop().time() + self._limits.line_timeout_s
            chunk = await self._chunk(deadline)
            if not chunk:
                self._check_whole()
                return None
            self._held += chunk
        self._check_length(end)
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    def _check_length(self, length: int) -> None:
        if length > self._limits.line_bytes:
            text = f"a line is longer than {self._limits.line_bytes} bytes"
            raise RequestError(INVALID_REQUEST, "A-LINE", text, "send shorter lines")

    async def _chunk(self, deadline: float | None) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._reader.read(_READ_BYTES)
        except TimeoutError:
            text = f"a line was not complete after {self._limits.line_timeout_s:g} s"
            raise RequestError(INVALID_REQUEST, "A-LINE", text, "send each line at once") from None
        except ConnectionError:
            return b""

    def _check_whole(self) -> None:
        """Half a request is never carried out."""
        if self._held:
            raise RequestError(INVALID_REQUEST, "A-LINE", "the last line has no end", "end each line with a newline")

    async def _take(self, line: bytes) -> None:
        """One line costs one slot until its answer is written."""
        await self._slots.acquire()
        try:
            request = parse(line, self._methods)
            if request.id in self._ids:
                raise RequestError(INVALID_REQUEST, "A-REQUEST", "this id is under way already", "count up", request.id)
        except RequestError as refused:
            self._owe()
            self._answers.put_nowait(error_line(refused.request_id, refused))
        else:
            self._owe()
            self._ids.add(request.id)
            self._begin(request, self.peer, self._answerer(request.id))

    def _answerer(self, request_id: RequestId) -> Answer:
        def answer(line: bytes) -> None:
            self._ids.discard(request_id)
            self._answers.put_nowait(line)

        return answer

    async def _refuse(self, refused: RequestError) -> None:
        """Say why the connection ends."""
        self._owe()
        self._answers.put_nowait(error_line(None, refused))

    # --- out -----------------------------------------------------------------------------------

    def _owe(self) -> None:
        self._owed += 1
        self._nothing_owed.clear()

    async def _write(self) -> None:
        try:
            while True:
                self._writer.write(await self._answers.get())
                async with asyncio.timeout(self._limits.unread_timeout_s):
                    await self._writer.drain()
                self._slots.release()
                self._owed -= 1
                if not self._owed:
                    self._nothing_owed.set()
        except OSError as error:  # TimeoutError is one: the client does not read
            self._log.warning(
                "api: %s does not take its answers (%s), connection ended", self.peer, type(error).__name__
            )
        finally:
            self._nothing_owed.set()
            self.stop_reading()

    async def _hang_up(self) -> None:
        """Close when the client has read everything, or at once when it does not."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.unread_timeout_s):
                await self._writer.wait_closed()
        except OSError:
            self._writer.transport.abort()


def _raise_fault(*tasks: asyncio.Task[None]) -> None:
    """A task may end or be cancelled; an exception that leaves it is our own fault."""
    for task in tasks:
        if not task.cancelled() and (fault := task.exception()) is not None:
            raise fault


# The code of a refused connection stands here beside what may cause it.
TOO_MANY = RequestError(REFUSED_LINK, "A-BUSY", "too many connections", "close those that are not needed")
