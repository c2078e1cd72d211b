"""The chip card reader: CCID over serial (GemPC Twin) or USB.

    reader.wait_card(30)                      -> Atr
    reader.read_card(terminal)                -> CardData
    reader.first_generate_ac(terminal)        -> ChipResult with DE 55
    reader.second_generate_ac(True, "00", de55_of_the_reply) -> ChipResult
    reader.power_off()

Everything raises CardGone when the card is pulled, whatever was going on. Not a certified EMV kernel: see
`emv_session`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from drivers.card import CardChannel, power_off, power_on
from drivers.ccid_link import CcidLink, SerialCcidLink, UsbCcidLink, checked
from drivers.device import LastOutcome, PortDevice
from drivers.emv_session import DEFAULT_AIDS, CardData, ChipResult, EmvSession, TerminalData
from drivers.errors import CardGone, DeviceError, DeviceRefused, DeviceTimeout, NoCard
from drivers.port import BytePort, UsbBytePort, deadline_in, remaining
from protocol import ccid, emv
from protocol.iso7816 import Atr

GET_FIRMWARE = b"\x02"  # Gemalto escape: firmware string, 2 s limit (libccid)
NOTIFY_MOVEMENT = b"\x01\x01\x01"  # Gemalto escape: tell card movements (libccid)
GREETING_S = 2.0
R = TypeVar("R")

POLL_S = 0.2  # between looks at the slot while waiting for a card
CARD_TIMEOUT_S = 20.0  # for a whole step with the card


class CcidReader(PortDevice[BytePort]):
    """See the module."""

    kind = "reader"

    def __init__(self, address: str, opener: Callable[[], BytePort], aids: Sequence[str] = DEFAULT_AIDS) -> None:
        super().__init__(address, opener)
        self._aids = tuple(aids)
        self._firmware = ""
        self._link: CcidLink | None = None
        self._session: EmvSession | None = None
        self.scripts_of_gone_card = ""  # script results of a card that was pulled before it said its last word

    # ------------------------------------------------------------ Device

    @property
    def firmware(self) -> str:
        """See Device."""
        return self._firmware

    @property
    def detail(self) -> str:
        """See Device."""
        present = self._link.present if self._link is not None else None
        return {True: "card in", False: "no card", None: ""}[present]

    @property
    def counters(self) -> Mapping[str, int]:
        """See Device."""
        link = self._link
        return Counter(super().counters) + (link.counters if link is not None else Counter())

    @property
    def link(self) -> CcidLink:
        """The open link. Raises DeviceTimeout when `open` did not succeed."""
        if self._link is None:
            raise DeviceTimeout("the reader is not open")
        return self._link

    def open(self, deadline_s: float) -> None:
        """See Device. A reader without Gemalto's escapes is fine; one that does not tell its slot is not."""
        port = self.open_port()
        if isinstance(port, UsbBytePort):
            self._link = UsbCcidLink(port)
        else:
            self._link = SerialCcidLink(port)
            self._greet(min(deadline_s, deadline_in(GREETING_S)))
        self.slot_status(deadline_s)

    def _greet(self, deadline_s: float) -> None:
        try:
            firmware = checked(self.link.exchange(ccid.ESCAPE, deadline_s, data=GET_FIRMWARE), "greeting")
            self._firmware = emv.text(firmware.data)
            checked(self.link.exchange(ccid.ESCAPE, deadline_s, data=NOTIFY_MOVEMENT), "greeting")
        except DeviceError as error:
            self.counted[error.code] += 1

    def idle(self) -> None:
        """See Device."""
        self.link.listen(time.monotonic())

    def test(self, deadline_s: float) -> str:
        """See Device."""
        inside = self.slot_status(deadline_s)
        firmware = f", firmware {self._firmware}" if self._firmware else ""
        return f"reader answers{firmware}; {'card in' if inside else 'no card'}"

    # ------------------------------------------------------------ card

    def slot_status(self, deadline_s: float) -> bool:
        """A card is in the slot."""
        response = self.link.exchange(ccid.GET_SLOT_STATUS, deadline_s)
        if response.outcome != ccid.COMMAND_OK and response.icc != ccid.ICC_ABSENT:
            checked(response, "its slot was asked")
        return response.icc != ccid.ICC_ABSENT

    def wait_card(self, timeout_s: float) -> Atr:
        """Wait for a card and power it. Raises NoCard, CardMute, CardUnreadable, DeviceError, PortError."""
        deadline_s = deadline_in(timeout_s)
        while not self.slot_status(max(deadline_s, deadline_in(GREETING_S))):
            if not remaining(deadline_s):
                raise NoCard(f"no card within {timeout_s:.0f} s")
            self.link.listen(min(deadline_s, deadline_in(POLL_S)))
        self._session = None
        channel = power_on(self.link, deadline_in(CARD_TIMEOUT_S))
        self._session = EmvSession(channel, self._aids)
        return channel.atr

    def _powered(self) -> EmvSession:
        if self._session is None:
            raise CardGone("no powered card is in the reader")
        return self._session

    def channel(self) -> CardChannel:
        """The powered card's APDU channel. Raises CardGone."""
        return self._powered().channel

    def read_card(self, terminal: TerminalData | None = None, timeout_s: float = CARD_TIMEOUT_S) -> CardData:
        """Application, number, expiry and track 2. Raises CardGone, CardRefused, CardUnreadable, DeviceError."""
        return self._step(lambda session: session.read(terminal or TerminalData(), deadline_in(timeout_s)))

    def first_generate_ac(self, terminal: TerminalData, timeout_s: float = CARD_TIMEOUT_S) -> ChipResult:
        """Ask the card for an ARQC. Its `kind` may be AAC: the card declines."""
        return self._step(lambda session: session.first(terminal, deadline_in(timeout_s)))

    def second_generate_ac(
        self, approved: bool, response_code: str, host_chip_data: str = "", timeout_s: float = CARD_TIMEOUT_S
    ) -> ChipResult:
        """Give the card the host's answer and run its scripts. AAC after an approval: the sale must be reversed."""
        self.scripts_of_gone_card = ""
        return self._step(
            lambda session: session.second(approved, response_code, host_chip_data, deadline_in(timeout_s))
        )

    def _step(self, step: Callable[[EmvSession], R]) -> R:
        session = self._powered()
        try:
            return step(session)
        except DeviceRefused:
            # Some readers report a pulled card as a hardware or parity error: ask who is right.
            if not self.slot_status(deadline_in(GREETING_S)):
                self.scripts_of_gone_card = session.script_chip_data()
                self._session = None
                raise CardGone("the card was taken out") from None
            raise
        except CardGone:
            self.scripts_of_gone_card = session.script_chip_data()
            self._session = None
            raise

    @property
    def in_session(self) -> bool:
        """A card is powered: somebody's sale is under way, or has just ended."""
        return self._session is not None

    def power_off(self, timeout_s: float = GREETING_S) -> None:
        """End the card's session; no error when the card is gone already."""
        self._session = None
        power_off(self.link, deadline_in(timeout_s))

    def last_outcome(self, reference: str) -> LastOutcome:
        """What the card in the reader knows: `reference` is the ChipResult's counter (9F36, four hex digits).

        "done": the card completed that transaction online. "not done": it made the cryptogram, and its last
        completed one is older. Another or later card use cannot be told apart: "unknown".
        """
        try:
            wanted = int(reference, 16)
        except ValueError:
            return LastOutcome("unknown", "the reference is no transaction counter")
        if self._session is None:
            try:
                self.wait_card(0.0)
            except NoCard:
                return LastOutcome("unknown", "no card is in the reader")
            self.read_card_application()
        session = self._powered()
        deadline_s = deadline_in(CARD_TIMEOUT_S)
        made, completed = session.counter(emv.TAG_ATC, deadline_s), session.counter(emv.TAG_LAST_ONLINE_ATC, deadline_s)
        return _compared(wanted, made, completed)

    def read_card_application(self, timeout_s: float = CARD_TIMEOUT_S) -> None:
        """Select the application without beginning a transaction (the counter stays)."""
        self._step(lambda session: session.select(deadline_in(timeout_s)))


def _compared(wanted: int, made: int | None, completed: int | None) -> LastOutcome:
    if made is None or made < wanted:
        return LastOutcome("unknown", "another card, or the card does not tell its counter")
    if completed is None:
        return LastOutcome("unknown", "the card does not tell its last completed transaction")
    if completed == wanted:
        return LastOutcome("done", f"the card completed transaction {wanted}")
    if made == wanted and completed < wanted:
        return LastOutcome("not done", f"the card began transaction {wanted} and did not complete it online")
    return LastOutcome("unknown", f"the card has been used since (counter {made})")
