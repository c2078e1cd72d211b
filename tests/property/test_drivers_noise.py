"""Whatever a device sends, the driver raises typed errors only, in time, and can do its next command afterwards."""

from __future__ import annotations

import time
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.errors import PortGone
from drivers.pinpad_ipp import IppPinPad
from drivers.port import PortCounters, deadline_in, remaining
from drivers.printer_escpos import EscposPrinter
from drivers.reader_ccid import CcidReader
from drivers.reader_neo2 import NeoReader
from protocol import ccid, neo2
from protocol.errors import AgentError
from protocol.escpos import Line, Slip

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
rubbish = st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\x03\x06\x80", b"\x02Z67", b"\x06", b"\x15"])))


class NoisyPort:
    """Answers the first writes with rubbish, then as `sane` says. Silence is over at once: time is not the point."""

    address = "noisy:"

    def __init__(self, noise: list[bytes]) -> None:
        self.counters = PortCounters()
        self.noise = list(noise)
        self.closed = False
        self._answers = bytearray()

    def read(self, size: int, deadline_s: float) -> bytes:
        if self.closed:
            raise PortGone("noisy: closed")
        if not self._answers:
            # Waits no longer than a frame's gap: the drivers must find by themselves that nothing comes.
            end = time.monotonic() + min(remaining(deadline_s), 0.002)
            while time.monotonic() < end:
                pass
            return b""
        data = bytes(self._answers[:size])
        del self._answers[:size]
        return data

    def write(self, data: bytes, deadline_s: float) -> None:
        self._answers += self.noise.pop(0) if self.noise else self.sane(data)

    def sane(self, data: bytes) -> bytes:
        raise NotImplementedError

    def quieten(self) -> None:
        """The line is clean again."""
        self.noise.clear()
        self._answers.clear()

    def close(self) -> None:
        self.closed = True


class SanePad(NoisyPort):
    def sane(self, data: bytes) -> bytes:
        return b"\x06"


class SaneReader(NoisyPort):
    def sane(self, data: bytes) -> bytes:
        with suppress(AgentError):
            asked = ccid.parse_command(ccid.unframe(data))
            answer = ccid.Response(0x81 if asked.type == 0x65 else 0x83, asked.seq, 2)
            return data + ccid.serial_frame(ccid.build_response(answer))
        return b""


class SanePrinter(NoisyPort):
    def sane(self, data: bytes) -> bytes:
        if data[:2] == b"\x10\x04":
            return b"\x12"
        position = data.find(b"\x1d(H\x06\x0000")
        return b"\x37\x22" + data[position + 7 : position + 11] + b"\0" if position >= 0 else b""


class SaneNeo(NoisyPort):
    def sane(self, data: bytes) -> bytes:
        return neo2.build_response(neo2.NeoResponse(data[10], 0))


@few
@given(noise=rubbish)
def test_a_pin_pad_can_be_asked_again_after_any_noise(noise: list[bytes]) -> None:
    port = SanePad([])
    pad = IppPinPad("noisy:", lambda: port)
    pad.open(deadline_in(1))
    port.noise = list(noise)
    with suppress(AgentError):
        pad.mac(b"12345678", "0123456789ABCDEF", timeout_s=0.05)
    port.quieten()
    pad.display("OK", timeout_s=2)


@few
@given(noise=rubbish)
def test_a_card_reader_can_be_asked_again_after_any_noise(noise: list[bytes]) -> None:
    port = SaneReader([])
    reader = CcidReader("noisy:", lambda: port)
    reader.open(deadline_in(1))
    port.noise = list(noise)
    with suppress(AgentError):
        reader.slot_status(deadline_in(0.05))
    port.quieten()
    assert reader.slot_status(deadline_in(2)) is False


@few
@given(noise=rubbish)
def test_a_printer_can_be_asked_again_after_any_noise(noise: list[bytes]) -> None:
    port = SanePrinter([])
    printer = EscposPrinter("noisy:", lambda: port)
    printer.open(deadline_in(1))
    port.noise = list(noise)
    with suppress(AgentError):
        printer.status(0.05)
    port.quieten()
    while not printer.status(2).answered:
        port.quieten()
    assert printer.print_slip(Slip((Line("x"),)), "R1", 2).outcome == "printed"


@few
@given(noise=rubbish)
def test_a_contactless_reader_can_be_asked_again_after_any_noise(noise: list[bytes]) -> None:
    port = SaneNeo([])
    reader = NeoReader("noisy:", lambda: port)
    reader.open(deadline_in(1))
    port.noise = list(noise)
    with suppress(AgentError):
        reader.test(deadline_in(0.05))
    port.quieten()
    assert "answers" in reader.test(deadline_in(2))
