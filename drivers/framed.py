"""Frames over a byte port: the one place where silence on a line is measured.

A frame that stops in the middle is given up after `quiet_s` without a byte, long before the caller's deadline,
so that the device can be asked to send it again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from drivers.port import READ_BYTES_MAX, BytePort
from protocol.framing import FrameScanner, Spoilt

T = TypeVar("T")

# Longest gap inside a frame: far above one character at 1200 baud (9 ms) and a USB adapter's 16 ms latency.
QUIET_S = 0.15


class FrameStream(Generic[T]):
    """What a scanner finds on a port, in order; `Spoilt` stands for something that was no good frame."""

    def __init__(self, port: BytePort, scanner: FrameScanner[T], quiet_s: float = QUIET_S) -> None:
        self._port = port
        self.scanner = scanner
        self._quiet_s = quiet_s
        self._last_byte_s = time.monotonic()
        self._items: deque[T | Spoilt] = deque()

    def next(self, deadline_s: float) -> T | Spoilt | None:
        """The next item; None = nothing came before the deadline. Raises PortError."""
        while not self._items:
            self._receive(deadline_s)
            if not self._items and time.monotonic() >= deadline_s:
                return None  # also from a device that never stops talking, and with half a frame in hand
        return self._items.popleft()

    def take(self, wanted: Callable[[T], None], deadline_s: float) -> None:
        """Hand everything that comes in one read to `wanted`; spoilt frames are only counted."""
        self._receive(deadline_s)
        while self._items:
            item = self._items.popleft()
            if not isinstance(item, Spoilt):
                wanted(item)

    def put_back(self, item: T | Spoilt) -> None:
        """The next call of `next` gives `item` again."""
        self._items.appendleft(item)

    def flush(self) -> int:
        """Throw away what came before a new command: how many items that was. Never waits."""
        self._receive(time.monotonic())
        stale = len(self._items)
        self._items.clear()
        self.scanner.quiet()
        return stale

    def _receive(self, deadline_s: float) -> bool:
        """One read; False = it brought nothing."""
        partial, damaged = self.scanner.partial, self.scanner.damaged_frames
        patience = min(deadline_s, self._last_byte_s + self._quiet_s) if partial else deadline_s
        data = self._port.read(READ_BYTES_MAX, patience)
        if data:
            self._last_byte_s = time.monotonic()
            found = self.scanner.feed(data)
        elif time.monotonic() >= self._last_byte_s + self._quiet_s:
            found = self.scanner.quiet()
        else:
            return False
        self._items += found
        if self.scanner.damaged_frames > damaged or (partial and not data and not found):
            self._items.append(Spoilt())
        return bool(data)
