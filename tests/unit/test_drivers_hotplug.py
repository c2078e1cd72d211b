"""Hot-plug: a name that comes, goes or points elsewhere wakes its worker; the catalogue names what is attached."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from drivers.catalogue import load_catalogue
from drivers.errors import PortAddressError
from drivers.hotplug import Hotplug, attached


class Sleeper:
    """A worker that counts how often it was woken."""

    def __init__(self) -> None:
        self.woken = 0
        self.event = threading.Event()

    def wake(self) -> None:
        self.woken += 1
        self.event.set()


def test_a_name_that_comes_goes_or_changes_wakes_its_worker_only(tmp_path: Path) -> None:
    reader, printer, events = Sleeper(), Sleeper(), list[str]()
    name = tmp_path / "reader"
    names = {"reader": (str(name), reader), "printer": (str(tmp_path / "printer"), printer)}
    hotplug = Hotplug(names, events.append, udev=False)
    hotplug.look()
    assert reader.woken == 0
    (tmp_path / "ttyACM0").touch()
    (tmp_path / "ttyACM1").touch()
    name.symlink_to(tmp_path / "ttyACM0")
    hotplug.look()
    name.unlink()
    name.symlink_to(tmp_path / "ttyACM1")  # re-enumerated under another name
    hotplug.look()
    name.unlink()
    hotplug.look()
    hotplug.look()
    assert events == ["reader attached", "reader attached", "reader detached"]
    assert (reader.woken, printer.woken) == (3, 0)


def test_the_watcher_sees_a_new_name_by_itself(tmp_path: Path) -> None:
    sleeper = Sleeper()
    name = tmp_path / "pinpad"
    hotplug = Hotplug({"pinpad": (str(name), sleeper)}, poll_s=0.01)
    hotplug.start()
    name.touch()
    assert sleeper.event.wait(2)
    hotplug.close()
    hotplug.close()


def sysfs(root: Path) -> Path:
    """Two devices, an interface and a broken entry, as the kernel shows them."""
    entries = {"1-1": ("04b8", "0202", "J2T001"), "1-2": ("11ca", "0222", ""), "2-1": ("1234", "5678", "")}
    for place, (vendor, product, serial) in entries.items():
        (root / place).mkdir(parents=True)
        (root / place / "idVendor").write_text(vendor + "\n")
        (root / place / "idProduct").write_text(product + "\n")
        if serial:
            (root / place / "serial").write_text(serial + "\n")
    (root / "1-2" / "1-2:1.0" / "tty" / "ttyACM3").mkdir(parents=True)
    (root / "2-1" / "2-1:1.0" / "ttyUSB0" / "tty" / "ttyUSB0").mkdir(parents=True)
    (root / "1-2:1.0").mkdir()
    (root / "usb1").mkdir()
    return root


def test_attached_devices_are_named_by_the_catalogue(tmp_path: Path) -> None:
    found = {device.place: device for device in attached(load_catalogue(), sysfs(tmp_path / "devices"))}
    assert set(found) == {"1-1", "1-2", "2-1"}
    assert found["1-1"].address == "usb:04B8:0202:J2T001"
    assert found["1-2"].address == "serial:/dev/ttyACM3"
    assert found["1-2"].known is not None
    assert found["1-2"].known.kind == "pinpad"
    assert (found["2-1"].known, found["2-1"].ports) == (None, ("/dev/ttyUSB0",))


def test_without_sysfs_nothing_is_attached(tmp_path: Path) -> None:
    assert attached(load_catalogue(), tmp_path / "nowhere") == []


def test_the_catalogue_is_complete_and_finds_exact_products_first() -> None:
    catalogue = load_catalogue()
    assert {known.kind for known in catalogue.devices} == {"reader", "pinpad", "printer", "contactless"}
    exact = catalogue.find(0x08E6, 0x3437)
    assert exact is not None
    assert (exact.driver, exact.name) == ("ccid-usb", "Gemalto GemPC Twin")
    assert catalogue.find(0xFFFF, 1) is None


def test_old_printers_are_known_to_lack_the_process_id() -> None:
    catalogue = load_catalogue()
    old, new = catalogue.printer("EPSON TM-T88III"), catalogue.printer("TM-T88V")
    assert old is not None
    assert new is not None
    assert (old.process_id, new.process_id) == (False, True)
    assert catalogue.printer("no such") is None


GOOD = {
    "name": "x",
    "vendor": "04B8",
    "product": "0202",
    "kind": "printer",
    "driver": "escpos",
    "via": "usb",
    "level": "bench",
    "source": "y",
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vendor", "4b8"),
        ("product", "02"),
        ("kind", "toaster"),
        ("driver", "x"),
        ("via", "x"),
        ("level", "x"),
        ("extra", "x"),
    ],
)
def test_a_wrong_entry_is_named(key: str, value: str) -> None:
    entry = GOOD | {key: value}
    text = "[[device]]\n" + "\n".join(f'{name} = "{content}"' for name, content in entry.items())
    with pytest.raises(PortAddressError) as caught:
        load_catalogue(text)
    assert "entry 1" in str(caught.value)


@pytest.mark.parametrize("text", ["[[device]", '[[device]]\nname = "x"', '[[printer]]\nmatch = "x"'])
def test_a_catalogue_that_cannot_be_read_is_a_typed_error(text: str) -> None:
    with pytest.raises(PortAddressError):
        load_catalogue(text)
