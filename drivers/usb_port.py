"""USB devices with bulk endpoints, by pyusb.

    usb:08E6:3437            the first device with this vendor and product
    usb:08E6:3437:SN0001     the one with this serial number

The backend can be given (tests and `hwsim` reach simulated devices without a kernel); otherwise pyusb takes
libusb. The interface is chosen by class, the endpoints by direction and type.
"""

from __future__ import annotations

import errno
import re
import struct
import threading
from typing import Any

import usb.core
import usb.util

from drivers.errors import PortAddressError, PortBusy, PortDenied, PortError, PortGone, PortMissing, PortTimeout
from drivers.port import PortCounters, UsbBytePort, remaining
from protocol.frozen import dataclass

CLASS_PRINTER, CLASS_CCID = 0x07, 0x0B
USED_CLASSES = (CLASS_CCID, CLASS_PRINTER)
SLICE_S = 0.25  # longest time in one transfer: a close from elsewhere is noticed after it
WRITE_CHUNK = 4096
CCID_DESCRIPTOR_TYPE, CCID_DESCRIPTOR_BYTES = 0x21, 0x36
CCID_FEATURES_OFFSET = 40  # of dwFeatures in the functional descriptor (CCID rev 1.1, table 5.1-1)
REQUEST_ABORT = (0x21, 0x01)
REQUEST_DEVICE_ID, REQUEST_PORT_STATUS = (0xA1, 0x00), (0xA1, 0x01)
CONTROL_TIMEOUT_S = 1.0
FOREIGN_ERRORS = (usb.core.USBError, usb.core.NoBackendError, NotImplementedError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class UsbAddress:
    """What `usb:VID:PID[:serial]` says."""

    vendor: int
    product: int
    serial: str = ""


def parse_usb_address(address: str) -> UsbAddress:
    """Raises PortAddressError."""
    match = re.fullmatch(r"usb:([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::([^?]+))?", address)
    if not match:
        raise PortAddressError(f"{address} is no USB address")
    return UsbAddress(int(match[1], 16), int(match[2], 16), match[3] or "")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses; 0 = there is none."""

    out: int
    into: int
    interrupt: int


class UsbPort(UsbBytePort):
    """A BytePort over one interface. Reads are whole transfers."""

    def __init__(self, address: str, device: Any, interface: Any, endpoints: Endpoints) -> None:
        self._address = address
        self._device = device
        self._interface = interface
        self._endpoints = endpoints
        self._counters = PortCounters()
        self._closed = False
        self._ended = threading.Event()
        self._in_call = threading.Lock()

    @property
    def address(self) -> str:
        """As configured."""
        return self._address

    @property
    def counters(self) -> PortCounters:
        """Live counters."""
        return self._counters

    @property
    def readable(self) -> bool:
        """It has a bulk endpoint towards us (some printers have none)."""
        return bool(self._endpoints.into)

    # ------------------------------------------------------------ bulk and interrupt

    def read(self, size: int, deadline_s: float) -> bytes:
        """See BytePort."""
        return self._read(self._endpoints.into, size, deadline_s)

    def read_interrupt(self, deadline_s: float) -> bytes:
        """One interrupt transfer, b"" when none came or there is no such endpoint."""
        if self._endpoints.interrupt:
            return self._read(self._endpoints.interrupt, 64, deadline_s)
        self._ended.wait(remaining(deadline_s))  # so that a caller who listens in a loop does not spin
        return b""

    def _read(self, endpoint: int, size: int, deadline_s: float) -> bytes:
        if not endpoint:
            raise PortError(f"{self._address} has no endpoint to read from", "this device is write-only")
        while True:
            data = self._transfer("read", endpoint, size, remaining(deadline_s))
            if data:
                self._counters.bytes_read += len(data)
                return bytes(data)
            if not remaining(deadline_s):
                self._counters.read_timeouts += 1
                return b""

    def write(self, data: bytes, deadline_s: float) -> None:
        """See BytePort. A transfer that timed out may have left in part: then nobody knows how much."""
        sent = 0
        while sent < len(data):
            count = self._transfer("write", self._endpoints.out, data[sent : sent + WRITE_CHUNK], remaining(deadline_s))
            if isinstance(count, int) and count > 0:
                sent += count
                self._counters.bytes_written += count
            elif not remaining(deadline_s):
                self._counters.write_timeouts += 1
                raise PortTimeout(f"{self._address} took {sent} of {len(data)} bytes")

    def _transfer(self, verb: str, endpoint: int, what: Any, seconds: float) -> Any:
        """One bounded transfer; None when it timed out."""
        with self._in_call:
            if self._closed:
                raise PortGone(f"{self._address} was closed")
            try:
                return getattr(self._device, verb)(endpoint, what, max(1, int(min(seconds, SLICE_S) * 1000)))
            except usb.core.USBTimeoutError:
                return None
            except FOREIGN_ERRORS as error:
                raise self._gone(error) from None

    # ------------------------------------------------------------ control pipe

    def control(self, request: tuple[int, int], value: int, length_or_data: Any) -> bytes:
        """A class request to the interface. Raises PortError; a STALL is b""."""
        with self._in_call:
            if self._closed:
                raise PortGone(f"{self._address} was closed")
            index = self._interface.bInterfaceNumber
            if request == REQUEST_DEVICE_ID:
                index <<= 8
            try:
                answer = self._device.ctrl_transfer(
                    *request, value, index, length_or_data, int(CONTROL_TIMEOUT_S * 1000)
                )
            except usb.core.USBError as error:
                if error.errno in (errno.EPIPE, errno.ETIMEDOUT):
                    return b""
                raise self._gone(error) from None
        return b"" if isinstance(answer, int) else bytes(answer)

    def ccid_abort(self, seq: int, deadline_s: float) -> None:
        """The control half of a CCID abort."""
        self.control(REQUEST_ABORT, seq << 8, None)

    def printer_device_id(self) -> bytes:
        """The IEEE 1284 device id with its length bytes."""
        return self.control(REQUEST_DEVICE_ID, 0, 1023)

    def printer_port_status(self) -> int | None:
        """One byte, or None: the device does not tell."""
        answer = self.control(REQUEST_PORT_STATUS, 0, 1)
        return answer[0] if answer else None

    @property
    def ccid_features(self) -> int:
        """dwFeatures of the interface's functional descriptor; 0 when it has none."""
        extra = bytes(getattr(self._interface, "extra_descriptors", None) or b"")
        position = 0
        while position + 2 <= len(extra) and extra[position]:
            length, kind = extra[position], extra[position + 1]
            if kind == CCID_DESCRIPTOR_TYPE and length >= CCID_DESCRIPTOR_BYTES <= len(extra) - position:
                return int(struct.unpack_from("<I", extra, position + CCID_FEATURES_OFFSET)[0])
            position += length
        return 0

    # ------------------------------------------------------------ end

    def _gone(self, error: Exception) -> PortError:
        self._counters.failures += 1
        return PortGone(f"{self._address} failed: {_cause(error)}")

    def close(self) -> None:
        """Releases the interface; a device that is already unplugged is no error."""
        if self._closed:
            return
        self._closed = True
        self._ended.set()
        idle = self._in_call.acquire(timeout=2 * SLICE_S)
        try:
            usb.util.release_interface(self._device, self._interface.bInterfaceNumber)
            usb.util.dispose_resources(self._device)
        except FOREIGN_ERRORS:
            self._counters.failures += 1
        if idle:
            self._in_call.release()


def open_usb(address: str, interface_class: int | None = None, backend: Any = None) -> UsbPort:
    """The first matching device with an interface of this class (None: the first class used here). Raises PortError."""
    wanted = parse_usb_address(address)
    try:
        device = _find(wanted, backend)
        if device is None:
            raise PortMissing(f"no USB device {address}")
        interface = _interface(device, interface_class)
        if interface is None:
            raise PortMissing(f"{address} has no fitting interface", "this device is of another kind than configured")
        _claim(device, interface)
    except FOREIGN_ERRORS as error:
        raise _open_error(address, error) from None
    return UsbPort(address, device, interface, _endpoints(interface))


def _find(wanted: UsbAddress, backend: Any) -> Any:
    devices = usb.core.find(find_all=True, idVendor=wanted.vendor, idProduct=wanted.product, backend=backend)
    for device in devices:
        if not wanted.serial or usb.util.get_string(device, device.iSerialNumber) == wanted.serial:
            return device
    return None


def _interface(device: Any, interface_class: int | None) -> Any:
    wanted = USED_CLASSES if interface_class is None else (interface_class,)
    for configuration in device:
        for interface in configuration:
            if interface.bInterfaceClass in wanted:
                return interface
    return None


def _claim(device: Any, interface: Any) -> None:
    number = interface.bInterfaceNumber
    try:
        if device.is_kernel_driver_active(number):
            device.detach_kernel_driver(number)
    except NotImplementedError:
        pass  # not Linux, or a simulated device: no kernel driver is in the way
    try:
        device.get_active_configuration()
    except usb.core.USBError:
        device.set_configuration()
    usb.util.claim_interface(device, number)


def _endpoints(interface: Any) -> Endpoints:
    found = {"out": 0, "into": 0, "interrupt": 0}
    for endpoint in interface:
        into = usb.util.endpoint_direction(endpoint.bEndpointAddress) == usb.util.ENDPOINT_IN
        kind = usb.util.endpoint_type(endpoint.bmAttributes)
        if kind == usb.util.ENDPOINT_TYPE_BULK:
            name = "into" if into else "out"
        elif kind == usb.util.ENDPOINT_TYPE_INTR and into:
            name = "interrupt"
        else:
            continue
        found[name] = found[name] or endpoint.bEndpointAddress
    return Endpoints(**found)


KINDS: dict[int, type[PortError]] = {
    errno.EBUSY: PortBusy,
    errno.EACCES: PortDenied,
    errno.EPERM: PortDenied,
    errno.ENODEV: PortMissing,
    errno.ENOENT: PortMissing,
}


def _cause(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number, type(error).__name__) if isinstance(number, int) else type(error).__name__


def _open_error(address: str, error: Exception) -> PortError:
    number = getattr(error, "errno", None)
    kind = KINDS.get(number, PortError) if isinstance(number, int) else PortError
    if isinstance(error, usb.core.NoBackendError):
        return PortError(f"{address}: libusb is not installed", "install the package libusb-1.0-0")
    return kind(f"{address} cannot be opened: {_cause(error)}")
