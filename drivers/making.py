"""From a setting to a device: which driver, at which port, and what its model can.

    make = DeviceMaker(load_catalogue()).maker(DeviceSetting("slips", "escpos", "serial:/dev/pos/printer"))
    make()          a fresh, closed Device; called for each opening

What a model can stands in catalogue.toml. `model` of the setting goes before what a USB printer says of itself: the
person who wrote it has seen the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from drivers.catalogue import Catalogue
from drivers.device import Device
from drivers.errors import PortAddressError
from drivers.pinpad_ipp import IppPinPad
from drivers.port import BytePort
from drivers.printer_escpos import EscposPrinter, PrinterModel, PrintMemory
from drivers.reader_ccid import CcidReader
from drivers.serial_port import open_port
from protocol.frozen import dataclass

# USB base classes: 0B smart card, 07 printer (USB-IF class codes).
USB_CCID, USB_PRINTER = 0x0B, 0x07


@dataclass(frozen=True, slots=True)
class DeviceSetting:
    """One device ready to be opened. `key_index`: the master key of a PIN pad; `columns`: of a printer.

    `model`: its name in the catalogue; "" = what the device says itself, or what most devices of its kind can.
    """

    name: str
    driver: str
    port: str
    columns: int = 32
    key_index: int = 0
    model: str = ""


class DeviceMaker:
    """Makes devices of every driver. `usb_backend`: a pyusb backend instead of libusb, for benches."""

    def __init__(self, catalogue: Catalogue, usb_backend: Any = None) -> None:
        self.catalogue = catalogue
        self._usb_backend = usb_backend

    def maker(self, setting: DeviceSetting) -> Callable[[], Device]:
        """How to make a fresh, closed device. Raises PortAddressError: unknown driver, unknown model."""
        port = setting.port
        match setting.driver:
            case "escpos":
                return self._printer_maker(setting)
            case "ipp":
                z60 = self._pin_message(setting) == "Z60"
                return lambda: IppPinPad(port, self._opener(port, USB_CCID), setting.key_index, z60=z60)
        if setting.model:
            raise PortAddressError(
                f"{setting.name}: a {setting.driver} device has no models to choose from", "leave out model"
            )
        match setting.driver:
            case "ccid-serial" | "ccid-usb":
                return lambda: CcidReader(port, self._opener(port, USB_CCID))
            case "neo2":
                from drivers.reader_neo2 import NeoReader  # its frames cost 0.2 MB; most terminals have no such reader

                return lambda: NeoReader(port, self._opener(port, USB_CCID))
        raise PortAddressError(f"no driver is called {setting.driver!r}", "ccid-serial, ccid-usb, neo2, ipp or escpos")

    def _printer_maker(self, setting: DeviceSetting) -> Callable[[], Device]:
        memory = PrintMemory()
        opener = self._opener(setting.port, USB_PRINTER)
        models = partial(known_model, self.catalogue, columns=setting.columns)
        if not setting.model:
            return lambda: EscposPrinter(setting.port, opener, PrinterModel(columns=setting.columns), memory, models)
        chosen = models(setting.model)
        if chosen is None:
            raise _unknown_model(setting, [known.match for known in self.catalogue.printers])
        return lambda: EscposPrinter(setting.port, opener, chosen, memory)

    def _pin_message(self, setting: DeviceSetting) -> str:
        if not setting.model:
            return "70"
        known = self.catalogue.pinpad(setting.model)
        if known is None:
            raise _unknown_model(setting, [pad.match for pad in self.catalogue.pinpads])
        return known.pin_message

    def _opener(self, port: str, usb_class: int) -> Callable[[], BytePort]:
        def opener() -> BytePort:
            if port.startswith("usb:"):
                from drivers.usb_port import open_usb  # libusb costs 15 ms and 3 MB; most terminals are serial

                return open_usb(port, usb_class, self._usb_backend)
            return open_port(port)

        return opener


def _unknown_model(setting: DeviceSetting, known: list[str]) -> PortAddressError:
    hint = f"one of {', '.join(known)}; or leave model out"
    return PortAddressError(f"{setting.name}: the catalogue knows no model {setting.model!r}", hint)


def system_name(port: str) -> str:
    """The name in the file system that stands for the device; "" = it has none (USB, a serial server)."""
    return port.removeprefix("serial:").partition("?")[0] if port.startswith("serial:") else ""


def known_model(catalogue: Catalogue, name: str, columns: int) -> PrinterModel | None:
    """What the printer that calls itself `name` can do; None = the catalogue does not know it."""
    known = catalogue.printer(name)
    if known is None:
        return None
    return PrinterModel(known.process_id, known.real_time_status, known.automatic_status, columns)
