"""Drivers over USB/IP without a kernel: another process sees the bench's USB devices as libusb would show them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import usb.core

from drivers.desk import Desk
from drivers.emv_session import TerminalData
from drivers.making import DeviceSetting
from drivers.port import deadline_in
from drivers.printer_escpos import EscposPrinter
from drivers.reader_ccid import CcidReader
from drivers.usb_port import CLASS_CCID, CLASS_PRINTER, open_usb
from hwsim.bench import Bench
from hwsim.errors import BenchError
from hwsim.wires.usbip_backend import VARIABLE, UsbIpBackend, backend
from protocol.escpos import CutPaper, Line, Slip

SLIP = Slip((Line("银联 UnionPay", "center", True), CutPaper()))
TERMINAL = TerminalData(amount_minor=1234, date="261122", unpredictable="01020304")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, wire="usb") as made:
        yield made


@pytest.fixture
def remote(bench: Bench) -> UsbIpBackend:
    return UsbIpBackend(bench.serve_usbip(0))


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        threading.Event().wait(0.01)


def test_a_slip_is_printed_and_proved(bench: Bench, remote: UsbIpBackend) -> None:
    port = bench.printer.port
    printer = EscposPrinter(port, lambda: open_usb(port, CLASS_PRINTER, remote))
    printer.open(deadline_in(5))
    assert printer.firmware == "TM-T82"
    assert printer.print_slip(SLIP, "R1", 5).outcome == "printed"
    assert "银联 UnionPay" in bench.printer.slips()[0]
    printer.close()


def test_a_card_is_read_and_its_removal_is_heard(bench: Bench, remote: UsbIpBackend) -> None:
    port = bench.reader.port
    reader = CcidReader(port, lambda: open_usb(port, CLASS_CCID, remote))
    reader.open(deadline_in(5))
    bench.reader.insert_card("unionpay-credit")
    reader.wait_card(5)
    assert reader.read_card(TERMINAL).pan.startswith("621234")
    assert reader.first_generate_ac(TERMINAL).kind == "ARQC"
    assert reader.second_generate_ac(True, "00").kind == "TC"
    bench.reader.remove_card()
    until(lambda: reader.idle() or reader.detail == "no card")
    reader.close()


def test_a_transfer_without_an_answer_is_given_up_and_the_next_one_works(bench: Bench, remote: UsbIpBackend) -> None:
    device = usb.core.find(idVendor=0x08E6, backend=remote)
    device.set_configuration()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(usb.core.USBTimeoutError):
            device.read(0x82, 271, 50)
        assert time.monotonic() - began < 2
    device.write(2, bytes.fromhex("65000000000001000000"), 1000)
    assert bytes(device.read(0x82, 271, 1000)) == bytes.fromhex("81000000000001020001")
    usb.util.dispose_resources(device)


def test_both_devices_work_at_once_and_each_comes_back_by_itself(bench: Bench, remote: UsbIpBackend) -> None:
    desk = Desk(lambda status: None, remote, udev=False)
    settings = [
        DeviceSetting("reader", "ccid-usb", bench.reader.port),
        DeviceSetting("printer", "escpos", bench.printer.port, 48),
    ]
    desk.configure(settings, {})
    states = lambda: {status.name: status.state for status in desk.statuses()}  # noqa: E731
    until(lambda: set(states().values()) == {"ready"})
    bench.printer.fault("unplug")
    until(lambda: states() == {"reader": "ready", "printer": "gone"})
    assert desk.submit("reader", lambda device: device.test(deadline_in(3)), 3).result(5).startswith("reader answers")
    bench.printer.fault("replug")
    until(lambda: set(states().values()) == {"ready"}, 3)
    assert desk.print_slip("printer", SLIP, "R1", 5).result(8).outcome == "printed"
    counters = {status.name: status.counters for status in desk.statuses()}
    assert counters["reader"]["opened"] == 1
    desk.close()


def test_a_bench_that_is_off_has_no_devices(tmp_path: Path) -> None:
    with Bench(tmp_path, wire="usb") as bench:
        remote = UsbIpBackend(bench.serve_usbip(0))
        assert len(remote.enumerate_devices()) == 2
    assert remote.enumerate_devices() == []
    assert usb.core.find(backend=remote) is None


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nonsense")
    with pytest.raises(BenchError):
        backend()
    monkeypatch.setenv(VARIABLE, "127.0.0.1:1")
    assert backend().enumerate_devices() == []
