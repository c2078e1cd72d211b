"""A bench terminal: builds requests in a host dialect, sends them over TCP and reads replies, all with deadlines.

For tests and for trying the simulated host by hand. It is not the agent: it keeps nothing and retries nothing.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, field

from hwsim.host import macs
from hwsim.host.codec import HostMessage
from hwsim.host.dialects import dialect
from hwsim.host.framing import FrameReader, HostEnvelope, open_envelope
from hwsim.host.settings import HostSettings

CARD = "6200000000000005"
"""UnionPay test number."""
TPDU = bytes.fromhex("6000030000")
HEADER = bytes.fromhex("603100310000")


@dataclass(slots=True)
class BenchTerminal:
    """One terminal of one dialect; `key` b'' takes the bench key of the settings."""

    settings: HostSettings
    terminal_id: str = "10000001"
    merchant_id: str = "123456789012345"
    batch: str = "000001"
    key: bytes = b""
    sent_at: str = "0307145619"
    extra: dict[int, str | None] = field(default_factory=dict)

    def sale(self, stan: str, amount_minor: int, transaction_type: str = "22") -> HostMessage:
        """A charge. `transaction_type`: 60.1, used by the UnionPay dialect."""
        return self._request("1200" if self.settings.dialect == "iso93" else "0200", stan, amount_minor).changed(
            {**self._marks(transaction_type), **self.extra}
        )

    def reversal(self, sale: HostMessage, repeat: bool = False, own_stan: str = "") -> HostMessage:
        """The reversal of that sale in the dialect's way."""
        mti = {"iso87": "042", "iso93": "142"}.get(self.settings.dialect, "040") + ("1" if repeat else "0")
        return sale.changed({**self._original(sale), **({11: own_stan} if own_stan else {})}, mti=mti)

    def sign_on(self, stan: str, network_code: str = "003", mti: str = "0800") -> HostMessage:
        elements = {
            11: stan,
            41: self.terminal_id,
            42: self.merchant_id,
            60: f"00{self.batch}{network_code}",
            63: "001",
        }
        return HostMessage(mti, elements)

    def frame(self, message: HostMessage) -> bytes:
        """The bytes on the wire, with the MAC that the settings ask for."""
        speech = dialect(self.settings.dialect)
        return HostEnvelope(TPDU[: speech.tpdu_bytes], HEADER[: speech.header_bytes], self._body(message)).frame()

    def read(self, payload: bytes) -> HostMessage:
        speech = dialect(self.settings.dialect)
        return speech.codec.unpack(open_envelope(payload, speech.tpdu_bytes, speech.header_bytes).body)

    def mac_is_right(self, payload: bytes) -> bool:
        """Whether the last bytes of a reply are the MAC of those before."""
        speech = dialect(self.settings.dialect)
        body = open_envelope(payload, speech.tpdu_bytes, speech.header_bytes).body
        width = 8 if speech.codec.style == "bcd" else 16
        return macs.equal(self._mac(body[:-width]), body[-width:])

    def _request(self, mti: str, stan: str, amount_minor: int) -> HostMessage:
        common = {2: CARD, 3: "000000", 4: f"{amount_minor:012d}", 11: stan, 25: "00", 41: self.terminal_id}
        return HostMessage(mti, {**common, 42: self.merchant_id, 49: "156"})

    def _marks(self, transaction_type: str) -> dict[int, str | None]:
        marks: dict[str, dict[int, str | None]] = {
            "unionpay": {22: "021", 60: f"{transaction_type}{self.batch}"},
            "iso87": {7: self.sent_at, 12: self.sent_at[4:], 13: self.sent_at[:4], 22: "021"},
            "nac-edc": {22: "022", 24: "003", 62: self.batch},
            "iso93": {7: self.sent_at, 12: "26" + self.sent_at, 24: "200", 25: None},
        }
        return marks[self.settings.dialect]

    def _original(self, sale: HostMessage) -> dict[int, str | None]:
        named: dict[str, dict[int, str | None]] = {
            "unionpay": {39: "98"},
            "iso87": {39: "68", 90: sale.mti + sale.get(11) + sale.get(7) + "0" * 22},
            "nac-edc": {},
            "iso93": {24: "400", 25: "4021", 56: sale.mti + sale.get(11) + sale.get(12)},
        }
        return named[self.settings.dialect]

    def _body(self, message: HostMessage) -> bytes:
        speech = dialect(self.settings.dialect)
        if self.settings.mac_algorithm == "none" or message.mti[1] == "8":
            return speech.codec.pack(message)
        number, width = speech.mac_element(message.fields), 8 if speech.codec.style == "bcd" else 16
        body = speech.codec.pack(message.changed({number: "0" * 16}))[:-width]
        return body + self._mac(body)

    def _mac(self, body: bytes) -> bytes:
        key = self.key or self.settings.key_rules.mac_key
        mac = macs.compute(self.settings.mac_algorithm, key, body)
        return mac if dialect(self.settings.dialect).codec.style == "bcd" else mac.hex().upper().encode("ascii")


class BenchLink:
    """A blocking TCP connection to a host, with a deadline for everything."""

    def __init__(self, address: str, deadline_s: float = 5.0, tls: ssl.SSLContext | None = None) -> None:
        name, _, port = address.rpartition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=deadline_s)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname=name)
        self._reader = FrameReader()
        self._ready: list[bytes] = []
        self.pieces: list[bytes] = []

    def __enter__(self) -> BenchLink:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.sendall(frame)

    def receive(self, deadline_s: float = 5.0) -> bytes | None:
        """The next frame's payload; None when the connection has ended. Raises TimeoutError, ConnectionError."""
        ends = time.monotonic() + deadline_s
        while not self._ready:
            piece = self.receive_raw(ends - time.monotonic())
            if not piece:
                return None
            self._ready += self._reader.feed(piece)
        return self._ready.pop(0)

    def receive_raw(self, deadline_s: float = 5.0) -> bytes:
        """Whatever comes next; b'' when the connection has ended."""
        self._socket.settimeout(max(deadline_s, 0.001))
        piece = self._socket.recv(65536)
        self.pieces.append(piece)
        return piece
