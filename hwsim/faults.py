"""Faults of the line between a simulated device and the program under test.

Rules: the same seed and the same bytes give the same damage; a fault is named and counted, so that a
test can say "the second frame from now"; what a fault does is visible in `Line.describe()`.

A *frame* is what the device sends with a checksum (or, for the printer, one status answer). Echoes and
the control bytes ACK, NAK, EOT are sent but not counted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from hwsim.errors import BenchError

FRAME_FAULTS: dict[str, str] = {
    "corrupt": "one bit of the frame is turned over",
    "drop": "the frame is lost",
    "drop-byte": "one byte of the frame is lost",
    "truncate": "the second half of the frame is lost",
    "duplicate": "the frame arrives twice",
    "delay": "the frame arrives `seconds` later",
    "wrong-checksum": "the frame's check byte is wrong",
    "noise": "`length` random bytes arrive before the frame",
    "nak-storm": "the device refuses what it receives (NAK)",
}
DEFAULT_DELAY_S = 1.0
DEFAULT_NOISE_BYTES = 16


@dataclass
class LineFault:
    """One armed fault: acts on frames `nth` .. `nth + count - 1` from now (`count` 0: on all from `nth` on)."""

    name: str
    nth: int = 1
    count: int = 1
    seconds: float = DEFAULT_DELAY_S
    length: int = DEFAULT_NOISE_BYTES
    direction: str = "out"
    seen: int = 0

    def due(self) -> bool:
        """Counts one frame; true when the fault acts on it."""
        self.seen += 1
        return self.seen >= self.nth and not self.spent_before(self.seen)

    def spent_before(self, frame: int) -> bool:
        return self.count > 0 and frame >= self.nth + self.count

    @property
    def spent(self) -> bool:
        return self.spent_before(self.seen + 1)


@dataclass
class Parcel:
    """Bytes on their way to the program under test; they arrive at `due`."""

    due: float
    data: bytes


class Line:
    """Both directions of one device's line, with its armed faults and the bytes still travelling."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._faults: list[LineFault] = []
        self._parcels: list[Parcel] = []
        self.mismatch = False

    def arm(self, name: str, **args: object) -> None:
        """Arms the fault `name`; Raises BenchError for an unknown name or argument."""
        if name not in FRAME_FAULTS:
            raise BenchError(f"the line has no fault '{name}'", "it has: " + ", ".join(sorted(FRAME_FAULTS)))
        self._faults.append(checked_fault(name, args))

    def clear(self) -> None:
        self._faults.clear()
        self.mismatch = False

    def lose(self) -> None:
        """Everything still on its way is lost (cable out, power gone)."""
        self._parcels.clear()

    def describe(self) -> list[str]:
        armed = [f"{fault.name} nth={fault.nth} count={fault.count} seen={fault.seen}" for fault in self._faults]
        return armed + (["baud-mismatch"] if self.mismatch else [])

    def refuses(self) -> bool:
        """True when the device has to answer the frame it just received with NAK."""
        return bool(self._acting("out", ("nak-storm",)))

    def inbound(self, data: bytes) -> bytes:
        """What the device hears of `data` (a read is one "frame" in this direction)."""
        for fault in self._acting("in", tuple(FRAME_FAULTS)):
            data = self._damaged(fault, data, spoil_last)
        return self.scrambled(data) if self.mismatch else data

    def outbound(self, frame: bytes, now: float, spoil: Callable[[bytes], bytes], counted: bool = True) -> None:
        """Sends `frame` on its way; `spoil` makes its check byte wrong."""
        due = now
        if counted:
            for fault in self._acting("out", tuple(name for name in FRAME_FAULTS if name != "nak-storm")):
                due += fault.seconds if fault.name == "delay" else 0.0
                frame = self._damaged(fault, frame, spoil)
        if self.mismatch:
            frame = self.scrambled(frame)
        if self._parcels:
            due = max(due, self._parcels[-1].due)
        if frame:
            self._parcels.append(Parcel(due, frame))

    def collect(self, now: float) -> bytes:
        """The bytes that have arrived by `now`, in order."""
        return b"".join(self.collect_frames(now))

    def collect_frames(self, now: float) -> list[bytes]:
        """The same, frame by frame (USB keeps their bounds)."""
        arrived = 0
        while arrived < len(self._parcels) and self._parcels[arrived].due <= now:
            arrived += 1
        ready, self._parcels = self._parcels[:arrived], self._parcels[arrived:]
        return [parcel.data for parcel in ready]

    def next_due(self) -> float | None:
        return self._parcels[0].due if self._parcels else None

    def scrambled(self, data: bytes) -> bytes:
        """What a receiver with another speed or parity makes of `data`."""
        return bytes(byte ^ self._random.randrange(1, 256) for byte in data)

    def _acting(self, direction: str, names: tuple[str, ...]) -> list[LineFault]:
        wanted = [fault for fault in self._faults if fault.direction == direction and fault.name in names]
        acting = [fault for fault in wanted if fault.due()]
        self._faults = [fault for fault in self._faults if not fault.spent]
        return acting

    def _damaged(self, fault: LineFault, frame: bytes, spoil: Callable[[bytes], bytes]) -> bytes:
        if not frame:
            return frame
        place = self._random.randrange(len(frame))
        match fault.name:
            case "corrupt":
                return frame[:place] + bytes([frame[place] ^ (1 << self._random.randrange(8))]) + frame[place + 1 :]
            case "drop":
                return b""
            case "drop-byte":
                return frame[:place] + frame[place + 1 :]
            case "truncate":
                return frame[: len(frame) // 2]
            case "duplicate":
                return frame + frame
            case "wrong-checksum":
                return spoil(frame)
            case "noise":
                return self._random.randbytes(fault.length) + frame
            case _:
                return frame


def spoil_last(frame: bytes) -> bytes:
    """The frame with its last byte (where these protocols keep the check byte) changed."""
    return frame[:-1] + bytes([frame[-1] ^ 0x01])


def checked_fault(name: str, args: dict[str, object]) -> LineFault:
    """A fault from loosely typed arguments (a TOML file, a command line); Raises BenchError."""
    fault = LineFault(name)
    for key, value in args.items():
        if key == "direction" and value in ("in", "out"):
            fault.direction = str(value)
        elif key in ("nth", "count", "length") and isinstance(value, int) and value >= 0:
            setattr(fault, key, value)
        elif key == "seconds" and isinstance(value, int | float) and value >= 0:
            fault.seconds = float(value)
        else:
            raise BenchError(
                f"the fault '{name}' cannot take {key}={value!r}",
                "arguments: nth, count (0: until cleared), seconds, length, direction (in or out)",
            )
    return fault
