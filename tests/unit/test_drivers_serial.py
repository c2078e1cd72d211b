"""Serial ports on ptys and pyserial URLs: deadlines, typed errors, exclusive use."""

from __future__ import annotations

import os
import socket as sockets
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from drivers.errors import (
    PortAddressError,
    PortBusy,
    PortError,
    PortGone,
    PortMissing,
    PortSettings,
    PortTimeout,
)
from drivers.port import deadline_in
from drivers.serial_port import open_port, parse_address


@dataclass
class Pty:
    """Both ends of a pseudo terminal."""

    master: int
    slave: int
    name: str


@pytest.fixture
def pty() -> Iterator[Pty]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield Pty(master, slave, os.ttyname(slave))
    for descriptor in (master, slave):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor in (master, slave)  # the test has closed it itself


def test_bytes_go_both_ways(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}?baud=115200&format=8N2")
    port.write(b"\x00ask\xff", deadline_in(1))
    assert os.read(pty.master, 100) == b"\x00ask\xff"
    os.write(pty.master, b"\x11answer\x00")
    assert port.read(100, deadline_in(1)) == b"\x11answer\x00"
    assert (port.counters.bytes_read, port.counters.bytes_written) == (8, 5)
    port.close()


def test_a_read_gives_what_is_there_and_not_more_than_asked(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}")
    os.write(pty.master, b"abcdef")
    assert port.read(4, deadline_in(1)) == b"abcd"
    assert port.read(4, deadline_in(1)) == b"ef"
    port.close()


def test_silence_is_no_error_and_ends_at_the_deadline(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}")
    started = time.monotonic()
    assert port.read(10, deadline_in(0.2)) == b""
    assert 0.15 < time.monotonic() - started < 0.5
    assert port.read(10, deadline_in(-1)) == b""
    assert port.counters.read_timeouts == 2
    port.close()


def test_a_write_that_nobody_takes_ends_at_the_deadline(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}")
    started = time.monotonic()
    with pytest.raises(PortTimeout):
        port.write(b"x" * 1_000_000, deadline_in(0.2))
    assert time.monotonic() - started < 1
    assert port.counters.write_timeouts == 1
    port.close()


def test_a_vanished_line_is_gone_in_reading_and_writing(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}")
    os.close(pty.master)
    with pytest.raises(PortGone):
        port.read(10, deadline_in(1))
    with pytest.raises(PortGone):
        port.write(b"x", deadline_in(1))
    port.close()


def test_a_close_from_another_thread_ends_a_read_soon(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}")
    timer = threading.Timer(0.1, port.close)
    timer.start()
    started = time.monotonic()
    with pytest.raises(PortGone):
        port.read(10, deadline_in(10))
    assert time.monotonic() - started < 1
    timer.join()
    port.close()


def test_a_port_has_one_user(pty: Pty) -> None:
    port = open_port(f"serial:{pty.name}")
    with pytest.raises(PortBusy):
        open_port(f"serial:{pty.name}")
    port.close()
    open_port(f"serial:{pty.name}").close()


def test_a_pty_that_refuses_parity_is_a_clear_error(pty: Pty) -> None:
    """The C library refuses the second open; the first may pass."""
    kinds: list[type[PortError] | None] = []
    texts = ""
    for _ in range(2):
        try:
            open_port(f"serial:{pty.name}?format=7E1").close()
            kinds.append(None)
        except PortError as error:
            kinds.append(type(error))
            texts += str(error)
    assert kinds[1] is PortSettings
    assert "parity" in texts


def test_nothing_there_is_missing() -> None:
    with pytest.raises(PortMissing):
        open_port("serial:/dev/pos/nothing-here")
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(PortError):
            open_port(f"socket://127.0.0.1:{free.getsockname()[1]}")


def test_a_file_that_is_no_line_is_refused(tmp_path: object) -> None:
    with pytest.raises(PortError):
        open_port("serial:/dev/null")


def test_a_loop_port_reads_what_was_written() -> None:
    port = open_port("loop://?baud=115200")
    port.write(b"round", deadline_in(1))
    assert port.read(100, deadline_in(1)) == b"round"
    port.close()
    with pytest.raises(PortGone):
        port.read(1, deadline_in(1))
    with pytest.raises(PortGone):
        port.write(b"x", deadline_in(1))


def test_a_socket_port_notices_the_other_sides_end() -> None:
    server = sockets.create_server(("127.0.0.1", 0))
    port = open_port(f"socket://127.0.0.1:{server.getsockname()[1]}")
    peer, _ = server.accept()
    peer.sendall(b"hello")
    got = b""
    while len(got) < 5:
        got += port.read(100, deadline_in(1))
    assert got == b"hello"
    peer.close()
    with pytest.raises(PortGone):
        port.read(100, deadline_in(1))
    port.close()
    server.close()


def test_a_write_to_a_socket_that_nobody_reads_ends_at_the_deadline() -> None:
    server = sockets.create_server(("127.0.0.1", 0))
    port = open_port(f"socket://127.0.0.1:{server.getsockname()[1]}")
    peer, _ = server.accept()
    began = time.monotonic()
    with pytest.raises(PortTimeout):
        port.write(bytes(50_000_000), deadline_in(0.2))
    assert time.monotonic() - began < 4
    port.close()
    peer.close()
    server.close()


def test_addresses_are_read() -> None:
    url, settings = parse_address("serial:/dev/pos/pinpad?baud=19200&format=7E1&flow=xonxoff")
    assert url == "/dev/pos/pinpad"
    assert settings == {
        "baudrate": 19200,
        "bytesize": 7,
        "parity": "E",
        "stopbits": 1,
        "rtscts": False,
        "xonxoff": True,
        "dsrdtr": False,
    }
    assert parse_address("rfc2217://h:1?baud=1200&ign_set_control=1")[0] == "rfc2217://h:1?ign_set_control=1"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/dev/ttyS0",
        "serial:",
        "serial:/dev/x?baud=fast",
        "serial:/dev/x?baud=1",
        "serial:/dev/x?format=8X1",
        "serial:/dev/x?format=8N",
        "serial:/dev/x?flow=always",
        "serial:/dev/x?baud=9600&baud=1200",
        "serial:/dev/x?colour=red",
    ],
)
def test_a_wrong_address_is_a_typed_error(address: str) -> None:
    with pytest.raises(PortAddressError):
        open_port(address)


def test_an_unknown_scheme_is_a_typed_error() -> None:
    with pytest.raises(PortError):
        open_port("carrier-pigeon://coop")
