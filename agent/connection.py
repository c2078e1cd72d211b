"""One TCP or TLS connection to a host, which knows exactly whether a byte of a message has left.

Why plain non-blocking sockets and not asyncio streams: a stream's `write` hides how much the
kernel took when the connection then breaks. Here every byte passes through one `socket.send`:
it either returns how many bytes the kernel took, or raises and took none (Linux `tcp_sendmsg`
returns the bytes copied before an error, and the error only when there were none). There is no
await between the call and the count, so a cancelled task cannot lose it. With TLS the same is
true of the encrypted bytes, because encryption runs in memory (`agent/tls_stream.py`).

A byte that the kernel took counts as left, though it may never get onto the wire.

Whoever listens is called when the socket is readable and takes what is there (`received`): a byte is either in the
kernel or handed on.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.linkstate import LinkCounters, LinkError, LinkKind
from agent.resolver import AddressRow, Resolver
from agent.tls_settings import TlsError
from protocol.frozen import dataclass

if TYPE_CHECKING:  # OpenSSL is loaded where a host is configured with TLS
    from agent.tls import TlsClient

# One read; host messages have a few hundred bytes.
READ_BYTES = 16384

# A dead peer on a quiet persistent connection is found after 60 + 3 * 10 s. Assumed: mobile networks
# forget idle connections after two to five minutes, and the Linux default of two hours is too late.
KEEPALIVE_IDLE_S = 60
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3

_FEW_BYTES = 1


@dataclass(frozen=True, slots=True)
class Host:
    """Where a host listens. `tls` None: in clear."""

    address: str
    port: int
    tls: TlsClient | None = None

    @property
    def name(self) -> str:
        """How records, status and `Exchange.prefer_host` call it."""
        return f"{self.address}:{self.port}"


class Connection:
    """Made by `connect`; it may send while somebody listens."""

    def __init__(self, host: Host, sock: socket.socket, counters: LinkCounters) -> None:
        self.host = host
        self.certificate_not_after: datetime | None = None
        self._sock = sock
        self._fd = sock.fileno()
        self._counters = counters
        self._closed = False
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._counting = False
        self._taken = 0
        self._unsent = b""
        self._tls = host.tls.stream() if host.tls else None

    @property
    def left_bytes(self) -> int:
        """Bytes of the current message that the kernel took (encrypted ones where TLS is used)."""
        return self._taken

    async def send(self, data: bytes, timeout_s: float) -> None:
        """Hands one message to the kernel. Raises LinkError; then `left_bytes` tells how far it came."""
        if not self.send_now(data):
            await self.send_rest(timeout_s)

    def send_now(self, data: bytes) -> bool:
        """The same without waiting; False where the kernel did not take all of it: then `send_rest` must follow."""
        self.forget_message()
        self._unsent = data
        try:
            return self._go_on()
        except OSError as error:
            raise _link_error(self.host, error, "reset") from error
        except TlsError as error:
            raise _tls_error(self.host, error) from error

    async def send_rest(self, timeout_s: float) -> None:
        """What `send_now` left. Raises LinkError, as `send`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._go_on():
                    await self._wait_to_write()
        except TimeoutError:
            raise LinkError("send-timeout", f"{self.host.name} did not take the message in {timeout_s:g} s") from None
        except OSError as error:
            raise _link_error(self.host, error, "reset") from error
        except TlsError as error:
            raise _tls_error(self.host, error) from error

    def _go_on(self) -> bool:
        """One step with the message; whether the kernel has all of it."""
        self._flush_some()  # also what TLS itself had to say: that is not counted as part of the message
        if self._unsent and not self._outgoing:
            self._counting = True
            data, self._unsent = self._unsent, b""
            self._outgoing += self._tls.encrypt(data) if self._tls else data
            self._flush_some()
        return not self._outgoing

    def forget_message(self) -> None:
        """Starts the count anew: a new exchange begins on this connection."""
        self._counting, self._taken, self._unsent = False, 0, b""

    def listen(self, heard: Callable[[], None]) -> None:
        """From now on `heard` is called, from the event loop, whenever `received` may have something."""
        self._loop.add_reader(self._fd, heard)
        if self._tls:  # the last message of its greeting may have brought more
            self._loop.call_soon(heard)

    def deafen(self) -> None:
        """Nobody listens any more."""
        if not self._closed:
            self._loop.remove_reader(self._fd)

    def received(self) -> Iterator[bytes]:
        """What has arrived and can be understood. Raises LinkError (eof, reset, tls), behind what came before."""
        if self._closed:
            return
        try:
            self._recv()
            while data := self._read_now():
                yield data
        except OSError as error:
            raise _link_error(self.host, error, "reset") from error
        except TlsError as error:
            raise _tls_error(self.host, error) from error

    def has_ended(self) -> bool:
        """Whether the other side has closed, as far as the kernel knows now."""
        try:
            return self._sock.recv(_FEW_BYTES, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Ends it politely; what the kernel still holds is sent. May be called twice."""
        if not self._closed and self._tls:
            self._outgoing += self._tls.goodbye()
            self._flush_some()
        self._end()

    def abort(self) -> None:
        """Ends it at once, dropping what the kernel still holds.

        Used after a lost exchange: a request that still sits in the send buffer should not reach
        the host after its own reversal.
        """
        if not self._closed:
            # l_onoff 1, l_linger 0: close sends RST (socket(7), SO_LINGER)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end()

    async def handshake(self) -> None:
        """TLS greeting and pin check; nothing to do in clear. Raises LinkError (tls), OSError."""
        if not self._tls:
            return
        try:
            while not self._tls.greet():
                self._outgoing += self._tls.pending()
                await self._flush()
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
                self._recv()
            self._outgoing += self._tls.pending()
            await self._flush()
            self.certificate_not_after = self._tls.check()
        except TlsError as error:
            self._outgoing += self._tls.pending()  # the alert tells the host why
            self._flush_some()
            raise _tls_error(self.host, error) from error

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()

    async def _flush(self) -> None:
        while self._outgoing:
            self._flush_some()
            if self._outgoing:
                await self._wait_to_write()

    async def _wait_to_write(self) -> None:
        await self._wait(self._loop.add_writer, self._loop.remove_writer)

    def _flush_some(self) -> None:
        """One `send`; the count follows without an await."""
        if not self._outgoing:
            return
        try:
            count = self._sock.send(self._outgoing)
        except (BlockingIOError, InterruptedError):
            return
        self._taken += count if self._counting else 0
        self._counters.bytes_sent += count
        del self._outgoing[:count]

    def _read_now(self) -> bytes:
        """What has arrived and can be understood; b"" if nothing. Raises LinkError (eof), TlsError."""
        if not self._tls:
            data = bytes(self._incoming)
            self._incoming.clear()
            return data
        data = self._tls.decrypt()
        self._outgoing += self._tls.pending()  # TLS 1.3 key updates are answered
        self._flush_some()
        return data

    def _recv(self) -> None:
        """One `recv` into the buffer. Raises LinkError (eof), OSError."""
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            raise LinkError("eof", f"{self.host.name} closed the connection")
        self._counters.bytes_received += len(data)
        if self._tls:
            self._tls.incoming.write(data)
        else:
            self._incoming += data

    async def _wait(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        """Until the socket is ready. The guard keeps off a descriptor number that others use by now."""
        if self._closed:
            raise LinkError("closed", "the connection was closed")
        ready = self._loop.create_future()
        add(self._fd, _wake, ready)
        try:
            await ready
        finally:
            if not self._closed:
                remove(self._fd)


async def connect(
    host: Host, resolver: Resolver, timeout_s: float, unacknowledged_s: float, counters: LinkCounters
) -> Connection:
    """A connection, TLS greeting included, within `timeout_s`. Raises LinkError.

    `unacknowledged_s`: how long the network may leave sent bytes unacknowledged (TCP_USER_TIMEOUT).
    """
    try:
        async with asyncio.timeout(timeout_s) as whole:
            rows = await resolver.resolve(host.address, host.port)
            return await _first(host, rows, whole, unacknowledged_s, counters)
    except TimeoutError:
        raise LinkError("connect-timeout", f"{host.name} did not answer in {timeout_s:g} s") from None


async def _first(
    host: Host, rows: list[AddressRow], whole: asyncio.Timeout, unacknowledged_s: float, counters: LinkCounters
) -> Connection:
    """Tries the addresses in order; what is left of the time is shared among those still untried."""
    failure: LinkError | None = None
    deadline = whole.when()
    assert deadline is not None
    now = asyncio.get_running_loop().time
    for index, row in enumerate(rows):
        share = (deadline - now()) / (len(rows) - index)
        try:
            async with asyncio.timeout(share):
                return await _open(host, row, unacknowledged_s, counters)
        except TimeoutError:
            failure = LinkError("connect-timeout", f"{host.name} did not answer in {share:.3g} s")
        except LinkError as error:
            failure = error
    assert failure
    raise failure


async def _open(host: Host, row: AddressRow, unacknowledged_s: float, counters: LinkCounters) -> Connection:
    """Connects to one address; whatever ends it early closes the socket."""
    family, kind, protocol, _, address = row
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:  # no descriptors left, or a family this machine does not speak
        raise _link_error(host, error, "unreachable") from error
    connection = Connection(host, sock, counters)
    try:
        _set_options(sock, unacknowledged_s)
        await asyncio.get_running_loop().sock_connect(sock, address)
        await connection.handshake()
    except OSError as error:
        connection.abort()
        raise _link_error(host, error, "unreachable") from error
    except LinkError:
        connection.close()  # politely, so that the TLS alert reaches the host's log
        raise
    except BaseException:
        connection.abort()
        raise
    return connection


def _set_options(sock: socket.socket, unacknowledged_s: float) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", int(unacknowledged_s * 1000)),
    ):
        if hasattr(socket, name):  # not every system has them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _link_error(host: Host, error: OSError, otherwise: LinkKind) -> LinkError:
    """The one place where the system's errors become ours."""
    if isinstance(error, ConnectionRefusedError):
        return LinkError("refused", f"{host.name} refused the connection")
    if isinstance(error, ConnectionError):
        return LinkError("reset", f"{host.name} cut the connection")
    if isinstance(error, TimeoutError):  # ETIMEDOUT: by TCP_USER_TIMEOUT, keepalive, or while connecting
        return LinkError("unreachable", f"the network to {host.name} is dead")
    return LinkError(otherwise, f"{host.name}: {error.strerror or 'unknown error'}")


def _tls_error(host: Host, error: TlsError) -> LinkError:
    return LinkError("tls", f"{host.name}: {error.text}")
