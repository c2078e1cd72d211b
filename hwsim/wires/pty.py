"""A simulated device on a pseudo terminal with a stable name.

What a pty is not: it ignores the speed, drops parity and 7-bit settings (a second open with parity fails) and has
no modem lines. Use `rfc2217.py` where these matter. A slave descriptor stays open, so that the master never sees
EIO between two opens of the program under test.
"""

from __future__ import annotations

import os
import selectors
import time
import tty
from pathlib import Path

from hwsim.devices.device import SimDevice
from hwsim.wires.loop import WireLoop

READ_BYTES = 4096
MAX_PENDING_BYTES = 65536  # a program that never reads: the oldest bytes are lost, as on a real line


class PtyWire:
    """`link` is the name to open; `bytes_per_s` paces what the device sends (None: as fast as it goes)."""

    def __init__(self, device: SimDevice, link: Path, bytes_per_s: float | None = None) -> None:
        self.device = device
        self.link = link
        self._bytes_per_s = bytes_per_s
        self._pending = bytearray()
        self._next_write_at = 0.0
        self._master: int | None = None
        self._slave: int | None = None
        self._spare: tuple[int, int] | None = None
        self._loop: WireLoop | None = None

    @property
    def port(self) -> str:
        """The address for a driver. A pty drops 7 bits and parity: the line is 8N1 where the real one is 7E1."""
        shape = self.device.line_format if self.device.line_format.startswith("8N") else "8N1"
        return f"serial:{self.link}?baud={self.device.baud}&format={shape}"

    @property
    def name(self) -> str:
        """The system name behind the link, "" while unplugged."""
        return "" if self._slave is None else os.ttyname(self._slave)

    def start(self, loop: WireLoop) -> None:
        self._loop = loop
        self._plug()

    def tick(self, now: float) -> None:
        said = self.device.tick(now)
        if self.device.plugged and self._master is None:
            self._plug()
        self._queue(said)
        if not self.device.plugged and self._master is not None:
            self._unplug()
        self._write(now)

    def next_wake(self) -> float | None:
        times = [self.device.next_wake()]
        if self._pending and self._bytes_per_s:
            times.append(self._next_write_at)
        return min((at for at in times if at is not None), default=None)

    def close(self) -> None:
        self._drop_pair()
        if self._spare is not None:
            os.close(self._spare[0])
            os.close(self._spare[1])
            self._spare = None
        if self.link.is_symlink():
            self.link.unlink()

    # Plugging

    def _plug(self) -> None:
        self._master, self._slave = self._spare or os.openpty()
        self._spare = None
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        point(self.link, self.name)
        self._watch(selectors.EVENT_READ)

    def _unplug(self) -> None:
        # The next pair is taken before this one is given back: the device returns under another name.
        self._spare = os.openpty()
        self.link.unlink(missing_ok=True)
        self._drop_pair()

    def _drop_pair(self) -> None:
        self._pending.clear()
        if self._master is not None and self._slave is not None:
            self._watch(0)
            os.close(self._master)
            os.close(self._slave)
        self._master = self._slave = None

    def _watch(self, events: int) -> None:
        if self._loop is not None and self._master is not None:
            self._loop.watch(self._master, events, self._ready)

    # Bytes

    def _ready(self, events: int) -> None:
        now = time.monotonic()
        if events & selectors.EVENT_READ and self._master is not None:
            self._queue(self.device.feed(self._read(), now))
        self._write(now)

    def _read(self) -> bytes:
        if self._master is None:
            return b""
        try:
            return os.read(self._master, READ_BYTES)
        except BlockingIOError:
            return b""

    def _queue(self, data: bytes) -> None:
        self._pending += data
        excess = len(self._pending) - MAX_PENDING_BYTES
        if excess > 0:
            del self._pending[:excess]
            self.device.counters["bytes lost unread"] += excess

    def _write(self, now: float) -> None:
        if self._master is None:
            return
        while self._pending and (not self._bytes_per_s or now >= self._next_write_at):
            count = 1 if self._bytes_per_s else len(self._pending)
            try:
                written = os.write(self._master, self._pending[:count])
            except BlockingIOError:
                break
            del self._pending[:written]
            if self._bytes_per_s:
                self._next_write_at = max(now, self._next_write_at) + written / self._bytes_per_s
        blocked = bool(self._pending) and not self._bytes_per_s
        self._watch(selectors.EVENT_READ | (selectors.EVENT_WRITE if blocked else 0))


def point(link: Path, target: str) -> None:
    """Makes `link` point to `target`, in one step for whoever looks."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        temporary.unlink()
        raise
