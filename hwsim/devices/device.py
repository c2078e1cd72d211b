"""What every simulated device is: a state machine behind a byte pipe that is told the time.

Rules not to break
1. No I/O, no clock, no threads: bytes and `now` (monotonic seconds) come in, bytes go out.
2. Any bytes whatsoever may come in; nothing is ever raised because of them.
3. The clock of a fault or of an action starts at the last `feed` or `tick`; whoever applies one calls `tick` first.
4. `state()` can be shown to anyone: no card number, track, PIN or key in it.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from hwsim.errors import BenchError
from hwsim.faults import FRAME_FAULTS, Line, spoil_last

# A pause inside a frame after which a device forgets the beginning. Assumed (the documents name none): longer
# than any pause of a loaded machine inside one write, shorter than a driver's patience for an answer.
FRAME_PAUSE_S = 0.5


# What people call a fault, and its name here.
OTHER_NAMES = {
    "cover": "cover-open",
    "cancel": "pin-cancel",
    "pin-time-out": "pin-timeout",
    "re-enumeration": "re-enumerate",
    "clock-stretch": "clock-stretched",
}
# How long a device works on one answer, which a slow clock makes longer. Assumed: a line of text at a printer.
ANSWER_WORK_S = 0.02


@dataclass
class Planned:
    """A fault that waits for the `frames`-th frame from now, in one direction."""

    frames: int
    incoming: bool
    action: Callable[[], None]


@dataclass
class Timer:
    """Something that a device does by itself at `due`."""

    due: float
    action: Callable[[], None]


class SimDevice:
    """Base of the simulated devices; see the module's rules."""

    kind = "device"
    baud = 115200
    line_format = "8N1"

    def __init__(self, seed: int = 0) -> None:
        self.line = Line(seed)
        self.counters: Counter[str] = Counter()
        self.plugged = True
        self._now = 0.0
        self._silent_until: float | None = None
        self._timers: list[Timer] = []
        self._outbox: list[tuple[bytes, bool]] = []
        self._planned: list[Planned] = []
        self._stretch = 1.0

    # What a wire calls

    def feed(self, data: bytes, now: float) -> bytes:
        """Bytes from the program under test; gives the bytes that the device has sent by `now`."""
        return b"".join(self.feed_frames(data, now))

    def tick(self, now: float) -> bytes:
        """Time passes; gives the bytes that the device has sent by `now`."""
        return b"".join(self.tick_frames(now))

    def feed_frames(self, data: bytes, now: float) -> list[bytes]:
        """As `feed`, frame by frame: for a wire that keeps the bounds of transfers (USB)."""
        self._advance(now)
        if self.plugged and not self.silent:
            self.counters["bytes in"] += len(data)
            self._count_frame(incoming=True)
        if self.plugged and not self.silent:
            self.receive(self.line.inbound(data))
        return self._deliver()

    def tick_frames(self, now: float) -> list[bytes]:
        """As `tick`, frame by frame."""
        self._advance(now)
        return self._deliver()

    def next_wake(self) -> float | None:
        """When `tick` has something to do; None: only bytes or a person can wake the device."""
        times = [timer.due for timer in self._timers]
        due = self.line.next_due()
        if due is not None:
            times.append(due)
        if self._outbox:
            times.append(self._now)
        return min(times, default=None)

    def state(self) -> dict[str, object]:
        """What can be seen of the device, for people and tests; JSON-able."""
        return {
            "kind": self.kind,
            "plugged": self.plugged,
            "silent": self.silent,
            "line_faults": self.line.describe(),
            "clock": self._stretch,
            "counters": dict(sorted(self.counters.items())),
            **self.details(),
        }

    def apply_fault(self, name: str, **args: object) -> None:
        """Makes the fault `name` happen: now, or with `nth` at the n-th frame from now. Raises BenchError.

        A line fault acts on that frame; every other one happens just before it is sent (`direction=in`: heard).
        """
        name = OTHER_NAMES.get(plain := name.strip().lower().replace(" ", "-"), plain)
        if name in FRAME_FAULTS:
            self.line.arm(name, **args)
            return
        method = getattr(self, "fault_" + name.replace("-", "_"), None) or self.actions().get(name)
        if method is None:
            raise BenchError(f"the {self.kind} has no fault '{name}'", "it has: " + ", ".join(self.fault_names()))
        nth, incoming = taken_place(name, args)
        call = bound_call(name, method, args)
        if nth:
            self._planned.append(Planned(nth, incoming, lambda: self._happens(name, call)))
        else:
            self._happens(name, call)

    def _happens(self, name: str, call: Callable[[], object]) -> None:
        call()
        self.counters[f"fault {name}"] += 1

    def fault_names(self) -> list[str]:
        """Every fault that `apply_fault` knows for this device."""
        own = [name[6:].replace("_", "-") for name in dir(self) if name.startswith("fault_") and name != "fault_names"]
        return sorted([*FRAME_FAULTS, *own, *self.actions()])

    def actions(self) -> dict[str, Callable[..., object]]:
        """What people do at the device; scripts and the command line call them like faults."""
        return {}

    # What a device's own class fills in

    def receive(self, data: bytes) -> None:
        """Bytes have arrived; answers go through `emit`."""
        raise NotImplementedError

    def power_on(self) -> None:
        """The device starts with what survives a power cut; everything else is forgotten."""
        raise NotImplementedError

    def details(self) -> dict[str, object]:
        raise NotImplementedError

    def spoil(self, frame: bytes) -> bytes:
        return spoil_last(frame)

    def data_set_ready(self) -> bool:
        """The modem line DSR: the device can take data."""
        return self.plugged and not self.silent

    # What a device's own class uses

    @property
    def now(self) -> float:
        return self._now

    @property
    def silent(self) -> bool:
        return self._silent_until is not None

    def emit(self, frame: bytes, counted: bool = True) -> None:
        """Sends bytes; `counted` ones are frames that line faults act on."""
        self._outbox.append((frame, counted))

    def after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Does `action` by itself, later by this device's own clock."""
        return self._at(delay_s * self._stretch, action)

    def _at(self, delay_s: float, action: Callable[[], None]) -> Timer:
        timer = Timer(self._now + delay_s, action)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer | None) -> None:
        if timer is not None and timer in self._timers:
            self._timers.remove(timer)

    # Faults of every device

    def fault_silence(self, seconds: float = 0.0) -> None:
        """The device hangs: hears nothing, says nothing (0: until `clear`)."""
        self._silent_until = self._now + seconds if seconds > 0 else float("inf")
        if seconds > 0:
            self._at(seconds, self._end_silence)

    def fault_clear(self) -> None:
        """The line is clean again and a hung device answers."""
        self.line.clear()
        self._silent_until = None
        self._planned.clear()
        self._stretch = 1.0

    def fault_clock_stretched(self, factor: float = 10.0) -> None:
        """The device's clock is slow: it takes `factor` times as long for everything, until `clear`."""
        self._stretch = max(factor, 1.0)

    def fault_baud_mismatch(self) -> None:
        """Every byte is garbage in both directions until `clear`."""
        self.line.mismatch = True

    def fault_unplug(self, seconds: float = 0.0) -> None:
        """The cable is out (`seconds` later in again; 0: until `replug`)."""
        self._die()
        self.plugged = False
        if seconds > 0:
            self._at(seconds, self.fault_replug)

    def fault_replug(self) -> None:
        """The cable is in; the device starts afresh, under a new system name."""
        if not self.plugged:
            self.plugged = True
            self.power_on()

    def fault_re_enumerate(self, seconds: float = 0.2) -> None:
        """The device vanishes and is back after `seconds`, with another address or under another system name."""
        self.fault_unplug(max(seconds, 0.001))

    def fault_brown_out(self, seconds: float = 0.5) -> None:
        """The supply dips: the device forgets what is not in its permanent memory and is dead for `seconds`."""
        self._die()
        self.power_on()
        self.fault_silence(max(seconds, 0.001))

    def _die(self) -> None:
        self._timers.clear()
        self._outbox.clear()
        self.line.lose()
        self._silent_until = None

    def _end_silence(self) -> None:
        self._silent_until = None

    def _advance(self, now: float) -> None:
        """Runs what was due, in order, each action at its own time."""
        while True:
            timer = min(self._timers, key=lambda each: each.due, default=None)
            if timer is None or timer.due > now:
                break
            self._timers.remove(timer)
            self._now = max(self._now, timer.due)
            timer.action()
            self._post()
        self._now = max(self._now, now)

    def _deliver(self) -> list[bytes]:
        self._post()
        frames = self.line.collect_frames(self._now)
        self.counters["bytes out"] += sum(map(len, frames))
        return frames

    def _post(self) -> None:
        frames, self._outbox = self._outbox, []
        work_s = ANSWER_WORK_S * (self._stretch - 1.0)
        for frame, counted in frames:
            if counted:
                self._count_frame(incoming=False)
            if self.plugged and not self.silent:
                self.line.outbound(frame, self._now + work_s, self.spoil, counted)

    def _count_frame(self, incoming: bool) -> None:
        """One frame more in this direction: what was planned for it happens."""
        waiting = [planned for planned in self._planned if planned.incoming == incoming]
        for planned in waiting:
            planned.frames -= 1
            if planned.frames <= 0:
                self._planned.remove(planned)
                try:
                    planned.action()
                except BenchError:  # no card of that name, say: nobody waits for the answer any more
                    self.counters["faults refused"] += 1


def taken_place(fault: str, args: dict[str, object]) -> tuple[int, bool]:
    """`nth` and `direction` out of `args`: the frame that the fault waits for (0: none). Raises BenchError."""
    nth, direction = args.pop("nth", 0), args.pop("direction", "out")
    if isinstance(nth, bool) or not isinstance(nth, int) or nth < 0 or direction not in ("in", "out"):
        raise BenchError(f"the fault '{fault}' cannot take nth={nth!r}, direction={direction!r}", "nth=2 direction=in")
    return nth, direction == "in"


def bound_call(fault: str, method: Callable[..., object], args: dict[str, object]) -> Callable[[], object]:
    """`method` with `args` as its parameters want them. Raises BenchError."""
    parameters = inspect.signature(method).parameters
    try:
        bound = inspect.signature(method).bind(**args)
    except TypeError:
        takes = ", ".join(parameters) or "no arguments"
        raise BenchError(f"the fault '{fault}' does not take {', '.join(args)}", f"it takes: {takes}") from None
    fitting = {key: fitted(fault, parameters[key], value) for key, value in bound.arguments.items()}
    return lambda: method(**fitting)


def fitted(fault: str, parameter: inspect.Parameter, value: object) -> object:
    """`value` as the parameter wants it: scripts and command lines know numbers and texts only. Raises BenchError."""
    wanted = str(parameter.annotation)
    if wanted == "bool" and isinstance(value, bool):
        return value
    if wanted in ("int", "float") and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return int(value) if wanted == "int" else float(value)
    if wanted not in ("bool", "int", "float") and isinstance(value, str | int):
        return str(value)
    raise BenchError(
        f"the fault '{fault}' cannot take {parameter.name}={value!r}", f"{parameter.name} is of type {wanted}"
    )
