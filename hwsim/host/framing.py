"""Frames on the host's TCP connections: 2-byte binary length, then TPDU and header where the dialect has them.

The length counts the bytes behind it (checked against published UnionPay and NAC samples).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.errors import FrameError

LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True, repr=False)
class HostEnvelope:
    """One frame without its length: `tpdu` (5 bytes or none), `header` (6 bytes or none), `body` (MTI onwards)."""

    tpdu: bytes
    header: bytes
    body: bytes

    def answer(self, body: bytes, processing_requirement: int = 0) -> HostEnvelope:
        """The reply's envelope: TPDU source and destination swapped, the requirement in the header's sixth nibble."""
        swapped = self.tpdu[:1] + self.tpdu[3:5] + self.tpdu[1:3]
        return replace(self, tpdu=swapped, header=_require(self.header, processing_requirement), body=body)

    def frame(self) -> bytes:
        payload = self.tpdu + self.header + self.body
        return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def _require(header: bytes, requirement: int) -> bytes:
    """Header digits: class 2, version 2, state 1, processing requirement 1, sub-version 6."""
    if len(header) < 3:
        return header
    return header[:2] + bytes([header[2] & 0xF0 | requirement & 0x0F]) + header[3:]


def open_envelope(payload: bytes, tpdu_bytes: int, header_bytes: int) -> HostEnvelope:
    """Split a frame's payload. Raises FrameError when it is too short or the TPDU does not begin with 60."""
    if len(payload) < tpdu_bytes + header_bytes + 2:
        raise FrameError(f"frame of {len(payload)} bytes is too short for TPDU, header and message type")
    if tpdu_bytes and payload[0] != 0x60:
        raise FrameError("the TPDU does not begin with 60")
    edge = tpdu_bytes + header_bytes
    return HostEnvelope(payload[:tpdu_bytes], payload[tpdu_bytes:edge], payload[edge:])


class FrameReader:
    """Cuts a TCP stream into payloads. A length of 0 ends the connection: nothing behind it can be trusted."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def partial(self) -> bool:
        return bool(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        self._held += data
        payloads = []
        while (payload := self._next()) is not None:
            payloads.append(payload)
        return payloads

    def _next(self) -> bytes | None:
        if len(self._held) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._held[:LENGTH_BYTES], "big")
        if length == 0:
            raise FrameError("a frame says that it has no bytes")
        if len(self._held) < LENGTH_BYTES + length:
            return None
        payload = bytes(self._held[LENGTH_BYTES : LENGTH_BYTES + length])
        del self._held[: LENGTH_BYTES + length]
        return payload
