"""RFC 2217 writes: wherever the connection stops, an escaped byte is never torn from what follows it."""

from __future__ import annotations

import random
import socket
import threading

from hypothesis import given
from hypothesis import strategies as st

from drivers.rfc2217_port import IAC, IAC_DOUBLED, Rfc2217Serial

COMMAND = b"\xff\xfa\x2c\x0a\xff\xf0"  # a negotiation: IAC SB COM-PORT SET-CONTROL IAC SE


class Reluctant:
    """A connection that takes a few bytes at a time, and keeps them."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._near, self._far = socket.socketpair()
        self.taken = b""

    def fileno(self) -> int:
        return self._near.fileno()

    def send(self, data: bytes) -> int:
        count = self._dice.randrange(0, 4)
        self.taken += data[:count]
        return min(count, len(data))

    def sendall(self, data: bytes) -> None:
        self.taken += data

    def close(self) -> None:
        self._near.close()
        self._far.close()


pieces = st.lists(st.sampled_from((IAC, IAC, b"A", b"\xfa")), max_size=8).map(b"".join)


@given(st.integers(0, 2**32), st.lists(pieces, max_size=9))
def test_what_was_counted_as_sent_arrives_and_nothing_else(seed: int, writes: list[bytes]) -> None:
    dice, sent = random.Random(seed), b""
    device, link = Rfc2217Serial(None), Reluctant(dice)
    device._socket, device._write_lock = link, threading.Lock()
    try:
        for data in [*writes, b"end"]:
            while data and dice.random() < 0.9:
                count = device.send_slice(data, 0.0)
                sent, data = sent + data[:count], data[count:]
                if dice.random() < 0.2:
                    device._internal_raw_write(COMMAND)
        device._internal_raw_write(COMMAND)
    finally:
        link.close()
    assert plain(link.taken) == sent


def plain(wire: bytes) -> bytes:
    """The bytes for the device in a telnet stream; an IAC must be doubled or begin our command."""
    data, at = b"", 0
    while at < len(wire):
        if wire.startswith(COMMAND, at):
            at += len(COMMAND)
        elif wire[at : at + 1] != IAC:
            data, at = data + wire[at : at + 1], at + 1
        else:
            assert wire.startswith(IAC_DOUBLED, at), "an escaped byte was torn"
            data, at = data + IAC, at + 2
    return data
