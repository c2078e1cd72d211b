"""USB: the CCID reader on bulk and interrupt endpoints, the printer class, typed errors, deadlines."""

from __future__ import annotations

import time

import pytest

from drivers.card import power_on
from drivers.errors import (
    DeviceTimeout,
    PortAddressError,
    PortBusy,
    PortError,
    PortGone,
    PortMissing,
    PortTimeout,
)
from drivers.port import deadline_in
from drivers.printer_escpos import EscposPrinter
from drivers.reader_ccid import CcidReader
from drivers.usb_port import CLASS_CCID, CLASS_PRINTER, UsbPort, open_usb, parse_usb_address
from protocol import ccid, escpos
from protocol.escpos import Line, Slip
from protocol.iso7816 import Apdu
from tests.unit.usb_backend import BULK_OUT, OneDevice

h = bytes.fromhex
ADDRESS = "usb:1209:0001"
ATR = h("3B 68 00 00 00 73 C8 40 12 00 90 00")
SHORT_APDU_AUTO = 0x000204BA  # short APDU, automatic voltage and parameters


def descriptor(features: int) -> bytes:
    """A CCID functional descriptor of 54 bytes with these dwFeatures."""
    body = bytearray(0x36)
    body[0], body[1] = 0x36, 0x21
    body[40:44] = features.to_bytes(4, "little")
    return bytes(body)


def response(type_: int, seq: int, data: bytes = b"", status: int = 0, error: int = 0) -> bytes:
    return ccid.build_response(ccid.Response(type_, seq, status, error, 0, data))


def card(raw: bytes) -> list[bytes]:
    """A reader with a card in: every APDU answers 9000, SELECT first asks for time."""
    asked = ccid.parse_command(raw)
    if asked.type == ccid.ICC_POWER_ON:
        return [response(0x80, asked.seq, ATR)]
    if asked.type == ccid.XFR_BLOCK:
        return [response(0x80, asked.seq, status=0x80, error=1), response(0x80, asked.seq, h("6F00 9000"))]
    return [response(0x81, asked.seq, status=0)]


def reader_on(backend: OneDevice) -> CcidReader:
    reader = CcidReader(ADDRESS, lambda: open_usb(ADDRESS, CLASS_CCID, backend))
    reader.open(deadline_in(2))
    return reader


def test_a_card_is_powered_and_asked_over_bulk_endpoints() -> None:
    reader = reader_on(OneDevice(CLASS_CCID, card, descriptor(SHORT_APDU_AUTO)))
    channel = power_on(reader.link, deadline_in(2))
    answer = channel.transmit(Apdu(0, 0xA4, 4, 0, b"\xa0", 0), deadline_in(2))
    assert (answer.data, answer.sw) == (h("6F00"), 0x9000)
    assert reader.counters["time_extensions"] == 1
    reader.close()


def test_features_are_read_from_the_functional_descriptor() -> None:
    backend = OneDevice(CLASS_CCID, card, b"\x05\x24\x00\x10\x01" + descriptor(SHORT_APDU_AUTO))
    port = open_usb(ADDRESS, CLASS_CCID, backend)
    assert port.ccid_features == SHORT_APDU_AUTO
    port.close()
    port = open_usb(ADDRESS, CLASS_CCID, OneDevice(CLASS_CCID, card, b"\x05\x21\x00\x10\x01"))
    assert port.ccid_features == 0
    port.close()


def test_slot_changes_come_by_the_interrupt_endpoint() -> None:
    backend = OneDevice(CLASS_CCID, card, descriptor(SHORT_APDU_AUTO))
    reader = reader_on(backend)
    backend.interrupts.append(h("50 02"))
    reader.idle()
    assert reader.detail == "no card"
    backend.interrupts.append(h("50 03"))
    reader.idle()
    assert reader.detail == "card in"
    reader.close()


def test_a_silent_reader_is_told_to_abort_on_both_pipes() -> None:
    heard: list[bytes] = []

    def silent_card(raw: bytes) -> list[bytes]:
        heard.append(raw)
        return [] if raw[0] == ccid.XFR_BLOCK else card(raw)

    backend = OneDevice(CLASS_CCID, silent_card, descriptor(SHORT_APDU_AUTO))
    reader = reader_on(backend)
    channel = power_on(reader.link, deadline_in(2))
    with pytest.raises(DeviceTimeout):
        channel.transmit(Apdu(0, 0xA4, 4, 0, b"\xa0", 0), deadline_in(0.2))
    seq = heard[-2][6]
    assert heard[-1] == h("72 00 00 00 00 00") + bytes([seq]) + h("00 00 00")
    assert backend.controls[-1] == (0x21, 0x01, seq << 8)
    reader.close()


def test_a_damaged_transfer_is_counted_and_waited_over() -> None:
    def noisy(raw: bytes) -> list[bytes]:
        return [b"\x80\x01", *card(raw)]

    reader = reader_on(OneDevice(CLASS_CCID, noisy, descriptor(SHORT_APDU_AUTO)))
    assert reader.counters["damaged_answers"] == 1
    reader.close()


def test_an_unplugged_device_is_a_gone_port() -> None:
    backend = OneDevice(CLASS_CCID, card, descriptor(SHORT_APDU_AUTO))
    reader = reader_on(backend)
    backend.gone = True
    with pytest.raises(PortGone):
        reader.idle()
    reader.close()
    with pytest.raises(PortMissing):
        open_usb(ADDRESS, CLASS_CCID, backend)


# ---------------------------------------------------------------- port


def port_on(backend: OneDevice) -> UsbPort:
    return open_usb(ADDRESS, None, backend)


def test_silence_ends_at_the_deadline_and_is_no_error() -> None:
    port = port_on(OneDevice(CLASS_PRINTER, lambda data: []))
    started = time.monotonic()
    assert port.read(10, deadline_in(0.1)) == b""
    assert time.monotonic() - started < 0.5
    assert port.counters.read_timeouts == 1
    port.close()


def test_a_stuck_device_ends_a_write_at_its_deadline() -> None:
    backend = OneDevice(CLASS_PRINTER, lambda data: [])
    port = port_on(backend)
    backend.stuck = True
    with pytest.raises(PortTimeout):
        port.write(b"x" * 10_000, deadline_in(0.1))
    port.close()


def test_long_writes_go_in_chunks() -> None:
    sizes: list[int] = []
    port = port_on(OneDevice(CLASS_PRINTER, lambda data: sizes.append(len(data)) or []))
    port.write(bytes(10_000), deadline_in(1))
    assert (sum(sizes), max(sizes)) == (10_000, 4096)
    port.close()


def test_closing_twice_releases_once_and_a_closed_port_is_gone() -> None:
    backend = OneDevice(CLASS_PRINTER, lambda data: [])
    port = port_on(backend)
    port.close()
    port.close()
    assert backend.released == 1
    for call in (
        lambda: port.read(1, deadline_in(0)),
        lambda: port.write(b"x", deadline_in(1)),
        port.printer_port_status,
    ):
        with pytest.raises(PortGone):
            call()


def test_a_claimed_interface_is_busy() -> None:
    backend = OneDevice(CLASS_PRINTER, lambda data: [])
    backend.busy = True
    with pytest.raises(PortBusy):
        port_on(backend)


def test_the_serial_number_chooses_the_device() -> None:
    backend = OneDevice(CLASS_PRINTER, lambda data: [], serial="SN7")
    open_usb(ADDRESS + ":SN7", CLASS_PRINTER, backend).close()
    with pytest.raises(PortMissing):
        open_usb(ADDRESS + ":SN8", CLASS_PRINTER, backend)


def test_a_device_of_another_class_is_missing() -> None:
    with pytest.raises(PortMissing):
        open_usb(ADDRESS, CLASS_CCID, OneDevice(CLASS_PRINTER, lambda data: []))


@pytest.mark.parametrize("address", ["usb:", "usb:12:34", "usb:1209:0001:", "serial:/dev/x", "usb:12090001"])
def test_a_wrong_address_is_a_typed_error(address: str) -> None:
    with pytest.raises(PortAddressError):
        parse_usb_address(address)


# ---------------------------------------------------------------- printer


def paper(data: bytes) -> list[bytes]:
    if data[:2] == h("10 04"):
        return [b"\x12"]
    position = data.find(h("1D 28 48 06 00 30 30"))
    return [h("37 22") + data[position + 7 : position + 11] + b"\0"] if position >= 0 else []


def printer_on(backend: OneDevice) -> EscposPrinter:
    backend.control[(0xA1, 0x00)] = (30).to_bytes(2, "big") + b"MFG:EPSON;MDL:TM-T88V;"
    printer = EscposPrinter(ADDRESS, lambda: open_usb(ADDRESS, CLASS_PRINTER, backend))
    printer.open(deadline_in(2))
    return printer


def test_a_usb_printer_proves_its_slip_and_names_its_model() -> None:
    printer = printer_on(OneDevice(CLASS_PRINTER, paper))
    assert printer.firmware == "TM-T88V"
    assert printer.print_slip(Slip((Line("x"),)), "R1", 2).outcome == "printed"
    printer.close()


def test_a_write_only_usb_printer_tells_its_paper_by_the_class_request() -> None:
    backend = OneDevice(CLASS_PRINTER, lambda data: [])
    backend.endpoints = [(BULK_OUT, 2)]
    backend.control[(0xA1, 0x01)] = b"\x38"
    printer = printer_on(backend)
    assert printer.status().paper == "out"
    outcome = printer.print_slip(Slip((Line("x"),)), "R1", 1)
    assert (outcome.outcome, outcome.cause) == ("not printed", "paper out")
    backend.control[(0xA1, 0x01)] = b"\x18"
    assert printer.print_slip(Slip((Line("x"),)), "R1", 1).outcome == "unknown"
    backend.gone = True
    with pytest.raises(PortError):
        printer.idle()
    printer.close()


def test_a_device_without_the_class_request_says_nothing() -> None:
    port = port_on(OneDevice(CLASS_PRINTER, paper))
    assert port.printer_port_status() is None
    assert escpos.parse_device_id(port.printer_device_id()) == {}
    assert port.read_interrupt(deadline_in(0)) == b""
    port.close()
