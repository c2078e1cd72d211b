"""Serial lines: /dev names and every pyserial URL.

    serial:/dev/pos/reader?baud=115200&format=8N1&flow=none
    rfc2217://10.0.0.5:4001?baud=9600&format=7E1        socket://10.0.0.5:4002        loop://

`format` is character size, parity (N E O M S), stop bits (1 or 2); `flow` is none, rtscts, xonxoff or dsrdtr.

Facts that shaped this file: changing a time-out on an open pyserial port renegotiates the whole line (0.3 s over
rfc2217, EINVAL on a pty with parity), so ports are opened with one short slice and we loop; pyserial's own
bounded write does not tell how much left, so on a real descriptor we write ourselves.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

import serial

from drivers.errors import (
    PortAddressError,
    PortBusy,
    PortDenied,
    PortError,
    PortGone,
    PortMissing,
    PortSettings,
    PortTimeout,
)
from drivers.port import READ_BYTES_MAX, PortCounters, remaining, split_options

SLICE_S = 0.05  # longest time in one system call: a close from elsewhere is noticed after it
CLOSE_WAIT_S = 4 * SLICE_S  # then the call under way is stuck in the kernel, and closing is all that is left
URL_WRITE_S = 5.0  # longest write through other URL handlers (loop://, spy://), which do not tell how much left
DEFAULT_BAUD, DEFAULT_FORMAT, DEFAULT_FLOW = 9600, "8N1", "none"
FLOWS = ("none", "rtscts", "xonxoff", "dsrdtr")
OWN_OPTIONS = ("baud", "format", "flow")
# serial.SerialException is an OSError; the others come from pyserial's URL handlers and from ports closed meanwhile.
FOREIGN_ERRORS = (OSError, termios.error, ValueError, TypeError, AttributeError, NotImplementedError)


class SerialPort:
    """A BytePort over pyserial."""

    def __init__(self, address: str, device: Any) -> None:
        self._address = address
        self._device = device
        self._counters = PortCounters()
        self._closed = False
        self._in_call = threading.Lock()  # so that no other thread's close frees a descriptor in use

    @property
    def address(self) -> str:
        """As configured."""
        return self._address

    @property
    def counters(self) -> PortCounters:
        """Live counters."""
        return self._counters

    def read(self, size: int, deadline_s: float) -> bytes:
        """See BytePort."""
        size = max(1, min(size, READ_BYTES_MAX))
        while True:
            data = self._read_slice(size, remaining(deadline_s))
            if data:
                self._counters.bytes_read += len(data)
                return data
            if not remaining(deadline_s):
                self._counters.read_timeouts += 1
                return b""

    def _read_slice(self, size: int, seconds: float) -> bytes:
        with self._in_call:
            if self._closed:
                raise PortGone(f"{self._address} was closed")
            try:
                if not seconds and not self._device.in_waiting:
                    return b""
                first = bytes(self._device.read(1))
                waiting = min(self._device.in_waiting, size - 1) if first else 0
                return first + bytes(self._device.read(waiting)) if waiting else first
            except FOREIGN_ERRORS as error:
                raise self._gone(error) from None

    def write(self, data: bytes, deadline_s: float) -> None:
        """See BytePort."""
        if (hand_over := _slice_writer(self._device)) is None:
            return self._write_url(data, deadline_s)
        sent = 0
        while sent < len(data):
            sent += self._write_slice(hand_over, data[sent : sent + READ_BYTES_MAX])
            if sent < len(data) and not remaining(deadline_s):
                self._counters.write_timeouts += 1
                raise PortTimeout(f"{self._address} took {sent} of {len(data)} bytes")
        return None

    def _write_slice(self, hand_over: Callable[[bytes], int], data: bytes) -> int:
        with self._in_call:
            if self._closed:
                raise PortGone(f"{self._address} was closed")
            try:
                count = hand_over(data)
            except BlockingIOError:
                return 0
            except FOREIGN_ERRORS as error:
                raise self._gone(error) from None
        self._counters.bytes_written += count
        return count

    def _write_url(self, data: bytes, deadline_s: float) -> None:
        try:
            self._device.write_timeout = max(SLICE_S, min(remaining(deadline_s), URL_WRITE_S))
            self._device.write(data)
        except serial.SerialTimeoutException:
            self._counters.write_timeouts += 1
            raise PortTimeout(f"{self._address} does not take bytes") from None
        except FOREIGN_ERRORS as error:
            raise self._gone(error) from None
        self._counters.bytes_written += len(data)

    def _gone(self, error: Exception) -> PortGone:
        self._counters.failures += 1
        return PortGone(f"{self._address} vanished: {_cause(error)}")

    def close(self) -> None:
        """Throws away what was not sent, so that closing never waits for a stuck device."""
        if self._closed:
            return
        self._closed = True
        idle = self._in_call.acquire(timeout=CLOSE_WAIT_S)
        self._counters.failures += _drop(self._device)
        if idle:
            self._in_call.release()


def _slice_writer(device: Any) -> Callable[[bytes], int] | None:
    """What writes as much as goes within SLICE_S and tells how much that was; None: this port has no such way."""
    if isinstance(descriptor := getattr(device, "fd", None), int):
        return lambda data: _write_some(descriptor, data)
    if (send_slice := getattr(device, "send_slice", None)) is not None:
        return lambda data: int(send_slice(data, SLICE_S))
    link = getattr(device, "_socket", None)  # pyserial's socket://
    return (lambda data: _write_some(link.fileno(), data)) if isinstance(link, socket.socket) else None


def _write_some(descriptor: int, data: bytes) -> int:
    ready = select.select([], [descriptor], [], SLICE_S)[1]
    return os.write(descriptor, data) if ready else 0


def _drop(device: Any) -> int:
    """Close whatever is open, also after a failed open; how many steps failed."""
    # Only a real descriptor's output is thrown away at once: over rfc2217 that would be a conversation.
    steps = [device.reset_output_buffer] if isinstance(getattr(device, "fd", None), int) else []
    # pyserial leaves its socket open when the other side was first to go, or when opening failed half way.
    link = getattr(device, "_socket", None)
    steps += [device.close] + ([link.close] if isinstance(link, socket.socket) else [])
    failures = 0
    for step in steps:
        try:
            step()
        except FOREIGN_ERRORS:
            failures += 1
    return failures


def _cause(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number, type(error).__name__) if isinstance(number, int) else type(error).__name__


def open_port(address: str) -> SerialPort:
    """The open port for a `serial:` address or a pyserial URL, held exclusively. Raises PortError."""
    url, settings = parse_address(address)
    started = time.monotonic()
    device = None
    try:
        device = _closed_device(url, settings)
        device.open()
    except FOREIGN_ERRORS as error:
        if device is not None:
            _drop(device)
        raise _open_error(address, error, time.monotonic() - started) from None
    return SerialPort(address, device)


def _closed_device(url: str, settings: dict[str, Any]) -> Any:
    if url.startswith("rfc2217://"):
        from drivers.rfc2217_port import Rfc2217Serial  # 4 ms, and few terminals have a serial server

        device = Rfc2217Serial(None, timeout=SLICE_S, **settings)
        device.port = url
        return device
    device = serial.serial_for_url(url, do_not_open=True, timeout=SLICE_S, **settings)
    if "://" in url:
        device.write_timeout = URL_WRITE_S
    else:
        device.exclusive = True
    return device


def parse_address(address: str) -> tuple[str, dict[str, Any]]:
    """pyserial's URL and settings. Raises PortAddressError."""
    base, options = split_options(address)
    url = base.removeprefix("serial:")
    if not url or (base == url and "://" not in url):
        raise PortAddressError(f"{address} is no serial address")
    baud = options.pop("baud", str(DEFAULT_BAUD))
    flow = options.pop("flow", DEFAULT_FLOW)
    settings = _format(options.pop("format", DEFAULT_FORMAT), address)
    if not (baud.isascii() and baud.isdecimal() and 50 <= int(baud) <= 4_000_000) or flow not in FLOWS:
        raise PortAddressError(f"{address}: baud 50 to 4000000, flow one of {', '.join(FLOWS)}")
    if options and "://" not in url:
        raise PortAddressError(f"{address}: unknown option {next(iter(options))!r}; known: {', '.join(OWN_OPTIONS)}")
    rest = "&".join(f"{name}={value}" for name, value in options.items())
    settings |= {"baudrate": int(baud), **{name: flow == name for name in FLOWS[1:]}}
    return url + (f"?{rest}" if rest else ""), settings


def _format(text: str, address: str) -> dict[str, Any]:
    if len(text) != 3 or text[0] not in "5678" or text[1] not in "NEOMS" or text[2] not in "12":
        raise PortAddressError(f"{address}: format {text!r}; write 8N1, 8N2, 7E1, 7O1 ...")
    return {"bytesize": int(text[0]), "parity": text[1], "stopbits": int(text[2])}


KINDS: dict[int, type[PortError]] = {
    errno.ENOENT: PortMissing,
    errno.ENODEV: PortMissing,
    errno.ENXIO: PortMissing,
    errno.EIO: PortMissing,
    errno.ECONNREFUSED: PortMissing,
    errno.EHOSTUNREACH: PortMissing,
    errno.EACCES: PortDenied,
    errno.EPERM: PortDenied,
    errno.EBUSY: PortBusy,
    errno.EAGAIN: PortBusy,
    errno.EINVAL: PortSettings,
}


def _open_error(address: str, error: Exception, seconds: float) -> PortError:
    number = getattr(error, "errno", None)
    if isinstance(error, termios.error) and error.args:
        number = error.args[0]
    if "xclusive" in str(error) or "locked" in str(error):
        number = errno.EBUSY
    kind = KINDS.get(number, PortError) if isinstance(number, int) else PortError
    if isinstance(error, ValueError):
        kind = PortSettings
    return kind(f"{address} cannot be opened: {_cause(error)} after {seconds:.1f} s")
