"""A pyusb backend over USB/IP: another process reaches the bench's USB devices without kernel, root or libusb.

    HWSIM_USBIP=127.0.0.1:3240 REVERSALD_USB_BACKEND=hwsim.wires.usbip_backend:backend reversald ...

Descriptors are read once for each bus id. Source: pyusb 1.3 usb/backend/__init__.py (methods and what they raise).
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from array import array
from types import SimpleNamespace
from typing import Any

import usb.backend
import usb.core

from hwsim.errors import BenchError
from hwsim.wires.usb_descriptors import DT_CONFIGURATION, described, device_fields, endpoint_of, interface_of
from hwsim.wires.usbip_session import GONE, Session, Transfer, exported

VARIABLE = "HWSIM_USBIP"
DEFAULT_ADDRESS = "127.0.0.1:3240"
CONTROL_S = 2.0
GET_DESCRIPTOR, DEVICE, CONFIGURATION = 0x06, 1, 2
DEVICE_BYTES, CONFIGURATION_BYTES_MAX = 18, 1024


def backend() -> UsbIpBackend:
    """The backend for the server that the environment names. Raises BenchError."""
    host, _, port = os.environ.get(VARIABLE, DEFAULT_ADDRESS).rpartition(":")
    if not host or not port.isdecimal():
        raise BenchError(f"{VARIABLE} is not of the form HOST:PORT")
    return UsbIpBackend((host, int(port)))


class Remote:
    """One bus id of the server; `session` while it is open."""

    def __init__(self, busid: str) -> None:
        self.busid = busid
        self.session: Session | None = None
        self.device = b""
        self.configuration = b""


class UsbIpBackend(usb.backend.IBackend):  # type: ignore[misc]
    """See the module."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self._address = address
        self._lock = threading.RLock()
        self._known: dict[str, Remote] = {}

    # ------------------------------------------------------------ what is there

    def enumerate_devices(self) -> list[Remote]:
        """A bench that is off has no devices."""
        try:
            busids = exported(self._address)
        except OSError:
            return []
        with self._lock:
            return [self._known.setdefault(busid, Remote(busid)) for busid in busids]

    def get_device_descriptor(self, dev: Remote) -> SimpleNamespace:
        self._read_descriptors(dev)
        return device_fields(dev.device, int(dev.busid.rpartition("-")[2]))

    def get_configuration_descriptor(self, dev: Remote, config: int) -> SimpleNamespace:
        return described(dev.configuration, DT_CONFIGURATION)[config]

    def get_interface_descriptor(self, dev: Remote, intf: int, alt: int, _config: int) -> SimpleNamespace:
        return interface_of(dev.configuration, intf, alt)

    def get_endpoint_descriptor(self, dev: Remote, ep: int, _intf: int, _alt: int, _config: int) -> SimpleNamespace:
        return endpoint_of(dev.configuration, ep)

    def _read_descriptors(self, dev: Remote) -> None:
        with self._lock:
            if dev.device and dev.configuration:
                return
            self.open_device(dev)
            try:
                dev.device = self._descriptor(dev, DEVICE, DEVICE_BYTES)
                dev.configuration = self._descriptor(dev, CONFIGURATION, CONFIGURATION_BYTES_MAX)
            finally:
                self.close_device(dev)

    def _descriptor(self, dev: Remote, kind: int, length: int) -> bytes:
        setup = struct.pack("<BBHHH", 0x80, GET_DESCRIPTOR, kind << 8, 0, length)
        return self._control(dev, True, setup, b"", length, CONTROL_S).data

    # ------------------------------------------------------------ open devices

    def open_device(self, dev: Remote) -> Remote:
        with self._lock:
            try:
                if dev.session is None or not dev.session.alive:
                    dev.session = Session(self._address, dev.busid)
            except OSError as error:
                raise _gone() from error
        return dev

    def close_device(self, dev_handle: Remote) -> None:
        with self._lock:
            session, dev_handle.session = dev_handle.session, None
        if session is not None:
            session.close()

    def set_configuration(self, dev_handle: Remote, config_value: int) -> None:
        self._command(dev_handle, 0x00, 0x09, config_value, 0)

    def get_configuration(self, dev_handle: Remote) -> int:
        answer = self._control(dev_handle, True, struct.pack("<BBHHH", 0x80, 0x08, 0, 0, 1), b"", 1, CONTROL_S)
        return answer.data[0] if answer.data else 0

    def set_interface_altsetting(self, dev_handle: Remote, intf: int, altsetting: int) -> None:
        self._command(dev_handle, 0x01, 0x0B, altsetting, intf)

    def claim_interface(self, dev_handle: Remote, intf: int) -> None:
        """The import was the claim."""

    def release_interface(self, dev_handle: Remote, intf: int) -> None:
        """The connection's end is the release."""

    def clear_halt(self, dev_handle: Remote, ep: int) -> None:
        self._command(dev_handle, 0x02, 0x01, 0, ep)

    def reset_device(self, dev_handle: Remote) -> None:
        """USB/IP clients reset by importing anew."""
        self.close_device(dev_handle)
        self.open_device(dev_handle)

    def is_kernel_driver_active(self, dev_handle: Remote, intf: int) -> bool:
        return False

    def detach_kernel_driver(self, dev_handle: Remote, intf: int) -> None:
        """There is no kernel."""

    def attach_kernel_driver(self, dev_handle: Remote, intf: int) -> None:
        """There is no kernel."""

    # ------------------------------------------------------------ transfers

    def bulk_write(self, dev_handle: Remote, ep: int, intf: int, data: Any, timeout: int) -> int:
        return self._transfer(dev_handle, ep, False, bytes(data), len(data), bytes(8), _seconds(timeout)).actual_length

    def bulk_read(self, dev_handle: Remote, ep: int, intf: int, buff: array[int], timeout: int) -> int:
        data = self._transfer(dev_handle, ep, True, b"", len(buff), bytes(8), _seconds(timeout)).data
        buff[: len(data)] = array("B", data)
        return len(data)

    intr_write = bulk_write
    intr_read = bulk_read

    def ctrl_transfer(
        self,
        dev_handle: Remote,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: array[int],
        timeout: int,
    ) -> int:
        into = bool(bmRequestType & 0x80)
        setup = struct.pack("<BBHHH", bmRequestType, bRequest, wValue, wIndex, len(data))
        out = b"" if into else bytes(data)
        answer = self._control(dev_handle, into, setup, out, len(data), _seconds(timeout))
        if into:
            data[: len(answer.data)] = array("B", answer.data)
            return len(answer.data)
        return len(data)

    def _command(self, dev: Remote, request_type: int, request: int, value: int, index: int) -> None:
        self._control(dev, False, struct.pack("<BBHHH", request_type, request, value, index, 0), b"", 0, CONTROL_S)

    def _control(
        self, dev: Remote, into: bool, setup: bytes, data: bytes, length: int, timeout_s: float | None
    ) -> Transfer:
        return self._transfer(dev, 0, into, data, length, setup, timeout_s)

    def _transfer(
        self, dev: Remote, ep: int, into: bool, data: bytes, length: int, setup: bytes, timeout_s: float | None
    ) -> Transfer:
        session = dev.session
        if session is None:
            raise _gone()
        try:
            done = session.transfer(ep & 0x0F, into, data, length, setup, timeout_s)
        except OSError as error:
            raise _gone() from error
        if done is None:
            raise usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        if done.status == GONE:
            raise _gone()
        if done.status:
            raise usb.core.USBError("Pipe error", -9, errno.EPIPE)
        return done


def _gone() -> usb.core.USBError:
    return usb.core.USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)


def _seconds(timeout_ms: int) -> float | None:
    """pyusb's 0 means no limit."""
    return timeout_ms / 1000 if timeout_ms else None
