"""The two streams of every connection of a capture as messages; foreign and damaged bytes are given as they are."""

from __future__ import annotations

from collections.abc import Iterator

from agent.streams import Chunk, Direction
from protocol.envelope import EnvelopeReader
from protocol.errors import FrameError, MessageError
from protocol.iso8583 import Message
from protocol.rules import Profile

_Side = tuple[str, Direction]


class Reading:
    """All connections of one capture."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._readers: dict[_Side, EnvelopeReader] = {}
        self._broken: set[_Side] = set()

    def read(self, chunk: Chunk) -> Iterator[Message | bytes]:
        """What a piece of a stream completes: messages, with or without envelope, and bytes that are none (SECRET).

        A stream that is no frames is given once, and not again until a frame was found in it.
        """
        side = (chunk.connection, chunk.direction)
        reader = self._readers.setdefault(side, EnvelopeReader(self._profile))
        if not reader.partial and (message := self._message(chunk.data)) is not None:
            yield message
            return
        try:
            frames = reader.feed(chunk.data)
        except FrameError:
            del self._readers[side]
            if side not in self._broken:
                self._broken.add(side)
                yield chunk.data
            return
        for frame in frames:
            self._broken.discard(side)
            message = self._message(frame.body)
            yield frame.body if message is None else message

    def lost(self, chunk: Chunk) -> None:
        """Bytes are missing before what comes next: half a frame is never completed."""
        self._readers.pop((chunk.connection, chunk.direction), None)

    def unfinished(self) -> Iterator[_Side]:
        """The sides that end in the middle of a frame."""
        return (side for side, reader in self._readers.items() if reader.partial)

    def _message(self, body: bytes) -> Message | None:
        try:
            return self._profile.codec.unpack(body)
        except MessageError:
            return None
