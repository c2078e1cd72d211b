"""A small POS application as a shop may have it: talks UnionPay over TCP, knows nothing of the agent.

It packs with the simulated host's codec, so that product and test do not share one.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Mapping

from hwsim.host import macs
from hwsim.host.codec import HostMessage
from hwsim.host.dialects import dialect
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE

CODEC = dialect("unionpay").codec
TPDU = bytes.fromhex("6012345678")
HEADER = bytes.fromhex("603100311003")
TERMINAL, MERCHANT, BATCH = "10000001", "102110000000001", "000017"
PAN, EXPIRY = "6212345678901232", "3012"
DEADLINE_S = 20.0
SALE = {2: PAN, 3: "000000", 14: EXPIRY, 22: "012", 25: "00", 49: "156", 60: f"22{BATCH}"}


# Below the ports that the kernel gives to outgoing connections (ip_local_port_range): one of those could have it while
# the daemon is down, even that of a till which dials it.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of this machine that nobody uses now, nor takes by chance while its daemon is restarted."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class PosClient:
    """One connection. `sent` and `received` keep the frames as they were on the wire."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.sent: list[bytes] = []
        self.received: list[bytes] = []

    def __enter__(self) -> PosClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def send_sale(self, stan: str, amount_minor: int = 1250, **more: str) -> None:
        """A sale's request."""
        fields = {4: f"{amount_minor:012d}", 11: stan, 41: TERMINAL, 42: MERCHANT, **SALE}
        self.send("0200", {**fields, **{int(name[1:]): value for name, value in more.items()}})

    def send_reversal(
        self, stan: str, amount_minor: int = 1250, reason: str = "98", mti: str = "0400", **more: str
    ) -> None:
        """The application's own reversal of that sale."""
        sale = {number: value for number, value in SALE.items() if number != 26}
        fields = {4: f"{amount_minor:012d}", 11: stan, 39: reason, 41: TERMINAL, 42: MERCHANT, **sale}
        self.send(mti, {**fields, **{int(name[1:]): value for name, value in more.items()}})

    def send(self, mti: str, fields: Mapping[int, str], *, with_mac: bool = True) -> None:
        """Any message, with its MAC."""
        message = HostMessage(mti, dict(sorted(fields.items())))
        body = CODEC.pack(message)
        if with_mac:
            body = CODEC.pack(message.changed({64: "0" * 16}))[:-8]
            body += macs.compute("up-ecb", UNIONPAY_MAK_DOUBLE, body)
        self.send_raw(TPDU + HEADER + body)

    def send_raw(self, content: bytes) -> None:
        """A frame with this content."""
        self.sent.append(struct.pack(">H", len(content)) + content)
        self._sock.sendall(self.sent[-1])

    def send_bytes(self, data: bytes) -> None:
        """Bytes that need not be a frame."""
        self._sock.sendall(data)

    def reply(self) -> HostMessage | None:
        """The next message; None when the connection ended without one."""
        length = self._exactly(2)
        content = self._exactly(int.from_bytes(length, "big")) if length else b""
        if not content:
            return None
        self.received.append(length + content)
        return CODEC.unpack(content[len(TPDU) + len(HEADER) :])

    def code(self) -> str:
        """Response code of the next message; "" when none comes."""
        message = self.reply()
        return message.get(39) if message else ""

    def mac_is_right(self) -> bool:
        """Whether the last message received bears the right MAC."""
        body = self.received[-1][2 + len(TPDU) + len(HEADER) :]
        return macs.equal(macs.compute("up-ecb", UNIONPAY_MAK_DOUBLE, body[:-8]), body[-8:])

    def close(self) -> None:
        """End it in order."""
        self._sock.close()

    def reset(self) -> None:
        """End it with RST, as a till does whose power fails behind a router."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self._sock.recv(count - len(data))
            except ConnectionError:
                return b""
            if not more:
                return b""
            data += more
        return data
