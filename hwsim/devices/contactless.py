"""A contactless reader: ID TECH NEO 2 (ViVOpay protocol 2).

    > 56 69 56 4F 74 65 63 68 32 00  18 01 00 00  B3 CD     ping; CRC low byte first
    < 56 69 56 4F 74 65 63 68 32 00  18 00 00 00  FA 83     OK; CRC high byte first
      "ViVOtech2\\0"                 |  |  length
                                     |  sub-command, or the status of an answer
                                     command

Source: ID TECH "NEO 2 Interface Developer's Guide" (2019), p. 28 (CRC, status), p. 110 (times), p. 212 (02-01), p. 221
(05-01). Assumed: the sub-numbers of 01-01, 29-00 and 83-01, and that a cancelled activation is answered only by the
answer to the cancel.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable

from hwsim.devices.card import CardSpec, load_card
from hwsim.devices.device import FRAME_PAUSE_S, SimDevice, Timer
from hwsim.devices.tlv import tlv

HEADER = b"ViVOtech2\0"
HEAD_BYTES, CRC_BYTES, MAX_DATA_BYTES = len(HEADER) + 4, 2, 1024
OK, UNKNOWN_COMMAND, CRC_ERROR, BAD_PARAMETER, TIME_OUT, FAILED = 0x00, 0x02, 0x04, 0x05, 0x08, 0x0A
NOT_ALLOWED, ONLINE = 0x0B, 0x23
AUTOMATIC, ON_DEMAND = 0, 1
FIRMWARE = b"NEO v2.00.bench\0"
ACTIVATE, PASS_THROUGH = 0x02, 0x2C


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 1021, start FFFF, not reflected (p. 28). The driver takes crcmod's."""
    return binascii.crc_hqx(data, 0xFFFF)


class ContactlessReader(SimDevice):
    """Waits for a card when told to, or always (automatic poll mode)."""

    kind = "contactless"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.display = ""
        self.power_on()

    def power_on(self) -> None:
        self._buffer = b""
        self._last_byte_at = 0.0
        self.mode = ON_DEMAND
        self._waiting: Timer | None = None
        self._amount = b""
        self._presented: bytes | None = None

    def details(self) -> dict[str, object]:
        return {"display": self.display, "waiting": self._waiting is not None, "mode": self.mode}

    def actions(self) -> dict[str, Callable[..., object]]:
        return {"tap": self.tap}

    def tap(self, card: str) -> None:
        """A person holds a card of `hwsim/cards` (or a TOML file by path) to the reader."""
        data = self._card_data(load_card(card))
        self.counters["cards tapped"] += 1
        if self._waiting is not None:
            self._end_wait()
            self._answer(ACTIVATE, ONLINE, data)
        elif self.mode == AUTOMATIC:
            self._presented = data

    def _card_data(self, card: CardSpec) -> bytes:
        """Tracks 1, 2 and 3 with their lengths, the flag of DE 55, data objects (p. 212)."""
        track2 = f"{card.text('pan')}={card.text('expiry')}{card.text('service_code')}{card.text('discretionary')}"
        objects = tlv("4F", card.data("aid")) + tlv("9F02", self._amount or bytes(6))
        return b"\0" + bytes([len(track2)]) + track2.encode("ascii") + b"\0" + b"\x01" + objects

    # Frames

    def receive(self, data: bytes) -> None:
        if self._buffer and self.now - self._last_byte_at > FRAME_PAUSE_S:
            self.counters["frames abandoned"] += 1
            self._buffer = b""
        self._last_byte_at = self.now
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        """One frame, or one byte of noise; false when more bytes are needed."""
        buffer = self._buffer
        if not buffer:
            return False
        if not HEADER.startswith(buffer[: len(HEADER)]):
            return self._drop()
        if len(buffer) < HEAD_BYTES:
            return False
        length = int.from_bytes(buffer[12:14], "big")
        if length > MAX_DATA_BYTES:
            return self._drop()
        size = HEAD_BYTES + length + CRC_BYTES
        if len(buffer) < size:
            return False
        self._buffer = buffer[size:]
        self._frame(buffer[:size])
        return True

    def _drop(self) -> bool:
        self._buffer = self._buffer[1:]
        self.counters["noise bytes"] += 1
        return True

    def _frame(self, frame: bytes) -> None:
        command, sub, data = frame[10], frame[11], frame[HEAD_BYTES:-CRC_BYTES]
        told = int.from_bytes(frame[-CRC_BYTES:], "big" if command == PASS_THROUGH else "little")
        if told != crc16(frame[:-CRC_BYTES]):
            self.counters["wrong CRC"] += 1
            self._answer(command, CRC_ERROR)
            return
        self.counters["commands"] += 1
        handler = COMMANDS.get((command, sub))
        if handler is None:
            self._answer(command, UNKNOWN_COMMAND)
        elif self._waiting is not None and (command, sub) != (0x05, 0x01):
            self._answer(command, NOT_ALLOWED)
        else:
            handler(self, data)

    def _answer(self, command: int, status: int, data: bytes = b"") -> None:
        head = HEADER + bytes([command, status]) + len(data).to_bytes(2, "big") + data
        self.emit(head + crc16(head).to_bytes(2, "big"))

    # The commands

    def ping(self, _data: bytes) -> None:
        self._answer(0x18, OK)

    def firmware(self, _data: bytes) -> None:
        self._answer(0x29, OK, FIRMWARE)

    def poll_mode(self, data: bytes) -> None:
        if data not in (b"\0", b"\1"):
            self._answer(0x01, BAD_PARAMETER)
            return
        self.mode = data[0]
        self._presented = None
        self._answer(0x01, OK)

    def activate(self, data: bytes) -> None:
        if not data or not data[0]:
            self._answer(ACTIVATE, BAD_PARAMETER)
            return
        at = data.find(b"\x9f\x02\x06")
        self._amount = data[at + 3 : at + 9] if at >= 0 else b""
        self._waiting = self.after(float(data[0]), self._nobody)

    def _nobody(self) -> None:
        self._waiting = None
        self._answer(ACTIVATE, TIME_OUT)

    def _end_wait(self) -> None:
        self.cancel(self._waiting)
        self._waiting = None

    def result(self, _data: bytes) -> None:
        presented, self._presented = self._presented, None
        if presented is None:
            self._answer(0x03, FAILED)
        else:
            self._answer(0x03, ONLINE, presented)

    def stop(self, _data: bytes) -> None:
        self._end_wait()
        self._answer(0x05, OK)

    def show(self, data: bytes) -> None:
        self.display = data.split(b"\0")[0].decode("ascii", "replace")
        self._answer(0x83, OK)


COMMANDS: dict[tuple[int, int], Callable[[ContactlessReader, bytes], None]] = {
    (0x01, 0x01): ContactlessReader.poll_mode,
    (ACTIVATE, 0x01): ContactlessReader.activate,
    (0x03, 0x00): ContactlessReader.result,
    (0x05, 0x01): ContactlessReader.stop,
    (0x18, 0x01): ContactlessReader.ping,
    (0x29, 0x00): ContactlessReader.firmware,
    (0x83, 0x01): ContactlessReader.show,
}
