"""A machine whose udev tells of devices, played inside umockdev: run by test_drivers_hotplug_udev.py.

    umockdev-wrapper python -m tests.contract.udev_scene DIRECTORY

libudev, pyudev and our hot-plug are the real ones; sysfs and the kernel's events are umockdev's. Prints a JSON object.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from drivers.desk import Desk
from drivers.hotplug import Hotplug
from drivers.making import DeviceSetting
from hwsim.bench import Bench

DEADLINE_S = 20.0
NEVER_S = 3600.0  # of polling: what wakes anybody here is an event


class Machine:
    """umockdev's testbed, by its C interface."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libumockdev.so.0")
        for name in ("umockdev_testbed_new", "umockdev_testbed_add_devicev"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._bed = ctypes.c_void_p(self._library.umockdev_testbed_new())

    def plug(self, subsystem: str, name: str, parent: str = "", **attributes: str) -> str:
        """A device appears, and the kernel says so."""
        path = self._library.umockdev_testbed_add_devicev(
            self._bed, subsystem.encode(), name.encode(), parent.encode() or None, strings(attributes), strings({})
        )
        place = ctypes.cast(path, ctypes.c_char_p).value
        assert place is not None
        return place.decode()

    def say(self, place: str, action: str) -> None:
        self._library.umockdev_testbed_uevent(self._bed, place.encode(), action.encode())


def strings(pairs: dict[str, str]) -> object:
    flat = [text.encode() for pair in pairs.items() for text in pair]
    return (ctypes.c_char_p * (len(flat) + 1))(*flat, None)


class Sleeper:
    """A worker that counts how often it was woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


def until(condition: Callable[[], object], what: str) -> float:
    """Waits for the condition; how long it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + DEADLINE_S:
            raise SystemExit(f"did not come true: {what}")
        threading.Event().wait(0.002)
    return time.monotonic() - began


def events(machine: Machine) -> dict[str, object]:
    """A USB device and its serial line come and go: everybody is woken, by each of the kernel's words."""
    reader, told = Sleeper(), list[str]()
    hotplug = Hotplug({"reader": ("/dev/no-such", reader)}, told.append, poll_s=NEVER_S)
    hotplug.start()
    hub = machine.plug("usb", "usb1", idVendor="1d6b", idProduct="0002")
    until(lambda: machine.say(hub, "bind") or told, "udev is listened to")
    machine.say(hub, "unbind")
    until(lambda: told[-1] == "usb unbind", "the last word has been heard")
    told.clear()
    reader.woken = 0
    usb = machine.plug("usb", "1-1", idVendor="08e6", idProduct="3437", serial="SN1")
    tty = machine.plug("tty", "ttyACM0", usb, dev="166:0")
    machine.say(usb, "change")  # of no interest
    machine.say(tty, "remove")
    machine.say(usb, "remove")
    until(lambda: reader.woken == 4, "each word but one wakes the reader")
    hotplug.close()
    return {"told": told}


def replug(machine: Machine, directory: Path, with_event: bool) -> float:
    """A PIN pad is replugged under another name; how long until it is in service, with or without the kernel's word."""
    with Bench(directory) as bench:
        desk = Desk(lambda status: None, udev=with_event)
        desk.configure([DeviceSetting("pinpad", "ipp", bench.pinpad.port)], {})
        state = lambda: desk.statuses()[0].state  # noqa: E731
        until(lambda: state() == "ready", "the pad is ready")
        bench.pinpad.fault("unplug")
        until(lambda: state() == "gone", "the pad is gone")
        threading.Event().wait(0.1)  # now it is asleep between two tries
        bench.pinpad.fault("replug")
        if with_event:
            machine.plug("tty", f"ttyUSB{directory.name[-1]}", dev="188:1")
        took_s = until(lambda: state() == "ready", "the pad is back")
        desk.close()
        return took_s


def main(directory: Path) -> None:
    machine = Machine()
    result = events(machine)
    result["by_event_s"] = [round(replug(machine, directory / f"event-{n}", True), 3) for n in range(5)]
    result["by_looking_s"] = [round(replug(machine, directory / f"look-{n}", False), 3) for n in range(5)]
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
