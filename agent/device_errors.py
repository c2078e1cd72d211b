"""Which counters of a device count something that went wrong."""

from __future__ import annotations

from collections.abc import Mapping

# Counters that count work (drivers/port.py, drivers/device.py); a read that brings nothing is how an idle line is
# listened to. Every other one counts an error.
WORK = frozenset({"bytes_read", "bytes_written", "read_timeouts", "opened", "no_firmware", "resumed_slips"})


def errors_of(counters: Mapping[str, int]) -> int:
    """All that went wrong with one device since the start."""
    return sum(count for name, count in counters.items() if name not in WORK)
