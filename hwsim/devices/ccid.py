"""The CCID message layer of a simulated reader with one slot, whatever carries the messages.

    > 62 00 00 00 00 00 05 00 00 00                       IccPowerOn, slot 0, sequence 5
    < 80 0C 00 00 00 00 05 00 00 00 3B 68 ...             DataBlock: the answer to reset
      ^  ^           ^  ^  ^  ^  ^ message-specific
      |  dwLength LE |  |  |  bError
      bMessageType   |  |  bStatus: bits 1..0 card (0 active, 1 inactive, 2 absent), bits 7..6 (40 failed, 80 wait)
                     |  bSeq, as in the command
                     bSlot

Source: USB-IF "Smart Card CCID" rev 1.1, chapter 6; error numbers from table 6.2-2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor

from hwsim.devices.card import EmvCard

HEADER_BYTES = 10
MAX_DATA_BYTES = 261  # dwMaxCCIDMessageLength 271 less the header
ACTIVE, INACTIVE, ABSENT = 0, 1, 2
FAILED, WAIT = 0x40, 0x80
ICC_MUTE, XFR_PARITY_ERROR, HW_ERROR = 0xFE, 0xFD, 0xFB
BAD_ATR_TS, SLOT_BUSY = 0xF8, 0xE0
COMMAND_NOT_SUPPORTED, BAD_LENGTH, BAD_SLOT, BAD_PROTOCOL = 0, 1, 5, 7
T0_PARAMETERS = bytes.fromhex("1100000A00")
PARAMETER_BYTES = (5, 7)  # of T=0 and T=1
FIRMWARE = b"GemTwin-V2.00-GH01"
DATA_BLOCK, SLOT_STATUS, PARAMETERS, ESCAPE, DATA_RATE = 0x80, 0x81, 0x82, 0x83, 0x84
ANSWER_TYPE = {0x62: DATA_BLOCK, 0x6F: DATA_BLOCK, 0x69: DATA_BLOCK, 0x6B: ESCAPE, 0x73: DATA_RATE}
ANSWER_TYPE |= {0x61: PARAMETERS, 0x6C: PARAMETERS, 0x6D: PARAMETERS}


class CcidSlot:
    """One slot: `handle` gives the answer to one command message (header and data).

    `apdu_level`: the reader speaks T=0 and T=1 itself and takes whole APDUs (dwFeatures 20000); else it passes on what
    the program made for the card, and has to be told the protocol (SetParameters), as a GemPC Twin does.
    """

    def __init__(self, apdu_level: bool = False) -> None:
        self.apdu_level = apdu_level
        self.card: EmvCard | None = None
        self.synchronous_notice = False
        self.mute = False
        self.atr_override: bytes | None = None
        self.next_error: int | None = None
        self.reset()

    def reset(self) -> None:
        """The reader's own power on."""
        self.active = False
        self.synchronous_notice = False
        self._parameters, self._protocol = T0_PARAMETERS, 0
        self._fresh = False

    @property
    def card_status(self) -> int:
        if self.card is None:
            return ABSENT
        return ACTIVE if self.active else INACTIVE

    def insert(self, card: EmvCard) -> None:
        self.card, self.active = card, False

    def remove(self) -> None:
        self.card, self.active = None, False

    def work_s(self, message: bytes) -> float:
        """How long the card will think about this command."""
        if message[0] != 0x6F or self.card is None or not self.active or self.mute:
            return 0.0
        block = message[HEADER_BYTES:]
        through_t1 = self._protocol == 1 and not self.apdu_level
        return self.card.t1.work_s(block) if through_t1 else self.card.work_s(block)

    def handle(self, message: bytes) -> bytes:
        if message[5] != 0:
            return self.failure(message, BAD_SLOT)
        error, self.next_error = self.next_error, None
        if error is not None:
            return self.failure(message, error)
        handler = COMMANDS.get(message[0])
        return self.failure(message, COMMAND_NOT_SUPPORTED) if handler is None else handler(self, message)

    def answer(self, message: bytes, data: bytes = b"", last: int = 0, status: int = 0, error: int = 0) -> bytes:
        kind = ANSWER_TYPE.get(message[0], SLOT_STATUS)
        header = bytes([kind]) + len(data).to_bytes(4, "little") + message[5:7]
        return header + bytes([status | self.card_status, error, last]) + data

    def failure(self, message: bytes, error: int) -> bytes:
        return self.answer(message, status=FAILED, error=error)

    def wait_request(self, message: bytes, multiplier: int = 1) -> bytes:
        """The framed time request: the final answer follows with the same sequence number."""
        return self.answer(message, status=WAIT, error=multiplier)

    # The commands

    def power_on(self, message: bytes) -> bytes:
        if self.card is None or self.mute:
            self.active = False
            return self.failure(message, ICC_MUTE)
        atr = self.card.atr if self.atr_override is None else self.atr_override
        if not atr or atr[0] not in (0x3B, 0x3F):
            return self.failure(message, BAD_ATR_TS)
        self.card.reset()
        self.active, self._fresh, self._parameters, self._protocol = True, True, T0_PARAMETERS, 0
        return self.answer(message, atr)

    def power_off(self, message: bytes) -> bytes:
        self.active = False
        return self.slot_status(message)

    def slot_status(self, message: bytes) -> bytes:
        return self.answer(message, last=0 if self.active else 1)

    def transfer(self, message: bytes) -> bytes:
        command = message[HEADER_BYTES:]
        if self.card is None or not self.active or self.mute:
            return self.failure(message, ICC_MUTE)
        if self.apdu_level:
            return self.answer(message, self.card.apdu(command))
        fresh, self._fresh = self._fresh, False
        if fresh and command[:1] == b"\xff":
            return self._protocol_selection(message, command, self.card.protocol)
        if self._protocol != self.card.protocol:
            return self.failure(message, ICC_MUTE)  # the card hears nothing that makes sense to it
        if self._protocol == 1:
            block = self.card.t1.block(command)
            return self.failure(message, ICC_MUTE) if block is None else self.answer(message, block)
        if len(command) < 4 or (len(command) > 5 and len(command) - 5 not in (command[4], command[4] + 1)):
            return self.failure(message, BAD_LENGTH)
        return self.answer(message, self.card.transmit(command))

    def _protocol_selection(self, message: bytes, command: bytes, protocol: int) -> bytes:
        if reduce(xor, command, 0) != 0 or len(command) < 3 or command[1] & 0x0F != protocol:
            return self.failure(message, ICC_MUTE)
        return self.answer(message, command)

    def get_parameters(self, message: bytes) -> bytes:
        return self.answer(message, self._parameters, last=self._protocol)

    def reset_parameters(self, message: bytes) -> bytes:
        self._parameters, self._protocol = T0_PARAMETERS, 0
        return self.answer(message, self._parameters)

    def set_parameters(self, message: bytes) -> bytes:
        protocol = message[7]
        if protocol not in (0, 1):
            return self.failure(message, BAD_PROTOCOL)
        if len(message) != HEADER_BYTES + PARAMETER_BYTES[protocol]:
            return self.failure(message, BAD_LENGTH)
        self._parameters, self._protocol = message[HEADER_BYTES:], protocol
        return self.answer(message, self._parameters, last=protocol)

    def escape(self, message: bytes) -> bytes:
        """The Gemalto escapes that libccid's serial driver sends at open (ccid_serial.c)."""
        data = message[HEADER_BYTES:]
        if data == b"\x02":
            return self.answer(message, FIRMWARE)
        if data[:2] == b"\x01\x01" and len(data) == 3:
            self.synchronous_notice = data[2] == 0x01
            return self.answer(message)
        return self.failure(message, COMMAND_NOT_SUPPORTED)

    def data_rate(self, message: bytes) -> bytes:
        return self.answer(message, (4000).to_bytes(4, "little") + (10752).to_bytes(4, "little"))

    def abort(self, message: bytes) -> bytes:
        return self.slot_status(message)


COMMANDS: dict[int, Callable[[CcidSlot, bytes], bytes]] = {
    0x61: CcidSlot.set_parameters,
    0x62: CcidSlot.power_on,
    0x63: CcidSlot.power_off,
    0x65: CcidSlot.slot_status,
    0x6B: CcidSlot.escape,
    0x6C: CcidSlot.get_parameters,
    0x6D: CcidSlot.reset_parameters,
    0x6E: CcidSlot.slot_status,
    0x6F: CcidSlot.transfer,
    0x72: CcidSlot.abort,
    0x73: CcidSlot.data_rate,
}
