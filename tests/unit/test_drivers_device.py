"""The worker: a hung device blocks nobody, an unplugged one comes back, a technician can take it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from drivers.device import Device, DeviceStatus, DeviceWorker
from drivers.errors import (
    DeviceBusy,
    DeviceGone,
    DeviceInhibited,
    DeviceRefused,
    DeviceTimeout,
    PortGone,
    PortMissing,
)
from drivers.port import deadline_in


class Socket:
    """The place where a device is plugged in: shared by the Device objects that follow each other."""

    def __init__(self) -> None:
        self.plugged = True
        self.opened = 0
        self.closed = 0
        self.hang = threading.Event()
        self.faults: list[str] = []  # where our own code fails once
        self.threads: set[str] = set()


class Plugged(Device):
    """A device that does what its socket says."""

    kind = "toy"

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.was_closed = threading.Event()

    address = "toy:"  # type: ignore[assignment]
    firmware = "1.0"  # type: ignore[assignment]
    detail = ""  # type: ignore[assignment]

    @property
    def counters(self) -> Mapping[str, int]:
        return {"seen": 1}

    def open(self, deadline_s: float) -> None:
        self.fail("open")
        if not self.socket.plugged:
            raise PortMissing("toy: nothing there")
        self.socket.opened += 1

    def fail(self, where: str) -> None:
        if where in self.socket.faults:
            self.socket.faults.remove(where)
            raise ValueError("6200000000000005")

    def close(self) -> None:
        self.was_closed.set()
        self.socket.closed += 1

    def idle(self) -> None:
        self.fail("idle")
        if not self.socket.plugged:
            raise PortGone("toy: pulled")

    def test(self, deadline_s: float) -> str:
        return "fine"

    def wait(self) -> str:
        """Hangs until closed or told to go on."""
        while not self.was_closed.wait(0.005):
            if self.socket.hang.is_set():
                return "went on"
        raise PortGone("toy: closed under the job")


class SlowToOpen(Plugged):
    """Its opening waits until its socket tells it to go on."""

    def open(self, deadline_s: float) -> None:
        assert self.socket.hang.wait(5)
        super().open(deadline_s)


def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true"
        threading.Event().wait(0.005)


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def changes() -> list[DeviceStatus]:
    return []


@pytest.fixture
def worker(socket: Socket, changes: list[DeviceStatus]) -> Iterator[DeviceWorker[Plugged]]:
    made = DeviceWorker("toy", lambda: Plugged(socket), changes.append)
    made.start()
    yield made
    made.close()
    assert made.status().state == "closed"


Worker = DeviceWorker[Plugged]


def test_a_job_runs_in_the_devices_thread(worker: Worker) -> None:
    name = worker.submit(lambda device: threading.current_thread().name, deadline_in(2)).result(2)
    assert name == "toy"


def test_jobs_run_one_after_another_in_order(worker: Worker) -> None:
    seen: list[int] = []
    futures = [worker.submit(lambda device, n=n: seen.append(n), deadline_in(2)) for n in range(20)]  # type: ignore[misc]
    for future in futures:
        future.result(2)
    assert seen == list(range(20))


def test_a_hung_job_is_given_up_at_its_deadline_and_the_device_comes_back(worker: Worker, socket: Socket) -> None:
    started = time.monotonic()
    with pytest.raises(DeviceTimeout):
        worker.submit(lambda device: device.wait(), deadline_in(0.2)).result(2)
    assert time.monotonic() - started < 0.5
    assert worker.submit(lambda device: device.test(0), deadline_in(2)).result(2) == "fine"
    assert socket.opened == 2
    assert worker.status().counters["jobs_abandoned"] == 1


def test_a_job_that_waits_behind_a_hung_one_fails_at_its_own_deadline(worker: Worker) -> None:
    hung = worker.submit(lambda device: device.wait(), deadline_in(1.0))
    behind = worker.submit(lambda device: device.test(0), deadline_in(0.1))
    with pytest.raises(DeviceTimeout):
        behind.result(0.6)
    assert not hung.done()
    with pytest.raises(DeviceTimeout):
        hung.result(2)


def test_asking_the_status_never_waits_for_a_hung_device(worker: Worker, socket: Socket) -> None:
    until(lambda: worker.status().state == "ready")
    hung = worker.submit(lambda device: device.wait(), deadline_in(30))
    until(lambda: worker.status().state == "busy")
    assert {worker.status().state for _ in range(100)} == {"busy"}
    assert not hung.done()
    socket.hang.set()
    assert hung.result(5) == "went on"


def test_an_unplugged_device_is_noticed_and_back_within_two_seconds(worker: Worker, socket: Socket) -> None:
    until(lambda: worker.status().state == "ready")
    socket.plugged = False
    until(lambda: worker.status().state == "gone", 1.5)
    assert worker.status().last_error_code in ("E-PORT-GONE", "E-PORT-MISSING")
    socket.plugged = True
    until(lambda: worker.status().state == "ready", 2.0)


def test_jobs_for_an_absent_device_fail_at_once(worker: Worker, socket: Socket) -> None:
    socket.plugged = False
    until(lambda: worker.status().state == "gone")
    with pytest.raises(DeviceGone):
        worker.submit(lambda device: device.test(0), deadline_in(30)).result(2)


def test_a_port_that_goes_in_a_job_is_device_gone(worker: Worker, socket: Socket) -> None:
    until(lambda: worker.status().state == "ready")

    def job(device: Plugged) -> None:
        raise PortGone("toy: pulled")

    with pytest.raises(DeviceGone):
        worker.submit(job, deadline_in(2)).result(2)
    until(lambda: socket.opened == 2)
    assert socket.closed >= 1


def test_an_error_of_the_device_leaves_it_open(worker: Worker, socket: Socket) -> None:
    def job(device: Plugged) -> None:
        raise DeviceRefused("no", "7")

    with pytest.raises(DeviceRefused):
        worker.submit(job, deadline_in(2)).result(2)
    status = worker.status()
    assert (status.state, status.last_error_code, status.counters["E-DEVICE-REFUSED"]) == (
        "ready",
        "E-DEVICE-REFUSED",
        1,
    )
    assert socket.opened == 1


def test_a_fault_in_a_job_reaches_its_caller_and_the_worker_lives_on(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda device: 1 // 0, deadline_in(2)).result(2)
    assert worker.submit(lambda device: device.test(0), deadline_in(2)).result(2) == "fine"


@pytest.mark.parametrize("where", ["open", "idle"])
def test_a_fault_of_ours_outside_a_job_costs_one_opening_and_shows_no_value(
    socket: Socket, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    socket.faults.append(where)
    worker = DeviceWorker("toy", lambda: Plugged(socket))
    worker.start()
    until(lambda: worker.status().counters.get("E-DEVICE-FAULT") == 1)
    until(lambda: worker.status().state == "ready")
    assert worker.submit(lambda device: device.test(0), deadline_in(2)).result(2) == "fine"
    assert socket.opened == {"open": 1, "idle": 2}[where]
    assert "our own fault: ValueError in test_drivers_device.py:" in caplog.text
    assert "6200000000000005" not in caplog.text + worker.status().last_error
    worker.close()


def test_inhibited_the_device_is_closed_and_jobs_are_refused_until_release(worker: Worker, socket: Socket) -> None:
    until(lambda: worker.status().state == "ready")
    hung = worker.submit(lambda device: device.wait(), deadline_in(5))
    until(lambda: worker.status().state == "busy")
    worker.inhibit("new cable")
    with pytest.raises(DeviceInhibited):
        hung.result(1)
    with pytest.raises(DeviceInhibited):
        worker.submit(lambda device: device.test(0), deadline_in(2)).result(1)
    assert (worker.status().state, worker.status().inhibited_because) == ("inhibited", "new cable")
    until(lambda: socket.closed >= 1)
    worker.release()
    until(lambda: worker.status().state == "ready")
    assert worker.submit(lambda device: device.test(0), deadline_in(2)).result(2) == "fine"


def test_a_full_queue_is_refused_and_not_waited_for(worker: Worker) -> None:
    until(lambda: worker.status().state == "ready")
    worker.submit(lambda device: device.wait(), deadline_in(0.5))
    until(lambda: worker.status().state == "busy")
    futures = [worker.submit(lambda device: device.test(0), deadline_in(3)) for _ in range(40)]
    assert sum(isinstance(f.exception(5), DeviceBusy) for f in futures) == 8


def test_however_often_hot_plug_wakes_a_slow_opening_there_is_room_for_jobs(socket: Socket) -> None:
    worker = DeviceWorker("toy", lambda: SlowToOpen(socket))
    worker.start()
    for _ in range(40):
        worker.wake()
    job = worker.submit(lambda device: device.test(0), deadline_in(5))
    socket.hang.set()
    assert job.result(5) == "fine"
    worker.close()


def test_closing_fails_what_waits(socket: Socket) -> None:
    worker = DeviceWorker("toy", lambda: Plugged(socket))
    worker.start()
    until(lambda: worker.status().state == "ready")
    running = worker.submit(lambda device: device.wait(), deadline_in(5))
    waiting = worker.submit(lambda device: device.test(0), deadline_in(5))
    worker.close()
    for future in (running, waiting, worker.submit(lambda device: device.test(0), deadline_in(1))):
        with pytest.raises(DeviceGone):
            future.result(1)


def test_a_cancelled_job_is_not_run(worker: Worker, socket: Socket) -> None:
    until(lambda: worker.status().state == "ready")
    first = worker.submit(lambda device: device.wait(), deadline_in(2))
    ran = threading.Event()
    second = worker.submit(lambda device: ran.set(), deadline_in(2))
    assert second.cancel()
    socket.hang.set()
    assert first.result(2) == "went on"
    assert worker.submit(lambda device: device.test(0), deadline_in(2)).result(2) == "fine"
    assert not ran.is_set()


def test_observers_hear_of_coming_and_going_only(worker: Worker, socket: Socket, changes: list[DeviceStatus]) -> None:
    until(lambda: worker.status().state == "ready")
    worker.submit(lambda device: device.test(0), deadline_in(2)).result(2)
    socket.plugged = False
    worker.wake()
    until(lambda: worker.status().state == "gone")
    assert [status.state for status in changes] == ["ready", "gone"]


def test_closing_or_inhibiting_at_any_moment_leaves_no_job_unsettled(socket: Socket) -> None:
    for round_number in range(30):
        worker = DeviceWorker("toy", lambda: Plugged(socket))
        worker.start()
        until(lambda worker=worker: worker.status().state == "ready")  # type: ignore[misc]
        futures = [worker.submit(lambda device: device.wait(), deadline_in(20)) for _ in range(3)]
        if round_number % 2:
            worker.inhibit("now")
        worker.close()
        for future in futures:
            assert isinstance(future.exception(1), DeviceGone | DeviceInhibited | PortGone)
