"""The envelope of a host message on a TCP stream: length, TPDU, header. Source: facts/iso8583.md section 2.1.

    0066 6010120000 602200000000 0400 7038048002C08019 16...     published reversal "up_0400_sale_ajsgn_x919"
    ┬─── ┬───────── ┬─────────── ┬───
    │    │          │            └ message (MTI ...)
    │    │          └ header: class 60, version 22, state 0, processing requirement 0, sub-version 000000
    │    └ TPDU: id 60, destination 1012, source 0000
    └ length of what follows: 102 bytes

What is damaged is a FrameError: the stream cannot be followed any further and the connection must be closed.
"""

from __future__ import annotations

from protocol.errors import FrameError
from protocol.frozen import dataclass
from protocol.rules import EnvelopeRules, Profile

# Shortest message: MTI 2 bytes, bitmap 8 bytes.
_MESSAGE_MIN_BYTES = 10


@dataclass(frozen=True, slots=True, repr=False)
class HostFrame:
    """One received message with its envelope taken off; `processing_requirement` is 0 where the profile has none."""

    body: bytes
    tpdu: bytes
    header: bytes
    processing_requirement: int

    def __repr__(self) -> str:
        return f"HostFrame({len(self.body)} bytes, tpdu {self.tpdu.hex()}, header {self.header.hex()})"


def wrap(profile: Profile, body: bytes, tpdu: bytes = b"", header: bytes = b"") -> bytes:
    """Gives the bytes for the wire. `tpdu`, `header`: other than the profile's. Raises FrameError if it is too long."""
    rules = profile.envelope
    if tpdu and len(tpdu) != len(rules.tpdu):
        raise FrameError("this TPDU does not fit the profile")
    if header and len(header) != len(rules.header):
        raise FrameError("this header does not fit the profile")
    content = (tpdu or rules.tpdu) + (header or rules.header) + body
    if len(content) > rules.length_max:
        raise FrameError(f"{len(content)} bytes are more than the profile allows in a frame")
    return _length(rules, len(content)) + content


def _length(rules: EnvelopeRules, size: int) -> bytes:
    number = size + (rules.length_bytes if rules.length_counts_itself else 0)
    if rules.length_form == "binary":
        return number.to_bytes(rules.length_bytes, "big")
    digits = rules.length_bytes * (2 if rules.length_form == "bcd" else 1)
    text = f"{number:0{digits}d}"
    return bytes.fromhex(text) if rules.length_form == "bcd" else text.encode("ascii")


class EnvelopeReader:
    """Cuts a stream of bytes into frames. Bytes come in any portions; it holds one unfinished frame at most."""

    def __init__(self, profile: Profile) -> None:
        self._rules = profile.envelope
        self._buffer = bytearray()
        self._damage: FrameError | None = None

    @property
    def partial(self) -> bool:
        """Bytes of an unfinished frame are held."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[HostFrame]:
        """Gives the frames that are complete with these bytes, perhaps none.

        Raises FrameError when the stream cannot be followed any more: at once where no frame stands before the
        damage, otherwise at the next call, so that an answer is not lost for what follows it.
        """
        self._buffer += data
        frames: list[HostFrame] = []
        while self._damage is None:
            try:
                frame = self._next()
            except FrameError as error:
                self._damage = error
                break
            if frame is None:
                return frames
            frames.append(frame)
        if not frames:
            self._buffer.clear()
            raise self._damage
        return frames

    def _next(self) -> HostFrame | None:
        """Takes the first frame out of the buffer; None while it is not complete."""
        size = self._size()
        if size is None or len(self._buffer) < size:
            return None
        frame = self._open(bytes(self._buffer[self._rules.length_bytes : size]))
        del self._buffer[:size]
        return frame

    def _size(self) -> int | None:
        """Gives the size of the frame at the start of the buffer with its length; None while that is not known."""
        rules = self._rules
        if len(self._buffer) < rules.length_bytes:
            return None
        number = _number(rules, bytes(self._buffer[: rules.length_bytes]))
        size = number - (rules.length_bytes if rules.length_counts_itself else 0)
        shortest = len(rules.tpdu) + len(rules.header) + _MESSAGE_MIN_BYTES
        if not shortest <= size <= rules.length_max:
            raise FrameError(f"a frame of {size} bytes is announced, expected {shortest} to {rules.length_max}")
        return rules.length_bytes + size

    def _open(self, content: bytes) -> HostFrame:
        """Takes TPDU and header off."""
        rules = self._rules
        end = len(rules.tpdu)
        if rules.tpdu and content[0] != rules.tpdu[0]:
            raise FrameError(f"TPDU starts with {content[0]:02X}, expected {rules.tpdu[0]:02X}", rules.length_bytes)
        header = content[end : end + len(rules.header)]
        nibble = rules.requirement_nibble
        requirement = int(header.hex()[nibble], 16) if nibble >= 0 else 0
        return HostFrame(content[end + len(header) :], content[:end], header, requirement)


def _number(rules: EnvelopeRules, raw: bytes) -> int:
    """Gives the number that a length stands for; raises FrameError when it is none."""
    if rules.length_form == "binary":
        return int.from_bytes(raw, "big")
    text = raw.hex().encode() if rules.length_form == "bcd" else raw
    if not text.isdigit():
        raise FrameError("the length is not a number")
    return int(text)
