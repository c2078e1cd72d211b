"""The catalogue of known devices, read from catalogue.toml: ids, drivers, what printer models can."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from drivers.errors import PortAddressError
from protocol.frozen import dataclass

KINDS = ("reader", "pinpad", "printer", "contactless")
DRIVERS = ("ccid-usb", "ccid-serial", "ipp", "escpos", "neo2")
VIAS = ("usb", "tty")
LEVELS = ("bench", "listed", "assumed")
PIN_MESSAGES = ("70", "Z60")

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Known:
    """One device of the catalogue. `product` "*" = any of this vendor."""

    name: str
    vendor: str
    product: str
    kind: str
    driver: str
    via: str
    level: str
    source: str

    def fits(self, vendor: int, product: int) -> bool:
        """These ids are this device."""
        return int(self.vendor, 16) == vendor and (self.product == "*" or int(self.product, 16) == product)


@dataclass(frozen=True, slots=True)
class KnownPrinter:
    """What a printer model can; `match` is part of its name."""

    match: str
    process_id: bool
    real_time_status: bool
    automatic_status: bool
    columns: int


@dataclass(frozen=True, slots=True)
class KnownPinPad:
    """What a PIN pad model can; `pin_message` is the one that asks for a PIN."""

    match: str
    pin_message: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything known."""

    devices: tuple[Known, ...]
    printers: tuple[KnownPrinter, ...]
    pinpads: tuple[KnownPinPad, ...] = ()

    def find(self, vendor: int, product: int) -> Known | None:
        """The device with these ids; exact products before "any of this vendor"."""
        fitting = [known for known in self.devices if known.fits(vendor, product)]
        return min(fitting, key=lambda known: known.product == "*", default=None)

    def printer(self, model: str) -> KnownPrinter | None:
        """What the printer whose model name is `model` can; None = nobody knows."""
        return next((known for known in self.printers if known.match.lower() in model.lower()), None)

    def pinpad(self, model: str) -> KnownPinPad | None:
        """What the PIN pad whose model name is `model` can; None = nobody knows."""
        return next((known for known in self.pinpads if known.match.lower() in model.lower()), None)


def load_catalogue(text: str | None = None) -> Catalogue:
    """The catalogue of the package, or the one in `text`. Raises PortAddressError naming the wrong entry."""
    source = text if text is not None else Path(__file__).with_name("catalogue.toml").read_text("utf-8")
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise PortAddressError(f"the device catalogue is no TOML: {error}", "mend drivers/catalogue.toml") from None
    devices = tuple(_known(number, entry) for number, entry in enumerate(document.get("device", []), 1))
    printers = tuple(_model(KnownPrinter, number, entry) for number, entry in enumerate(document.get("printer", []), 1))
    pinpads = tuple(_model(KnownPinPad, number, entry) for number, entry in enumerate(document.get("pinpad", []), 1))
    for number, pad in enumerate(pinpads, 1):
        if pad.pin_message not in PIN_MESSAGES:
            raise _wrong(number, f"pin_message is one of {', '.join(PIN_MESSAGES)}")
    return Catalogue(devices, printers, pinpads)


def _known(number: int, entry: dict[str, Any]) -> Known:
    try:
        known = Known(**entry)
    except TypeError as error:
        raise _wrong(number, str(error)) from None
    checks = (
        (all(isinstance(value, str) for value in entry.values()), "a value is no text"),
        (re.fullmatch(r"[0-9A-F]{4}", str(known.vendor)), "vendor is not four hexadecimal digits"),
        (re.fullmatch(r"[0-9A-F]{4}|\*", str(known.product)), "product is not four hexadecimal digits or *"),
        (known.kind in KINDS and known.driver in DRIVERS, "unknown kind or driver"),
        (known.via in VIAS and known.level in LEVELS, "unknown via or level"),
    )
    for good, text in checks:
        if not good:
            raise _wrong(number, text)
    return known


def _model(kind: type[M], number: int, entry: dict[str, Any]) -> M:
    try:
        return kind(**entry)
    except TypeError as error:
        raise _wrong(number, str(error)) from None


def _wrong(number: int, text: str) -> PortAddressError:
    return PortAddressError(f"device catalogue, entry {number}: {text}", "mend drivers/catalogue.toml")
