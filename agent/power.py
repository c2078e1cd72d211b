"""Mains and battery, as the kernel shows them in /sys/class/power_supply.

Source: Linux Documentation/ABI/testing/sysfs-class-power: type (Mains, USB, Battery, UPS), online, capacity, status.
"""

from __future__ import annotations

from pathlib import Path

from protocol.frozen import dataclass

SYSFS = Path("/sys/class/power_supply")


@dataclass(frozen=True, slots=True)
class Power:
    """`known` False: this machine has no sensor. `on_battery`: mains are gone. `percent` None: no battery."""

    known: bool = False
    on_battery: bool = False
    percent: int | None = None


def power(directory: Path = SYSFS) -> Power:
    """As it stands now."""
    supplies = [_supply(path) for path in sorted(directory.iterdir())] if directory.is_dir() else []
    mains = [facts for facts in supplies if facts.get("type") in ("Mains", "USB")]
    batteries = [facts for facts in supplies if facts.get("type") in ("Battery", "UPS")]
    # The batteries of a mouse or a keyboard are supplies too; they say so.
    batteries = [facts for facts in batteries if facts.get("scope") != "Device"]
    online = any(facts.get("online") not in ("0", None) for facts in mains)
    discharging = any(facts.get("status") == "Discharging" for facts in batteries)
    levels = [int(facts["capacity"]) for facts in batteries if facts.get("capacity", "").isdigit()]
    on_battery = bool(batteries) and (discharging or (bool(mains) and not online))
    return Power(bool(mains or batteries), on_battery, min(levels, default=None))


def _supply(path: Path) -> dict[str, str]:
    found = {}
    for name in ("type", "online", "capacity", "status", "scope"):
        try:
            found[name] = (path / name).read_text().strip()
        except OSError:
            continue  # a supply has only the files that mean something for it
    return found
