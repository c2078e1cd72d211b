"""T=1, the block protocol of ISO/IEC 7816-3 clause 11, interface device's side, for readers that leave it to us.

Rules
1. A block is repeated only as the protocol says: when the card asked for it, or when nothing usable came. Its number
   tells the card whether it has it already: a command is never executed twice because of a repetition.
2. After three failures the command ends with an error, and is not begun again here (it could be a second cryptogram).
   The next command first brings both sides into step again, by S(RESYNCH).
3. S(WTX) gives the card and the reader more time (bBWI), never more than the caller's deadline.

Source: ISO/IEC 7816-3:2006, clauses 11.3 (blocks), 11.4 (sizes), 11.6 (rules); EMV Book 1, 9.2.4.1 (size FE first).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from drivers.errors import CardMute, CardUnreadable, DeviceGarbled, DeviceRefused
from protocol import iso7816 as iso
from protocol.errors import FrameError

# One block there and back: block, deadline, multiple of the block waiting time (0: the usual one).
Transfer = Callable[[bytes, float, int], bytes]

TRIES = 3  # 7816-3, 11.6.3.2, rule 7: two repetitions, then resynchronisation
ANSWER_BYTES_MAX = 258  # of a short APDU, status word included; a card may send them byte by byte
SUPERVISORY_MAX = 100  # time requests and the like around one block; a deadline ends it too
# The reader's words for a block that did not come through (see protocol/ccid.py); the card has still its power.
DAMAGED = frozenset({"XFR_PARITY_ERROR", "XFR_OVERRUN"})
CHECK_ERROR, OTHER_ERROR = 1, 2  # of R-blocks; 0: none


class T1:
    """One powered card. `ifsc`: the card's longest block; `counters` are the reader's."""

    def __init__(self, transfer: Transfer, ifsc: int, counters: Counter[str]) -> None:
        self._transfer = transfer
        self._ifsc = min(max(ifsc, 1), iso.T1_INF_MAX)
        self._counters = counters
        self._send_sequence = 0
        self._receive_sequence = 0
        self._failures = 0
        self._in_step = True

    def announce_size(self, deadline_s: float) -> None:
        """S(IFS): the card may send blocks of 254 bytes. One that does not know it goes on with 32."""
        wanted = bytes([iso.T1_INF_MAX])
        if not self._confirmed(iso.T1Block(iso.S_IFS, wanted), deadline_s):
            self._counters["t1_sizes_refused"] += 1

    def transmit(self, data: bytes, deadline_s: float) -> bytes:
        """Send `data` in as many blocks as the card wants, and collect its answer.

        Raises DeviceGarbled, CardMute, CardUnreadable, and what the reader raises.
        """
        if not self._in_step:
            self._resynchronise(deadline_s)
        self._in_step, self._failures = False, 0
        pieces = [data[i : i + self._ifsc] for i in range(0, len(data), self._ifsc)]
        answer = iso.r_block(0)
        while pieces:
            answer = self._settled(iso.i_block(self._send_sequence, pieces[0], len(pieces) > 1), deadline_s)
            self._send_sequence ^= 1
            rest = b"".join(pieces[1:])  # cut anew: the card may have changed its size meanwhile
            pieces = [rest[i : i + self._ifsc] for i in range(0, len(rest), self._ifsc)]
        whole = self._collected(answer, deadline_s)
        self._in_step = True
        return whole

    def _collected(self, answer: iso.T1Block, deadline_s: float) -> bytes:
        data = b""
        for _ in range(ANSWER_BYTES_MAX):
            data += answer.inf
            self._receive_sequence ^= 1
            if not answer.more:
                return data
            if len(data) >= ANSWER_BYTES_MAX:
                break
            answer = self._settled(iso.r_block(self._receive_sequence), deadline_s)
        raise CardUnreadable("the card's chain of blocks has no end")

    def _settled(self, block: iso.T1Block, deadline_s: float) -> iso.T1Block:
        """The block of the card that answers ours: its next I-block, or the R-block that asks for our next one."""
        sending, waiting = block, 0
        for _ in range(SUPERVISORY_MAX):
            answer = self._answer(sending, deadline_s, waiting)
            waiting = 0
            if answer is None:
                sending = self._again(iso.r_block(self._receive_sequence, CHECK_ERROR))
            elif answer.kind == iso.S_BLOCK:
                sending, waiting = self._supervised(answer, deadline_s)
            elif self._fits(answer, block):
                self._failures = 0
                return answer
            elif self._missed(answer, block):
                sending = self._again(block)
            else:
                sending = self._again(iso.r_block(self._receive_sequence, OTHER_ERROR))
        raise DeviceGarbled("the card's T=1 blocks do not come to an end")

    def _fits(self, answer: iso.T1Block, block: iso.T1Block) -> bool:
        if block.more:
            return answer.kind == iso.R_BLOCK and answer.sequence != block.sequence
        return answer.kind == iso.I_BLOCK and answer.sequence == self._receive_sequence

    @staticmethod
    def _missed(answer: iso.T1Block, block: iso.T1Block) -> bool:
        """The card has not got ours: it says so, or says its last I-block once more."""
        return answer.kind == iso.I_BLOCK or block.kind == iso.R_BLOCK or answer.sequence == block.sequence

    def _answer(self, block: iso.T1Block, deadline_s: float, waiting: int = 0) -> iso.T1Block | None:
        """One block there and back; None = nothing usable came. At the third time the reader's error is raised."""
        try:
            return iso.parse_t1(self._transfer(iso.build_t1(block), deadline_s, waiting))
        except FrameError:
            self._counters["t1_damaged_blocks"] += 1
        except (CardMute, DeviceRefused) as error:
            if isinstance(error, DeviceRefused) and error.reason not in DAMAGED:
                raise
            self._counters["t1_lost_blocks"] += 1
            if self._failures + 1 >= TRIES:
                raise
        return None

    def _again(self, block: iso.T1Block) -> iso.T1Block:
        self._failures += 1
        self._counters["t1_repeated_blocks"] += 1
        if self._failures >= TRIES:
            raise DeviceGarbled("the card and the reader cannot understand each other (T=1)")
        return block

    # ------------------------------------------------------------ supervisory blocks

    def _supervised(self, request: iso.T1Block, deadline_s: float) -> tuple[iso.T1Block, int]:
        """What to send for the card's supervisory block, and how much longer to wait for what follows."""
        reply, waiting = iso.T1Block(request.pcb | iso.S_RESPONSE, request.inf), 0
        if request.pcb == iso.S_IFS and len(request.inf) == 1 and 1 <= request.inf[0] <= iso.T1_INF_MAX:
            self._ifsc = request.inf[0]
        elif request.pcb == iso.S_WTX and len(request.inf) == 1:
            self._counters["time_requests"] += 1
            waiting = request.inf[0]
        elif request.pcb == iso.S_ABORT:
            self._answer(reply, deadline_s)  # the card hears that we heard, whatever it says then
            raise CardUnreadable("the card broke off its answer")
        else:
            return self._again(iso.r_block(self._receive_sequence, OTHER_ERROR)), 0
        return reply, waiting

    def _resynchronise(self, deadline_s: float) -> None:
        """Both sides begin anew with block 0. Raises CardMute when the card does not agree."""
        self._counters["t1_resynchronised"] += 1
        if not self._confirmed(iso.T1Block(iso.S_RESYNCH), deadline_s):
            raise CardMute("the card does not come back into step")
        self._send_sequence = self._receive_sequence = 0

    def _confirmed(self, request: iso.T1Block, deadline_s: float) -> bool:
        """Whether the card gave our supervisory block back, at one of three tries."""
        self._failures = 0
        for _ in range(TRIES):
            answer = self._answer(request, deadline_s)
            if answer is not None and (answer.pcb, answer.inf) == (request.pcb | iso.S_RESPONSE, request.inf):
                return True
        return False
