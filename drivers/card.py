"""APDUs through a reader: power-on, parameters, T=0 and T=1.

What the reader does by itself is in its dwFeatures; the rest is done here: PPS and SetParameters, GET RESPONSE
after 61xx, the second try with the right Le after 6Cxx, and the whole T=1 block protocol on TPDU readers.
"""

from __future__ import annotations

from drivers.ccid_link import (
    FEATURE_AUTO_PARAMETERS,
    FEATURE_AUTO_VOLTAGE,
    FEATURE_EXTENDED_APDU,
    FEATURE_SHORT_APDU,
    CcidLink,
    checked,
)
from drivers.errors import CardGone, CardMute, CardUnreadable, DeviceGarbled, DeviceRefused, NoCard
from protocol import ccid
from protocol import iso7816 as iso
from protocol.errors import FrameError

CLOCK_HZ, RATE_MAX = 4_000_000, 344_086  # GemPC Twin: default clock, and its dwMaxDataRate
POWER_AUTO, POWERS = 0, (1, 2, 3)  # bPowerSelect: automatic; 5 V, 3 V, 1.8 V
ANSWER_PIECES_MAX = 40  # 61xx rounds or chained blocks for one answer; 40 * 254 > any record
TRIES = 3


class CardChannel:
    """One powered card."""

    def __init__(self, link: CcidLink, atr: iso.Atr) -> None:
        self._link = link
        self.atr = atr
        self._apdu_level = bool(link.features & (FEATURE_SHORT_APDU | FEATURE_EXTENDED_APDU))
        self._t1 = T1(self, atr.ifsc)

    def transmit(self, apdu: iso.Apdu, deadline_s: float) -> iso.ApduAnswer:
        """The card's whole answer. Raises CardGone, CardMute, CardUnreadable, DeviceError, PortError."""
        answer = self._once(apdu, deadline_s)
        data = answer.data
        for _ in range(ANSWER_PIECES_MAX):
            if answer.sw >> 8 == 0x6C:
                apdu = iso.Apdu(apdu.cla, apdu.ins, apdu.p1, apdu.p2, apdu.data, answer.sw & 0xFF)
                answer = self._once(apdu, deadline_s)
                data = answer.data
            elif answer.sw >> 8 == 0x61:
                answer = self._once(iso.get_response(apdu.cla, answer.sw & 0xFF), deadline_s)
                data += answer.data
            else:
                return iso.ApduAnswer(data, answer.sw)
        raise CardUnreadable("the card's answer has no end")

    def _once(self, apdu: iso.Apdu, deadline_s: float) -> iso.ApduAnswer:
        try:
            return iso.parse_apdu_answer(self._raw(apdu, deadline_s))
        except FrameError as error:
            raise CardUnreadable(f"the card's answer makes no sense: {error.text}") from None

    def _raw(self, apdu: iso.Apdu, deadline_s: float) -> bytes:
        if self._apdu_level:
            return self.block(apdu.encode(), deadline_s)
        if self.atr.protocol == 1:
            return self._t1.transmit(apdu.encode(), deadline_s)
        return self.block(apdu.tpdu(), deadline_s)

    def block(self, data: bytes, deadline_s: float) -> bytes:
        """One XfrBlock."""
        response = self._link.exchange(ccid.XFR_BLOCK, deadline_s, data=data)
        return checked(response, "the card was working").data


class T1:
    """The block protocol of ISO/IEC 7816-3 clause 11, interface device's side."""

    def __init__(self, channel: CardChannel, ifsc: int) -> None:
        self._channel = channel
        self._ifsc = min(max(ifsc, 1), iso.T1_INF_MAX)
        self._send_sequence = 0
        self._receive_sequence = 0

    def transmit(self, data: bytes, deadline_s: float) -> bytes:
        """Send `data` in as many blocks as the card wants, and collect its answer."""
        pieces = [data[i : i + self._ifsc] for i in range(0, len(data), self._ifsc)]
        answer = iso.r_block(0)
        for number, piece in enumerate(pieces):
            block = iso.i_block(self._send_sequence, piece, number < len(pieces) - 1)
            answer = self._acknowledged(block, deadline_s)
            self._send_sequence ^= 1
        return self._collect(answer, deadline_s)

    def _collect(self, answer: iso.T1Block, deadline_s: float) -> bytes:
        data = b""
        for _ in range(ANSWER_PIECES_MAX):
            data += answer.inf
            self._receive_sequence ^= 1
            if not answer.more:
                return data
            answer = self._acknowledged(iso.r_block(self._receive_sequence), deadline_s)
        raise CardUnreadable("the card's chain of blocks has no end")

    def _acknowledged(self, block: iso.T1Block, deadline_s: float) -> iso.T1Block:
        """The card's next I-block, or the R-block that asks for our next one."""
        sending = block
        for _ in range(TRIES * ANSWER_PIECES_MAX):
            answer = self._ask(sending, deadline_s)
            if answer is None:
                sending = iso.r_block(self._receive_sequence, 1)
            elif answer.kind == iso.S_BLOCK:
                sending = self._supervised(answer)
            elif answer.kind == iso.R_BLOCK:
                if block.more and answer.sequence != block.sequence:
                    return answer
                sending = self._once_more(block)
            elif answer.sequence == self._receive_sequence and not block.more:
                self._failures = 0
                return answer
            else:
                sending = self._once_more(iso.r_block(self._receive_sequence, 2))
        raise DeviceGarbled("the card's T=1 blocks do not come to an end")

    _failures = 0

    def _once_more(self, block: iso.T1Block) -> iso.T1Block:
        self._failures += 1
        if self._failures >= TRIES:
            self._failures = 0
            raise DeviceGarbled("the card and the reader cannot understand each other (T=1)")
        return block

    def _ask(self, block: iso.T1Block, deadline_s: float) -> iso.T1Block | None:
        raw = self._channel.block(iso.build_t1(block), deadline_s)
        try:
            return iso.parse_t1(raw)
        except FrameError:
            self._once_more(block)
            return None

    def _supervised(self, request: iso.T1Block) -> iso.T1Block:
        """The answer to the card's supervisory block."""
        if request.pcb == iso.S_IFS and len(request.inf) == 1 and 1 <= request.inf[0] <= iso.T1_INF_MAX:
            self._ifsc = request.inf[0]
        elif request.pcb == iso.S_ABORT:
            raise CardUnreadable("the card broke off its answer")
        elif request.pcb not in (iso.S_IFS, iso.S_WTX):
            return self._once_more(iso.r_block(self._receive_sequence, 2))
        return iso.T1Block(request.pcb | iso.S_RESPONSE, request.inf)


def power_on(link: CcidLink, deadline_s: float) -> CardChannel:
    """Power, ATR, parameters. Raises NoCard, CardMute, CardUnreadable, DeviceError, PortError."""
    powers = (POWER_AUTO,) if link.features & FEATURE_AUTO_VOLTAGE else POWERS
    refusal: CardMute | DeviceRefused | None = None
    for power in powers:
        response = link.exchange(ccid.ICC_POWER_ON, deadline_s, bytes([power, 0, 0]))
        if response.icc == ccid.ICC_ABSENT:
            raise NoCard("no card is in the reader")
        try:
            raw = checked(response, "it was powered on").data
        except (CardMute, DeviceRefused) as error:
            refusal = error
            continue
        return _negotiated(link, _atr(raw), deadline_s)
    raise CardMute("the card does not answer at any voltage") from refusal


def _atr(raw: bytes) -> iso.Atr:
    try:
        return iso.parse_atr(raw)
    except FrameError as error:
        raise CardUnreadable(f"the card's answer to reset is wrong: {error.text}") from None


def _negotiated(link: CcidLink, atr: iso.Atr, deadline_s: float) -> CardChannel:
    """Agree on the speed and tell the reader, where the reader does not do so itself."""
    if atr.protocol not in (0, 1) or (atr.protocol == 1 and atr.crc):
        raise CardUnreadable(
            f"the card speaks T={atr.protocol}{' with CRC' if atr.crc else ''}, which is not supported"
        )
    channel = CardChannel(link, atr)
    if not link.features & FEATURE_AUTO_PARAMETERS:
        fi_di = _agreed_speed(channel, atr, deadline_s)
        inverse = atr.convention == "inverse"
        if atr.protocol == 0:
            data = ccid.t0_parameters(fi_di, atr.guard_time, atr.waiting_integer, inverse)
        else:
            data = ccid.t1_parameters(fi_di, atr.guard_time, atr.bwi_cwi, atr.ifsc, inverse)
        specific = bytes([atr.protocol, 0, 0])
        checked(link.exchange(ccid.SET_PARAMETERS, deadline_s, specific, data), "its parameters were set")
    return channel


def _agreed_speed(channel: CardChannel, atr: iso.Atr, deadline_s: float) -> int:
    """TA1 where card and reader both can; the default otherwise."""
    fi, di = iso.FI[atr.ta1 >> 4], iso.DI[atr.ta1 & 0x0F]
    if atr.ta1 == iso.DEFAULT_TA1 or not fi or not di or CLOCK_HZ * di // fi > RATE_MAX:
        return iso.DEFAULT_TA1
    if atr.specific_mode is not None:
        return iso.DEFAULT_TA1 if atr.specific_mode & 0x10 else atr.ta1
    request = iso.pps_request(atr.protocol, atr.ta1)
    if not iso.pps_accepted(request, channel.block(request, deadline_s)):
        return iso.DEFAULT_TA1
    return atr.ta1


def power_off(link: CcidLink, deadline_s: float) -> None:
    """The contacts lose power; a card that is already gone is no error."""
    response = link.exchange(ccid.ICC_POWER_OFF, deadline_s)
    try:
        checked(response, "it was powered off")
    except CardGone:
        link.present = False
