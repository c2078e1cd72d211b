"""The desk: which driver for which name, what a printer's model can, who is woken, what a bench may exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.catalogue import load_catalogue
from drivers.desk import Desk, DeviceSetting, known_model, system_name
from drivers.device import DeviceStatus
from drivers.errors import DeviceGone, DeviceRefused, PortAddressError
from drivers.port import deadline_in
from drivers.printer_escpos import EscposPrinter, PrinterModel
from drivers.usb_bench import VARIABLE, bench_backend
from drivers.usb_port import CLASS_PRINTER, open_usb
from hwsim.bench import Bench
from protocol.escpos import Line, Slip
from tests.unit.usb_backend import OneDevice

CATALOGUE = load_catalogue()


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        threading.Event().wait(0.01)


def test_an_unknown_driver_is_named() -> None:
    desk = Desk(lambda status: None, udev=False)
    with pytest.raises(PortAddressError, match="typewriter"):
        desk.configure([DeviceSetting("x", "typewriter", "loop://")], {})
    desk.close()


def test_every_driver_of_the_catalogue_can_be_made() -> None:
    desk = Desk(lambda status: None, udev=False)
    drivers = {known.driver for known in CATALOGUE.devices} | {"ccid-serial"}
    desk.configure([DeviceSetting(driver, driver, f"serial:/dev/no-such-{driver}") for driver in sorted(drivers)], {})
    kinds = {status.name: status.kind for status in desk.statuses()}
    assert kinds == {
        "ccid-serial": "reader",
        "ccid-usb": "reader",
        "escpos": "printer",
        "ipp": "pinpad",
        "neo2": "contactless",
    }
    desk.close()


def test_only_a_serial_name_can_be_watched() -> None:
    assert system_name("serial:/dev/pos/reader?baud=9600") == "/dev/pos/reader"
    assert system_name("usb:04B8:0202") == system_name("rfc2217://h:1?baud=9600") == ""


def test_the_catalogue_says_what_a_model_can() -> None:
    old, new = known_model(CATALOGUE, "TM-T88III", 32), known_model(CATALOGUE, "TM-T82", 48)
    assert old is not None
    assert new is not None
    assert (old.process_id, old.columns, new.process_id, new.columns) == (False, 32, True, 48)
    assert known_model(CATALOGUE, "no such", 48) is None


def test_a_usb_printer_that_names_an_old_model_is_not_asked_for_a_proof_that_it_cannot_give() -> None:
    backend = OneDevice(CLASS_PRINTER, lambda data: [b"\x12"] if data[:2] == b"\x10\x04" else [])
    backend.control[(0xA1, 0x00)] = (30).to_bytes(2, "big") + b"MFG:EPSON;MDL:TM-T88III;"
    printer = EscposPrinter(
        "usb:1209:0001",
        lambda: open_usb("usb:1209:0001", CLASS_PRINTER, backend),
        PrinterModel(columns=42),
        models=lambda name: known_model(CATALOGUE, name, 42),
    )
    printer.open(deadline_in(2))
    began = time.monotonic()
    outcome = printer.print_slip(Slip((Line("x"),)), "R1", 20)
    assert (outcome.outcome, "this model cannot say" in outcome.cause) == ("unknown", True)
    assert "look at the printer" in printer.test(deadline_in(20))
    assert time.monotonic() - began < 15  # it did not wait for the proof
    printer.close()


def test_a_replugged_device_is_back_within_two_seconds_under_another_name(tmp_path: Path) -> None:
    seen: list[DeviceStatus] = []
    with Bench(tmp_path) as bench:
        desk = Desk(seen.append)
        desk.configure([DeviceSetting("pinpad", "ipp", bench.pinpad.port)], {})
        until(lambda: desk.statuses()[0].state == "ready")
        first = bench.pinpad.name
        bench.pinpad.fault("unplug")
        until(lambda: desk.statuses()[0].state == "gone", 2)
        bench.pinpad.fault("replug")
        until(lambda: desk.statuses()[0].state == "ready", 2)
        assert bench.pinpad.name != first
        assert [status.state for status in seen] == ["ready", "gone", "ready"]
        desk.close()


def test_a_device_that_does_not_read_chip_cards_is_refused_as_the_reader(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        desk = Desk(lambda status: None, udev=False)
        desk.configure([DeviceSetting("pad", "ipp", bench.pinpad.port)], {})
        until(lambda: desk.statuses()[0].state == "ready")
        with pytest.raises(DeviceRefused, match="does not read chip cards"):
            desk.present("pad", {"amount_minor": 1}, 1, 1).result(5)
        with pytest.raises(DeviceGone, match="no device is called"):
            desk.present("no such", {"amount_minor": 1}, 1, 1).result(5)
        desk.close()


def test_libusb_is_used_unless_the_environment_names_a_bench() -> None:
    assert bench_backend({}) is None
    assert bench_backend({VARIABLE: ""}) is None
    assert bench_backend({VARIABLE: "collections:OrderedDict"}) == {}


@pytest.mark.parametrize("named", ["no-colon", "a:b:c", "os:no_such_function", "no_such_module_at_all:f", "os:"])
def test_a_wrong_bench_backend_is_a_typed_error(named: str) -> None:
    with pytest.raises(PortAddressError, match=VARIABLE):
        bench_backend({VARIABLE: named})
