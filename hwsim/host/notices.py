"""What a terminal tells the host besides money, in the host's book: script results (0620) and batch uploads (0320)."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.host.codec import HostMessage, mask_card


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. `about`: element 61 of a script result (batch, STAN, date), element 48 of an upload, card masked."""

    mti: str
    terminal: str
    stan: str
    batch: str
    network_code: str
    card: str
    about: str
    chip_data: str = ""

    @classmethod
    def of(cls, message: HostMessage) -> Notice:
        about = message.get(61) if message.mti[1] == "6" else _masked(message.get(48))
        return cls(
            message.mti,
            message.get(41),
            message.get(11),
            message.get(60)[2:8],
            message.get(60)[8:11],
            mask_card(message.card),
            about,
            message.get(55),
        )

    def told(self) -> list[str]:
        """What it says, each thing under a name that comes once: under another number it is told twice."""
        if self.mti[1] == "6":
            return [f"script result of batch {self.about[:6]} stan {self.about[6:12]}"]
        if self.network_code == DETAILS_CODE:
            return [f"detail of batch {self.batch} stan {stan}" for stan, _ in self.details()]
        return [f"end of the upload of batch {self.batch}"]

    def details(self) -> list[tuple[str, int]]:
        """Of an upload of details: (STAN, minor units) of each. Two digits of count, then 40 digits each."""
        count, rest = self.about[:2], self.about[2:]
        cut = [rest[at : at + DETAIL] for at in range(0, len(rest), DETAIL)]
        if not count.isdigit() or len(cut) != int(count) or any(len(one) != DETAIL for one in cut):
            return []
        return [(one[2:8], int(one[28:40])) for one in cut]


DETAILS_CODE = "201"
DETAIL = 40
"""Digits of one detail in element 48 of a 0320: card 2, STAN 6, card number 20, amount 12."""


def _masked(element_48: str) -> str:
    """Card numbers of uploaded details, hidden; a count (end of the upload) as it is."""
    if len(element_48) <= 4:
        return element_48
    head, rest = element_48[:2], element_48[2:]
    parts = [rest[at : at + DETAIL] for at in range(0, len(rest), DETAIL)]
    return head + "".join(one[:8] + "*" * len(one[8:28]) + one[28:] for one in parts)
