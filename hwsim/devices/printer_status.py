"""The printer's sensors and how ESC/POS tells them.

Bits: Epson ESC/POS reference, DLE EOT, GS a and GS r. Observed on real bytes: paper out gives DLE EOT 1 = 1A,
2 = 32, 4 = 7E and the automatic status 18 00 0F 00; with the cover open too, 2 = 36 and 38 00 0F 00.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PaperLevel = Literal["ok", "near end", "out"]
ASB_DRAWER, ASB_ONLINE, ASB_ERROR, ASB_PAPER = 0x01, 0x02, 0x04, 0x08


@dataclass
class Sensors:
    """What the printer knows of its own mechanics."""

    paper: PaperLevel = "ok"
    cover_open: bool = False
    cutter_error: bool = False
    drawer_open: bool = False

    @property
    def offline(self) -> bool:
        return self.cover_open or self.cutter_error or self.paper == "out"

    @property
    def near_end(self) -> bool:
        return self.paper != "ok"

    @property
    def out(self) -> bool:
        return self.paper == "out"


def real_time_status(sensors: Sensors, n: int) -> bytes:
    """The answer to DLE EOT n: bits 1 and 4 are always set, bits 0 and 7 never."""
    bits = 0x12
    if n == 1:
        bits |= 0x04 * sensors.drawer_open | 0x08 * sensors.offline
    elif n == 2:
        bits |= 0x04 * sensors.cover_open | 0x20 * sensors.out | 0x40 * sensors.cutter_error
    elif n == 3:
        bits |= 0x08 * sensors.cutter_error
    else:
        bits |= 0x0C * sensors.near_end | 0x60 * sensors.out
    return bytes([bits])


def automatic_status(sensors: Sensors) -> bytes:
    """The four bytes of the automatic status back (GS a)."""
    first = 0x10 | 0x04 * sensors.drawer_open | 0x08 * sensors.offline | 0x20 * sensors.cover_open
    return bytes([first, 0x08 * sensors.cutter_error, 0x03 * sensors.near_end | 0x0C * sensors.out, 0])


def paper_status(sensors: Sensors) -> bytes:
    """GS r 1."""
    return bytes([0x03 * sensors.near_end | 0x0C * sensors.out])


def drawer_status(sensors: Sensors) -> bytes:
    """GS r 2."""
    return bytes([0x01 * sensors.drawer_open])


def watched(sensors: Sensors, mask: int) -> tuple[object, ...]:
    """The part of the sensors that GS a with this mask reports when it changes."""
    return (
        sensors.drawer_open if mask & ASB_DRAWER else None,
        (sensors.offline, sensors.cover_open) if mask & ASB_ONLINE else None,
        sensors.cutter_error if mask & ASB_ERROR else None,
        sensors.paper if mask & ASB_PAPER else None,
    )


def port_status(sensors: Sensors) -> int:
    """The USB printer class's GET_PORT_STATUS: 20 paper empty, 10 selected, 08 no error."""
    if sensors.out:
        return 0x30 if not sensors.cutter_error else 0x20
    return 0x10 * (not sensors.offline) | 0x08 * (not sensors.cutter_error)
