"""A chip card reader: CCID over a serial line in GemPC Twin framing.

    > 03 06 65 00 00 00 00 00 01 00 00 00 61              SYNC ACK, GetSlotStatus, LRC
    < 03 06 65 00 00 00 00 00 01 00 00 00 61              the reader first echoes the command,
    < 03 06 81 00 00 00 00 00 01 02 00 01 86              then answers
    < 50 03                                               between frames: a card was inserted (02: removed)

LRC is the XOR of every byte before it, SYNC and ACK included. 03 15 16 refuses a frame (NAK). A single byte
80..FF between frames asks for more time. Sources: libccid ccid_serial.c (git 5de6a966); 115200 8N2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor

from hwsim.devices.card import EmvCard, load_card
from hwsim.devices.ccid import (
    HEADER_BYTES,
    HW_ERROR,
    MAX_DATA_BYTES,
    SLOT_BUSY,
    XFR_PARITY_ERROR,
    CcidSlot,
)
from hwsim.devices.device import FRAME_PAUSE_S, SimDevice
from hwsim.errors import BenchError

SYNC, ACK, NAK = 0x03, 0x06, 0x15
NAK_FRAME = bytes([SYNC, NAK, SYNC ^ NAK])
TIME_REQUEST = b"\x81"
TIME_REQUEST_EVERY_S = 0.5  # assumed; libccid waits 3 s and more for each byte


class CardReader(SimDevice):
    """What a reader does with a card, whatever its line: insertion, removal, thinking time, faults."""

    kind = "reader"

    def __init__(self, seed: int = 0, apdu_level: bool = False) -> None:
        super().__init__(seed)
        self.slot = CcidSlot(apdu_level)
        self._working: bytes | None = None
        self._pull_after_commands: int | None = None
        self._refuse_next = False

    def insert_card(self, card: str | EmvCard) -> None:
        """A person puts a card in: a name of `hwsim/cards`, a TOML path, or a card that was in before."""
        self.slot.insert(card if isinstance(card, EmvCard) else EmvCard(load_card(card)))
        self.counters["card inserted"] += 1
        self.card_moved()

    def remove_card(self) -> EmvCard | None:
        """A person takes the card out; gives the card, so that it can be inserted again."""
        card = self.slot.card
        if card is not None:
            self.slot.remove()
            self.counters["card removed"] += 1
            self.card_moved()
        return card

    def actions(self) -> dict[str, Callable[..., object]]:
        return {"insert-card": self.insert_card, "remove-card": self.remove_card}

    def power_on(self) -> None:
        self.slot.reset()
        self._working = None

    def details(self) -> dict[str, object]:
        return {
            "card": None if self.slot.card is None else self.slot.card.state(),
            "powered": self.slot.active,
            "mute": self.slot.mute,
            "level": "APDU" if self.slot.apdu_level else "TPDU",
        }

    def fault_card_pulled(self, after_commands: int = 0) -> None:
        """The card leaves now, or instead of the answer to the n-th card command from now."""
        if after_commands <= 0:
            self.remove_card()
        else:
            self._pull_after_commands = after_commands

    def fault_card_mute(self, mute: bool = True) -> None:
        """The card does not answer any more (dirty contacts)."""
        self.slot.mute = mute

    def fault_wrong_atr(self, atr: str = "00000000") -> None:
        """The next answers to reset are these bytes (hex); empty: the card's own again."""
        self.slot.atr_override = bytes.fromhex(atr) if atr else None

    def fault_hardware_error(self) -> None:
        """The next command fails with error FB."""
        self.slot.next_error = HW_ERROR

    def fault_parity_error(self) -> None:
        """The next command fails with error FD."""
        self.slot.next_error = XFR_PARITY_ERROR

    def fault_card_refuses(self, refuses: bool = True) -> None:
        """The inserted card refuses at the second GENERATE AC."""
        if self.slot.card is not None:
            self.slot.card.refuse_second = refuses

    def fault_card_garbles(self, count: int = 1) -> None:
        """The next blocks of a T=1 card arrive with a wrong check byte."""
        self._t1_card().t1.fail("garbled", count)

    def fault_card_deaf(self, count: int = 1) -> None:
        """A T=1 card takes the next blocks for damaged ones and says so (R-block)."""
        self._t1_card().t1.fail("deaf", count)

    def fault_card_block_lost(self, count: int = 1) -> None:
        """A T=1 card's next blocks do not arrive: the reader reports that the card is mute."""
        self._t1_card().t1.fail("lost", count)

    def fault_card_asks_time(self, count: int = 1) -> None:
        """A T=1 card asks for more time, so often, before it answers the next command (S(WTX))."""
        self._t1_card().t1.fail("asks for time", count)

    def fault_card_block_size(self, size: int = 16) -> None:
        """Before its next answer a T=1 card tells that it takes blocks of another size from then on (S(IFS))."""
        self._t1_card().t1.shrink(size)

    def fault_card_aborts(self, count: int = 1) -> None:
        """A T=1 card breaks its next answer off (S(ABORT))."""
        self._t1_card().t1.fail("aborts", count)

    def fault_card_out_of_step(self) -> None:
        """A T=1 card has lost count of the blocks until the reader brings it into step again (S(RESYNCH))."""
        self._t1_card().t1.fail("out of step", 1)

    def _t1_card(self) -> EmvCard:
        card = self.slot.card
        if card is None or card.protocol != 1:
            raise BenchError("no card that speaks T=1 is in the reader", "insert unionpay-t1")
        if self.slot.apdu_level:
            raise BenchError("this reader speaks T=1 itself: nobody sees the card's blocks", "use --reader-level tpdu")
        return card

    def command(self, message: bytes) -> None:
        """One whole CCID command; its answer goes out now, or when the card has thought."""
        self.counters["commands"] += 1
        if self._working is not None:
            self.answer(self.slot.failure(message, SLOT_BUSY))
            return
        delay_s = self.slot.work_s(message)
        if delay_s <= 0:
            self._finish(message)
            return
        self._working = message
        self._ask_for_time()
        self.after(delay_s, lambda: self._finish(message))

    def _finish(self, message: bytes) -> None:
        self._working = None
        if message[0] == 0x6F and self._pull_after_commands is not None:
            self._pull_after_commands -= 1
            if self._pull_after_commands <= 0:
                self._pull_after_commands = None
                self.remove_card()
        self.answer(self.slot.handle(message))

    def _ask_for_time(self) -> None:
        if self._working is not None:
            self.ask_for_time(self._working)
            self.after(TIME_REQUEST_EVERY_S, self._ask_for_time)

    # What the line adds

    def answer(self, message: bytes) -> None:
        raise NotImplementedError

    def ask_for_time(self, message: bytes) -> None:
        raise NotImplementedError

    def card_moved(self) -> None:
        raise NotImplementedError


class SerialReader(CardReader):
    """The reader on a serial line."""

    baud = 115200
    line_format = "8N2"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._buffer = b""
        self._last_byte_at = 0.0
        self._last_answer = b""
        self._moved = False
        self._framed_time_request = False

    def power_on(self) -> None:
        super().power_on()
        self._buffer, self._last_answer, self._moved = b"", b"", False

    def fault_framed_time_request(self, framed: bool = True) -> None:
        """Time is asked for by whole CCID messages (bStatus 80) instead of single bytes."""
        self._framed_time_request = framed

    def receive(self, data: bytes) -> None:
        if self._buffer and self.now - self._last_byte_at > FRAME_PAUSE_S:
            self.counters["frames abandoned"] += 1
            self._buffer = b""
        self._last_byte_at = self.now
        self._buffer += data
        while self._take():
            pass

    def answer(self, message: bytes) -> None:
        self._tell_moved()
        self._last_answer = framed(message)
        self.emit(self._last_answer)

    def ask_for_time(self, message: bytes) -> None:
        if self._framed_time_request:
            self.emit(framed(self.slot.wait_request(message)))
        else:
            self.emit(TIME_REQUEST, counted=False)

    def card_moved(self) -> None:
        self._moved = True
        if not self.slot.synchronous_notice:
            self._tell_moved()

    def _tell_moved(self) -> None:
        # In synchronous mode the notice comes after the command and before its answer (ccid_serial.c).
        if self._moved:
            self._moved = False
            self.emit(b"\x50\x02" if self.slot.card is None else b"\x50\x03", counted=False)

    def _take(self) -> bool:
        """Takes one frame or one byte of noise from the buffer; false when more bytes are needed."""
        buffer = self._buffer
        if not buffer:
            return False
        if buffer[0] != SYNC or (len(buffer) > 1 and buffer[1] not in (ACK, NAK)):
            return self._drop(1, "noise bytes")
        if len(buffer) < 3:
            return False
        if buffer[1] == NAK:
            return self._take_nak()
        if len(buffer) < 2 + 5:
            return False
        length = int.from_bytes(buffer[3:7], "little")
        if length > MAX_DATA_BYTES:
            return self._drop(1, "noise bytes")
        size = 2 + HEADER_BYTES + length + 1
        if len(buffer) < size:
            return False
        return self._take_frame(buffer[:size])

    def _take_nak(self) -> bool:
        if self._buffer[2] != NAK_FRAME[2]:
            return self._drop(1, "noise bytes")
        self.counters["NAK received"] += 1
        if self._last_answer:
            self.emit(self._last_answer)
        return self._drop(3, "")

    def _take_frame(self, frame: bytes) -> bool:
        self._buffer = self._buffer[len(frame) :]
        if reduce(xor, frame) != 0:
            self.counters["wrong LRC"] += 1
            self.emit(NAK_FRAME, counted=False)
            return True
        if self.line.refuses():
            self.emit(NAK_FRAME, counted=False)
            return True
        self.emit(frame, counted=False)
        self.command(frame[2:-1])
        return True

    def _drop(self, count: int, why: str) -> bool:
        self._buffer = self._buffer[count:]
        if why:
            self.counters[why] += 1
        return True


def framed(message: bytes) -> bytes:
    body = bytes([SYNC, ACK]) + message
    return body + bytes([reduce(xor, body)])
