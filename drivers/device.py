"""A device, and the one thread that talks to it.

`Device` is what every family offers. `DeviceWorker` owns one device: it opens it, runs jobs one after
another, notices that it was unplugged, opens it again by its stable name, and gives a status without waiting.

Rules
1. Nobody but the worker's thread talks to the device; `submit` and `status` never wait for it.
2. A job has a deadline (`time.monotonic()`). When it passes, the job's future fails with DeviceTimeout, the
   device is closed under the job, and a fresh Device with a fresh thread takes over: whatever hangs in the
   old thread can touch only the old, closed port.
3. A PortError in a job is DeviceGone; other DeviceErrors leave the device open.
4. A fault of our own in a job goes to its caller; in opening or between jobs it is a DeviceFault, and the device is
   opened anew: the thread lives as long as its device is wanted.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from drivers.errors import DeviceBusy, DeviceFault, DeviceGone, DeviceInhibited, DeviceTimeout, PortError, PortGone
from drivers.port import BytePort, remaining
from protocol.errors import AgentError
from protocol.frozen import dataclass

log = logging.getLogger("drivers.device")

REOPEN_EVERY_S = 0.5  # back in service within 2 s of being plugged in again
REOPEN_ABSENT_S = 30.0  # while its name is not there: hot-plug wakes us when it comes
IDLE_CHECK_S = 0.5  # how often an idle device is looked at, so that an unplugged one is noticed
OPEN_TIMEOUT_S = 10.0
QUEUE_MAX = 32

State = Literal["opening", "ready", "busy", "gone", "inhibited", "closed"]
Known = Literal["done", "not done", "unknown"]


@dataclass(frozen=True, slots=True)
class LastOutcome:
    """What the device itself knows of an earlier job: the world may be ahead of our record."""

    known: Known
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One look at a device. `detail` is the family's own words: "card in", "paper near end" ..."""

    name: str
    kind: str
    address: str
    state: State
    firmware: str = ""
    detail: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    last_error_code: str = ""
    last_error: str = ""
    since_s: float = 0.0  # monotonic instant of the last change of state
    inhibited_because: str = ""


class Device(ABC):
    """One open or openable device. Only its worker's thread calls it, except `close`."""

    kind = "device"

    @property
    @abstractmethod
    def address(self) -> str:
        """The configured address of its port."""

    @property
    @abstractmethod
    def firmware(self) -> str:
        """As the device names it; "" = it cannot tell."""

    @property
    @abstractmethod
    def detail(self) -> str:
        """What is worth telling now, in a few words."""

    @property
    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """Bytes, retransmissions and every kind of error since it was opened."""

    @abstractmethod
    def open(self, deadline_s: float) -> None:
        """Open the port and greet the device. Raises PortError, DeviceError."""

    @abstractmethod
    def close(self) -> None:
        """Any thread, any number of times."""

    @abstractmethod
    def idle(self) -> None:
        """Between jobs: take what the device sent by itself, notice that it is gone. Quick. Raises PortError."""

    @abstractmethod
    def test(self, deadline_s: float) -> str:
        """Exercise the device without a customer: what was seen, in one line. Raises PortError, DeviceError."""

    def last_outcome(self, reference: str) -> LastOutcome:
        """What became of the job with this reference, as far as the device can tell."""
        return LastOutcome("unknown", "this device cannot tell")


P = TypeVar("P", bound=BytePort)


class PortDevice(Device, Generic[P]):
    """A device behind one byte port; `opener` opens it anew each time."""

    def __init__(self, address: str, opener: Callable[[], P]) -> None:
        self._address = address
        self._opener = opener
        self._port: P | None = None
        self.counted: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """The configured address of its port."""
        return self._address

    @property
    def port(self) -> P:
        """The open port. Raises PortGone."""
        if self._port is None:
            raise PortGone(f"{self._address} is not open")
        return self._port

    @property
    def counters(self) -> Mapping[str, int]:
        """See Device."""
        port = self._port
        return dict(self.counted) | (port.counters.as_dict() if port is not None else {})

    def open_port(self) -> P:
        """Open the port. Raises PortError."""
        self._port = self._opener()
        return self._port

    def close(self) -> None:
        """See Device."""
        if self._port is not None:
            self._port.close()


D = TypeVar("D", bound=Device)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    run: Callable[[Any], Any]
    deadline_s: float
    future: Future[Any] = field(default_factory=Future)
    timer: threading.Timer | None = None

    def settle(self, result: Any = None, error: BaseException | None = None) -> None:
        """First come, first served: the timer and the thread may both arrive."""
        if self.timer is not None:
            self.timer.cancel()
        with contextlib.suppress(InvalidStateError):  # settled already, or cancelled by the caller
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)


class DeviceWorker(Generic[D]):
    """See the module's rules. `make` builds a fresh, closed Device; it is called for each opening.

    `inhibited`: why it stays closed from the start, until `release`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], D],
        on_change: Callable[[DeviceStatus], None] | None = None,
        inhibited: str = "",
    ) -> None:
        self.name = name
        self._make = make
        self._on_change = on_change
        self.absent: Callable[[], bool] = lambda: False  # whether somebody calls `wake` when the device comes
        self._lock = threading.RLock()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_MAX)
        self._device = make()
        self._generation = 0
        self._running: _Job | None = None
        self._state: State = "inhibited" if inhibited else "opening"
        self._since = time.monotonic()
        self._inhibited = inhibited
        self._stopping = False
        self._totals: Counter[str] = Counter()
        self._last_error: AgentError | None = None

    # ------------------------------------------------------------ for everybody, never waits

    def start(self) -> None:
        """Begin to open the device and to take jobs."""
        with self._lock:
            self._launch()

    def submit(self, job: Callable[[D], T], deadline_s: float) -> Future[T]:
        """Run `job(device)` when its turn comes. The future fails with a DeviceError at the deadline at the latest."""
        task = _Job(job, deadline_s)
        with self._lock:
            refusal = self._out_of_service()
            if refusal is None:
                self._enqueue(task)
            else:
                task.settle(error=refusal)
        return task.future

    def _out_of_service(self) -> AgentError | None:
        """Why no job is taken now."""
        if self._inhibited:
            return DeviceInhibited(f"{self.name} is out of service: {self._inhibited}")
        return DeviceGone(f"{self.name} is closed") if self._stopping else None

    def status(self) -> DeviceStatus:
        """A snapshot."""
        with self._lock:
            device, error = self._device, self._last_error
            return DeviceStatus(
                name=self.name,
                kind=device.kind,
                address=device.address,
                state=self._state,
                firmware=device.firmware,
                detail=device.detail,
                counters=dict(self._totals + Counter(device.counters)),
                last_error_code=error.code if error else "",
                last_error=str(error) if error else "",
                since_s=self._since,
                inhibited_because=self._inhibited,
            )

    def inhibit(self, reason: str) -> None:
        """A technician takes the device: it is closed until `release`, and jobs are refused."""
        with self._lock:
            self._inhibited = reason or "no reason given"
            self._replace("inhibited", DeviceInhibited(f"{self.name} is out of service: {self._inhibited}"))

    def release(self) -> None:
        """Back in service."""
        with self._lock:
            if self._inhibited:
                self._inhibited = ""
                self._replace("opening", DeviceGone(f"{self.name} is being opened again"))

    def wake(self) -> None:
        """Hot-plug saw something: look at once instead of at the next turn. A job that waits does the same."""
        with contextlib.suppress(queue.Full):  # filled by somebody else between the look and the put
            if self._jobs.empty():
                self._jobs.put_nowait(None)

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop for good; waits at most `timeout_s` for the thread."""
        with self._lock:
            self._stopping = True
            self._replace("closed", DeviceGone(f"{self.name} was closed"))
            thread = self._thread
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    # ------------------------------------------------------------ queue

    def _enqueue(self, task: _Job) -> None:
        task.timer = threading.Timer(remaining(task.deadline_s), self._expire, (task,))
        task.timer.daemon = True
        task.timer.start()
        try:
            self._jobs.put_nowait(task)
        except queue.Full:
            task.settle(error=DeviceBusy(f"{self.name} has {QUEUE_MAX} jobs waiting"))

    def _expire(self, task: _Job) -> None:
        """The job's deadline has passed: give it up, and the device with it if the job is running."""
        with self._lock:
            if task.future.done():
                return
            running = self._running is task
            doing = "did not finish" if running else f"was not reached ({self._state})"
            error = DeviceTimeout(f"a job on {self.name} {doing} before its deadline")
            self._totals["jobs_abandoned"] += running
            self._last_error = error
            task.settle(error=error)
            if running:
                self._replace("opening", error)

    def _replace(self, state: State, error: AgentError) -> None:
        """A fresh device and thread take over; the old ones end by themselves. Call with the lock held."""
        old, job = self._device, self._running
        self._totals += Counter(old.counters)
        self._device, self._running = self._make(), None
        self._set_state(state)
        if job is not None:
            job.settle(error=error)
        self._launch()
        # Closing may hang with the device: never in the caller's thread.
        threading.Thread(target=old.close, name=f"{self.name}-close", daemon=True).start()

    def _launch(self) -> None:
        self._generation += 1
        self._thread = threading.Thread(target=self._run, args=(self._generation,), name=self.name, daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ the thread

    def _run(self, generation: int) -> None:
        while (device := self._own(generation)) is not None:
            if self._state in ("opening", "gone") and not self._open(generation, device):
                self._refuse_or_wait()
                continue
            self._turn(generation, device)
        if self._current(generation):
            self._drain()

    def _own(self, generation: int) -> D | None:
        """The device that this thread may talk to; None: its time is over. One look, so that it is never the next's."""
        with self._lock:
            wanted = self._current(generation) and not self._inhibited and not self._stopping
            return self._device if wanted else None

    def _current(self, generation: int) -> bool:
        return generation == self._generation

    def _open(self, generation: int, device: D) -> bool:
        try:
            with _faults_as_errors():
                device.open(time.monotonic() + OPEN_TIMEOUT_S)
        except AgentError as error:
            self._failed(generation, device, error)
            return False
        with self._lock:
            if not self._current(generation):
                device.close()
                return False
            self._totals["opened"] += 1
            self._set_state("ready")
            return True

    def _failed(self, generation: int, device: D, error: AgentError) -> None:
        """Record the error; with the port gone, or never opened, the device is closed and a fresh one waits."""
        lost = isinstance(error, PortError | DeviceFault) or self._state in ("opening", "gone")
        if lost:
            device.close()
        with self._lock:
            if not self._current(generation):
                return
            if self._last_error is None or self._last_error.code != error.code:
                log.warning("%s: %s", self.name, error)
            self._last_error = error
            self._totals[error.code] += 1
            if lost:
                self._totals += Counter(device.counters)
                self._device = self._make()
                self._set_state("gone")

    def _refuse_or_wait(self) -> None:
        """The device is away: jobs fail at once, and the next try comes soon."""
        error = self._last_error
        try:
            job = self._jobs.get(timeout=REOPEN_ABSENT_S if self.absent() else REOPEN_EVERY_S)
        except queue.Empty:
            return
        if job is not None:
            job.settle(error=DeviceGone(f"{self.name} is not there: {error.code if error else 'not opened yet'}"))

    def _turn(self, generation: int, device: D) -> None:
        try:
            job = self._jobs.get(timeout=IDLE_CHECK_S)
        except queue.Empty:
            job = None
        if job is not None and not self._begin(generation, job):
            return
        try:
            result = _look_at(device) if job is None else job.run(device)
        except AgentError as error:
            self._failed(generation, device, error)
            self._end(generation, job, error=self._translated(error))
        except BaseException as error:
            # Our own fault: the future tells the caller, the device goes on.
            self._end(generation, job, error=error)
            if job is None:
                raise
        else:
            self._end(generation, job, result)

    def _begin(self, generation: int, job: _Job) -> bool:
        """Take the job, unless it is over, or this thread is."""
        with self._lock:
            if not self._current(generation):
                self._pass_on(job)
                return False
            if job.future.done() or not job.future.set_running_or_notify_cancel():
                return False
            self._running = job
            self._set_state("busy")
            return True

    def _pass_on(self, job: _Job) -> None:
        """This thread is over: the job is for the next one, if there will be one. Call with the lock held."""
        refusal = self._out_of_service()
        if refusal is not None:
            job.settle(error=refusal)
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            job.settle(error=DeviceBusy(f"{self.name} has {QUEUE_MAX} jobs waiting"))

    def _end(self, generation: int, job: _Job | None, result: Any = None, error: BaseException | None = None) -> None:
        with self._lock:
            if self._current(generation) and job is not None:
                self._running = None
                if self._state == "busy":
                    self._set_state("ready")
        if job is not None:
            job.settle(result, error)

    def _translated(self, error: AgentError) -> AgentError:
        if not isinstance(error, PortError):
            return error
        gone = DeviceGone(f"{self.name} went away in the middle ({error.code})", error.hint)
        gone.__cause__ = error
        return gone

    def _drain(self) -> None:
        """No job waits for a device that is closed or out of service."""
        while (refusal := self._out_of_service()) is not None:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job.settle(error=refusal)

    def _set_state(self, state: State) -> None:
        """Call with the lock held. Observers must be quick and must not call back into the worker's jobs."""
        if state == self._state:
            return
        notable = not ({state, self._state} <= {"ready", "busy"})
        self._state, self._since = state, time.monotonic()
        if notable and self._on_change is not None:
            self._on_change(self.status())


def _look_at(device: Device) -> object:
    with _faults_as_errors():
        return device.idle()


@contextlib.contextmanager
def _faults_as_errors() -> Iterator[None]:
    """Rule 4: type and place; the text of a fault could hold what the device sent."""
    try:
        yield
    except AgentError:
        raise
    except Exception as fault:
        last = traceback.extract_tb(fault.__traceback__)[-1]
        place = f"{type(fault).__name__} in {Path(last.filename).name}:{last.lineno}"
        raise DeviceFault(f"our own fault: {place}") from fault
