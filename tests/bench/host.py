"""A host that answers as fast as it can: for measuring the agent, not for testing it.

    python -m tests.bench.host PROFILE DELAY_MS [KEY] [closed]

Prints its port. Every frame is answered after DELAY_MS with response code 00; the MAC is made with KEY (hexadecimal;
none: no MAC field). With "closed" connections are refused until a line "listen" on standard input. Any other line there
is answered with one line of JSON: how many reversals came, how many different ones, and when (monotonic seconds, the
same clock in every process). The end of standard input ends it.
It uses the product's codec: agreement is not what is measured here.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any

from protocol.envelope import EnvelopeReader, HostFrame, wrap
from protocol.iso8583 import Message
from protocol.mac import compute, mac_input, place, reserve
from protocol.profile import load_profile

ECHOED = (3, 4, 7, 11, 12, 13, 32, 41, 42, 49, 60, 90)


class Books:
    """What came, and when."""

    def __init__(self) -> None:
        self.reversals = 0
        self.requests = 0
        self.seen: set[tuple[str, str]] = set()
        self.first_at = self.last_at = 0.0

    def note(self, message: Message, now: float) -> None:
        """One more message."""
        if message.mti[1] != "4":
            self.requests += 1
            return
        self.reversals += 1
        self.seen.add((message.get(41), message.get(11)))
        self.first_at = self.first_at or now
        self.last_at = now

    def as_json(self) -> dict[str, Any]:
        """For the bench."""
        return {
            "reversals": self.reversals,
            "different": len(self.seen),
            "requests": self.requests,
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class Conversation(asyncio.Protocol):
    """One connection."""

    def __init__(self, host: FastHost) -> None:
        self._host = host
        self._reader = EnvelopeReader(host.profile)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        assert self._transport is not None
        now = time.monotonic()
        for frame in self._reader.feed(data):
            answer = self._host.answer(frame, now)
            if self._host.delay_s:
                asyncio.get_running_loop().call_later(self._host.delay_s, self._transport.write, answer)
            else:
                self._transport.write(answer)


class FastHost:
    """Answers 00 to everything."""

    def __init__(self, profile_name: str, delay_s: float, key: bytes) -> None:
        self.profile = load_profile(profile_name)
        self.delay_s = delay_s
        self.books = Books()
        self._key = key

    def answer(self, frame: HostFrame, now: float) -> bytes:
        """The wire bytes of the answer to one frame."""
        message = self.profile.codec.unpack(frame.body)
        self.books.note(message, now)
        fields = {number: message.fields[number] for number in ECHOED if number in message.fields}
        fields |= {37: f"{self.books.requests + self.books.reversals:012d}", 39: "00"}
        if message.mti[1] != "4":
            fields[38] = "123456"
        reply = Message(f"{int(message.mti[:3]) + 1:03d}0", fields)
        if not self._key:
            return wrap(self.profile, self.profile.codec.pack(reply), frame.tpdu)
        body = self.profile.codec.pack(reserve(self.profile, reply))
        mac = compute(self.profile.mac, self._key, mac_input(self.profile.mac, body))
        return wrap(self.profile, place(self.profile, body, mac), frame.tpdu)


async def serve(host: FastHost, *, closed: bool) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
    if not closed:
        await _listen(host, sock)
    print(sock.getsockname()[1], flush=True)
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while line := await questions.readline():
        if line.strip() == b"listen":
            await _listen(host, sock)
        else:
            print(json.dumps(host.books.as_json()), flush=True)
    sock.close()


async def _listen(host: FastHost, sock: socket.socket) -> None:
    await asyncio.get_running_loop().create_server(lambda: Conversation(host), sock=sock, backlog=256)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "closed"]
    key_hex = words[2] if len(words) > 2 else ""
    the_host = FastHost(words[0], float(words[1]) / 1000, bytes.fromhex(key_hex))
    asyncio.run(serve(the_host, closed="closed" in sys.argv))
