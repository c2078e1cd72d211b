"""A connection with its listener: as long as it stands, every frame that arrives is heard.

The listener also finds out at once when the other side ends the connection, so that a message is
not sent into one that is known to be dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from agent.connection import Connection
from agent.linkstate import LinkError
from protocol.envelope import EnvelopeReader, HostFrame
from protocol.errors import FrameError
from protocol.rules import Profile

# A host that sends more foreign frames than this in one exchange is not worth listening to: each of
# them is evidence that the journal has to store. Assumed; a late answer is one or two frames.
STRAYS_MAX = 256


class Standing:
    """`arrived(standing, frame)` gets every frame and says whether somebody awaited it.

    `ended(standing, error)` is called once when the listener stops by itself; not after `drop`.
    """

    def __init__(
        self,
        connection: Connection,
        profile: Profile,
        arrived: Callable[[Standing, HostFrame], bool],
        ended: Callable[[Standing, LinkError], None],
    ) -> None:
        self.connection = connection
        self.listen_only = False
        self.noted = False  # its breaking has been counted
        self._arrived = arrived
        self._ended = ended
        self._silence_s = profile.retry.reply_timeout_s
        self._frames = EnvelopeReader(profile)
        self._strays = 0
        loop = asyncio.get_running_loop()
        self.listener: asyncio.Task[LinkError] = loop.create_task(self._listen(), name=f"listener on {self.host}")
        self.listener.add_done_callback(self._stopped)

    @property
    def host(self) -> str:
        """Name of the host at the other end."""
        return self.connection.host.name

    @property
    def partial(self) -> bool:
        """Half a frame is held; it would poison the next one."""
        return self._frames.partial

    def usable(self) -> bool:
        """Whether a message may be sent on it."""
        return not (self.listen_only or self.partial or self.listener.done() or self.connection.has_ended())

    def begin_exchange(self) -> None:
        """Counts anew what belongs to one exchange."""
        self.connection.forget_message()
        self._strays = 0

    def drop(self, *, at_once: bool) -> None:
        """Ends it: politely, or at once with what the kernel still holds thrown away."""
        self.listener.cancel()
        if at_once:
            self.connection.abort()
        else:
            self.connection.close()

    async def _listen(self) -> LinkError:
        try:
            while True:
                for frame in self._cut(await self._next_bytes()):
                    if not self._arrived(self, frame):
                        self._count_stray()
        except LinkError as error:
            return error
        except FrameError as error:
            return LinkError("garbage", f"{self.host} sent what is no frame: {error.text}")

    def _cut(self, data: bytes) -> Iterator[HostFrame]:
        """Frames; those before a damaged place are given first: an answer is not lost to junk after it."""
        yield from self._frames.feed(data)
        if self.partial:
            yield from self._frames.feed(b"")  # damage behind the frames is told now, not with the next bytes

    async def _next_bytes(self) -> bytes:
        """More bytes; the rest of a begun frame must come within the reply time-out. Raises LinkError."""
        if not self.partial:
            return await self.connection.receive()
        limit_s = self._silence_s
        try:
            async with asyncio.timeout(limit_s):
                return await self.connection.receive()
        except TimeoutError:
            raise LinkError("garbage", f"{self.host} began a frame and fell silent for {limit_s:g} s") from None

    def _count_stray(self) -> None:
        self._strays += 1
        if self._strays >= STRAYS_MAX:
            raise LinkError("garbage", f"{self.host} sent {STRAYS_MAX} frames nobody asked for")

    def _stopped(self, task: asyncio.Task[LinkError]) -> None:
        if not task.cancelled():
            self._ended(self, task.result())  # an error of ours goes to the event loop's handler here
