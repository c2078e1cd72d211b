"""pyserial's RFC 2217 client, with writes that keep a deadline and without its deprecated calls.

pyserial 3.5 writes with a time-out of 5 s that it sets once and lets nobody change, and names its reading thread by
two calls that Python has deprecated (DeprecationWarning). What the time-out cut off, it does not tell.
"""

from __future__ import annotations

import select
import threading
from types import FunctionType, SimpleNamespace
from typing import Any

from serial import rfc2217

IAC, IAC_DOUBLED = rfc2217.IAC, rfc2217.IAC_DOUBLED


class _Thread(threading.Thread):
    """As `threading.Thread`; the two old names do what the attributes do."""

    def setDaemon(self, daemonic: bool) -> None:
        """See Thread.daemon."""
        self.daemon = daemonic

    def setName(self, name: str) -> None:
        """See Thread.name."""
        self.name = name


# pyserial's own `open`, which looks these two names up among its globals.
_THREADS = SimpleNamespace(Thread=_Thread, Lock=threading.Lock)
_OPEN = FunctionType(rfc2217.Serial.open.__code__, {**vars(rfc2217), "threading": _THREADS}, "open")


class Rfc2217Serial(rfc2217.Serial):  # type: ignore[misc]
    """`send_slice` instead of `write`. An escaped byte (IAC IAC) that was cut in two is completed before all else."""

    _owed = b""

    def open(self) -> None:
        """Connects and negotiates. Raises serial.SerialException."""
        self._owed = b""
        _OPEN(self)

    def send_slice(self, data: bytes, seconds: float) -> int:
        """Hands over what the connection takes within `seconds`; how many bytes of `data` that was. Raises OSError."""
        with self._write_lock:
            link: Any = self._socket
            if not select.select([], [link], [], seconds)[1]:
                return 0
            wire = self._owed + data.replace(IAC, IAC_DOUBLED)
            sent = link.send(wire)
            begun = wire[len(self._owed) : sent]
            if sent:
                self._owed = IAC if begun.count(IAC) % 2 else b""
            return len(begun.replace(IAC_DOUBLED, IAC))

    def _internal_raw_write(self, data: bytes) -> None:
        """What pyserial itself has to say (negotiation); from its own thread too."""
        with self._write_lock:
            owed, self._owed = self._owed, b""
            self._socket.sendall(owed + data)
