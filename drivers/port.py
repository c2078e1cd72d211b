"""The byte port: what every transport gives to every device, and nothing more.

Rules
1. Every read and write has a deadline: an instant of `time.monotonic()`, so that one deadline can be passed
   through a whole conversation. No call waits longer (plus one slice, see the transports).
2. Silence is not an error: `read` returns b"". Everything else that goes wrong is a PortError.
3. `close` may be called from another thread; a read under way then ends with PortGone within one slice.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Protocol
from urllib.parse import parse_qsl

from drivers.errors import PortAddressError

READ_BYTES_MAX = 4096


@dataclass(slots=True)
class PortCounters:
    """What happened on one port since it was opened."""

    bytes_read: int = 0
    bytes_written: int = 0
    read_timeouts: int = 0
    write_timeouts: int = 0
    failures: int = 0

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


class BytePort(Protocol):
    """A transport."""

    @property
    def address(self) -> str:
        """As configured."""

    @property
    def counters(self) -> PortCounters:
        """Live counters."""

    def read(self, size: int, deadline_s: float) -> bytes:
        """1..size bytes as soon as some are there; b"" when none came before the deadline. Raises PortError."""

    def write(self, data: bytes, deadline_s: float) -> None:
        """All of `data`. Raises PortTimeout (some of it may have left) or another PortError."""

    def close(self) -> None:
        """Twice is no error."""


class UsbBytePort(ABC):
    """What a USB port can besides bytes. It stands here so that nobody loads libusb who has no USB device."""

    @property
    @abstractmethod
    def address(self) -> str:
        """See BytePort."""

    @property
    @abstractmethod
    def counters(self) -> PortCounters:
        """See BytePort."""

    @property
    @abstractmethod
    def readable(self) -> bool:
        """It has a bulk endpoint towards us (some printers have none)."""

    @property
    @abstractmethod
    def ccid_features(self) -> int:
        """dwFeatures of a card reader's functional descriptor; 0 when it has none."""

    @abstractmethod
    def read(self, size: int, deadline_s: float) -> bytes:
        """See BytePort."""

    @abstractmethod
    def write(self, data: bytes, deadline_s: float) -> None:
        """See BytePort."""

    @abstractmethod
    def close(self) -> None:
        """See BytePort."""

    @abstractmethod
    def read_interrupt(self, deadline_s: float) -> bytes:
        """One interrupt transfer, b"" when none came or there is no such endpoint."""

    @abstractmethod
    def ccid_abort(self, seq: int, deadline_s: float) -> None:
        """The control half of a CCID abort."""

    @abstractmethod
    def printer_device_id(self) -> bytes:
        """The IEEE 1284 device id with its length bytes; b"" = none."""

    @abstractmethod
    def printer_port_status(self) -> int | None:
        """One byte, or None: the device does not tell."""


def deadline_in(seconds: float) -> float:
    """The instant `seconds` from now."""
    return time.monotonic() + seconds


def remaining(deadline_s: float) -> float:
    """Seconds left, never negative."""
    return max(0.0, deadline_s - time.monotonic())


def split_options(address: str) -> tuple[str, dict[str, str]]:
    """What stands before '?', and the options behind it. Raises PortAddressError for doubled or empty ones."""
    base, _, query = address.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) != len(pairs) or not all(options.values()):
        raise PortAddressError(f"{address}: an option is empty or given twice")
    return base, options
