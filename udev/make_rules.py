"""Writes 70-pos-devices.rules from drivers/catalogue.toml, the only place for vendor and product ids.

    python udev/make_rules.py            prints the rules
    python udev/make_rules.py --write    writes them beside this file

Rules not to break:
1. The file must sort after 60-serial.rules, which finds out vendor and interface of a tty, and
   before 73-seat-late.rules, which hands out access. `70-pos-` does; `60-pos-` did not work.
2. Ids of a tty are those of one parent: all ATTRS of a rule must match the same one, so SUBSYSTEMS
   stands with them.
3. Serial adapters are not in the catalogue: their ids say nothing about what hangs behind them.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CATALOGUE = HERE.parent / "drivers" / "catalogue.toml"
RULES = HERE / "70-pos-devices.rules"

HEAD = """\
# Stable names and access for payment devices. Written by udev/make_rules.py from drivers/catalogue.toml: do not
# edit. Own devices (serial adapters, fixed ports) belong in 71-pos-local.rules; see its example.
#
# /dev/pos/reader, /dev/pos/pinpad, /dev/pos/printer, /dev/pos/contactless; with a serial number also
# /dev/pos/reader-SERIAL and so on, for terminals with two of a kind.
#
# GROUP and MODE are final (:=): 92-libccid.rules would give card readers to pcscd, and two masters of one reader
# disturb each other. ID_MM_DEVICE_IGNORE keeps ModemManager from sending AT commands to a PIN pad; it wants to see
# it on the USB device as well as on the port.

ACTION=="remove", GOTO="pos_devices_end"
"""
TAIL = 'LABEL="pos_devices_end"\n'

ACCESS = 'GROUP:="reversald", MODE:="0660", ENV{ID_MM_DEVICE_IGNORE}="1"'
# The device's unit (dev-pos-reader.device) pulls the daemon in where it is not running.
SYSTEMD = 'TAG+="systemd", ENV{SYSTEMD_WANTS}+="reversald.service"'


def rules(catalogue: dict[str, Any]) -> str:
    """The whole file."""
    return "\n".join([HEAD, *("\n".join(_device(entry)) + "\n" for entry in catalogue["device"]), TAIL])


def _device(entry: dict[str, Any]) -> Iterator[str]:
    yield f"# {entry['name']} ({entry['driver']})"
    if entry["via"] == "tty":
        yield ", ".join([*_usb_device(entry, "ATTR"), 'ENV{ID_MM_DEVICE_IGNORE}="1"'])
        yield from _named(entry, _tty(entry), "ATTRS")
    else:
        yield from _named(entry, _usb_device(entry, "ATTR"), "ATTR")


def _named(entry: dict[str, Any], match: list[str], attribute: str) -> Iterator[str]:
    kind = entry["kind"]
    yield ", ".join([*match, ACCESS, f'SYMLINK+="pos/{kind}"', SYSTEMD])
    yield ", ".join([*match, f'{attribute}{{serial}}=="?*"', f'SYMLINK+="pos/{kind}-$attr{{serial}}"'])


def _usb_device(entry: dict[str, Any], attribute: str) -> list[str]:
    return ['SUBSYSTEM=="usb"', 'ENV{DEVTYPE}=="usb_device"', *_ids(entry, attribute)]


def _tty(entry: dict[str, Any]) -> list[str]:
    interface = [f'ENV{{ID_USB_INTERFACE_NUM}}=="{entry["interface"]}"'] if "interface" in entry else []
    return ['SUBSYSTEM=="tty"', 'SUBSYSTEMS=="usb"', *_ids(entry, "ATTRS"), *interface]


def _ids(entry: dict[str, Any], attribute: str) -> Iterator[str]:
    yield f'{attribute}{{idVendor}}=="{entry["vendor"].lower()}"'
    if entry["product"] != "*":
        yield f'{attribute}{{idProduct}}=="{entry["product"].lower()}"'


def main() -> int:
    text = rules(tomllib.loads(CATALOGUE.read_text()))
    if "--write" in sys.argv[1:]:
        RULES.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
