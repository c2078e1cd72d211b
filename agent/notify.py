"""Tells the service manager how the daemon is: readiness, reloading, watchdog.

Source: sd_notify(3), systemd 252: one datagram of KEY=VALUE lines to $NOTIFY_SOCKET.
"""

from __future__ import annotations

import os
import socket


def notify(message: str) -> bool:
    """Send e.g. "READY=1"; False where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(message.encode(), address)
        except OSError:
            return False  # nobody listens any more: the daemon's work does not depend on it
    return True


def watchdog_interval_s() -> float | None:
    """Half of the time in which the service manager wants a sign of life; None: it wants none.

    Source: sd_watchdog_enabled(3): notify at half the interval of $WATCHDOG_USEC.
    """
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 2e6 if microseconds > 0 else None
