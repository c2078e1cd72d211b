"""A pyusb backend that reaches simulated USB devices in this process: no kernel, no root, no libusb.

    backend = SimBackend([wire_of_printer, wire_of_reader])
    usb.core.find(idVendor=0x04B8, backend=backend)

Source: pyusb 1.3 usb/backend/__init__.py (the methods and what they raise).
"""

from __future__ import annotations

import errno
import struct
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import usb.backend
import usb.core
from usbip.core import IN, OUT, Urb

from hwsim.wires.usb import UsbWire
from hwsim.wires.usb_descriptors import DT_CONFIGURATION, described, device_fields, endpoint_of, interface_of


@dataclass(frozen=True)
class Opened:
    """A device as it was opened, at the address that it had then."""

    wire: UsbWire
    address: int


class SimBackend(usb.backend.IBackend):  # type: ignore[misc]
    """See the module. Unplugged devices are not found, and open ones answer "no such device"."""

    def __init__(self, wires: Sequence[UsbWire]) -> None:
        super().__init__()
        self._wires = list(wires)
        self._sequence = 0

    def enumerate_devices(self) -> list[UsbWire]:
        return [wire for wire in self._wires if wire.device.plugged]

    def get_device_descriptor(self, dev: UsbWire) -> SimpleNamespace:
        return device_fields(dev.usb.device_descriptor().pack(), dev.address)

    def get_configuration_descriptor(self, dev: UsbWire, config: int) -> SimpleNamespace:
        return described(bytes(dev.usb.config_bytes()), DT_CONFIGURATION)[config]

    def get_interface_descriptor(self, dev: UsbWire, intf: int, alt: int, _config: int) -> SimpleNamespace:
        return interface_of(bytes(dev.usb.config_bytes()), intf, alt)

    def get_endpoint_descriptor(self, dev: UsbWire, ep: int, _intf: int, _alt: int, _config: int) -> SimpleNamespace:
        return endpoint_of(bytes(dev.usb.config_bytes()), ep)

    def open_device(self, dev: UsbWire) -> Opened:
        opened = Opened(dev, dev.address)
        self._present(opened)
        return opened

    def close_device(self, dev_handle: Opened) -> None:
        """Nothing is kept for an open device."""

    def set_configuration(self, dev_handle: Opened, config_value: int) -> None:
        self._control(dev_handle, OUT, struct.pack("<BBHHH", 0x00, 0x09, config_value, 0, 0), b"", 0)

    def get_configuration(self, dev_handle: Opened) -> int:
        return int(self._present(dev_handle).usb.config) or 1

    def set_interface_altsetting(self, dev_handle: Opened, intf: int, altsetting: int) -> None:
        self._control(dev_handle, OUT, struct.pack("<BBHHH", 0x01, 0x0B, altsetting, intf, 0), b"", 0)

    def claim_interface(self, dev_handle: Opened, intf: int) -> None:
        self._present(dev_handle)

    def release_interface(self, dev_handle: Opened, intf: int) -> None:
        """Anybody may claim: there is no other driver."""

    def bulk_write(self, dev_handle: Opened, ep: int, intf: int, data: Any, timeout: int) -> int:
        return self._transfer(dev_handle, ep, OUT, bytes(data), len(data), timeout).actual_length

    def bulk_read(self, dev_handle: Opened, ep: int, intf: int, buff: array[int], timeout: int) -> int:
        data = self._transfer(dev_handle, ep, IN, b"", len(buff), timeout).data
        buff[: len(data)] = array("B", data)
        return len(data)

    intr_write = bulk_write
    intr_read = bulk_read

    def ctrl_transfer(
        self,
        dev_handle: Opened,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: array[int],
        timeout: int,
    ) -> int:
        direction = IN if bmRequestType & 0x80 else OUT
        setup = struct.pack("<BBHHH", bmRequestType, bRequest, wValue, wIndex, len(data))
        answer = self._control(dev_handle, direction, setup, b"" if direction == IN else bytes(data), len(data))
        if direction == IN:
            data[: len(answer)] = array("B", answer)
            return len(answer)
        return len(data)

    def clear_halt(self, dev_handle: Opened, ep: int) -> None:
        self._control(dev_handle, OUT, struct.pack("<BBHHH", 0x02, 0x01, 0, ep, 0), b"", 0)

    def reset_device(self, dev_handle: Opened) -> None:
        self._present(dev_handle).usb.reset_io()

    def is_kernel_driver_active(self, dev_handle: Opened, intf: int) -> bool:
        return False

    def detach_kernel_driver(self, dev_handle: Opened, intf: int) -> None:
        """There is no kernel."""

    def attach_kernel_driver(self, dev_handle: Opened, intf: int) -> None:
        """There is no kernel."""

    def _present(self, opened: Opened) -> UsbWire:
        """The device, if it is still the one that was opened: a device that came back has another address."""
        wire = opened.wire
        if not wire.device.plugged or wire.address != opened.address:
            raise usb.core.USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)
        return wire

    def _control(self, opened: Opened, direction: int, setup: bytes, data: bytes, length: int) -> bytes:
        urb = Urb(direction=direction, ep=0, setup=setup, length=length, buffer=data)
        done = self._present(opened).usb.handle_urb(urb)
        if done.status != 0:
            raise usb.core.USBError("Pipe error", -9, errno.EPIPE)
        return bytes(done.buffer)[: done.actual] if direction == IN else b""

    def _transfer(self, opened: Opened, ep: int, direction: int, data: bytes, length: int, timeout: int) -> Transfer:
        self._sequence += 1
        urb = Urb(direction=direction, ep=ep & 0x0F, length=length, buffer=data, seqnum=self._sequence)
        transfer = Transfer()
        done = self._present(opened).usb.handle_urb(urb, transfer.complete)
        if done is not None:
            transfer.complete(done)
        if not transfer.finished.wait(timeout / 1000 if timeout else None):
            opened.wire.usb.cancel_urb(urb.seqnum)
            if not transfer.finished.is_set():
                self._present(opened)
                raise usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        if transfer.status == -errno.ENODEV:
            raise usb.core.USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)
        if transfer.status != 0:
            raise usb.core.USBError("Pipe error", -9, errno.EPIPE)
        return transfer


class Transfer:
    """One bulk or interrupt transfer; finished at once or when the device has something to say."""

    def __init__(self) -> None:
        self.finished = threading.Event()
        self.status = 0
        self.data = b""
        self.actual_length = 0

    def complete(self, urb: Any) -> None:
        self.status = urb.status
        self.actual_length = urb.actual
        self.data = bytes(urb.buffer)[: urb.actual]
        self.finished.set()
