"""Payment devices get stable names and our group; everything else is left alone."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.udev_rules import Device, Node, RuleError, parse, play

ROOT = Path(__file__).parents[2]
RULES = ROOT / "udev" / "70-pos-devices.rules"
LOCAL = ROOT / "udev" / "71-pos-local.rules.example"
CATALOGUE = tomllib.loads((ROOT / "drivers" / "catalogue.toml").read_text())["device"]

# What of the system's own rules matters here (Debian 12: systemd 252, ModemManager 1.20; libccid as upstream).
SYSTEM = {
    "50-udev-default.rules": 'SUBSYSTEM=="tty", GROUP="dialout", MODE="0660"\nSUBSYSTEM=="usb", MODE="0664"\n',
    "60-serial.rules": 'SUBSYSTEM=="tty", SUBSYSTEMS=="usb", IMPORT{builtin}="usb_id"\n',
    "80-mm-candidate.rules": 'SUBSYSTEM=="tty", ENV{ID_MM_CANDIDATE}="1"\n',
    "92-libccid.rules": 'SUBSYSTEM=="usb", ENV{ID_USB_INTERFACES}=="*:0b0000:*", GROUP="pcscd"\n',
}
FTDI = {"idVendor": "0403", "idProduct": "6001", "serial": "A50285BI"}


def usb_device(vendor: str, product: str, serial: str = "") -> Device:
    attributes = {"idVendor": vendor, "idProduct": product, **({"serial": serial} if serial else {})}
    properties = {"DEVTYPE": "usb_device", "ID_USB_INTERFACES": ":0b0000:"}
    return Device("usb", "1-1", attributes, properties)


def tty(usb: Device, kernel: str = "ttyACM0") -> Device:
    """A serial port of a USB device, with the root hub behind it."""
    hub = Device("usb", "usb1", {"idVendor": "1d6b", "idProduct": "0002", "serial": "0000:00:14.0"})
    interface = Device("usb", "1-1:1.0", {"bInterfaceNumber": "00"})
    found = {"ID_SERIAL_SHORT": usb.attributes.get("serial", ""), "ID_USB_INTERFACE_NUM": "00"}
    return Device("tty", kernel, parents=(interface, usb, hub), usb_id=found)


def made(device: Device, action: str = "add", **more: str) -> Node:
    return play({**SYSTEM, RULES.name: RULES.read_text(), **more}, device, action)


def known(entry: dict[str, Any], serial: str = "") -> Device:
    """The device of a catalogue entry as the kernel shows it."""
    product = entry["product"].lower() if entry["product"] != "*" else "1234"
    usb = usb_device(entry["vendor"].lower(), product, serial)
    return tty(usb) if entry["via"] == "tty" else usb


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry["name"])
def test_every_device_of_the_catalogue_has_its_name_and_our_group(entry: dict[str, Any]) -> None:
    node = made(known(entry))
    assert f"pos/{entry['kind']}" in node.symlinks
    assert node.access == {"GROUP": "reversald", "MODE": "0660"}
    assert node.properties["ID_MM_DEVICE_IGNORE"] == "1"
    assert node.tags == {"systemd"}
    assert node.properties["SYSTEMD_WANTS"] == "reversald.service"


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry["name"])
def test_a_device_with_a_serial_number_has_a_name_of_its_own(entry: dict[str, Any]) -> None:
    assert made(known(entry, "SN42")).symlinks == {f"pos/{entry['kind']}", f"pos/{entry['kind']}-SN42"}
    assert made(known(entry)).symlinks == {f"pos/{entry['kind']}"}


@pytest.mark.parametrize("entry", [one for one in CATALOGUE if one["via"] == "tty"], ids=lambda entry: entry["name"])
def test_modem_manager_is_told_on_the_usb_device_too(entry: dict[str, Any]) -> None:
    usb = known(entry).parents[1]
    node = made(usb)
    assert node.properties["ID_MM_DEVICE_IGNORE"] == "1"
    assert node.symlinks == set()


@pytest.mark.parametrize(
    "device",
    [
        usb_device("0403", "6001", "A50285BI"),
        tty(Device("usb", "1-1", FTDI), "ttyUSB0"),
        usb_device("046d", "c31c"),
        Device("tty", "ttyS0"),
        usb_device("08e6", "ffff"),
    ],
    ids=["adapter", "adapter's tty", "keyboard", "board's tty", "other product of a known vendor"],
)
def test_other_devices_are_left_alone(device: Device) -> None:
    with_ours, without = made(device), play(SYSTEM, device)
    assert with_ours == without


def test_nothing_is_done_when_a_device_goes() -> None:
    assert made(known(CATALOGUE[0]), action="remove").symlinks == set()


def test_the_rules_are_those_of_the_catalogue() -> None:
    """`python udev/make_rules.py --write` mends this."""
    spec = importlib.util.spec_from_file_location("make_rules", ROOT / "udev" / "make_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert RULES.read_text() == module.rules({"device": CATALOGUE})


# --- the order of files ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [RULES.name, LOCAL.name.removesuffix(".example")])
def test_the_files_stand_between_what_they_need_and_what_needs_them(name: str) -> None:
    assert "60-serial.rules" < name < "73-seat-late.rules"


def test_the_local_rules_name_adapters_by_their_serial_number() -> None:
    adapter = tty(Device("usb", "1-1", FTDI), "ttyUSB0")
    node = made(adapter, **{"71-pos-local.rules": LOCAL.read_text()})
    assert node.symlinks == {"pos/pinpad"}
    assert node.access["GROUP"] == "reversald"


def test_the_same_rules_before_60_serial_would_do_nothing() -> None:
    adapter = tty(Device("usb", "1-1", FTDI), "ttyUSB0")
    assert made(adapter, **{"60-pos-local.rules": LOCAL.read_text()}).symlinks == set()


def test_a_port_of_the_board_has_its_name() -> None:
    node = made(Device("tty", "ttymxc2"), **{"71-pos-local.rules": LOCAL.read_text()})
    assert node.symlinks == {"pos/reader"}


def test_our_group_wins_over_a_later_file() -> None:
    weak = RULES.read_text().replace(":=", "=")
    reader = known(next(entry for entry in CATALOGUE if entry["driver"] == "ccid-usb"))
    assert made(reader).access["GROUP"] == "reversald"
    assert play({**SYSTEM, RULES.name: weak}, reader).access["GROUP"] == "pcscd"


# --- the reader of rules itself ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('SUBSYSTEM="tty"', "invalid operator = for SUBSYSTEM"),
        ('GROUP=="x"', "invalid operator == for GROUP"),
        ('MODE+="0660"', "invalid operator"),
        ('MODE="660"', "four octal digits"),
        ('KERNEL=="a" MODE="0660"', "a comma and a blank"),
        ('KERNEL=="a",MODE="0660"', "a comma and a blank"),
        ('KERNEL=="a", ', "a comma and a blank"),
        ('KERNEL=="a', "expected KEY"),
        ("KERNEL==a", "expected KEY"),
        ('KERNAL=="a"', "unknown key"),
        ('ATTR=="a"', "needs {...}"),
        ('KERNEL{x}=="a"', "takes no {...}"),
        ('GOTO="nowhere"', "without a matching label"),
        ('LABEL="back"\nGOTO="back"', "without a matching label"),
        ('ATTRS{idVendor}=="08E6"', "lower-case"),
        ('KERNEL=="a", \\', "after the end of the file"),
    ],
)
def test_a_wrong_rule_is_found(text: str, words: str) -> None:
    with pytest.raises(RuleError, match=re.escape(words)):
        parse(text)


def test_all_attributes_of_a_rule_belong_to_one_parent() -> None:
    rule = 'SUBSYSTEM=="tty", ATTRS{idVendor}=="0403", ATTRS{serial}=="0000:00:14.0", SYMLINK+="x"'
    assert play({"70.rules": rule}, tty(Device("usb", "1-1", FTDI))).symlinks == set()


def test_a_line_may_go_on_on_the_next() -> None:
    (rule,) = parse('# why\nKERNEL=="a", \\\nMODE="0660"\n')
    assert (rule.line, len(rule.tokens)) == (2, 2)


@pytest.mark.parametrize("file", [RULES, LOCAL], ids=lambda file: file.name)
def test_udevadm_finds_nothing_wrong(file: Path, tmp_path: Path) -> None:
    udevadm = shutil.which("udevadm")
    if udevadm is None:
        pytest.skip("no udevadm here: apt-get install udev (254 or later)")
    if subprocess.run([udevadm, "verify", "--help"], capture_output=True).returncode:
        pytest.skip("this udevadm cannot verify: apt-get install udev (254 or later)")
    rules = shutil.copy(file, tmp_path / file.name.removesuffix(".example"))
    done = subprocess.run([udevadm, "verify", "--resolve-names=never", rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
