"""The desk: which driver for which name, what a printer's model can, who is woken, what a bench may exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.catalogue import load_catalogue
from drivers.desk import Desk
from drivers.device import DeviceStatus
from drivers.errors import DeviceGone, DeviceInhibited, DeviceRefused, PortAddressError
from drivers.making import DeviceSetting, known_model, system_name
from drivers.port import deadline_in
from drivers.printer_escpos import EscposPrinter, PrinterModel
from drivers.usb_bench import VARIABLE, bench_backend
from drivers.usb_port import CLASS_PRINTER, open_usb
from hwsim.bench import Bench
from protocol.escpos import CutPaper, Line, Slip
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


def test_a_serial_printer_of_an_old_model_is_not_waited_for(tmp_path: Path) -> None:
    """The time-out is ten times this test's patience: the word "unknown" comes at once, or not at all."""
    with Bench(tmp_path / "bench") as bench:
        bench.printer.fault("no-process-id")
        desk = Desk(lambda status: None, udev=False)
        desk.configure([DeviceSetting("slips", "escpos", bench.printer.port, 48, model="TM-T88III")], {})
        until(lambda: desk.statuses()[0].state == "ready")
        outcome = desk.print_slip("slips", Slip((Line("text"), CutPaper())), "R1", 300.0).result(30)
        assert (outcome.outcome, outcome.cause) == ("unknown", "this model cannot say when a slip is on paper")
        assert bench.printer.wait(lambda state: state["slips"] == 1)
        assert desk.print_slip("slips", Slip((Line("text"), CutPaper())), "R1", 300.0).result(30).outcome == "unknown"
        assert len(bench.printer.slips()) == 1
        desk.close()


def test_a_printer_that_says_nothing_at_all_prints_and_is_unknown(tmp_path: Path) -> None:
    with Bench(tmp_path / "bench") as bench:
        bench.printer.fault("drop", count=0)
        desk = Desk(lambda status: None, udev=False)
        desk.configure([DeviceSetting("slips", "escpos", bench.printer.port, 48, model="silent")], {})
        until(lambda: desk.statuses()[0].state == "ready")
        assert desk.print_slip("slips", Slip((Line("text"), CutPaper())), "R1", 300.0).result(30).outcome == "unknown"
        assert bench.printer.wait(lambda state: state["slips"] == 1)
        desk.close()


@pytest.mark.parametrize(("model", "prompted"), [("", False), ("PP791", False), ("VeriFone PINpad 1000SE", True)])
def test_a_pin_is_asked_for_as_the_model_wants_it(tmp_path: Path, model: str, prompted: bool) -> None:
    with Bench(tmp_path / "bench") as bench:
        desk = Desk(lambda status: None, udev=False)
        desk.configure([DeviceSetting("pad", "ipp", bench.pinpad.port, model=model)], {})
        bench.pinpad.person("enter")
        block = desk.enter_pin("pad", "6212345678900000003", bench.pinpad.working_key("pin"), 60).result(30)
        assert len(block) == 16
        counters = dict(bench.pinpad.state()["counters"])  # type: ignore[call-overload]
        assert (counters.get("messages Z60", 0), counters.get("messages 70", 0)) == ((1, 0) if prompted else (0, 1))
        desk.close()


@pytest.mark.parametrize(
    ("driver", "model", "text"),
    [
        ("escpos", "Typewriter", "TM-U220.*generic"),
        ("ipp", "Toaster", "PP791, 1000SE"),
        ("neo2", "X", "leave out model"),
        ("ccid-serial", "X", "leave out model"),
    ],
)
def test_a_model_that_nobody_knows_is_refused_and_nothing_changes(driver: str, model: str, text: str) -> None:
    desk = Desk(lambda status: None, udev=False)
    desk.configure([DeviceSetting("good", "neo2", "serial:/dev/no-such")], {})
    with pytest.raises(PortAddressError, match=text):
        desk.configure([DeviceSetting("x", driver, "serial:/dev/no-such", model=model)], {})
    assert desk.names() == ["good"]
    desk.close()


def test_a_device_that_is_inhibited_from_the_start_is_not_touched(tmp_path: Path) -> None:
    with Bench(tmp_path / "bench") as bench:
        desk = Desk(lambda status: None, udev=False)
        desk.configure([DeviceSetting("pad", "ipp", bench.pinpad.port)], {}, {"pad": "new cable (anna)"})
        with pytest.raises(DeviceInhibited, match="new cable"):
            desk.submit("pad", lambda device: device.cancel(), 5).result(10)
        status = desk.statuses()[0]
        assert (status.state, status.inhibited_because) == ("inhibited", "new cable (anna)")
        assert "bytes in" not in dict(bench.pinpad.state()["counters"])  # type: ignore[call-overload]
        desk.release("pad")
        until(lambda: desk.statuses()[0].state == "ready")
        desk.close()


def test_what_is_attached_and_not_configured_is_offered(tmp_path: Path) -> None:
    for place, vendor, product, serial in (
        ("1-1", "04b8", "0202", "J2T001"),
        ("1-2", "04b8", "0202", "J2T002"),
        ("1-3", "11ca", "0222", ""),
        ("1-4", "1234", "5678", ""),
        ("1-5", "08e6", "3437", "X"),
    ):
        (tmp_path / place).mkdir()
        for name, value in (("idVendor", vendor), ("idProduct", product), ("serial", serial)):
            (tmp_path / place / name).write_text(value)
    (tmp_path / "1-3" / "1-3:1.0" / "tty" / "ttyACM3").mkdir(parents=True)
    desk = Desk(lambda status: None, udev=False)
    assert [offer["place"] for offer in desk.attached(tmp_path)] == ["1-1", "1-2", "1-3", "1-5"]
    desk.configure(
        [
            DeviceSetting("slips", "escpos", "usb:04B8:0202:J2T001"),
            DeviceSetting("pad", "ipp", "serial:/dev/ttyACM3?baud=9600"),
            DeviceSetting("reader", "ccid-usb", "usb:08e6:3437"),
        ],
        {},
    )
    (offer,) = desk.attached(tmp_path)
    assert (offer["kind"], offer["driver"], offer["port"]) == ("printer", "escpos", "usb:04B8:0202:J2T002")
    assert desk.attached(tmp_path / "nowhere") == []
    desk.close()
