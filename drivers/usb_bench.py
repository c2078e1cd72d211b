"""Benches without a USB bus: a pyusb backend that is named from outside instead of libusb.

    REVERSALD_USB_BACKEND=hwsim.wires.usbip_backend:backend     module:function, called without arguments

Never set in a shop: the function is code of whoever may set the environment of the process. The systemd unit sets
no such variable, and a daemon that uses one says so in its log.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Mapping
from typing import Any

from drivers.errors import PortAddressError

VARIABLE = "REVERSALD_USB_BACKEND"
HINT = f"unset {VARIABLE}, or write module:function as docs/bench.md says"

log = logging.getLogger("drivers.usb")


def bench_backend(environment: Mapping[str, str]) -> Any:
    """The backend that the environment names; None = libusb, as everywhere but on a bench. Raises PortAddressError."""
    named = environment.get(VARIABLE, "")
    if not named:
        return None
    match = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", named)
    if match is None:
        raise PortAddressError(f"{VARIABLE} is not of the form module:function", HINT)
    try:
        make = getattr(importlib.import_module(match[1]), match[2])
    except (ImportError, AttributeError) as error:
        raise PortAddressError(f"{VARIABLE}: {match[0]} cannot be loaded ({type(error).__name__})", HINT) from None
    log.warning("bench: USB devices are reached through %s, not through libusb", match[0])
    return make()
