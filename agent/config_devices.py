"""The configuration of the counter: [[device]], and the [checkout] that the agent drives with them."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from agent import config_keys as key
from agent.config_shapes import NAME, NAME_SHAPE, NO_NAME_OR
from protocol.frozen import dataclass

# The driver's own words (drivers/serial_port.py); a mistake here would else be a device that is "missing" for ever.
_SERIAL_OPTION = r"(?:baud=[0-9]{2,7}|format=[5-8][NEOMS][12]|flow=(?:none|rtscts|xonxoff|dsrdtr))"
PORT = (
    rf"serial:/[^\s?]+(?:\?{_SERIAL_OPTION}(?:&{_SERIAL_OPTION})*)?"
    r"|usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(?::[^\s]+)?"
    r"|(?:rfc2217|socket|loop|spy|alt|hwgrep|cp2110)://[^\s]*"
)
PORT_SHAPE = (
    '"serial:/dev/pos/reader?baud=115200&format=8N1", "usb:08e6:3437" (with ":SERIAL" where there are two) '
    'or a pyserial URL such as "rfc2217://host:port"'
)
# Of drivers/catalogue.toml; a wrong one is refused when the devices are made.
MODEL = r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,31}|"


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """[[device]]: one reader, PIN pad or printer."""

    name: str = field(metadata=key.text("Its name here and in status and logs", NAME, NAME_SHAPE))
    kind: Literal["reader", "pinpad", "printer"] = field(
        metadata=key.choice("What it is", "reader", "pinpad", "printer")
    )
    driver: Literal["ccid-serial", "ccid-usb", "neo2", "ipp", "escpos"] = field(
        metadata=key.choice("Which driver speaks to it", "ccid-serial", "ccid-usb", "neo2", "ipp", "escpos")
    )
    port: str = field(metadata=key.text("Where it is", PORT, PORT_SHAPE))
    columns: int = field(
        default=32, metadata=key.integer("Printers: characters on a line (32 on 58 mm paper, 48 on 80 mm)", 16, 96)
    )
    model: str = field(
        default="",
        metadata=key.text("Printers and PIN pads: the model, see docs/devices.md", MODEL, 'a name such as "TM-T88III"'),
    )


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """[checkout]: the sale that the agent itself drives through reader, PIN pad and printer."""

    reader: str = field(metadata=key.text("Name of the card reader", NAME, "the name of a [[device]]"))
    pinpad: str = field(
        default="",
        metadata=key.text("Name of the PIN pad; empty: no PIN is asked for", NO_NAME_OR, "the name of a [[device]]"),
    )
    printer: str = field(
        default="",
        metadata=key.text(
            "Name of the receipt printer; empty: nothing is printed", NO_NAME_OR, "the name of a [[device]]"
        ),
    )
    language: Literal["", "en", "zh"] = field(
        default="", metadata=key.choice("Language of slips and prompts; empty: agent.language", "", "en", "zh")
    )
    merchant_name: str = field(
        default="", metadata=key.text("Printed at the head of a slip", r"[^\x00-\x1f]{0,64}", "up to 64 characters")
    )
    print: bool = field(default=True, metadata=key.flag("Print slips (needs a printer)"))
    header_lines: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Lines under the merchant's name", r"[^\x00-\x1f]{0,96}", "one line of up to 96 characters", 0, 8
        ),
    )
    footer_lines: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Lines at the foot of a slip", r"[^\x00-\x1f]{0,96}", "one line of up to 96 characters", 0, 8
        ),
    )
    card_timeout_s: float = field(default=60.0, metadata=key.number("Longest wait for a card", 5, 600, "s"))
    pin_timeout_s: float = field(default=60.0, metadata=key.number("Longest wait for a PIN", 10, 600, "s"))
    print_timeout_s: float = field(default=30.0, metadata=key.number("Longest wait for a slip", 1, 600, "s"))
