"""One thread that moves bytes between simulated devices and their wires, and tells the devices the time.

Rules: device code runs under `lock` only, in the loop's thread or in `call`; the loop sleeps until a byte, a
device's own next wake-up or a call; `stop` returns only when the thread has ended and every wire is closed.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, TypeVar

Result = TypeVar("Result")
IDLE_S = 60.0


class Wire(Protocol):
    """Something with file descriptors that the loop looks after. All methods run under the loop's lock."""

    def start(self, loop: WireLoop) -> None:
        """Opens and registers with `loop.watch`."""

    def tick(self, now: float) -> None:
        """Time has passed, or something else happened: look what there is to do."""

    def next_wake(self) -> float | None:
        """When `tick` has to come at the latest."""

    def close(self) -> None:
        """Closes everything; never raises."""


class WireLoop:
    """The thread; `with WireLoop() as loop: loop.add(wire)`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._selector = selectors.DefaultSelector()
        self._wires: list[Wire] = []
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain)
        self._running = True
        self._thread = threading.Thread(target=self._run, name="hwsim-wires", daemon=True)
        self._thread.start()

    def __enter__(self) -> WireLoop:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def add(self, wire: Wire) -> None:
        """Opens a wire and keeps it going; a wire that cannot be opened is closed again."""
        with self.lock, ExitStack() as on_failure:
            on_failure.callback(wire.close)
            wire.start(self)
            on_failure.pop_all()
            self._wires.append(wire)
        self.wake()

    def call(self, action: Callable[[], Result]) -> Result:
        """Runs `action` while nothing else touches the devices; their clocks are right before and after."""
        with self.lock:
            self._tick_all()
            result = action()
            self._tick_all()
        self.wake()
        return result

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Waits until `condition()` (asked under the lock after each change) is true; false at the deadline."""
        with self.changed:
            return self.changed.wait_for(condition, timeout_s)

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Calls `ready(events)` when the descriptor is; `events` 0 stops watching."""
        known = fd in self._selector.get_map()
        if events and known:
            self._selector.modify(fd, events, ready)
        elif events:
            self._selector.register(fd, events, ready)
        elif known:
            self._selector.unregister(fd)

    def wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # enough wake-ups are waiting already

    def stop(self) -> None:
        """Ends the thread, closes the wires."""
        if not self._running:
            return
        self._running = False
        self.wake()
        self._thread.join()
        with self.lock:
            for wire in self._wires:
                wire.close()
            self._wires.clear()
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _run(self) -> None:
        while self._running:
            with self.lock:
                timeout_s = self._timeout_s()
            events = self._selector.select(timeout_s)
            with self.changed:
                for key, mask in events:
                    if key.fd in self._selector.get_map():
                        key.data(mask)
                self._tick_all()
                self.changed.notify_all()

    def _timeout_s(self) -> float:
        wakes = [wake for wake in (wire.next_wake() for wire in self._wires) if wake is not None]
        return min(max(min(wakes) - time.monotonic(), 0.0), IDLE_S) if wakes else IDLE_S

    def _tick_all(self) -> None:
        now = time.monotonic()
        for wire in list(self._wires):
            wire.tick(now)

    def _drain(self, _mask: int) -> None:
        os.read(self._wake_read, 4096)
