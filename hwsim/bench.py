"""A bench: reader, PIN pad, printer and contactless reader on wires, for tests and the demo.

    with Bench(directory) as bench:
        bench.reader.insert_card("unionpay-credit")
        bench.printer.fault("paper-out")
        ...                                  # the program under test opens bench.printer.port
        bench.printer.wait(lambda state: state["slips"] == 1)
        print(bench.printer.slips()[0])

Devices are touched under the loop's lock only, so every method here may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Generic, Literal, TypeVar

from hwsim.devices.contactless import ContactlessReader
from hwsim.devices.device import SimDevice
from hwsim.devices.person import DEFAULT_PIN, Kind
from hwsim.devices.pinpad import PinPad
from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.devices.printer import Printer
from hwsim.devices.reader import CardReader, SerialReader
from hwsim.devices.slip_png import save_png
from hwsim.devices.usb_reader import UsbReader
from hwsim.errors import BenchError
from hwsim.wires.loop import WireLoop
from hwsim.wires.pty import PtyWire
from hwsim.wires.rfc2217 import Rfc2217Wire
from hwsim.wires.usb import UsbWire
from hwsim.wires.usbip_server import USBIP_PORT, UsbIpServer

DeviceType = TypeVar("DeviceType", bound=SimDevice)
WireKind = Literal["pty", "rfc2217", "usb"]
AnyWire = PtyWire | Rfc2217Wire | UsbWire
ReaderLevel = Literal["tpdu", "apdu"]
WAIT_S = 5.0


def driver_of(name: str, port: str) -> str:
    """The name of the agent's driver for a device at this port."""
    if name == "reader":
        return "ccid-usb" if port.startswith("usb:") else "ccid-serial"
    return {"pinpad": "ipp", "printer": "escpos", "contactless": "neo2"}[name]


def table_of(name: str, port: str) -> str:
    """One [[device]] of the agent's configuration."""
    kind = "reader" if name == "contactless" else name  # the configuration knows one kind of readers
    values = {"name": name, "kind": kind, "driver": driver_of(name, port), "port": port}
    lines = ["[[device]]", *(f'{key} = "{value}"' for key, value in values.items())]
    return "\n".join(lines + (["columns = 48"] if name == "printer" else [])) + "\n"


class BenchDevice(Generic[DeviceType]):
    """A device on its wire. `port` is the address for a driver, `path` the link of a pty."""

    def __init__(self, device: DeviceType, loop: WireLoop, directory: Path, wire: AnyWire) -> None:
        self.device = device
        self.path = directory / device.kind
        self._loop = loop
        self._wire = wire
        loop.add(wire)

    @property
    def port(self) -> str:
        return self._wire.port

    @property
    def name(self) -> str:
        """The system name that the link points to; another one after each replug, "" while unplugged."""
        return self._loop.call(lambda: self._wire.name)

    def state(self) -> dict[str, object]:
        return self._loop.call(self.device.state)

    def fault(self, name: str, **args: object) -> None:
        """Makes a fault happen; `device.fault_names()` lists them. Raises BenchError."""
        self._loop.call(lambda: self.device.apply_fault(name, **args))

    def wait(self, condition: Callable[[dict[str, object]], bool], timeout_s: float = WAIT_S) -> bool:
        """Waits until the device's state fulfils the condition; false at the deadline."""
        return self._loop.wait(lambda: condition(self.device.state()), timeout_s)


class BenchReader(BenchDevice[CardReader]):
    """The card reader and the customer's hand."""

    def insert_card(self, name: str) -> None:
        """Puts in a card of `hwsim/cards` (or a TOML file by path). Raises BenchError."""
        self._loop.call(lambda: self.device.insert_card(name))

    def remove_card(self) -> None:
        self._loop.call(self.device.remove_card)


class BenchPinPad(BenchDevice[PinPad]):
    """The PIN pad, its keys and the person before it."""

    def load_key(self, slot: str | int, key: str) -> None:
        """A master key by hex digits or by its name in `TEST_KEYS`. Raises BenchError."""
        self._loop.call(lambda: self.device.load_key(slot, key))

    def person(self, kind: Kind, pin: str = DEFAULT_PIN, after_s: float = 0.0) -> None:
        """Plans what the person does at the next prompt: "enter", "cancel" or "wait"."""
        self._loop.call(lambda: self.device.person.plan(kind, pin, after_s))

    def working_key(self, name: str) -> str:
        """A test working key encrypted under the test master key, as a host sends it (hex)."""
        return encrypted_under(TEST_KEYS["master"], TEST_KEYS[name])


class BenchPrinter(BenchDevice[Printer]):
    """The printer and its paper."""

    def slips(self) -> list[str]:
        """The text of every slip that was cut off."""
        return self._loop.call(self.device.slips)

    def save_pngs(self, directory: str | Path, font: str | Path | None = None) -> list[Path]:
        """Draws every cut slip as slip-1.png ... in `directory`. Raises BenchError (no Pillow, no Chinese font)."""
        slips = self._loop.call(lambda: deepcopy(self.device.paper.cut_slips))
        paths = [Path(directory) / f"slip-{number}.png" for number in range(1, len(slips) + 1)]
        for slip, path in zip(slips, paths, strict=True):
            save_png(slip, path, None if font is None else Path(font))
        return paths


class BenchContactless(BenchDevice[ContactlessReader]):
    """The contactless reader and the customer's hand."""

    def tap(self, card: str) -> None:
        """Holds a card of `hwsim/cards` (or a TOML file by path) to it. Raises BenchError."""
        self._loop.call(lambda: self.device.tap(card))


AnyBenchDevice = BenchReader | BenchPinPad | BenchPrinter | BenchContactless


class Bench:
    """All devices; `directory` gets the links. The PIN pad has the test master key in slot 0.

    `wire="rfc2217"` makes speed, parity and modem lines real: ports on 127.0.0.1 instead of ptys.
    `wire="usb"` puts reader and printer on USB (the others stay on their ptys): `usb_backend()` for pyusb in this
    process, `serve_usbip()` for everybody else. `reader_level="apdu"`: the USB reader speaks T=0 and T=1 itself.
    """

    def __init__(
        self, directory: str | Path, *, seed: int = 0, wire: WireKind = "pty", reader_level: ReaderLevel = "tpdu"
    ) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.loop = WireLoop()
        self._usb: list[UsbWire] = []
        with ExitStack() as on_failure:
            on_failure.callback(self.loop.stop)
            reader = UsbReader(seed, reader_level == "apdu") if wire == "usb" else SerialReader(seed)
            pinpad, printer, contactless = PinPad(seed + 1), Printer(seed + 2), ContactlessReader(seed + 3)
            self.reader = BenchReader(reader, self.loop, self.directory, self._wired(reader, wire))
            serial: WireKind = "pty" if wire == "usb" else wire
            self.pinpad = BenchPinPad(pinpad, self.loop, self.directory, self._wired(pinpad, serial))
            self.contactless = BenchContactless(
                contactless, self.loop, self.directory, self._wired(contactless, serial)
            )
            self.printer = BenchPrinter(printer, self.loop, self.directory, self._wired(printer, wire))
            self.pinpad.load_key(0, "master")
            on_failure.pop_all()

    def _wired(self, device: SimDevice, wire: WireKind) -> AnyWire:
        if wire == "pty":
            return PtyWire(device, self.directory / device.kind)
        if wire == "rfc2217":
            return Rfc2217Wire(device)
        assert isinstance(device, Printer | UsbReader)
        self._usb.append(UsbWire(device, f"SIM{len(self._usb) + 1:06d}"))
        return self._usb[-1]

    def usb_backend(self) -> object:
        """A pyusb backend that sees the bench's USB devices (`wire="usb"`), in this process only."""
        from hwsim.wires.pyusb_backend import SimBackend  # on use: pyusb is not needed for serial lines

        return SimBackend(self._usb)

    def serve_usbip(self, port: int = USBIP_PORT) -> tuple[str, int]:
        """Exports the USB devices by USB/IP on 127.0.0.1; gives host and port (0: any free one)."""
        server = UsbIpServer(self._usb, port=port)
        self.loop.add(server)
        return server.address

    def usb_environment(self) -> dict[str, str]:
        """Serves the USB devices, and gives what a daemon's environment must say to reach them."""
        host, port = self.serve_usbip(0)
        return {
            "HWSIM_USBIP": f"{host}:{port}",
            "REVERSALD_USB_BACKEND": "hwsim.wires.usbip_backend:backend",
        }

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.loop.stop()

    def devices(self) -> dict[str, AnyBenchDevice]:
        return {
            "printer": self.printer,
            "reader": self.reader,
            "pinpad": self.pinpad,
            "contactless": self.contactless,
        }

    def perform(self, device: str, name: str, args: dict[str, object]) -> None:
        """A fault or a person's action by name, as scripts and the command line give them. Raises BenchError."""
        chosen = self.devices().get(device)
        if chosen is None:
            raise BenchError(f"the bench has no device '{device}'", "it has: " + ", ".join(self.devices()))
        chosen.fault(name, **args)

    def state(self, device: str) -> dict[str, object]:
        """The state of one device. Raises BenchError."""
        chosen = self.devices().get(device)
        if chosen is None:
            raise BenchError(f"the bench has no device '{device}'", "it has: " + ", ".join(self.devices()))
        return chosen.state()

    def addresses(self) -> dict[str, dict[str, str]]:
        """The port of each device, JSON-able."""
        return {name: {"port": device.port} for name, device in self.devices().items()}

    def configuration(self) -> str:
        """The devices as the agent's configuration names them (TOML)."""
        return "\n".join(table_of(name, device.port) for name, device in self.devices().items())
