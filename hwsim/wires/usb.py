"""A simulated device as a USB device: descriptors, control requests and endpoints over PyPI's `usbip`.

The same object is reached by `pyusb_backend.SimBackend` in this process, without any kernel, and by any USB/IP
client (`usbip list -r`, `usbip attach`) through `usbip_server.UsbIpServer`.

Sources: USB-IF printer class 1.1 section 4 (requests), CCID rev 1.1 section 5.1 (functional descriptor).
"""

from __future__ import annotations

import itertools
import struct
import time
from typing import Any

import usbip
from usbip.function import Interface

from hwsim.devices.device import SimDevice
from hwsim.devices.printer import Printer
from hwsim.devices.printer_status import port_status
from hwsim.devices.usb_reader import UsbReader
from hwsim.wires.loop import WireLoop

DEVICE_ID = b"MFG:EPSON;CMD:ESC/POS;MDL:TM-T82;CLS:PRINTER;DES:EPSON TM-T82;"
GET_DEVICE_ID, GET_PORT_STATUS, SOFT_RESET = (0xA1, 0), (0xA1, 1), ((0x21, 2), (0x23, 2))
CCID_ABORT = (0x21, 1)
# bMaxSlotIndex 0, 5/3/1.8 V, T=0 and T=1, 4 MHz, 271-byte messages (table 5.1-1; values of a GemPC Twin).
CCID_HEAD = (0x36, 0x21, 0x0110, 0, 7, 3, 4000, 4000, 0, 10752, 344105, 0, 254, 0, 0)
# dwFeatures: TPDU level as a GemPC Twin; short APDUs with automatic voltage, clock, speed, PPS and IFSD.
TPDU_LEVEL, APDU_LEVEL = 0x00010230, 0x000204BA
CCID_TAIL = (271, 0, 0, 0, 0, 1)
CCID_LAYOUT = "<BBHBBIIIBIIBIIIIIBBHBB"
ADDRESSES = itertools.count(2)  # 1 is the root hub


class PrinterInterface(Interface):  # type: ignore[misc]
    """Printer class 7/1/2: bidirectional."""

    bInterfaceClass, bInterfaceSubClass, bInterfaceProtocol = 7, 1, 2
    into = usbip.In(0x82, "bulk")
    out = usbip.Out(0x01, "bulk")

    def __init__(self, wire: UsbWire) -> None:
        super().__init__()
        self.wire = wire

    def on_out(self, _endpoint: Any, data: bytes) -> None:
        self.wire.hear(data)

    def on_control(self, setup: Any, data: bytes = b"") -> bytes:
        request = (setup.bmRequestType, setup.bRequest)
        printer = self.wire.device
        if request == GET_DEVICE_ID:
            return struct.pack(">H", len(DEVICE_ID) + 2) + DEVICE_ID
        if request == GET_PORT_STATUS and isinstance(printer, Printer):
            return bytes([port_status(printer.sensors)])
        if request in SOFT_RESET and isinstance(printer, Printer):
            printer.clear_buffers()
            return b""
        raise usbip.Stall


class CcidInterface(Interface):  # type: ignore[misc]
    """CCID 0B/0/0 with bulk and interrupt endpoints."""

    bInterfaceClass, bInterfaceSubClass, bInterfaceProtocol = 0x0B, 0, 0
    into = usbip.In(0x82, "bulk")
    out = usbip.Out(0x02, "bulk")
    interrupt = usbip.In(0x83, "interrupt", mps=8, interval=16)

    def __init__(self, wire: UsbWire) -> None:
        super().__init__()
        self.wire = wire

    def extra_descriptors(self) -> bytes:
        reader = self.wire.device
        level = APDU_LEVEL if isinstance(reader, UsbReader) and reader.slot.apdu_level else TPDU_LEVEL
        return struct.pack(CCID_LAYOUT, *CCID_HEAD, level, *CCID_TAIL)

    def on_out(self, _endpoint: Any, data: bytes) -> None:
        self.wire.hear(data)

    def on_reset(self) -> None:
        self.wire.tell_card_again()

    def on_control(self, setup: Any, data: bytes = b"") -> bytes:
        if (setup.bmRequestType, setup.bRequest) == CCID_ABORT:
            return b""
        raise usbip.Stall


class UsbWire:
    """A printer or a reader on USB. `usb` is the device as the package `usbip` sees it.

    `address`: of the device on its bus; another one each time it is plugged in. What was opened at an old one is gone.
    """

    def __init__(self, device: Printer | UsbReader, serial: str) -> None:
        self.device: SimDevice = device
        is_printer = isinstance(device, Printer)
        self.vendor, self.product = (0x04B8, 0x0E28) if is_printer else (0x08E6, 0x3437)
        self.serial = serial
        name = "TM-T82" if is_printer else "USB SmartCard Reader"
        self.usb: Any = usbip.USBDevice(self.vendor, self.product, product=name, manufacturer="hwsim", serial=serial)
        self.interface: Any = PrinterInterface(self) if is_printer else CcidInterface(self)
        self.usb.add(self.interface)
        self.address = next(ADDRESSES)
        self._loop: WireLoop | None = None
        self._was_plugged = True

    @property
    def port(self) -> str:
        return f"usb:{self.vendor:04X}:{self.product:04X}:{self.serial}"

    @property
    def name(self) -> str:
        """Bus and address, as `lsusb` shows them; "" while unplugged."""
        return f"001/{self.address:03d}" if self.device.plugged else ""

    def start(self, loop: WireLoop) -> None:
        self._loop = loop

    def tick(self, now: float) -> None:
        self._say(self.device.tick_frames(now))
        if self._was_plugged and not self.device.plugged:
            self.usb.reset_io()
            self.address = self.usb.devnum = next(ADDRESSES)
        self._was_plugged = self.device.plugged

    def next_wake(self) -> float | None:
        return self.device.next_wake()

    def close(self) -> None:
        self.usb.reset_io()

    def hear(self, data: bytes) -> None:
        """One OUT transfer; comes from whatever thread the USB side has."""
        if self._loop is None:
            return
        with self._loop.lock:
            self._say(self.device.feed_frames(data, time.monotonic()))
        self._loop.wake()

    def tell_card_again(self) -> None:
        """A host has just configured the device: what was told before it came is lost."""
        if self._loop is not None and isinstance(self.device, UsbReader):
            with self._loop.lock:
                self.device.tell_again()
            self._loop.wake()

    def _say(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.interface.into.write(frame)
        if isinstance(self.device, UsbReader):
            for notice in self.device.take_notices():
                self.interface.interrupt.write(notice)
