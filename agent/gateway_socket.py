"""One connection of a POS application to the gateway: frames in, answers out, and whether they arrived.

What `deliver` can know: every byte of the answer was taken by the application's side of the connection (the
other machine's TCP acknowledged it, SIOCOUTQ is 0) and the connection was not broken. It cannot know that the
application read it, understood it, or that the goods were handed over.

Source: tcp(7) (SIOCOUTQ), Linux. An application that has closed its sending side is taken for gone.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios

from protocol.envelope import EnvelopeReader, HostFrame
from protocol.rules import Profile

READ_BYTES = 16384
# From a frame's first byte to its last. A message has a few hundred bytes. Assumed.
FRAME_TIMEOUT_S = 10.0
# Longest wait for the application's side to take an answer. Assumed: a mobile link's worst round trips.
DELIVERY_S = 5.0
_POLL_S = 0.005
_INT = struct.Struct("i")


class Till:
    """One accepted connection. `name`: where it comes from, for the log."""

    def __init__(self, sock: socket.socket, profile: Profile, name: str, idle_s: float) -> None:
        self.name = name
        self._sock = sock
        self._reader = EnvelopeReader(profile)
        self._ready: list[HostFrame] = []
        self._idle_s = idle_s
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def next_frame(self) -> HostFrame | None:
        """The next message; None when the application has gone, says nothing for long or too little at a time.

        Raises FrameError when what it sends is no frame.
        """
        deadline: float | None = None
        while not self._ready:
            now = asyncio.get_running_loop().time()
            if not self._reader.partial:
                deadline = None
            elif deadline is None:
                deadline = now + FRAME_TIMEOUT_S
            data = await self._read(deadline or now + self._idle_s)
            if not data:
                return None
            self._ready += self._reader.feed(data)
        return self._ready.pop(0)

    async def _read(self, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.get_running_loop().sock_recv(self._sock, READ_BYTES)
        except OSError:  # TimeoutError is one
            return b""

    async def deliver(self, data: bytes) -> bool:
        """Whether the application's side took every byte; see the module."""
        if self.gone():
            return False
        try:
            async with asyncio.timeout(DELIVERY_S):
                await asyncio.get_running_loop().sock_sendall(self._sock, data)
                while self._unacknowledged():  # the kernel tells nobody when it is 0
                    if self._broken():  # then it never will be
                        return False
                    await asyncio.sleep(_POLL_S)
        except OSError:
            return False
        return not self._broken()

    def _broken(self) -> bool:
        """Whether the connection was reset; said once."""
        return bool(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def gone(self) -> bool:
        """Whether the application has ended or broken the connection, as far as the kernel knows now."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        """End it; what was written still goes out."""
        close_watched(self._sock)

    def _unacknowledged(self) -> int:
        """Bytes that the other side's TCP has not acknowledged yet."""
        count: int = _INT.unpack(fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(_INT.size)))[0]
        return count


def close_watched(sock: socket.socket) -> None:
    """Close a socket on which somebody may still wait.

    The event loop must forget its number first: the next socket gets the same one, and would be taken for this.
    """
    number = sock.fileno()
    if number >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(number)
        loop.remove_writer(number)
        sock.close()
