"""The contactless and magnetic stripe reader: ID TECH NEO 2 over serial.

    reader.activate(30, 1250, "260101") -> Activation      (track data, chip data)
    reader.cancel()                     reader.show("PRESENT CARD")

Rules
1. After a cancel nothing is sent until its answer came (p. 221): cancelling waits.
2. A response to another command than ours is late: counted, skipped.
3. A damaged response is not asked for again, because the protocol has no NAK: commands without effect (ping,
   versions) are sent twice, an activation never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.device import PortDevice
from drivers.errors import CardUnreadable, DeviceGarbled, DeviceRefused, DeviceTimeout, NoCard, PortGone
from drivers.framed import FrameStream
from drivers.port import BytePort, deadline_in, remaining
from protocol import emv, neo2
from protocol.errors import FrameError
from protocol.framing import Spoilt
from protocol.neo2 import NeoCommand, NeoResponse

INTER_BYTE_S = INTER_FRAME_S = 0.2  # p. 110
ANSWER_TIMEOUT_S = 2.0  # p. 110 allows 200 ms between frames, 5 s for key and clock commands (not used here)
ACTIVATION_GRACE_S = 2.0  # the reader's own time-out must end first
TRIES = 2


class NeoReader(PortDevice[BytePort]):
    """See the module."""

    kind = "contactless"

    def __init__(self, address: str, opener: Callable[[], BytePort]) -> None:
        super().__init__(address, opener)
        self._stream: FrameStream[NeoResponse] | None = None
        self._firmware = ""

    # ------------------------------------------------------------ Device

    @property
    def firmware(self) -> str:
        """See Device."""
        return self._firmware

    @property
    def detail(self) -> str:
        """See Device."""
        return ""

    @property
    def counters(self) -> Mapping[str, int]:
        """See Device."""
        scanner = self._stream.scanner if self._stream is not None else None
        noise = {"noise_bytes": scanner.noise_bytes, "damaged_answers": scanner.damaged_frames} if scanner else {}
        return dict(super().counters) | noise

    @property
    def stream(self) -> FrameStream[NeoResponse]:
        """The open line. Raises PortGone."""
        if self._stream is None:
            raise PortGone(f"{self.address} is not open")
        return self._stream

    def open(self, deadline_s: float) -> None:
        """See Device."""
        self._stream = FrameStream(self.open_port(), neo2.response_scanner(), INTER_BYTE_S)
        self._harmless(neo2.PING, deadline_s)
        try:
            self._firmware = emv.text(self._harmless(neo2.FIRMWARE, deadline_s).data)
        except DeviceRefused:
            self.counted["no_firmware"] += 1
        self._harmless(neo2.poll_mode(neo2.POLL_ON_DEMAND), deadline_s)

    def idle(self) -> None:
        """See Device."""
        self.counted["stale_answers"] += self.stream.flush()

    def test(self, deadline_s: float) -> str:
        """See Device."""
        self._harmless(neo2.PING, deadline_s)
        return f"reader answers{', firmware ' + self._firmware if self._firmware else ''}"

    # ------------------------------------------------------------ cards

    def activate(self, timeout_s: int, amount_minor: int, date: str) -> neo2.Activation:
        """Wait for a card. Raises NoCard, CardUnreadable, DeviceRefused, DeviceTimeout, PortError."""
        command = neo2.activate(timeout_s, amount_minor, date)
        try:
            response = self._ask(command, deadline_in(timeout_s + ACTIVATION_GRACE_S))
        except DeviceGarbled:
            self.cancel()  # it may still be waiting for a card
            raise
        if response is None:
            self.cancel()
            raise NoCard(f"no card within {timeout_s} s")
        if response.status == neo2.STATUS_TIMEOUT:
            raise NoCard(f"no card within {timeout_s} s")
        if response.status not in (neo2.STATUS_OK, neo2.STATUS_ONLINE):
            raise _refused(command, response)
        return _activation(response)

    def last_result(self) -> neo2.Activation:
        """03-00, in automatic poll mode: the card that was presented since. Raises NoCard, DeviceError."""
        response = self._ask(neo2.get_result(), deadline_in(ANSWER_TIMEOUT_S))
        if response is None:
            raise DeviceTimeout("the reader did not answer")
        if response.status in (neo2.STATUS_TIMEOUT, 0x0A) or (not response.data and response.status == 0):
            raise NoCard("no card was presented")
        if response.status not in (neo2.STATUS_OK, neo2.STATUS_ONLINE):
            raise _refused(neo2.get_result(), response)
        return _activation(response)

    def poll_automatically(self, automatic: bool) -> None:
        """01-01: let the reader look for cards by itself, or only on demand."""
        mode = neo2.POLL_AUTO if automatic else neo2.POLL_ON_DEMAND
        self._harmless(neo2.poll_mode(mode), deadline_in(TRIES * ANSWER_TIMEOUT_S))

    def cancel(self) -> None:
        """05-01. Raises DeviceTimeout when the reader does not confirm."""
        if self._ask(neo2.CANCEL, deadline_in(ANSWER_TIMEOUT_S)) is None:
            raise DeviceTimeout("the reader did not confirm the cancel")

    def show(self, text: str) -> None:
        """Text on the reader's display; '?' for what it cannot show."""
        plain = "".join(c if " " <= c <= "~" else "?" for c in text)[:64]
        self._harmless(neo2.lcd_text(plain), deadline_in(ANSWER_TIMEOUT_S))

    # ------------------------------------------------------------ the link

    def _harmless(self, command: NeoCommand, deadline_s: float) -> NeoResponse:
        """A command that may be sent twice, and must succeed."""
        for _ in range(TRIES):
            response = self._ask(command, min(deadline_s, deadline_in(ANSWER_TIMEOUT_S)))
            if response is None:
                self.counted["retransmissions"] += 1
            elif response.status == neo2.STATUS_OK:
                return response
            elif response.status == neo2.STATUS_NOT_ALLOWED:
                # It waits for a card that nobody wants any more: our cancel, or its answer, was lost.
                self.counted["stale_activations"] += 1
                self.cancel()
            else:
                raise _refused(command, response)
        raise DeviceTimeout(f"the reader did not answer {command!r}")

    def _ask(self, command: NeoCommand, deadline_s: float) -> NeoResponse | None:
        """The answer; None = none came. Raises DeviceGarbled when only damaged ones came."""
        self.idle()
        self.port.write(neo2.build_command(command), deadline_s)
        damaged = 0
        while (event := self.stream.next(deadline_s)) is not None:
            if isinstance(event, Spoilt):
                damaged += 1
                deadline_s = min(deadline_s, deadline_in(INTER_FRAME_S))  # it will not be sent again
            elif event.command == command.command and event.status != neo2.STATUS_EVENT:
                return event
            else:
                self.counted["other_answers"] += 1
            if not remaining(deadline_s):
                break  # a reader that says anything but the answer, for ever
        if damaged:
            raise DeviceGarbled(f"the reader's answer to {command!r} came damaged")
        return None


def _activation(response: NeoResponse) -> neo2.Activation:
    try:
        return neo2.parse_activation(response.data)
    except FrameError as error:
        raise CardUnreadable(f"the reader's card data make no sense: {error.text}") from None


def _refused(command: NeoCommand, response: NeoResponse) -> DeviceRefused:
    name = neo2.status_name(response.status)
    return DeviceRefused(f"the reader refused {command!r}: {name}", f"{response.status:02X}")
