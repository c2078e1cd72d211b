"""The devices of one terminal together, and the steps that a checkout takes with them.

Every step runs in its device's own thread and gives a Future: nobody who calls this ever waits here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from drivers.catalogue import load_catalogue
from drivers.device import Device, DeviceStatus, DeviceWorker, LastOutcome
from drivers.emv_session import TerminalData
from drivers.errors import CardGone, DeviceGone, DeviceRefused
from drivers.hotplug import USB_DEVICES, Attached, Hotplug, attached, is_absent
from drivers.making import DeviceMaker, DeviceSetting, system_name
from drivers.port import deadline_in
from drivers.printer_escpos import PrintOutcome
from drivers.reader_ccid import CcidReader
from protocol.escpos import Slip
from protocol.frozen import dataclass
from protocol.masking import mask_pan

T = TypeVar("T")
NOBODY: Mapping[str, str] = {}

# The driver's own waits end first; this much later the worker gives the job up.
WORKER_SLACK_S = 2.0


class Configured(Protocol):
    """What the configuration says of a device."""

    @property
    def name(self) -> str:
        """How people call it."""

    @property
    def driver(self) -> str:
        """One of catalogue.DRIVERS."""

    @property
    def port(self) -> str:
        """A serial address, a pyserial URL or a USB address."""

    @property
    def columns(self) -> int:
        """Printers: characters on a line."""

    @property
    def model(self) -> str:
        """Its name in the catalogue; "" = what the device says itself."""


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
    reversal_chip_data: str = field(repr=False, default="")  # what a reversal tells of it, "" where it said nothing


class Desk:
    """All devices. `on_change` is told from the devices' threads.

    `usb_backend`: a pyusb backend instead of libusb, for benches; `udev` False: names are only looked at.
    """

    def __init__(
        self, on_change: Callable[[DeviceStatus], None], usb_backend: Any = None, *, udev: bool = True
    ) -> None:
        self._on_change = on_change
        self._maker = DeviceMaker(load_catalogue(), usb_backend)
        self._workers: dict[str, DeviceWorker[Any]] = {}
        self._settings: dict[str, DeviceSetting] = {}
        self._hotplug = Hotplug({}, udev=udev)
        self._watching = False

    def configure(
        self, devices: Sequence[Configured], key_indexes: Mapping[str, int], inhibited: Mapping[str, str] = NOBODY
    ) -> None:
        """Start what is new or changed, stop what is gone. `inhibited`: why a new one stays closed.

        Raises PortAddressError for an unknown driver or model; then nothing has changed.
        """
        wanted = {device.name: _setting(device, key_indexes.get(device.name, 0)) for device in devices}
        makers = {name: self._maker.maker(setting) for name, setting in wanted.items()}
        for name in [name for name, old in self._settings.items() if wanted.get(name) != old]:
            self._workers.pop(name).close(timeout_s=0)
        fresh = wanted.keys() - self._workers.keys()
        for name in fresh:
            self._workers[name] = DeviceWorker(name, makers[name], self._on_change, inhibited.get(name, ""))
            self._workers[name].absent = partial(is_absent, system_name(wanted[name].port))
        self._settings = wanted
        self._hotplug.watch({name: (system_name(wanted[name].port), worker) for name, worker in self._workers.items()})
        for name in fresh:  # after the names were looked at: one that comes from now on wakes its worker
            self._workers[name].start()
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

    def attached(self, root: Path = USB_DEVICES) -> list[dict[str, str]]:
        """USB devices that are there, that the catalogue knows, and that no configured device is: what they are, and
        what to write for them."""
        taken = {os.path.realpath(name) for one in self._settings.values() if (name := system_name(one.port))}
        taken |= {one.port.lower() for one in self._settings.values()}
        return [_offer(found) for found in attached(self._maker.catalogue, root) if not _taken(found, taken)]

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
            return Conclusion(chip.kind, chip.script_chip_data, reversal_chip_data=chip.reversal_chip_data)

        return self.submit(reader, job, step_s)

    def enter_pin(self, pinpad: str, pan: str, working_key: str, timeout_s: float) -> Future[str]:
        """The PIN block, hexadecimal."""
        return self.submit(
            pinpad, lambda device: str(device.ask_pin(pan, working_key, timeout_s).hex().upper()), timeout_s
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

    def last_of_card(self, reader: str, counter: str, timeout_s: float = 5.0) -> Future[LastOutcome]:
        """What the card in the reader knows of its transaction with this counter (9F36). Disturbs no sale under way."""

        def job(device: Device) -> LastOutcome:
            if not isinstance(device, CcidReader):
                return LastOutcome("unknown", f"{reader} does not read chip cards")
            if device.in_session:
                return LastOutcome("unknown", "another sale is under way")
            try:
                return device.last_outcome(counter)
            finally:
                device.power_off()

        return self.submit(reader, job, timeout_s)


def _setting(device: Configured, key_index: int) -> DeviceSetting:
    return DeviceSetting(device.name, device.driver, device.port, device.columns, key_index, device.model)


def _taken(found: Attached, taken: set[str]) -> bool:
    """It is configured already, or nobody here could drive it. A USB port may be configured without serial number."""
    usb = f"usb:{found.vendor:04x}:{found.product:04x}"
    ours = {*found.ports, usb, f"{usb}:{found.serial.lower()}"}
    return found.known is None or not found.address or bool(ours & taken)


def _offer(found: Attached) -> dict[str, str]:
    assert found.known is not None  # see _taken
    return {
        "name": found.known.name,
        "kind": found.known.kind,
        "driver": found.known.driver,
        "port": found.address,
        "place": found.place,
        "serial": found.serial,
    }
