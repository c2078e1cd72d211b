"""Serves simulated USB devices over USB/IP: `usbip list -r 127.0.0.1`, `usbip attach`, any other client.

The wire protocol is the package `usbip`'s; the listening socket and its threads are ours, so that they end.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Sequence
from typing import Any

from usbip import protocol

from hwsim.wires.loop import WireLoop
from hwsim.wires.usb import UsbWire

USBIP_PORT = 3240


class Exported:
    """One device as one connection sees it. `imported`: this connection has it."""

    def __init__(self, wire: UsbWire) -> None:
        self.wire = wire
        self.imported = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire.usb, name)

    def reset_io(self) -> None:
        """`usbip` calls it when a client has imported the device."""
        self.imported = True
        self.wire.usb.reset_io()

    @property
    def pulled(self) -> bool:
        """Its client holds a device that is not there any more."""
        return self.imported and not self.wire.device.plugged


class UsbIpServer:
    """A wire of the loop; `address` is (host, port)."""

    def __init__(self, wires: Sequence[UsbWire], host: str = "127.0.0.1", port: int = USBIP_PORT) -> None:
        self._wires = list(wires)
        self._listener = socket.create_server((host, port))
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._connections: list[tuple[socket.socket, threading.Thread, list[Exported]]] = []
        self._loop: WireLoop | None = None
        for number, wire in enumerate(self._wires, 1):
            wire.usb.busid, wire.usb.busnum, wire.usb.devnum = f"1-{number}", 1, wire.address

    def start(self, loop: WireLoop) -> None:
        self._loop = loop
        loop.watch(self._listener.fileno(), selectors.EVENT_READ, self._accept)

    def tick(self, now: float) -> None:
        """The devices are ticked by their own wires; here the client of an unplugged device is hung up on."""
        self._connections = [each for each in self._connections if each[1].is_alive()]
        for sock, _thread, exported in self._connections:
            if any(device.pulled for device in exported):
                hang_up(sock)

    def next_wake(self) -> float | None:
        return None

    def close(self) -> None:
        if self._loop is not None:
            self._loop.watch(self._listener.fileno(), 0, self._accept)
        self._listener.close()
        for sock, thread, _exported in self._connections:
            if thread.is_alive():
                hang_up(sock)
                thread.join()
        self._connections = []

    def _accept(self, _events: int) -> None:
        try:
            connection, _peer = self._listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        present = [Exported(wire) for wire in self._wires if wire.device.plugged]
        thread = threading.Thread(target=protocol.serve_connection, args=(connection, present), name="hwsim-usbip")
        thread.daemon = True
        self._connections.append((connection, thread, present))
        thread.start()


def hang_up(sock: socket.socket) -> None:
    """Wakes the thread that reads from the socket; it closes it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was quicker
