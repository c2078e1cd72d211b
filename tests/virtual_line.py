"""A driver and a simulated device on one line in memory, on a clock that only moves when somebody waits.

The line damages what passes, seeded; `clean()` ends that. Because nobody really waits, a hundred thousand conversations
with time-outs take a minute.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.errors import PortGone
from drivers.port import PortCounters
from hwsim.devices.device import SimDevice

QUIET_S = 1.0  # longer than any device or driver holds half a frame


class VirtualClock:
    """`time.monotonic` for as long as `running`: drivers read the clock of the module `time` themselves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    @contextmanager
    def running(self) -> Iterator[None]:
        real, time.monotonic = time.monotonic, self
        try:
            yield
        finally:
            time.monotonic = real


class VirtualLine:
    """A BytePort. `tokens`: bytes that look like the beginning of this family's frames; `both_ways`: what the driver
    sends is damaged too (only where the device can notice it by a check byte)."""

    address = "virtual:"

    def __init__(self, device: SimDevice, clock: VirtualClock, tokens: list[bytes], both_ways: bool = True) -> None:
        self.counters = PortCounters()
        self.device = device
        self.damaging = False
        self.damages = 0
        self._clock = clock
        self._tokens = tokens
        self._both_ways = both_ways
        self._random = random.Random(0)
        self._coming = bytearray()
        self._closed = False

    # --- the port --------------------------------------------------------------------------------

    def read(self, size: int, deadline_s: float) -> bytes:
        if self._closed:
            raise PortGone("virtual: closed")
        while not self._coming:
            wake = self.device.next_wake()
            if wake is None or wake > deadline_s:
                self._clock.now = max(self._clock.now, deadline_s)
                return b""
            self._clock.now = max(self._clock.now, wake)
            self._coming += self._damaged(self.device.tick(self._clock.now))
        data = bytes(self._coming[:size])
        del self._coming[:size]
        return data

    def write(self, data: bytes, deadline_s: float) -> None:
        if self._closed:
            raise PortGone("virtual: closed")
        if self.damaging and self._both_ways and self._random.random() < 0.2:
            data = self._damaged(data)
        self._coming += self._damaged(self.device.feed(data, self._clock.now))

    def close(self) -> None:
        self._closed = True

    # --- the line --------------------------------------------------------------------------------

    def damage(self, seed: int) -> None:
        """From now on anything may happen to what passes."""
        self._random.seed(seed)
        self.damaging = True
        if self._random.random() < 0.3:
            self._coming += self._rubbish()

    def clean(self) -> None:
        """The line is good again and was silent for a while; what was on it is lost."""
        self.damaging = False
        self._clock.now += QUIET_S
        self.device.tick(self._clock.now)
        self._clock.now += QUIET_S
        self.device.tick(self._clock.now)
        self._coming.clear()

    def _damaged(self, data: bytes) -> bytes:
        if not self.damaging:
            return data
        spoilt = self._spoilt(data)
        self.damages += spoilt != data
        return spoilt

    def _spoilt(self, data: bytes) -> bytes:
        dice = self._random
        match dice.randrange(10):
            case 0:
                return b""
            case 1:
                return self._rubbish()
            case 2:
                return self._rubbish() + data
            case 3:
                return data + self._rubbish()
            case 4:
                return data + data
            case 5:
                return data[: dice.randrange(len(data) + 1)]
            case 6 | 7 if data:
                place = dice.randrange(len(data))
                return data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :]
            case 8 if data:
                place = dice.randrange(len(data))
                return data[:place] + data[place + 1 :]
            case _:
                return data

    def _rubbish(self) -> bytes:
        dice = self._random
        pieces = dice.choice(self._tokens) if dice.random() < 0.5 else dice.randbytes(dice.randrange(9))
        return pieces + dice.randbytes(dice.randrange(5))
