"""A USB/IP client: one imported device on one connection, many transfers at a time.

    > 00000001 seqnum devid direction ep  flags length 0 0 interval setup  [OUT data]     CMD_SUBMIT
    < 00000003 seqnum 0 0 0               status actual 0 0 0 pad          [IN data]      RET_SUBMIT
    > 00000002 seqnum devid direction ep  seqnum-to-unlink pad                            CMD_UNLINK
    < 00000004 seqnum 0 0 0               status pad                                      RET_UNLINK

Source: kernel Documentation/usb/usbip_protocol.rst. Written apart from the package `usbip`, which serves the other
side on the bench, and which as a client cannot give a transfer up.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading

VERSION = 0x0111
OP_REQ_DEVLIST, OP_REQ_IMPORT = 0x8005, 0x8003
CMD_SUBMIT, CMD_UNLINK, RET_UNLINK = 1, 2, 4
DEVICE_BYTES, HEADER_BYTES, BUSID_BYTES = 312, 48, 32
CONNECT_S = 5.0
GONE = -errno.ENODEV


class UsbIpError(OSError):
    """The server is not there, refuses, or hung up."""


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes. Raises UsbIpError, OSError."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise UsbIpError(errno.ENODEV, "the USB/IP server hung up")
        data += piece
    return bytes(data)


def asked(address: tuple[str, int], code: int, payload: bytes = b"") -> socket.socket:
    """A connection on which the server has accepted this request. Raises OSError."""
    sock = socket.create_connection(address, CONNECT_S)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(struct.pack(">HHI", VERSION, code, 0) + payload)
        if struct.unpack(">HHI", receive(sock, 8))[2]:
            raise UsbIpError(errno.ENODEV, "the USB/IP server refuses")
    except OSError:
        sock.close()
        raise
    return sock


def exported(address: tuple[str, int]) -> list[str]:
    """The bus ids of all devices that are there. Raises OSError."""
    with asked(address, OP_REQ_DEVLIST) as sock:
        busids = []
        for _ in range(struct.unpack(">I", receive(sock, 4))[0]):
            device = receive(sock, DEVICE_BYTES)
            receive(sock, 4 * device[-1])  # class, subclass, protocol and padding of each interface
            busids.append(device[256 : 256 + BUSID_BYTES].rstrip(b"\0").decode("ascii", "replace"))
        return busids


class Transfer:
    """One submitted URB; `status` is a negative errno, 0 is good."""

    def __init__(self) -> None:
        self.finished = threading.Event()
        self.status = 0
        self.actual_length = 0
        self.data = b""

    def finish(self, status: int, actual_length: int = 0, data: bytes = b"") -> None:
        self.status, self.actual_length, self.data = status, actual_length, data
        self.finished.set()


class Session:
    """An imported device until `close`, or until the server hangs up. Any thread may transfer."""

    def __init__(self, address: tuple[str, int], busid: str) -> None:
        """Raises OSError."""
        self._sock = asked(address, OP_REQ_IMPORT, busid.encode("ascii").ljust(BUSID_BYTES, b"\0"))
        try:
            record = receive(self._sock, DEVICE_BYTES)
        except OSError:
            self._sock.close()
            raise
        bus, device = struct.unpack_from(">II", record, 256 + BUSID_BYTES)
        self._devid = bus << 16 | device
        self._sock.settimeout(None)
        self._lock = threading.Lock()
        self._sequence = 0
        self._waiting: dict[int, tuple[Transfer, bool]] = {}
        self._unlinking: dict[int, int] = {}
        self.alive = True
        self._thread = threading.Thread(target=self._listen, name="usbip-session", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; what is under way ends with "no such device"."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.alive = False  # the server was quicker
        if self._thread is not threading.current_thread():
            self._thread.join()

    def transfer(
        self,
        endpoint: int,
        into: bool,
        data: bytes,
        length: int,
        setup: bytes = bytes(8),
        timeout_s: float | None = None,
    ) -> Transfer | None:
        """One transfer to its end; None = not finished in time, and given up. Raises OSError."""
        transfer = Transfer()
        number = self._submit(transfer, endpoint, into, data, length, setup)
        if transfer.finished.wait(timeout_s):
            return transfer
        self._unlink(number)
        transfer.finished.wait()  # either the server confirms, or it was quicker, or it hangs up
        return None if transfer.status == -errno.ECONNRESET else transfer

    def _submit(self, transfer: Transfer, endpoint: int, into: bool, data: bytes, length: int, setup: bytes) -> int:
        with self._lock:
            if not self.alive:
                raise UsbIpError(errno.ENODEV, "the device is gone")
            self._sequence += 1
            number = self._sequence
            self._waiting[number] = (transfer, into)
            head = struct.pack(">5I", CMD_SUBMIT, number, self._devid, int(into), endpoint)
            self._sock.sendall(head + struct.pack(">Iiiii8s", 0, length, 0, 0, 0, setup) + data)
        return number

    def _unlink(self, number: int) -> None:
        with self._lock:
            if not self.alive:
                return
            self._sequence += 1
            self._unlinking[self._sequence] = number
            head = struct.pack(">5I", CMD_UNLINK, self._sequence, self._devid, 0, 0)
            self._sock.sendall(head + struct.pack(">I24x", number))

    def _listen(self) -> None:
        try:
            while True:
                self._take()
        except OSError:
            self._end()

    def _take(self) -> None:
        header = receive(self._sock, HEADER_BYTES)
        command, number = struct.unpack_from(">II", header)
        status, actual = struct.unpack_from(">ii", header, 20)
        if command == RET_UNLINK:
            unlinked = self._waiting.pop(self._unlinking.pop(number, 0), None)
            if unlinked is not None:
                unlinked[0].finish(-errno.ECONNRESET)
            return
        found = self._waiting.pop(number, None)
        if found is None:
            raise UsbIpError(errno.EPROTO, "an answer that nobody waits for")
        transfer, into = found
        transfer.finish(status, actual, receive(self._sock, actual) if into and actual > 0 else b"")

    def _end(self) -> None:
        with self._lock:
            self.alive = False
            self._sock.close()
            left, self._waiting = self._waiting, {}
        for transfer, _ in left.values():
            transfer.finish(GONE)
