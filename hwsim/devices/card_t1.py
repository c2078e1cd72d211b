"""The card's end of T=1: blocks in, blocks out, and a card behind them that knows whole APDUs.

    > 00 C1 01 FE 3E                     S(IFS request): the reader takes blocks of 254 bytes
    < 00 E1 01 FE 1E                     S(IFS response)
    > 00 00 05 00A4040000 LRC            I(0,0): a command
    < 00 C3 01 02 C0                     S(WTX request): twice the block waiting time, please
    > 00 E3 01 02 E0                     S(WTX response)
    < 00 20 04 6F2A840E LRC              I(0,1): the first piece of the answer, more follows
    > 00 90 00 90                        R(1): go on
      NAD PCB LEN INF    LRC

Any bytes may come in. A block that is no good is answered by an R-block, as the standard says; None is silence.
Source: ISO/IEC 7816-3:2006, clause 11 (PCB 11.3.2.2, rules 11.6.3). Written apart from drivers/card_t1.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor

PROLOGUE_BYTES, DEFAULT_IFSD, IFS_MAX = 3, 32, 254
IFS, ABORT, RESYNCH, WTX, RESPONSE = 0xC1, 0xC2, 0xC0, 0xC3, 0x20
MORE, SECOND = 0x20, 0x40  # of an I-block's PCB: the chain goes on; N(S) = 1
CHECK_ERROR, OTHER_ERROR = 1, 2
WTX_MULTIPLIER = 2


class T1Link:
    """`apdu(command)` is the card, `work_s(command)` how long it thinks; `ifsc` its longest block in, `size` out."""

    def __init__(
        self, apdu: Callable[[bytes], bytes], work_s: Callable[[bytes], float], ifsc: int, size: int = IFS_MAX
    ) -> None:
        self._apdu, self._work_s = apdu, work_s
        self._ifsc = self._new_ifsc = ifsc
        self._size = size
        self.faults: dict[str, int] = {}  # how often each is still to happen
        self.blocks = 0
        self.reset()

    def reset(self) -> None:
        """Power on, and what the power cut ended."""
        self._ifsd = DEFAULT_IFSD
        self._restart()

    def _restart(self) -> None:
        """Both sides begin with block 0."""
        self._heard = b""  # the chain that is coming in
        self._expected = 0  # N(S) of the reader's next I-block
        self._number = 0  # N(S) of our next I-block
        self._answer: list[bytes] = []  # pieces not sent yet
        self._thinking: bytes | None = None  # the command that waits for S(WTX response)
        self._last = r_block(0, OTHER_ERROR)
        self._sent: int | None = None  # N(S) of our last I-block, while it is not confirmed

    def work_s(self, raw: bytes) -> float:
        """How long this block keeps the card busy."""
        granted = self._thinking is not None and raw[1:2] == bytes([WTX | RESPONSE])
        return self._work_s(self._thinking) if granted and self._thinking is not None else 0.0

    def block(self, raw: bytes) -> bytes | None:
        """The card's next block; None: it says nothing."""
        self.blocks += 1
        damaged = not well_formed(raw) or self._happens("deaf")
        self._last = r_block(self._expected, CHECK_ERROR) if damaged else self._reply(raw[1], raw[3:-1])
        if self._happens("lost"):
            return None
        return spoilt(self._last) if self._happens("garbled") else self._last

    def _happens(self, name: str) -> bool:
        left = self.faults.get(name, 0)
        if left:
            self.faults[name] = left - 1
        return left > 0

    def _reply(self, pcb: int, inf: bytes) -> bytes:
        if pcb & 0x80 == 0:
            return self._information(pcb, inf)
        return self._supervised(pcb, inf) if pcb & 0x40 else self._receipt(pcb)

    # I-blocks

    def _information(self, pcb: int, inf: bytes) -> bytes:
        wrong_number = bool(pcb & SECOND) != bool(self._expected) or self.faults.get("out of step", 0) > 0
        if wrong_number or len(inf) > self._ifsc or self._thinking is not None:
            return r_block(self._expected, OTHER_ERROR)
        self._expected ^= 1
        self._sent = None  # the reader's I-block confirms ours
        self._heard += inf
        if pcb & MORE:
            return r_block(self._expected)
        command, self._heard = self._heard, b""
        if self._work_s(command) > 0 or self._happens("asks for time"):
            self._thinking = command
            return s_block(WTX, bytes([WTX_MULTIPLIER]))
        return self._executed(command)

    def _executed(self, command: bytes) -> bytes:
        whole = self._apdu(command)
        size = min(self._size, self._ifsd)
        self._answer = [whole[at : at + size] for at in range(0, len(whole), size)]
        if self._happens("aborts"):
            self._answer = []
            return s_block(ABORT)
        if self._happens("new size"):
            self._ifsc = self._new_ifsc
            return s_block(IFS, bytes([self._ifsc]))
        return self._next_piece()

    def _next_piece(self) -> bytes:
        if not self._answer:
            return self._last
        piece = self._answer.pop(0)
        self._sent = self._number
        self._number ^= 1
        return framed((SECOND if self._sent else 0) | (MORE if self._answer else 0), piece)

    # R- and S-blocks

    def _receipt(self, pcb: int) -> bytes:
        """The reader has got our block and wants the next one, or it has not got it."""
        if self._sent is None or (pcb >> 4) & 1 == self._sent:
            return self._last
        return self._next_piece() if self._answer else r_block(self._expected)  # all was said: your turn

    def _supervised(self, pcb: int, inf: bytes) -> bytes:
        if pcb == RESYNCH:
            self._restart()
            self.faults.pop("out of step", None)
            return s_block(RESYNCH | RESPONSE)
        if pcb == IFS and len(inf) == 1 and 1 <= inf[0] <= IFS_MAX:
            self._ifsd = inf[0]
            return s_block(IFS | RESPONSE, inf)
        if pcb == ABORT:
            self._heard, self._answer = b"", []
            return s_block(ABORT | RESPONSE)
        if pcb == WTX | RESPONSE and self._thinking is not None:
            return self._granted(inf)
        if pcb in (IFS | RESPONSE, ABORT | RESPONSE):
            return self._next_piece() if self._answer else r_block(self._expected)
        return r_block(self._expected, OTHER_ERROR)

    def _granted(self, inf: bytes) -> bytes:
        if inf != bytes([WTX_MULTIPLIER]):
            return r_block(self._expected, OTHER_ERROR)
        if self._happens("asks for time"):
            return s_block(WTX, bytes([WTX_MULTIPLIER]))
        command, self._thinking = self._thinking or b"", None
        return self._executed(command)

    def fail(self, name: str, count: int) -> None:
        """One of the card's own faults, `count` times."""
        self.faults[name] = self.faults.get(name, 0) + count

    def shrink(self, size: int) -> None:
        """The card tells before its next answer that it takes blocks of another size from then on."""
        self._new_ifsc = min(max(size, 1), IFS_MAX)
        self.fail("new size", 1)


def well_formed(raw: bytes) -> bool:
    """Whole, and its check byte is right."""
    whole = len(raw) > PROLOGUE_BYTES and len(raw) == PROLOGUE_BYTES + raw[2] + 1
    return whole and reduce(xor, raw) == 0


def framed(pcb: int, inf: bytes = b"") -> bytes:
    body = bytes([0, pcb, len(inf)]) + inf
    return body + bytes([reduce(xor, body)])


def spoilt(block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 0xFF])


def r_block(number: int, error: int = 0) -> bytes:
    return framed(0x80 | number << 4 | error)


def s_block(pcb: int, inf: bytes = b"") -> bytes:
    return framed(pcb, inf)
