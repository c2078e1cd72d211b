"""Device frames: cutting a byte stream into frames, and one guarded way into construct.

Rules
1. Nothing here knows a clock. A driver that sees the line fall silent calls `quiet()`; what is
   then left of an unfinished frame is noise, and a good frame hidden in it is still found.
2. A buffer never grows above its cap.
3. Every error that leaves this layer is a `FrameError`: construct lets ValueError, TypeError,
   KeyError, struct.error and others through, ignores bytes after the layout, and a compiled layout
   hides short fields (so: never `.compile()`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import xor
from typing import Any, Generic, TypeVar

from construct import ConstructError, Sequence, Terminated

from protocol.errors import FrameError
from protocol.frozen import dataclass

T = TypeVar("T")

# What construct 2.10 is known to let out besides ConstructError (struct.error is a ValueError's cousin: it is
# raised as FormatFieldError, but lambdas and adapters raise what they like).
FOREIGN_ERRORS = (ConstructError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def parse(layout: Any, data: bytes, what: str) -> Any:
    """The values of exactly one frame. Raises FrameError; `what` names the frame in its text."""
    try:
        return Sequence(layout, Terminated).parse(data)[0]
    except FOREIGN_ERRORS as error:
        raise FrameError(f"{what} of {len(data)} bytes does not fit its layout: {type(error).__name__}") from None


def build(layout: Any, values: Mapping[str, Any], what: str) -> bytes:
    """The bytes of one frame. Raises FrameError when a value does not fit its field."""
    try:
        return bytes(layout.build(dict(values)))
    except FOREIGN_ERRORS as error:
        raise FrameError(f"{what} cannot be built: {type(error).__name__}") from None


def lrc(data: bytes) -> int:
    """Longitudinal redundancy check: exclusive or of all bytes."""
    return reduce(xor, data, 0)


@dataclass(frozen=True, slots=True)
class Cut(Generic[T]):
    """What the head of the buffer is: `used` bytes of noise (no item) or of a frame (item); 0 = not yet."""

    used: int
    item: T | None = None
    damaged: bool = False  # the bytes had the shape of a frame, but its check value or content was wrong


@dataclass(frozen=True, slots=True)
class Spoilt:
    """Something came that was no good frame: damaged, or broken off."""


NOT_YET: Cut[Any] = Cut(0)
NOISE: Cut[Any] = Cut(1)
DAMAGED: Cut[Any] = Cut(1, None, True)

Cutter = Callable[[bytes, bool], "Cut[T]"]


class FrameScanner(Generic[T]):
    """Cuts a stream by a family's `cut(buffer, lost)`.

    `lost` is true from the first byte of noise to the next frame or quiet line: single-byte events
    (ACK, time requests) mean nothing while it is true, because any byte of noise looks like one.
    """

    def __init__(self, cut: Cutter[T], cap_bytes: int) -> None:
        self._cut = cut
        self._cap = cap_bytes
        self._buffer = bytearray()
        self._lost = False
        self.noise_bytes = 0
        self.damaged_frames = 0

    @property
    def partial(self) -> bool:
        """Bytes of an unfinished frame are held."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[T]:
        """The frames that `data` completes. Never raises; noise is counted and skipped."""
        items: list[T] = []
        for start in range(0, len(data), self._cap):
            self._buffer += data[start : start + self._cap]
            items += self._scan()
            while len(self._buffer) > self._cap:
                items += self._skip()
        return items

    def quiet(self) -> list[T]:
        """The line was silent: the unfinished frame is noise; frames found behind its first byte."""
        items: list[T] = []
        while self._buffer:
            items += self._skip()
        self._lost = False
        return items

    def clear(self) -> None:
        """Forget what is held, uncounted: a new connection begins."""
        self._buffer.clear()
        self._lost = False

    def _skip(self) -> list[T]:
        """Give up the frame that seems to begin the buffer, and look behind its first byte."""
        del self._buffer[0]
        self.noise_bytes += 1
        self._lost = True
        return self._scan()

    def _scan(self) -> list[T]:
        items: list[T] = []
        position = 0
        view = bytes(self._buffer)
        while position < len(view):
            cut = self._cut(view[position : position + self._cap], self._lost)
            if not cut.used:
                break
            position += cut.used
            self._count(cut)
            if cut.item is not None:
                items.append(cut.item)
        del self._buffer[:position]
        return items

    def _count(self, cut: Cut[T]) -> None:
        self.damaged_frames += cut.damaged
        if cut.item is None:
            self.noise_bytes += cut.used
        self._lost = cut.item is None
