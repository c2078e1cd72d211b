"""The PIN pad: VeriFone IPP packets, also spoken by the UIC PP791.

    pad.load_master_key(1, key_hex)            pad.select_key(1)
    pad.enter_pin(account, working_key, 60)    -> 8 bytes, encrypted by the pad
    pad.mac(data, session_key)                 -> 8 bytes, X9.19 core
    pad.display("ENTER PIN")                   pad.cancel()

Rules
1. Every packet is sent at most three times; a packet of the pad is asked for at most three times.
2. The PIN itself never leaves the pad. Account numbers, keys and PIN blocks appear in no text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from drivers.device import PortDevice
from drivers.errors import DeviceGarbled, DeviceRefused, DeviceTimeout, KeyMissing, PinCancelled, PinTimeout, PortGone
from drivers.framed import FrameStream
from drivers.port import BytePort, deadline_in, remaining
from protocol import pinpad
from protocol.errors import FrameError
from protocol.framing import Spoilt
from protocol.pinpad import ACK, EOT, NAK, Control, Packet, PadEvent

TRIES = 3  # EOT after 3 NAKs (PP791 manual, every message flow)
ACK_TIMEOUT_S = 3.0  # assumed: no manual page read names it; generous for 1200 baud
END_TIMEOUT_S = 0.5  # for the EOT that ends an administration session (assumed)
ANSWER_TIMEOUT_S = 10.0
PIN_UNIT_S = 30  # unit of message 70's time-out (PP791)
CANCEL_TIMEOUT_S = 2.0
PIN_KEY_ERRORS = frozenset("159A")  # of pinpad.PIN_ERRORS
MAC_KEY_ERRORS = frozenset({"3", "4", "8", "9", "A"})

A = TypeVar("A")


class IppPinPad(PortDevice[BytePort]):
    """See the module."""

    kind = "pinpad"

    def __init__(self, address: str, opener: Callable[[], BytePort], key_index: int = 0, *, z60: bool = False) -> None:
        """`z60`: a model that asks for the PIN by message Z60 instead of 70 (catalogue.toml)."""
        super().__init__(address, opener)
        self._z60 = z60
        self._stream: FrameStream[PadEvent] | None = None
        self._key_index = key_index

    # ------------------------------------------------------------ Device

    @property
    def firmware(self) -> str:
        """See Device: these pads name no version."""
        return ""

    @property
    def detail(self) -> str:
        """See Device."""
        return f"master key {self._key_index}"

    def open(self, deadline_s: float) -> None:
        """See Device. 72 ends whatever a former session left open, and shows that the pad answers."""
        self._stream = FrameStream(self.open_port(), pinpad.packet_scanner())
        self._cancelled(deadline_s)

    def idle(self) -> None:
        """See Device."""
        self.counted["stale_packets"] += self.stream.flush()

    @property
    def counters(self) -> Mapping[str, int]:
        """See Device."""
        scanner = self._stream.scanner if self._stream is not None else None
        noise = {"noise_bytes": scanner.noise_bytes, "damaged_packets": scanner.damaged_frames} if scanner else {}
        return dict(super().counters) | noise

    @property
    def stream(self) -> FrameStream[PadEvent]:
        """The open line. Raises PortGone."""
        if self._stream is None:
            raise PortGone(f"{self.address} is not open")
        return self._stream

    def test(self, deadline_s: float) -> str:
        """See Device."""
        self._cancelled(deadline_s)
        present = self.has_master_key(self._key_index, remaining(deadline_s))
        if not present:
            raise KeyMissing(f"the PIN pad answers, but master key {self._key_index} is not loaded", "0")
        return f"PIN pad answers; master key {self._key_index} is there"

    # ------------------------------------------------------------ keys

    def load_master_key(self, key_index: int, key_hex: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """02: the pad must echo the key exactly, otherwise it is told not to store it. Raises DeviceError."""
        deadline_s = deadline_in(timeout_s)
        packet = pinpad.load_master_key(key_index, key_hex)
        echo = self._ask(packet, deadline_s, acknowledge=False)
        if echo != packet:
            self._control(EOT, deadline_s)
            raise DeviceRefused("the PIN pad did not echo the master key as it was sent", "echo")
        self._control(ACK, deadline_s)
        self._expect_end(min(deadline_s, deadline_in(ACK_TIMEOUT_S)))

    def has_master_key(self, key_index: int, timeout_s: float = ANSWER_TIMEOUT_S) -> bool:
        """04: is there a key in this place?"""
        deadline_s = deadline_in(timeout_s)
        answer = self._ask(pinpad.check_master_key(key_index), deadline_s)
        self._expect_end(min(deadline_s, deadline_in(END_TIMEOUT_S)))
        return self._parsed(pinpad.parse_key_check, answer)

    def select_key(self, key_index: int | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """08: the master key for the following PIN entries (default: the configured one)."""
        wanted = self._key_index if key_index is None else key_index
        deadline_s = deadline_in(timeout_s)
        self._send(pinpad.select_master_key(wanted), deadline_s)
        # The PP791 answers 080 and EOT, the 1000SE only EOT (assumed): both mean done.
        answer = self._next(min(deadline_s, deadline_in(ACK_TIMEOUT_S)))
        if isinstance(answer, Packet):
            self._control(ACK, deadline_s)
            self._expect_end(min(deadline_s, deadline_in(END_TIMEOUT_S)))
            if answer.text[:3] != "080":
                raise KeyMissing(f"master key {wanted} cannot be selected", answer.text[2:3])
        elif answer is not None and answer != Control(EOT):
            raise DeviceRefused(f"master key {wanted} cannot be selected", "nak")
        self._key_index = wanted

    # ------------------------------------------------------------ PIN

    def ask_pin(self, account: str, working_key: str, timeout_s: float) -> bytes:
        """`enter_pin` or `enter_pin_z60`, as the model wants it."""
        ask = self.enter_pin_z60 if self._z60 else self.enter_pin
        return ask(account, working_key, timeout_s)

    def enter_pin(self, account: str, working_key: str, timeout_s: float, amount: str = "") -> bytes:
        """70 and 71: the encrypted PIN block (8 bytes). `working_key` is encrypted under the selected master key.

        Raises PinCancelled, PinTimeout, KeyMissing, DeviceError.
        """
        units = max(1, min(9, round(timeout_s / PIN_UNIT_S)))
        return self._pin(pinpad.pin_entry(account, working_key, amount, units), timeout_s, units * PIN_UNIT_S)

    def enter_pin_z60(self, account: str, working_key: str, timeout_s: float, prompt: str = "ENTER PIN") -> bytes:
        """Z60: as `enter_pin`, for pads without message 70. The prompt goes first: without it the pad refuses."""
        self.display(prompt)
        return self._pin(pinpad.pin_entry_z60(account, working_key), timeout_s, timeout_s)

    def _pin(self, request: Packet, timeout_s: float, pad_timeout_s: float) -> bytes:
        deadline_s = deadline_in(timeout_s)
        started = time.monotonic()
        try:
            answer = self._parsed(pinpad.parse_pin_answer, self._ask(request, deadline_s))
        except PinCancelled:
            # The pad says EOT for the cancel key and for its own time-out: only the time tells them apart.
            if time.monotonic() - started >= pad_timeout_s - 1:
                raise PinTimeout(f"no PIN within {pad_timeout_s:.0f} s", "eot") from None
            raise
        except DeviceTimeout:
            self._cancelled(deadline_in(CANCEL_TIMEOUT_S))
            raise PinTimeout(f"no PIN within {timeout_s:.0f} s", "72") from None
        if answer.error:
            kind = KeyMissing if answer.error in PIN_KEY_ERRORS else DeviceRefused
            raise kind(f"the PIN pad refused PIN entry: {pinpad.pin_error(answer.error)}", answer.error)
        return answer.block

    def cancel(self, timeout_s: float = CANCEL_TIMEOUT_S) -> None:
        """72: the pad stops waiting for a PIN; harmless when it is idle."""
        self._cancelled(deadline_in(timeout_s))

    def _cancelled(self, deadline_s: float) -> None:
        """The pad answers EOT (was waiting) or ACK (was idle)."""
        for _ in range(TRIES):
            self._write(pinpad.build_packet(pinpad.cancel()), deadline_s)
            answer = self._next(min(deadline_s, deadline_in(CANCEL_TIMEOUT_S / TRIES)))
            while isinstance(answer, Packet | Spoilt) and remaining(deadline_s):  # a former session's, on the line
                self.counted["stale_packets"] += 1
                answer = self._next(min(deadline_s, deadline_in(CANCEL_TIMEOUT_S / TRIES)))
            if answer in (Control(ACK), Control(EOT)):
                return
            self.counted["retransmissions"] += 1
        raise DeviceTimeout("the PIN pad does not answer")

    # ------------------------------------------------------------ MAC and display

    def mac(
        self, data: bytes, session_key: str, key_index: int | None = None, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> bytes:
        """Z66 and Z67: eight bytes, ISO 9797-1 algorithm 3 (X9.19), zero padding. Raises KeyMissing, DeviceError."""
        deadline_s = deadline_in(timeout_s)
        packets = pinpad.mac_packets(data, session_key, self._key_index if key_index is None else key_index)
        for number, packet in enumerate(packets):
            answer = self._parsed(pinpad.parse_mac_answer, self._ask(packet, deadline_s))
            last = number == len(packets) - 1
            if answer.status != ("0" if last else "1"):
                self._cancelled(deadline_in(CANCEL_TIMEOUT_S))
                kind = KeyMissing if answer.status in MAC_KEY_ERRORS else DeviceRefused
                raise kind(f"the PIN pad refused the MAC: {pinpad.MAC_STATUS[answer.status]}", answer.status)
        return answer.mac

    def display(self, text: str, clear: bool = True, timeout_s: float = ACK_TIMEOUT_S) -> None:
        """Z2: show a text (plain ASCII; what the pad cannot show becomes '?')."""
        shown = "".join(c if " " <= c <= "~" else "?" for c in text)[: pinpad.DISPLAY_CHARACTERS_MAX]
        self._send(pinpad.display(shown, clear), deadline_in(timeout_s))

    # ------------------------------------------------------------ the link

    def _ask(self, request: Packet, deadline_s: float, acknowledge: bool = True) -> Packet:
        """Send a packet, receive the pad's. EOT instead of it is PinCancelled."""
        self._send(request, deadline_s)
        for _ in range(TRIES):
            answer = self._next(deadline_s)
            if isinstance(answer, Packet):
                if acknowledge:
                    self._control(ACK, deadline_s)
                return answer
            if answer is None:
                raise DeviceTimeout(f"the PIN pad did not answer message {request.name}")
            if answer == Control(EOT):
                raise PinCancelled(f"the PIN pad cancelled message {request.name} (EOT)", "eot")
            self.counted["naks_sent"] += 1
            self._control(NAK, deadline_s)
        self._control(EOT, deadline_s)
        raise DeviceGarbled(f"the PIN pad's answer to message {request.name} came damaged {TRIES} times")

    def _send(self, packet: Packet, deadline_s: float) -> None:
        """Send until ACK, three times at most. Raises DeviceGarbled (NAK), DeviceTimeout (silence)."""
        self.idle()
        naks = 0
        for attempt in range(TRIES):
            self.counted["retransmissions"] += attempt > 0
            self._write(pinpad.build_packet(packet), deadline_s)
            answer = self._next(min(deadline_s, deadline_in(ACK_TIMEOUT_S)))
            if answer == Control(ACK):
                return
            if isinstance(answer, Packet) or answer == Control(EOT):
                # The ACK was lost, the answer itself is here: keep it for the caller.
                self.stream.put_back(answer)
                self.counted["acks_missing"] += 1
                return
            naks += answer is not None
        if naks:
            self._control(EOT, deadline_s)
            raise DeviceGarbled(f"the PIN pad refused message {packet.name} {naks} times as damaged")
        raise DeviceTimeout(f"the PIN pad did not acknowledge message {packet.name}")

    def _expect_end(self, deadline_s: float) -> None:
        """EOT ends an administration session; silence does too, for pads that do not send it.

        It is waited for, because the next command would take a late EOT for its own.
        """
        answer = self._next(deadline_s)
        if isinstance(answer, Packet) or answer == Control(NAK):
            raise DeviceRefused("the PIN pad did not accept our acknowledgement", "nak")

    def _next(self, deadline_s: float) -> PadEvent | None:
        """The next event, None at the deadline."""
        return self.stream.next(deadline_s)

    def _control(self, byte: int, deadline_s: float) -> None:
        self._write(bytes([byte]), deadline_s)

    def _write(self, data: bytes, deadline_s: float) -> None:
        self.port.write(data, deadline_s)

    @staticmethod
    def _parsed(parse: Callable[[Packet], A], packet: Packet) -> A:
        try:
            return parse(packet)
        except FrameError as error:
            raise DeviceGarbled(error.text) from None
