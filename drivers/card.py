"""APDUs through a reader: power-on, parameters, T=0 and T=1.

What the reader does by itself is in its dwFeatures; the rest is done here: PPS and SetParameters, GET RESPONSE
after 61xx, the second try with the right Le after 6Cxx, and the whole T=1 block protocol on TPDU readers (`card_t1`).
"""

from __future__ import annotations

from drivers.card_t1 import T1
from drivers.ccid_link import (
    FEATURE_AUTO_PARAMETERS,
    FEATURE_AUTO_VOLTAGE,
    FEATURE_EXTENDED_APDU,
    FEATURE_SHORT_APDU,
    CcidLink,
    checked,
)
from drivers.errors import CardGone, CardMute, CardUnreadable, DeviceRefused, NoCard
from protocol import ccid
from protocol import iso7816 as iso
from protocol.errors import FrameError

CLOCK_HZ, RATE_MAX = 4_000_000, 344_086  # GemPC Twin: default clock, and its dwMaxDataRate
POWER_AUTO, POWERS = 0, (1, 2, 3)  # bPowerSelect: automatic; 5 V, 3 V, 1.8 V
ANSWER_PIECES_MAX = 40  # 61xx rounds for one answer; 40 * 254 > any record


class CardChannel:
    """One powered card."""

    def __init__(self, link: CcidLink, atr: iso.Atr) -> None:
        self._link = link
        self.atr = atr
        self._apdu_level = bool(link.features & (FEATURE_SHORT_APDU | FEATURE_EXTENDED_APDU))
        self.t1 = T1(self.block, atr.ifsc, link.counters)

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
            return self.t1.transmit(apdu.encode(), deadline_s)
        return self.block(apdu.tpdu(), deadline_s)

    def block(self, data: bytes, deadline_s: float, waiting: int = 0) -> bytes:
        """One XfrBlock; `waiting`: so many times the block waiting time (bBWI), which a T=1 card has asked for."""
        response = self._link.exchange(ccid.XFR_BLOCK, deadline_s, bytes([waiting, 0, 0]), data, max(1, waiting))
        return checked(response, "the card was working").data


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
        if atr.protocol == 1:
            channel.t1.announce_size(deadline_s)
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
