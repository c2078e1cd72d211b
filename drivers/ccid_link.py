"""One CCID command and its answer, over a serial line or over USB.

Rules
1. A command that may act on the card (XfrBlock) is sent again only when the reader said NAK: it has not
   understood it. Silence after it is a time-out, never a second GENERATE AC.
2. A time extension (bStatus 80, or a time request byte) restarts the answer's time-out, never the deadline.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter

from drivers.errors import (
    CardGone,
    CardMute,
    CardUnreadable,
    DeviceGarbled,
    DeviceRefused,
    DeviceTimeout,
    PinCancelled,
    PinTimeout,
)
from drivers.framed import FrameStream
from drivers.port import READ_BYTES_MAX, BytePort, UsbBytePort, remaining
from protocol import ccid
from protocol.errors import FrameError
from protocol.framing import Spoilt

ANSWER_TIMEOUT_S = 3.0  # libccid's default read time-out; time extensions restart it
TRIES = 3
REPEATABLE = frozenset({ccid.GET_SLOT_STATUS, ccid.ESCAPE, ccid.ICC_POWER_ON, ccid.ICC_POWER_OFF, ccid.SET_PARAMETERS})

FEATURE_AUTO_VOLTAGE, FEATURE_AUTO_PARAMETERS = 0x08, 0xC0  # dwFeatures, CCID rev 1.1 table 5.1-1
FEATURE_SHORT_APDU, FEATURE_EXTENDED_APDU = 0x20000, 0x40000
GEMPC_TWIN_FEATURES = 0x00010230  # what libccid gives the serial GemPC Twin


class CcidLink(ABC):
    """Sends commands, tells what the reader said by itself."""

    features: int = GEMPC_TWIN_FEATURES
    answer_timeout_s: float = ANSWER_TIMEOUT_S

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.present: bool | None = None  # by the last slot change or status; None = not known
        self._seq = 0

    def exchange(
        self, type_: int, deadline_s: float, specific: bytes = b"\0\0\0", data: bytes = b"", longer: int = 1
    ) -> ccid.Response:
        """The reader's final answer, failed or not; `longer` times the usual patience. Raises PortError, DeviceTimeout,
        DeviceGarbled."""
        self._seq = (self._seq + 1) & 0xFF
        command = ccid.Command(type_, self._seq, specific, data)
        tries = TRIES if type_ in REPEATABLE else 1
        for _ in range(tries):
            response = self._once(command, deadline_s, longer)
            if response is not None:
                self.present = response.icc != ccid.ICC_ABSENT
                return response
            self.counters["answer_timeouts"] += 1
            if not remaining(deadline_s):
                break
        if self.present is False:
            raise CardGone("the card was taken out")
        raise DeviceTimeout(f"the reader did not answer command {type_:02X}")

    def _once(self, command: ccid.Command, deadline_s: float, longer: int) -> ccid.Response | None:
        raw = ccid.build_command(command)
        self._send(raw, deadline_s)
        patience = min(deadline_s, time.monotonic() + self.answer_timeout_s * longer)
        while True:
            event = self._event(raw, patience, deadline_s)
            if event is None:
                return None
            if event == "longer":
                patience = max(patience, min(deadline_s, time.monotonic() + self.answer_timeout_s))
            elif isinstance(event, ccid.Response) and self._fits(command, event):
                if event.outcome != ccid.COMMAND_TIME_EXTENSION:
                    return event
                self.counters["time_extensions"] += 1
                patience = min(deadline_s, time.monotonic() + self.answer_timeout_s * max(1, event.error))
            if not remaining(deadline_s):
                return None  # a reader that says anything but the answer, for ever

    def _fits(self, command: ccid.Command, response: ccid.Response) -> bool:
        if response.seq == command.seq and response.slot == command.slot:
            return True
        self.counters["stale_answers"] += 1
        return False

    @abstractmethod
    def _send(self, raw: bytes, deadline_s: float) -> None:
        """One command leaves."""

    @abstractmethod
    def _event(self, raw: bytes, patience_s: float, deadline_s: float) -> ccid.Response | str | None:
        """The next response; "longer" = more patience; None = silence until `patience_s`."""

    @abstractmethod
    def listen(self, deadline_s: float) -> None:
        """Take what the reader sends by itself (slot changes into `present`) until the deadline."""


class SerialCcidLink(CcidLink):
    """GemPC Twin framing. Echoes are skipped whether the reader sends them or not."""

    def __init__(self, port: BytePort) -> None:
        super().__init__()
        self._port = port
        self._stream: FrameStream[ccid.SerialEvent] = FrameStream(port, ccid.serial_scanner())
        self._naks = 0

    def _send(self, raw: bytes, deadline_s: float) -> None:
        self.listen(time.monotonic())
        self._stream.flush()
        self._naks = 0
        self._port.write(ccid.serial_frame(raw), deadline_s)

    def _event(self, raw: bytes, patience_s: float, deadline_s: float) -> ccid.Response | str | None:
        event = self._stream.next(patience_s)
        if event is None:
            return None
        if isinstance(event, ccid.SlotChange):
            self.present = event.present
        elif isinstance(event, ccid.TimeRequest):
            self.counters["time_requests"] += 1
            return "longer"
        elif isinstance(event, ccid.SerialMessage):
            return ccid.parse_response(event.message) if event.is_response else ""
        else:
            # Damaged: ask for the answer once more. NAK: the reader has not understood the command.
            repeat = ccid.NAK_FRAME if isinstance(event, Spoilt) else ccid.serial_frame(raw)
            self._spend_a_try()
            self._port.write(repeat, deadline_s)
            return "longer"
        return ""

    def _spend_a_try(self) -> None:
        self._naks += 1
        self.counters["naks"] += 1
        if self._naks >= TRIES:
            raise DeviceGarbled("the reader and this program cannot understand each other")

    def listen(self, deadline_s: float) -> None:
        """See CcidLink."""
        self._stream.take(self._heard, deadline_s)

    def _heard(self, event: ccid.SerialEvent) -> None:
        if isinstance(event, ccid.SlotChange):
            self.present = event.present
        else:
            self.counters["stale_answers"] += 1


class UsbCcidLink(CcidLink):
    """Bulk endpoints for commands, the interrupt endpoint for slot changes."""

    def __init__(self, port: UsbBytePort) -> None:
        super().__init__()
        self._port = port
        self.features = port.ccid_features

    def _send(self, raw: bytes, deadline_s: float) -> None:
        self._port.write(raw, deadline_s)

    def _event(self, raw: bytes, patience_s: float, deadline_s: float) -> ccid.Response | str | None:
        data = self._port.read(READ_BYTES_MAX, patience_s)
        if not data:
            self._abort(deadline_s)
            return None
        try:
            return ccid.parse_response(data)
        except FrameError:
            self.counters["damaged_answers"] += 1
            return ""

    def _abort(self, deadline_s: float) -> None:
        """ABORT on the control pipe, then 72 on the bulk pipe, with the same sequence number (rev 1.1, 5.3.1)."""
        self.counters["aborts"] += 1
        self._port.ccid_abort(self._seq, deadline_s)
        self._port.write(ccid.build_command(ccid.Command(ccid.ABORT, self._seq)), deadline_s)

    def listen(self, deadline_s: float) -> None:
        """See CcidLink."""
        data = self._port.read_interrupt(deadline_s)
        change = ccid.parse_interrupt(data)
        if change is not None:
            self.present = change


def checked(response: ccid.Response, doing: str) -> ccid.Response:
    """`response` when it tells success; otherwise the typed error for its code."""
    if response.outcome == ccid.COMMAND_OK:
        return response
    name = ccid.error_name(response.error)
    if response.icc == ccid.ICC_ABSENT:
        raise CardGone(f"the card was taken out while {doing}")
    if response.error == 0xFE:
        raise CardMute(f"the card did not answer while {doing}")
    if response.error in (0xF7, 0xF8):
        raise CardUnreadable(f"the card's answer to reset is wrong ({name})")
    if response.error == 0xEF:
        raise PinCancelled("PIN entry was cancelled at the reader", name)
    if response.error == 0xF0:
        raise PinTimeout("nobody entered a PIN at the reader", name)
    raise DeviceRefused(f"the reader reports {name} while {doing}", name)
