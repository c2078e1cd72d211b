"""A pyusb backend with one device on it, for tests: endpoints are functions, control requests a table."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import usb.backend
import usb.core

BULK_OUT, BULK_IN, INTERRUPT_IN = 0x01, 0x82, 0x83


class OneDevice(usb.backend.IBackend):  # type: ignore[misc]
    """`answer(data)` is what a bulk write brings to the bulk IN endpoint, transfer by transfer."""

    def __init__(
        self, interface_class: int, answer: Callable[[bytes], list[bytes]], extra: bytes = b"", serial: str = "SN1"
    ) -> None:
        self.interface_class = interface_class
        self.answer = answer
        self.extra = extra
        self.serial = serial
        self.control: dict[tuple[int, int], bytes] = {}
        self.controls: list[tuple[int, int, int]] = []
        self.waiting: list[bytes] = []
        self.interrupts: list[bytes] = []
        self.gone = False
        self.stuck = False
        self.busy = False
        self.released = 0
        self.endpoints = [(BULK_OUT, 2), (BULK_IN, 2), (INTERRUPT_IN, 3)]

    # ------------------------------------------------------------ descriptors

    def enumerate_devices(self) -> list[str]:
        return [] if self.gone else ["device"]

    def get_device_descriptor(self, dev: object) -> SimpleNamespace:
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x200, bDeviceClass=0, bDeviceSubClass=0, bDeviceProtocol=0,
            bMaxPacketSize0=64, idVendor=0x1209, idProduct=0x0001, bcdDevice=0x100, iManufacturer=0, iProduct=0,
            iSerialNumber=3, bNumConfigurations=1, address=1, bus=1, port_number=1, port_numbers=(1,), speed=2,
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: object, config: int) -> SimpleNamespace:
        if config:
            raise IndexError("one configuration only")
        return SimpleNamespace(
            bLength=9, bDescriptorType=2, wTotalLength=0, bNumInterfaces=1, bConfigurationValue=1, iConfiguration=0,
            bmAttributes=0x80, bMaxPower=50, extra_descriptors=[],
        )  # fmt: skip

    def get_interface_descriptor(self, dev: object, intf: int, alt: int, config: int) -> SimpleNamespace:
        if intf or alt:
            raise IndexError("one interface only")
        return SimpleNamespace(
            bLength=9, bDescriptorType=4, bInterfaceNumber=0, bAlternateSetting=0, bNumEndpoints=len(self.endpoints),
            bInterfaceClass=self.interface_class, bInterfaceSubClass=0, bInterfaceProtocol=0, iInterface=0,
            extra_descriptors=list(self.extra),
        )  # fmt: skip

    def get_endpoint_descriptor(self, dev: object, ep: int, intf: int, alt: int, config: int) -> SimpleNamespace:
        if ep >= len(self.endpoints):
            raise IndexError("no such endpoint")
        address, kind = self.endpoints[ep]
        return SimpleNamespace(
            bLength=7, bDescriptorType=5, bEndpointAddress=address, bmAttributes=kind, wMaxPacketSize=64, bInterval=10,
            bRefresh=0, bSynchAddress=0, extra_descriptors=[],
        )  # fmt: skip

    # ------------------------------------------------------------ life

    def open_device(self, dev: object) -> str:
        self._there()
        return "handle"

    def close_device(self, handle: object) -> None:
        assert handle == "handle"

    def get_configuration(self, handle: object) -> int:
        return 1

    def set_configuration(self, handle: object, value: int) -> None:
        self._there()

    def claim_interface(self, handle: object, intf: int) -> None:
        if self.busy:
            raise usb.core.USBError("busy", -6, errno.EBUSY)

    def release_interface(self, handle: object, intf: int) -> None:
        self.released += 1

    def is_kernel_driver_active(self, handle: object, intf: int) -> bool:
        return False

    def _there(self) -> None:
        if self.gone:
            raise usb.core.USBError("no device", -4, errno.ENODEV)

    # ------------------------------------------------------------ transfers

    def bulk_write(self, handle: object, ep: int, intf: int, data: Any, timeout: int) -> int:
        self._there()
        if self.stuck:
            raise usb.core.USBTimeoutError("time-out", -7, errno.ETIMEDOUT)
        self.waiting += self.answer(bytes(data))
        return len(data)

    def bulk_read(self, handle: object, ep: int, intf: int, buff: Any, timeout: int) -> int:
        return self._read(self.waiting, buff)

    def intr_read(self, handle: object, ep: int, intf: int, buff: Any, timeout: int) -> int:
        return self._read(self.interrupts, buff)

    def _read(self, queue: list[bytes], buff: Any) -> int:
        self._there()
        if not queue:
            raise usb.core.USBTimeoutError("time-out", -7, errno.ETIMEDOUT)
        data = queue.pop(0)
        buff[: len(data)] = array("B", data)
        return len(data)

    def ctrl_transfer(
        self, handle: object, bm: int, request: int, value: int, index: int, data: Any, timeout: int
    ) -> int:
        self._there()
        if (bm, request) == (0x80, 6):
            return self._string(value & 0xFF, data)
        self.controls.append((bm, request, value))
        if bm & 0x80 == 0:
            return len(data)
        if (bm, request) not in self.control:
            raise usb.core.USBError("stall", -9, errno.EPIPE)
        answer = self.control[(bm, request)][: len(data)]
        data[: len(answer)] = array("B", answer)
        return len(answer)

    def _string(self, index: int, data: Any) -> int:
        text = b"\x09\x04" if index == 0 else self.serial.encode("utf-16-le")
        answer = bytes([len(text) + 2, 3]) + text
        data[: len(answer)] = array("B", answer)
        return len(answer)
