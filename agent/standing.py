"""A connection with its listener: as long as it stands, every frame that arrives is heard.

The listener also finds out at once when the other side ends the connection, so that a message is
not sent into one that is known to be dead. It is called by the event loop whenever something arrives, and
waits for nothing: of an exchange on a standing connection no step needs a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

from agent.connection import Connection
from agent.linkstate import LinkError
from protocol.envelope import EnvelopeReader, HostFrame
from protocol.errors import FrameError
from protocol.rules import Profile

# A host that sends more foreign frames than this in one exchange is not worth listening to: each of
# them is evidence that the journal has to store. Assumed; a late answer is one or two frames.
STRAYS_MAX = 256


class Ear(Protocol):
    """Who hears what arrives on a standing connection."""

    def arrived(self, standing: Standing, frame: HostFrame) -> bool:
        """Every frame; whether somebody awaited it."""

    def ended(self, standing: Standing, error: LinkError) -> None:
        """Once, when the listening ended by itself; not after `drop`."""

    def pause(self, standing: Standing) -> None:
        """All that was there has been told."""


class Standing:
    """See the module. `error`: why the listening ended by itself; None while it goes on."""

    def __init__(self, connection: Connection, profile: Profile, ear: Ear) -> None:
        self.connection = connection
        self.listen_only = False
        self.noted = False  # its breaking has been counted
        self.error: LinkError | None = None
        self._ear = ear
        self._silence_s = profile.retry.reply_timeout_s
        self._silence: asyncio.TimerHandle | None = None
        self._frames = EnvelopeReader(profile)
        self._strays = 0
        connection.listen(self._heard)

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
        return not (self.listen_only or self.partial or self.error or self.connection.has_ended())

    def begin_exchange(self) -> None:
        """Counts anew what belongs to one exchange."""
        self.connection.forget_message()
        self._strays = 0

    def drop(self, *, at_once: bool) -> None:
        """Ends it: politely, or at once with what the kernel still holds thrown away."""
        self._expect_more(expected=False)
        if at_once:
            self.connection.abort()
        else:
            self.connection.close()

    def _heard(self) -> None:
        """Something arrived, or the connection ended."""
        if self.error is not None:
            return
        try:
            for data in self.connection.received():
                for frame in self._cut(data):
                    if not self._ear.arrived(self, frame):
                        self._count_stray()
            self._expect_more(expected=self.partial)
        except LinkError as error:
            self._end(error)
        except FrameError as error:
            self._end(LinkError("garbage", f"{self.host} sent what is no frame: {error.text}"))
        self._ear.pause(self)

    def _cut(self, data: bytes) -> Iterator[HostFrame]:
        """Frames; those before a damaged place are given first: an answer is not lost to junk after it."""
        yield from self._frames.feed(data)
        if self.partial:
            yield from self._frames.feed(b"")  # damage behind the frames is told now, not with the next bytes

    def _expect_more(self, *, expected: bool) -> None:
        """The rest of a begun frame must come within the reply time-out of what came last."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if expected:
            self._silence = asyncio.get_running_loop().call_later(self._silence_s, self._silent)

    def _silent(self) -> None:
        text = f"{self.host} began a frame and fell silent for {self._silence_s:g} s"
        self._end(LinkError("garbage", text))
        self._ear.pause(self)

    def _count_stray(self) -> None:
        self._strays += 1
        if self._strays >= STRAYS_MAX:
            raise LinkError("garbage", f"{self.host} sent {STRAYS_MAX} frames nobody asked for")

    def _end(self, error: LinkError) -> None:
        self._expect_more(expected=False)
        self.error = error
        self.connection.deafen()
        self._ear.ended(self, error)
