"""The bench on RFC 2217: parity, speed and modem lines are real."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from hwsim.bench import Bench

# pyserial 3.5's own client still calls Thread.setDaemon and setName.
pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\):DeprecationWarning")

KEY_PRESENT = bytes.fromhex("0F3034300E3A")
KEY_IS_PRESENT = bytes.fromhex("060F3034460E4C")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, wire="rfc2217") as bench:
        yield bench


def opened(port: str, **settings: object) -> serial.SerialBase:
    return serial.serial_for_url(port.partition("?")[0], timeout=2.0, **settings)


def test_the_pin_pad_is_understood_at_7e1_and_again_after_reopening(bench: Bench) -> None:
    for _time in range(2):
        with opened(bench.pinpad.port, baudrate=19200, bytesize=7, parity="E") as port:
            port.write(KEY_PRESENT)
            assert port.read(7) == KEY_IS_PRESENT


@pytest.mark.parametrize(
    "settings",
    [
        {"baudrate": 19200, "bytesize": 8, "parity": "N"},
        {"baudrate": 9600, "bytesize": 7, "parity": "E"},
        {"baudrate": 19200, "bytesize": 7, "parity": "O"},
    ],
)
def test_another_speed_or_parity_gives_garbage(bench: Bench, settings: dict[str, object]) -> None:
    with opened(bench.pinpad.port, **settings) as port:
        port.timeout = 0.3
        port.write(KEY_PRESENT)
        assert port.read(7) != KEY_IS_PRESENT
    assert bench.pinpad.wait(lambda state: dict(state["counters"])["bytes garbled"] > 0)  # type: ignore[call-overload]


def test_an_offline_printer_drops_the_line_that_says_it_is_ready(bench: Bench) -> None:
    with opened(bench.printer.port, baudrate=38400) as port:
        assert port.dsr
        bench.printer.fault("cover-open")
        port.write(b"\x10\x04\x01")
        assert port.read(1) == b"\x1a"
        assert not port.dsr


def test_bytes_of_the_telnet_protocol_pass_unchanged(bench: Bench) -> None:
    with opened(bench.printer.port, baudrate=38400) as port:
        port.write(b"\x1da\xff")
        assert port.read(4) == b"\x10\x00\x00\x00"


def test_unplugged_there_is_no_connection_and_replugged_there_is(bench: Bench) -> None:
    bench.printer.fault("unplug")
    with pytest.raises(serial.SerialException):
        opened(bench.printer.port, baudrate=38400)
    bench.printer.fault("replug")
    with opened(bench.printer.port, baudrate=38400) as port:
        port.write(b"\x10\x04\x01")
        assert port.read(1) == b"\x12"


def test_the_address_names_speed_and_format(bench: Bench) -> None:
    assert bench.pinpad.port.endswith("?baud=19200&format=7E1")
    assert bench.reader.port.startswith("rfc2217://127.0.0.1:")


def test_a_client_that_talks_nonsense_is_dropped_and_the_next_one_served(bench: Bench) -> None:
    address = bench.printer.port.removeprefix("rfc2217://").partition("?")[0].split(":")
    for nonsense in (
        b"\xff\xf0" * 3,
        b"\xff\xfa\x2c\x03\xff\xf0",
        b"\xff\xfa\x2c\x01\xff\xf0",
        random.Random(1).randbytes(4000),
    ):
        with socket.create_connection((address[0], int(address[1])), timeout=5) as client:
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                continue
    with opened(bench.printer.port, baudrate=38400) as port:
        port.write(b"\x10\x04\x01")
        assert port.read(1) == b"\x12"
