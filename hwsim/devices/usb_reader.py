"""The card reader on USB: CCID messages are transfers, card movements come by the interrupt endpoint.

    bulk OUT    65 00 00 00 00 00 01 00 00 00
    bulk IN     81 00 00 00 00 00 01 02 00 01
    interrupt   50 03                           a card is in (50 02: none)

Source: USB-IF "Smart Card CCID" rev 1.1, chapters 5 (descriptors) and 6.3 (interrupt messages).
"""

from __future__ import annotations

from hwsim.devices.ccid import HEADER_BYTES, MAX_DATA_BYTES, WAIT
from hwsim.devices.reader import CardReader

PRESENT_AND_CHANGED, ABSENT_AND_CHANGED = b"\x50\x03", b"\x50\x02"


class UsbReader(CardReader):
    """Each `feed` is one transfer. `notices` are what the interrupt endpoint has to tell."""

    def __init__(self, seed: int = 0, apdu_level: bool = False) -> None:
        super().__init__(seed, apdu_level)
        self.notices: list[bytes] = []

    def power_on(self) -> None:
        super().power_on()
        self.tell_again()

    def receive(self, data: bytes) -> None:
        if not data:
            return
        if len(data) < HEADER_BYTES or len(data) - HEADER_BYTES != int.from_bytes(data[1:5], "little"):
            # A transfer that is not one whole message: nobody knows what it asked for, so no answer.
            self.counters["broken transfers"] += 1
        elif len(data) > HEADER_BYTES + MAX_DATA_BYTES:
            self.counters["broken transfers"] += 1
        else:
            self.command(data)

    def answer(self, message: bytes) -> None:
        self.emit(message)

    def ask_for_time(self, message: bytes) -> None:
        self.emit(self.slot.answer(message, status=WAIT, error=1), counted=False)

    def card_moved(self) -> None:
        self.notices.append(ABSENT_AND_CHANGED if self.slot.card is None else PRESENT_AND_CHANGED)

    def tell_again(self) -> None:
        """A reader tells its slot's state when it starts and when a host configures it (CCID 6.3.1)."""
        self.notices = []
        self.card_moved()

    def take_notices(self) -> list[bytes]:
        """What the interrupt endpoint sends now."""
        if not self.plugged or self.silent:
            return []
        notices, self.notices = self.notices, []
        return notices
