"""Hot-plug: what is attached, and who is told when that changes.

Where udev runs, its events wake us at once (pyudev, an optional package). Everywhere else the directories of the names
tell of changes (drivers/name_watch.py), and where even that is missing names are looked at every half second. Either
way the news is only "look again": the workers find out themselves, so that a wrong or missing event can do no harm.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from drivers.catalogue import Catalogue, Known
from drivers.name_watch import NameWatch
from protocol.frozen import dataclass

log = logging.getLogger("drivers.hotplug")

POLL_S = 0.5  # with the worker's own rhythm a device is back in service well within 2 s
# With events the names are still looked at so often, as a second line of defence. Assumed: an event is never lost.
LOOK_AGAIN_S = 30.0
# After an event: a device comes with several names, and a busy directory must not keep us busy.
SETTLE_S = 0.05
USB_DEVICES = Path("/sys/bus/usb/devices")
CLOSE_WAIT_S = 1.0
SUBSYSTEMS = ("tty", "usb")


@dataclass(frozen=True, slots=True)
class Attached:
    """One USB device that is there. `ports` are its serial device names ("/dev/ttyACM0")."""

    vendor: int
    product: int
    serial: str
    place: str  # the bus position, "1-4.2": stays the same socket
    ports: tuple[str, ...]
    known: Known | None

    @property
    def address(self) -> str:
        """What to write into the configuration for it; "" = not usable."""
        if self.known is not None and self.known.via == "usb":
            return f"usb:{self.vendor:04X}:{self.product:04X}" + (f":{self.serial}" if self.serial else "")
        return f"serial:{self.ports[0]}" if self.ports else ""


def attached(catalogue: Catalogue, root: Path = USB_DEVICES) -> list[Attached]:
    """The USB devices that the kernel shows; none where there is no sysfs."""
    if not root.is_dir():
        return []
    found = (_device(path, catalogue) for path in sorted(root.iterdir()) if ":" not in path.name)
    return [device for device in found if device is not None]


def _device(path: Path, catalogue: Catalogue) -> Attached | None:
    try:
        vendor, product = (int((path / name).read_text(), 16) for name in ("idVendor", "idProduct"))
    except (OSError, ValueError):
        return None  # a hub port, or a device that vanished while we looked
    serial = ""
    with contextlib.suppress(OSError):
        serial = (path / "serial").read_text().strip()
    # CDC-ACM devices have interface/tty/ttyACM0, adapters interface/ttyUSB0/tty/ttyUSB0.
    ttys = [*path.glob(f"{path.name}:*/tty/tty*"), *path.glob(f"{path.name}:*/tty*/tty/tty*")]
    ports = tuple(sorted(f"/dev/{tty.name}" for tty in ttys))
    return Attached(vendor, product, serial, path.name, ports, catalogue.find(vendor, product))


def is_absent(path: str) -> bool:
    """Whether a device has a name, and nothing stands behind it now: hot-plug tells when something does."""
    return bool(path) and not _identity(path)


class Wakeable(Protocol):
    """A DeviceWorker, as far as hot-plug is concerned."""

    def wake(self) -> None:
        """Look at once."""


class Hotplug:
    """Wakes workers when something was plugged in or pulled.

    `names` maps a worker to the path that stands for its device (a stable /dev name); workers without a path
    are woken at every USB event. `watch` exchanges them while it runs.
    """

    def __init__(
        self,
        names: Mapping[str, tuple[str, Wakeable]],
        on_event: Callable[[str], None] | None = None,
        poll_s: float = POLL_S,
        udev: bool = True,
    ) -> None:
        self._on_event = on_event
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._watcher = NameWatch()
        self._names: Mapping[str, tuple[str, Wakeable]] = {}
        self._seen: dict[str, str] = {}
        self.watch(names)
        self._observer = _udev_observer(self._from_udev) if udev else None
        self._thread = threading.Thread(target=self._watch, name="hotplug", daemon=True)

    def watch(self, names: Mapping[str, tuple[str, Wakeable]]) -> None:
        """From now on these; never waits, so that a reload may call it."""
        # Both are exchanged as wholes: the watching thread sees the old ones or the new ones.
        self._seen = {name: _identity(path) for name, (path, _) in names.items()}
        self._names = dict(names)
        self._watcher.watch(path for path, _ in names.values())

    def start(self) -> None:
        """Begin to watch."""
        if self._observer is not None:
            self._observer.start()
        self._thread.start()

    def close(self) -> None:
        """Stop; no event comes after it."""
        self._stop.set()
        self._watcher.interrupt()
        observer, self._observer = self._observer, None
        if observer is not None and observer.is_alive():
            observer.stop()
        if self._thread.is_alive():
            self._thread.join(CLOSE_WAIT_S)
        if not self._thread.is_alive():
            self._watcher.close()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._watcher.arm()
            self.look()
            self._watcher.wait(max(self._poll_s, LOOK_AGAIN_S) if self._watcher.hears else self._poll_s)
            self._stop.wait(SETTLE_S)

    def look(self) -> None:
        """Compare names with the last look, and wake the workers whose name came, went or points elsewhere."""
        names, seen = self._names, self._seen
        for name, (path, worker) in names.items():
            identity = _identity(path)
            if identity != seen.get(name, identity):
                seen[name] = identity
                self._tell(name, "attached" if identity else "detached", [worker])

    def _from_udev(self, device: Any) -> None:
        if self._stop.is_set():
            return
        action = str(device.action or "")
        if action in ("add", "remove", "bind", "unbind"):
            self._tell("usb", action, (worker for _, worker in self._names.values()))

    def _tell(self, name: str, event: str, workers: Iterable[Wakeable]) -> None:
        if self._on_event is not None:
            self._on_event(f"{name} {event}")
        for worker in workers:
            worker.wake()


def _identity(path: str) -> str:
    """What stands behind a name now: another device under the same name is another identity."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_dev}:{status.st_ino}:{status.st_rdev}"


def _udev_observer(callback: Callable[[Any], None]) -> Any:
    """A pyudev observer, or None: not installed, or no netlink (a container)."""
    try:
        import pyudev  # optional; loads libudev, which only terminals with hot-plug need
    except ImportError:
        return None
    try:
        monitor = pyudev.Monitor.from_netlink(pyudev.Context())
        for subsystem in SUBSYSTEMS:
            monitor.filter_by(subsystem)
        return pyudev.MonitorObserver(monitor, callback=callback, name="hotplug-udev")
    except (OSError, ValueError) as error:
        log.info("no udev events here (%s); names are looked at every %.1f s", type(error).__name__, POLL_S)
        return None
