"""What every simulated host dialect has, and how the machine asks it: the base class of all dialects.

A dialect reads a decoded message (which role, which kind of transaction, which key) and says which
elements a reply carries. It decides nothing about money: that is the ledger's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hwsim.host.codec import HostCodec, HostMessage
from hwsim.host.entries import Entry, Facts, Key

Role = Literal["charge", "reversal", "settlement", "network", "notice"]
_ROLES: Mapping[str, Role] = {"1": "charge", "2": "charge", "4": "reversal", "5": "settlement", "8": "network"}


@dataclass(frozen=True, slots=True)
class HostTime:
    """The host's local clock at one moment: MMDD, hhmmss, YYMMDD."""

    date: str
    time: str
    year_date: str

    @classmethod
    def at(cls, now: float, utc_offset_s: int) -> HostTime:
        moment = time.gmtime(now + utc_offset_s)
        return cls(time.strftime("%m%d", moment), time.strftime("%H%M%S", moment), time.strftime("%y%m%d", moment))


class Dialect:
    """One host dialect. Subclasses set the constants and override the readings that differ."""

    name = ""
    title = ""
    codec: HostCodec
    tpdu_bytes = 0
    header_bytes = 0
    mac_default = "none"
    mac_required = False
    """Charges and reversals without a MAC are refused when a MAC algorithm is set."""
    repeats_are_marked = False
    """A second sending of a reversal must say that it is a repeat (0401, 0421, 1421)."""
    changing: frozenset[int] = frozenset()
    """Elements that a later try of a reversal may change: reason, MAC, times, own STAN."""
    echoed: tuple[int, ...] = ()
    acquirer = "01020000"

    def role(self, message: HostMessage) -> Role:
        return _ROLES.get(message.mti[1], "notice")

    def is_request(self, message: HostMessage) -> bool:
        """Third digit: 0 request, 2 advice; anything else is a reply and not for a host."""
        return message.mti[2] in "02"

    def is_repeat(self, message: HostMessage) -> bool:
        """Fourth digit: an odd origin repeats."""
        return message.mti[3] in "135"

    def reply_mti(self, mti: str) -> str:
        """0200 -> 0210, 0420 and 0421 -> 0430, 1804 -> 1814: the origin without its repeat bit."""
        return f"{mti[:2]}{int(mti[2]) + 1}{int(mti[3]) & ~1}"

    def kind(self, message: HostMessage) -> str:
        raise NotImplementedError

    def key(self, message: HostMessage) -> Key:
        """The key of a request, and of the original that a reversal names."""
        raise NotImplementedError

    def code(self, code: str, message: HostMessage) -> str:
        """A response code in the words of this dialect; the ledger speaks ISO 8583:1987."""
        return code

    def is_approval(self, code: str) -> bool:
        return code == "00"

    def facts(self, message: HostMessage, now: float) -> Facts:
        return Facts(
            self.key(message),
            message.mti,
            self.kind(message),
            message.get(3),
            int(message.get(4) or "0"),
            message.get(49),
            message.card,
            {number: value for number, value in message.fields.items() if number not in self.changing},
            now,
            self.is_repeat(message),
            self.standing_minor(message),
        )

    def standing_minor(self, message: HostMessage) -> int:
        """The amount that stands after a partial reversal (element 95); 0 undoes all."""
        return int(message.get(95)[:12] or "0") if message.get(95)[:12].isdigit() else 0

    def mac_element(self, numbers: Mapping[int, str]) -> int:
        """64, or 128 when an element above 64 is present: the MAC stands last."""
        return 128 if any(number > 64 for number in numbers) else 64

    def reply_elements(self, request: HostMessage, entry: Entry, code: str, host_time: HostTime) -> dict[int, str]:
        """Elements of the reply to a charge or reversal, the MAC left out."""
        elements = {number: request.get(number) for number in self.echoed if request.get(number)}
        reversal = self.role(request) == "reversal"
        elements[37] = (entry.reversal_rrn if reversal else entry.rrn) or "0" * 12
        elements[39] = self.code(code, request)
        if code == "00" and not reversal and entry.approval_code:
            elements[38] = entry.approval_code
        return elements


def plain_elements(dialect: Dialect, request: HostMessage, code: str) -> dict[int, str]:
    """Echoed elements and a response code: replies that no ledger entry stands behind."""
    elements = {number: request.get(number) for number in dialect.echoed if request.get(number)}
    return {**elements, 39: dialect.code(code, request)}
