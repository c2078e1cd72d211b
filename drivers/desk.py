"""The devices of one terminal together, and the steps that a checkout takes with them.

Every step runs in its device's own thread and gives a Future: nobody who calls this ever waits here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import field
from functools import partial
from typing import Any, Protocol, TypeVar

from drivers.catalogue import Catalogue, load_catalogue
from drivers.device import Device, DeviceStatus, DeviceWorker, LastOutcome
from drivers.emv_session import TerminalData
from drivers.errors import CardGone, DeviceGone, DeviceRefused, PortAddressError
from drivers.hotplug import Hotplug
from drivers.pinpad_ipp import IppPinPad
from drivers.port import BytePort, deadline_in
from drivers.printer_escpos import EscposPrinter, PrinterModel, PrintMemory, PrintOutcome
from drivers.reader_ccid import CcidReader
from drivers.reader_neo2 import NeoReader
from drivers.serial_port import open_port
from protocol.escpos import Slip
from protocol.frozen import dataclass
from protocol.masking import mask_pan

T = TypeVar("T")

# USB base classes: 0B smart card, 07 printer (USB-IF class codes).
USB_CCID, USB_PRINTER = 0x0B, 0x07
# The driver's own waits end first; this much later the worker gives the job up.
WORKER_SLACK_S = 2.0


class Configured(Protocol):
    """What the configuration says of a device."""

    @property
    def name(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def port(self) -> str: ...
    @property
    def columns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DeviceSetting:
    """One device ready to be opened. `key_index`: the master key of a PIN pad; `columns`: of a printer."""

    name: str
    driver: str
    port: str
    columns: int = 32
    key_index: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Presented:
    """SECRET. A card that was read and made its first cryptogram."""

    pan: str
    expiry: str
    track2: str
    sequence: str
    chip_data: str
    reversal_chip_data: str
    counter: str
    cryptogram: str

    def __repr__(self) -> str:
        return f"Presented({mask_pan(self.pan)}, {self.cryptogram})"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The card's last word: "TC" or "AAC", "" with the reason where it said none; and what the scripts did on it."""

    verdict: str
    script_chip_data: str = field(repr=False, default="")
    objection: str = ""  # code of the error, e.g. E-CARD-GONE


class Desk:
    """All devices. `on_change` is told from the devices' threads.

    `usb_backend`: a pyusb backend instead of libusb, for benches; `udev` False: names are only looked at.
    """

    def __init__(
        self, on_change: Callable[[DeviceStatus], None], usb_backend: Any = None, *, udev: bool = True
    ) -> None:
        self._on_change = on_change
        self._usb_backend = usb_backend
        self._catalogue = load_catalogue()
        self._workers: dict[str, DeviceWorker[Any]] = {}
        self._settings: dict[str, DeviceSetting] = {}
        self._hotplug = Hotplug({}, udev=udev)
        self._watching = False

    def configure(self, devices: Sequence[Configured], key_indexes: Mapping[str, int]) -> None:
        """Start what is new or changed, stop what is gone. Raises PortAddressError for an unknown driver."""
        wanted = {
            device.name: DeviceSetting(
                device.name, device.driver, device.port, device.columns, key_indexes.get(device.name, 0)
            )
            for device in devices
        }
        makers = {name: self._maker(setting) for name, setting in wanted.items()}
        for name in [name for name, old in self._settings.items() if wanted.get(name) != old]:
            self._workers.pop(name).close(timeout_s=0)
        for name in wanted.keys() - self._workers.keys():
            self._workers[name] = DeviceWorker(name, makers[name], self._on_change)
            self._workers[name].start()
        self._settings = wanted
        self._hotplug.watch({name: (system_name(wanted[name].port), worker) for name, worker in self._workers.items()})
        if self._workers and not self._watching:
            self._watching = True
            self._hotplug.start()

    def close(self) -> None:
        """Stop them all; a hung device is left to its thread."""
        self._hotplug.close()
        for worker in self._workers.values():
            worker.close(timeout_s=0.5)
        self._workers.clear()

    def statuses(self) -> list[DeviceStatus]:
        """One look at each, in the order of the configuration."""
        return [self._workers[name].status() for name in self._settings if name in self._workers]

    def inhibit(self, name: str, reason: str) -> None:
        """Take a device out of service. Raises DeviceGone where none is called so."""
        self._worker(name).inhibit(reason)

    def release(self, name: str) -> None:
        """Put it back into service. Raises DeviceGone where none is called so."""
        self._worker(name).release()

    def names(self) -> list[str]:
        """As configured."""
        return list(self._settings)

    def submit(self, name: str, job: Callable[[Any], T], timeout_s: float) -> Future[T]:
        """Run `job(device)` in that device's thread; the future ends at the deadline at the latest."""
        try:
            return self._worker(name).submit(job, deadline_in(timeout_s + WORKER_SLACK_S))
        except DeviceGone as error:
            future: Future[T] = Future()
            future.set_exception(error)
            return future

    def _worker(self, name: str) -> DeviceWorker[Any]:
        worker = self._workers.get(name)
        if worker is None:
            known = ", ".join(self._settings) or "none"
            raise DeviceGone(f"no device is called {name!r}", f"configured devices: {known}")
        return worker

    # --- the steps of a checkout ---------------------------------------------------------------

    def present(self, reader: str, sale: Mapping[str, Any], card_timeout_s: float, step_s: float) -> Future[Presented]:
        """Wait for a card, read it and let it make its first cryptogram. `sale`: fields of TerminalData."""
        terminal = TerminalData(**sale)

        def job(device: Device) -> Presented:
            if not isinstance(device, CcidReader):
                raise DeviceRefused(f"{reader} does not read chip cards", hint="name a CCID reader in [checkout]")
            device.wait_card(card_timeout_s)
            card = device.read_card(terminal, step_s)
            chip = device.first_generate_ac(terminal, step_s)
            return Presented(
                card.pan,
                card.expiry,
                card.track2,
                card.sequence,
                chip.chip_data,
                chip.reversal_chip_data,
                chip.counter,
                chip.kind,
            )

        return self.submit(reader, job, card_timeout_s + 2 * step_s)

    def conclude(self, reader: str, *, approved: bool, code: str, chip_data: str, step_s: float) -> Future[Conclusion]:
        """The second cryptogram: "TC" (the card agrees) or "AAC" (it refuses)."""

        def job(device: CcidReader) -> Conclusion:
            try:
                chip = device.second_generate_ac(approved, code, chip_data, step_s)
            except CardGone as error:
                return Conclusion("", device.scripts_of_gone_card, error.code)
            return Conclusion(chip.kind, chip.script_chip_data)

        return self.submit(reader, job, step_s)

    def enter_pin(self, pinpad: str, pan: str, working_key: str, timeout_s: float) -> Future[str]:
        """The PIN block, hexadecimal."""
        return self.submit(
            pinpad, lambda device: str(device.enter_pin(pan, working_key, timeout_s).hex().upper()), timeout_s
        )

    def show(self, pinpad: str, text: str, timeout_s: float = 2.0) -> Future[None]:
        """A text on the PIN pad's display."""
        return self.submit(pinpad, lambda device: device.display(text), timeout_s)

    def print_slip(self, printer: str, slip: Slip, reference: str, timeout_s: float) -> Future[PrintOutcome]:
        """Print; the same reference is never printed twice."""
        return self.submit(printer, lambda device: device.print_slip(slip, reference, timeout_s), timeout_s)

    def last_printed(self, printer: str, reference: str, timeout_s: float = 3.0) -> Future[LastOutcome]:
        """What the printer itself knows of a slip."""
        return self.submit(printer, lambda device: device.last_outcome(reference), timeout_s)

    # --- making devices ------------------------------------------------------------------------

    def _maker(self, setting: DeviceSetting) -> Callable[[], Device]:
        """How to make a fresh, closed device."""
        port = setting.port
        match setting.driver:
            case "ccid-serial" | "ccid-usb":
                return lambda: CcidReader(port, self._opener(port, USB_CCID))
            case "neo2":
                return lambda: NeoReader(port, self._opener(port, USB_CCID))
            case "ipp":
                return lambda: IppPinPad(port, self._opener(port, USB_CCID), setting.key_index)
            case "escpos":
                return self._printer_maker(setting)
        raise PortAddressError(f"no driver is called {setting.driver!r}", "ccid-serial, ccid-usb, neo2, ipp or escpos")

    def _printer_maker(self, setting: DeviceSetting) -> Callable[[], Device]:
        memory = PrintMemory()
        model = PrinterModel(columns=setting.columns)
        models = partial(known_model, self._catalogue, columns=setting.columns)
        opener = self._opener(setting.port, USB_PRINTER)
        return lambda: EscposPrinter(setting.port, opener, model, memory, models)

    def _opener(self, port: str, usb_class: int) -> Callable[[], BytePort]:
        def opener() -> BytePort:
            if port.startswith("usb:"):
                from drivers.usb_port import open_usb  # libusb costs 15 ms and 3 MB; most terminals are serial

                return open_usb(port, usb_class, self._usb_backend)
            return open_port(port)

        return opener


def system_name(port: str) -> str:
    """The name in the file system that stands for the device; "" = it has none (USB, a serial server)."""
    return port.removeprefix("serial:").partition("?")[0] if port.startswith("serial:") else ""


def known_model(catalogue: Catalogue, name: str, columns: int) -> PrinterModel | None:
    """What the printer that calls itself `name` can do; None = the catalogue does not know it."""
    known = catalogue.printer(name)
    if known is None:
        return None
    return PrinterModel(known.process_id, known.real_time_status, known.automatic_status, columns)
