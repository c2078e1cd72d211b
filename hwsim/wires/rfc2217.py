"""A simulated device behind an RFC 2217 server: speed, character format and modem lines are real here.

A client with another speed or parity than the device's gets garbage, as on copper. One client at a time; the next
one waits in the queue of the listening socket. Source: RFC 2217; the negotiation itself is pyserial's PortManager.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from typing import Any

from serial.rfc2217 import PortManager

from hwsim.devices.device import SimDevice
from hwsim.wires.loop import WireLoop

READ_BYTES = 4096
MAX_PENDING_BYTES = 65536
# What PortManager lets through when a client sends nonsense in a negotiation.
CLIENT_NONSENSE = (KeyError, ValueError, TypeError, IndexError, struct.error)


class LineSettings:
    """What PortManager takes for a serial port: the client's settings and the device's modem lines."""

    def __init__(self, device: SimDevice) -> None:
        self._device = device
        self.baudrate: int = device.baud
        self.bytesize: int = int(device.line_format[0])
        self.parity: str = device.line_format[1]
        self.stopbits: float = float(device.line_format[2])
        self.rtscts = self.xonxoff = False
        self.break_condition = False
        self.dtr = self.rts = True
        self.ri = False

    @property
    def cts(self) -> bool:
        return self._device.plugged

    @property
    def cd(self) -> bool:
        return self._device.plugged

    @property
    def dsr(self) -> bool:
        return self._device.data_set_ready()

    @property
    def matches(self) -> bool:
        """True when the client's settings are the device's; the number of stop bits only costs time."""
        wanted = (self._device.baud, int(self._device.line_format[0]), self._device.line_format[1])
        return (self.baudrate, self.bytesize, self.parity) == wanted

    def reset_input_buffer(self) -> None:
        """What the client does not want to read any more was never kept here."""

    def reset_output_buffer(self) -> None:
        """What the client wrote has reached the device already."""


class Client:
    """One connection: negotiation, bytes both ways."""

    def __init__(self, connection: socket.socket, device: SimDevice) -> None:
        self.connection = connection
        self.settings = LineSettings(device)
        self.pending = bytearray()
        self._manager: Any = PortManager(self.settings, self)

    def write(self, data: bytes) -> None:
        """What PortManager wants to say."""
        self.pending += data

    def data_of(self, received: bytes) -> bytes:
        """The device's bytes in what came from the network. Raises one of CLIENT_NONSENSE."""
        data = b"".join(self._manager.filter(received))
        return data if self.settings.bytesize == 8 else bytes(byte & 0x7F for byte in data)

    def say(self, data: bytes) -> None:
        self.pending += b"".join(self._manager.escape(data))

    def tell_modem_lines(self) -> None:
        self._manager.check_modem_lines()


class Rfc2217Wire:
    """`port` is the address for a driver."""

    def __init__(self, device: SimDevice, host: str = "127.0.0.1") -> None:
        self.device = device
        self._address: tuple[str, int] = (host, 0)
        self._listener: socket.socket | None = None
        self._client: Client | None = None
        self._loop: WireLoop | None = None

    @property
    def port(self) -> str:
        host, number = self._address
        return f"rfc2217://{host}:{number}?baud={self.device.baud}&format={self.device.line_format}"

    @property
    def name(self) -> str:
        return "" if self._listener is None else f"{self._address[0]}:{self._address[1]}"

    def start(self, loop: WireLoop) -> None:
        self._loop = loop
        self._listen()

    def tick(self, now: float) -> None:
        said = self.device.tick(now)
        if self.device.plugged and self._listener is None:
            self._listen()
        self._say(said)
        if not self.device.plugged and self._listener is not None:
            self.close()
        if self._client is not None:
            self._client.tell_modem_lines()
        self._flush()

    def next_wake(self) -> float | None:
        return self.device.next_wake()

    def close(self) -> None:
        self._hang_up()
        if self._listener is not None:
            self._watch(self._listener, 0)
            self._listener.close()
            self._listener = None

    def _listen(self) -> None:
        self._listener = socket.create_server(self._address)
        self._listener.setblocking(False)
        self._address = self._listener.getsockname()[:2]
        self._watch(self._listener, selectors.EVENT_READ)

    def _watch(self, which: socket.socket, events: int) -> None:
        if self._loop is not None:
            self._loop.watch(which.fileno(), events, self._accept if which is self._listener else self._ready)

    def _accept(self, _events: int) -> None:
        if self._listener is None or self._client is not None:
            return
        try:
            connection, _peer = self._listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch(self._listener, 0)
        self._client = Client(connection, self.device)
        self._watch(connection, selectors.EVENT_READ)
        self._flush()

    def _ready(self, events: int) -> None:
        client = self._client
        if client is None:
            return
        if events & selectors.EVENT_READ:
            received = self._received(client)
            if received is None:
                self._hang_up()
                return
            self._hear(client, received)
        self._flush()

    def _received(self, client: Client) -> bytes | None:
        """The device's bytes; None when the client is gone or talks nonsense."""
        try:
            data = client.connection.recv(READ_BYTES)
            return client.data_of(data) if data else None
        except BlockingIOError:
            return b""
        except (OSError, *CLIENT_NONSENSE):
            self.device.counters["clients dropped"] += 1
            return None

    def _hear(self, client: Client, data: bytes) -> None:
        if data and not client.settings.matches:
            self.device.counters["bytes garbled"] += len(data)
            data = self.device.line.scrambled(data)
        self._say(self.device.feed(data, time.monotonic()))

    def _say(self, data: bytes) -> None:
        if self._client is not None and data:
            wanted = self._client.settings.matches
            self._client.say(data if wanted else self.device.line.scrambled(data))

    def _flush(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            if client.pending:
                del client.pending[: client.connection.send(client.pending)]
        except BlockingIOError:
            self.device.counters["client slow"] += 1
        except OSError:
            self._hang_up()
            return
        if len(client.pending) > MAX_PENDING_BYTES:
            self._hang_up()
            return
        self._watch(client.connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if client.pending else 0))

    def _hang_up(self) -> None:
        if self._client is not None:
            self._watch(self._client.connection, 0)
            self._client.connection.close()
            self._client = None
            if self._listener is not None:
                self._watch(self._listener, selectors.EVENT_READ)
