"""The drivers' errors; every one has a stable code and a hint for field staff.

    AgentError
    ├── PortError                 the byte port itself
    │   ├── PortAddressError      the configured address cannot be understood
    │   ├── PortMissing           nothing is attached under this name
    │   ├── PortBusy              another program holds it
    │   ├── PortDenied            no permission
    │   ├── PortSettings          speed, parity or format refused by this port
    │   ├── PortGone              it was open and vanished (unplugged)
    │   └── PortTimeout           the other side took no more bytes before the deadline
    └── DeviceError               the device behind the port
        ├── DeviceTimeout         no answer before the deadline
        ├── DeviceGone            unplugged or closed in the middle
        ├── DeviceInhibited       a technician has taken it out of service
        ├── DeviceBusy            its queue is full
        ├── DeviceGarbled         answers came, but damaged, three times
        ├── DeviceFault           a mistake in this program, not in the device
        ├── DeviceRefused         the device answered with an error: `reason` is the device's own code
        │   ├── KeyMissing        PIN pad: key absent or of the wrong use
        │   ├── PinCancelled      PIN pad: the customer pressed cancel
        │   └── PinTimeout        PIN pad: nobody entered a PIN
        ├── NoCard                no card was put in before the deadline
        ├── CardGone              the card was pulled in the middle
        ├── CardMute              a card is in, but does not answer (turned round, dirty, damaged)
        ├── CardRefused           the card answered with an error: `sw` is its status word
        └── CardUnreadable        the card's data make no sense or its application is not accepted

Foreign exceptions (pyserial, pyusb, OSError, termios) are translated in the port files and nowhere else.
Texts hold no card number, track, PIN block or key.
"""

from __future__ import annotations

from protocol.errors import AgentError


class PortError(AgentError):
    """A byte port failed."""

    code = "E-PORT"
    default_hint = "check the cable and the device's power"

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text, hint or self.default_hint)


class PortAddressError(PortError):
    """The configured address cannot be understood."""

    code = "E-PORT-ADDRESS"
    default_hint = "write serial:/dev/pos/reader?baud=115200&format=8N1, usb:VID:PID[:serial], or a pyserial URL"


class PortMissing(PortError):
    """Nothing is attached under this name."""

    code = "E-PORT-MISSING"
    default_hint = "plug the device in; `reversalctl devices` lists what is attached"


class PortBusy(PortError):
    """Another program holds the port."""

    code = "E-PORT-BUSY"
    default_hint = "stop the other program (ModemManager, pcscd, a terminal program) that uses this device"


class PortDenied(PortError):
    """No permission."""

    code = "E-PORT-DENIED"
    default_hint = "install the udev rules, or add the service's user to the device's group"


class PortSettings(PortError):
    """The port refuses these settings."""

    code = "E-PORT-SETTINGS"
    default_hint = "this port cannot do the configured speed, parity or character size; a pty only does 8N1"


class PortGone(PortError):
    """The port vanished while it was open."""

    code = "E-PORT-GONE"
    default_hint = "plug the device back in; it returns to service by itself"


class PortTimeout(PortError):
    """The other side took no more bytes before the deadline."""

    code = "E-PORT-TIMEOUT"
    default_hint = "the device does not take data: check paper, cover, flow control and cable"


class DeviceError(AgentError):
    """A device failed."""

    code = "E-DEVICE"
    default_hint = "see `reversalctl devices`"

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text, hint or self.default_hint)


class DeviceTimeout(DeviceError):
    """No answer before the deadline."""

    code = "E-DEVICE-TIMEOUT"
    default_hint = "check power, cable and the speed set in the device; then `reversalctl devices test`"


class DeviceGone(DeviceError):
    """Unplugged or closed in the middle."""

    code = "E-DEVICE-GONE"
    default_hint = "plug the device back in; it returns to service by itself"


class DeviceInhibited(DeviceError):
    """A technician has taken it out of service."""

    code = "E-DEVICE-INHIBITED"
    default_hint = "`reversalctl devices release` puts it back in service"


class DeviceBusy(DeviceError):
    """Its queue is full."""

    code = "E-DEVICE-BUSY"
    default_hint = "wait for the running job, or look why the device is slow"


class DeviceGarbled(DeviceError):
    """Answers came, but damaged, at every try."""

    code = "E-DEVICE-GARBLED"
    default_hint = "check baud rate and format on both sides, cable length and shielding"


class DeviceFault(DeviceError):
    """A mistake in this program: the device is opened anew."""

    code = "E-DEVICE-FAULT"
    default_hint = "send the case file to the maker: reversalctl bundle"


class DeviceRefused(DeviceError):
    """The device answered with an error. `reason` is the device's own code."""

    code = "E-DEVICE-REFUSED"

    def __init__(self, text: str, reason: str = "", hint: str = "") -> None:
        super().__init__(text, hint)
        self.reason = reason


class KeyMissing(DeviceRefused):
    """Key absent or of the wrong use."""

    code = "E-PINPAD-KEY"
    default_hint = "load the master key and sign on again"


class PinCancelled(DeviceRefused):
    """The customer pressed cancel."""

    code = "E-PINPAD-CANCELLED"
    default_hint = "ask the customer whether to go on"


class PinTimeout(DeviceRefused):
    """Nobody entered a PIN."""

    code = "E-PINPAD-TIMEOUT"
    default_hint = "ask the customer to enter the PIN"


class NoCard(DeviceError):
    """No card was put in before the deadline."""

    code = "E-CARD-NONE"
    default_hint = "put the card in, chip first"


class CardGone(DeviceError):
    """The card was pulled in the middle."""

    code = "E-CARD-GONE"
    default_hint = "the card must stay in until the screen says so; start again"


class CardMute(DeviceError):
    """A card is in, but does not answer."""

    code = "E-CARD-MUTE"
    default_hint = "turn the card round or clean its chip"


class CardRefused(DeviceError):
    """The card answered with an error status word."""

    code = "E-CARD-REFUSED"
    default_hint = "try another card"

    def __init__(self, text: str, sw: int, hint: str = "") -> None:
        super().__init__(f"{text}: status word {sw:04X}", hint)
        self.sw = sw


class CardUnreadable(DeviceError):
    """The card's data make no sense, or its application is not accepted here."""

    code = "E-CARD-UNREADABLE"
    default_hint = "try another card"
