"""The bench's USB devices: reached by pyusb without a kernel, by python-escpos, and over USB/IP."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import usb.core
import usb.util
from escpos.printer import Usb
from usbip import USBIP
from usbip.host import list_devices
from usbip.host import open as open_over_network

from hwsim.bench import Bench

GET_STATUS = bytes.fromhex("65000000000001000000")
NO_CARD = bytes.fromhex("81000000000001020001")
POWER_ON = bytes.fromhex("62000000000002000000")
PRINTER, READER = (0x04B8, 0x0E28), (0x08E6, 0x3437)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, wire="usb") as bench:
        yield bench


def found(bench: Bench, ids: tuple[int, int]) -> Any:
    return usb.core.find(idVendor=ids[0], idProduct=ids[1], backend=bench.usb_backend())


def test_both_devices_are_found_with_their_classes_and_serial_numbers(bench: Bench) -> None:
    printer, reader = found(bench, PRINTER), found(bench, READER)
    assert [printer[0][(0, 0)].bInterfaceClass, reader[0][(0, 0)].bInterfaceClass] == [7, 0x0B]
    assert usb.util.get_string(printer, printer.iSerialNumber) in bench.printer.port
    assert len(bytes(reader[0][(0, 0)].extra_descriptors)) == 0x36


def test_the_reader_answers_on_its_bulk_endpoints(bench: Bench) -> None:
    reader = found(bench, READER)
    reader.set_configuration()
    assert reader.write(2, GET_STATUS, 1000) == len(GET_STATUS)
    assert bytes(reader.read(0x82, 271, 1000)) == NO_CARD
    bench.reader.insert_card("unionpay-credit")
    reader.write(2, POWER_ON, 1000)
    assert bytes(reader.read(0x82, 271, 1000))[10:].hex().upper() == "3B6800000073C84000009000"


def test_card_movements_come_by_the_interrupt_endpoint(bench: Bench) -> None:
    reader = found(bench, READER)
    reader.set_configuration()
    assert bytes(reader.read(0x83, 8, 1000)) == b"\x50\x02"
    bench.reader.insert_card("visa-credit")
    assert bytes(reader.read(0x83, 8, 1000)) == b"\x50\x03"


def test_a_read_without_an_answer_times_out(bench: Bench) -> None:
    reader = found(bench, READER)
    with pytest.raises(usb.core.USBTimeoutError):
        reader.read(0x82, 271, 20)
    reader.write(2, GET_STATUS, 1000)
    assert bytes(reader.read(0x82, 271, 1000)) == NO_CARD


def test_an_unplugged_device_is_gone_and_comes_back(bench: Bench) -> None:
    reader = found(bench, READER)
    bench.reader.fault("unplug")
    with pytest.raises(usb.core.USBError) as caught:
        reader.write(2, GET_STATUS, 1000)
    assert caught.value.errno == 19
    assert found(bench, READER) is None
    bench.reader.fault("replug")
    assert found(bench, READER) is not None


def test_the_printer_class_requests_tell_name_and_paper(bench: Bench) -> None:
    printer = found(bench, PRINTER)
    identity = bytes(printer.ctrl_transfer(0xA1, 0, 0, 0, 1024))
    assert int.from_bytes(identity[:2], "big") == len(identity)
    assert b"CMD:ESC/POS;" in identity
    assert bytes(printer.ctrl_transfer(0xA1, 1, 0, 0, 1)) == b"\x18"
    bench.printer.fault("paper-out")
    assert bytes(printer.ctrl_transfer(0xA1, 1, 0, 0, 1))[0] & 0x20


def test_an_unknown_request_stalls(bench: Bench) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        found(bench, READER).ctrl_transfer(0xA1, 2, 0, 0, 4)
    assert caught.value.errno == 32


def test_python_escpos_prints_and_reads_the_paper_over_usb(bench: Bench) -> None:
    arguments: dict[str, Any] = {"backend": bench.usb_backend()}
    printer = Usb(*PRINTER, usb_args=arguments, timeout=1000, profile="TM-T88III")
    printer.textln("OVER USB")
    printer.cut()
    assert bench.printer.wait(lambda state: state["slips"] == 1)
    assert bench.printer.slips() == ["OVER USB"]
    assert printer.paper_status() == 2
    bench.printer.fault("paper-out")
    assert printer.paper_status() == 0
    printer.close()


def test_a_usbip_client_lists_and_uses_the_devices(bench: Bench) -> None:
    transport = USBIP(*bench.serve_usbip(0))
    listed = list_devices(transport)
    assert {(entry["idVendor"], entry["idProduct"]) for entry in listed} == {PRINTER, READER}
    with open_over_network(*READER, transport=transport) as reader:
        reader.bulk_out(2, GET_STATUS)
        assert reader.bulk_in(0x82, 271) == NO_CARD


@pytest.mark.skipif(shutil.which("usbip") is None, reason="apt-get install usbip")
def test_the_kernel_s_own_usbip_tool_lists_the_devices(bench: Bench) -> None:
    host, port = bench.serve_usbip(0)
    command = ["usbip", "--tcp-port", str(port), "list", "--remote", host]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert "(04b8:0e28)" in listed
    assert "(08e6:3437)" in listed
