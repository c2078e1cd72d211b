"""The drivers against the bench's devices, which were written from the same public texts by other hands."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.device import DeviceWorker
from drivers.emv_session import TerminalData
from drivers.errors import CardGone, NoCard, PinCancelled, PinTimeout, PortTimeout
from drivers.pinpad_ipp import IppPinPad
from drivers.port import deadline_in
from drivers.printer_escpos import EscposPrinter
from drivers.reader_ccid import CcidReader
from drivers.serial_port import open_port
from hwsim.bench import Bench
from protocol.escpos import CutPaper, Line, Pair, Qr, Slip

ACCOUNT = "6212345678900000003"
TERMINAL = TerminalData(amount_minor=1234, date="261122", unpredictable="01020304")
SLIP = Slip((Line("银联 UnionPay", "center", True, 2, 2), Pair("金额", "¥12.00"), Qr("https://example.cn"), CutPaper()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "bench") as made:
        yield made


@pytest.fixture
def reader(bench: Bench) -> Iterator[CcidReader]:
    device = CcidReader(bench.reader.port, lambda: open_port(bench.reader.port))
    device.open(deadline_in(5))
    yield device
    device.close()


@pytest.fixture
def pad(bench: Bench) -> Iterator[IppPinPad]:
    device = IppPinPad(bench.pinpad.port, lambda: open_port(bench.pinpad.port))
    device.open(deadline_in(5))
    yield device
    device.close()


@pytest.fixture
def printer(bench: Bench) -> Iterator[EscposPrinter]:
    device = EscposPrinter(bench.printer.port, lambda: open_port(bench.printer.port))
    device.open(deadline_in(5))
    yield device
    device.close()


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true"
        threading.Event().wait(0.01)


def test_a_card_is_read_and_makes_both_cryptograms(bench: Bench, reader: CcidReader) -> None:
    bench.reader.insert_card("unionpay-credit")
    assert reader.wait_card(2).protocol in (0, 1)
    card = reader.read_card(TERMINAL)
    assert (card.pan[:6], len(card.expiry)) == ("621234", 4)
    assert reader.first_generate_ac(TERMINAL).kind == "ARQC"
    assert reader.second_generate_ac(True, "00").kind == "TC"
    reader.power_off()


def test_a_card_tells_after_a_power_cut_whether_it_completed_its_last_transaction(
    bench: Bench, reader: CcidReader
) -> None:
    bench.reader.insert_card("unionpay-credit")
    for finished, known in ((True, "done"), (False, "not done")):
        reader.wait_card(2)
        reader.read_card(TERMINAL)
        counter = reader.first_generate_ac(TERMINAL).counter
        if finished:
            reader.second_generate_ac(True, "00")
        reader.power_off()  # the card forgets its session and keeps its book
        assert reader.last_outcome(counter).known == known
    assert reader.last_outcome("0063").known == "unknown"


def test_a_card_that_refuses_after_approval_says_aac(bench: Bench, reader: CcidReader) -> None:
    bench.reader.insert_card("unionpay-second-ac-refused")
    reader.wait_card(2)
    reader.read_card(TERMINAL)
    assert reader.first_generate_ac(TERMINAL).kind == "ARQC"
    assert reader.second_generate_ac(True, "00").kind == "AAC"


def test_a_pulled_card_is_card_gone(bench: Bench, reader: CcidReader) -> None:
    bench.reader.insert_card("visa-credit")
    reader.wait_card(2)
    reader.read_card(TERMINAL)
    bench.reader.remove_card()
    with pytest.raises(CardGone):
        reader.first_generate_ac(TERMINAL)
    with pytest.raises(NoCard):
        reader.wait_card(0)


def test_a_pin_is_entered_cancelled_and_waited_for(bench: Bench, pad: IppPinPad) -> None:
    pad.select_key(0)
    key = bench.pinpad.working_key("pin")
    bench.pinpad.person("enter")
    assert len(pad.enter_pin(ACCOUNT, key, 30)) == 8
    bench.pinpad.person("cancel")
    with pytest.raises(PinCancelled):
        pad.enter_pin(ACCOUNT, key, 30)
    bench.pinpad.person("wait")
    with pytest.raises(PinTimeout):
        pad.enter_pin(ACCOUNT, key, 0.3)
    bench.pinpad.person("enter")
    assert len(pad.enter_pin_z60(ACCOUNT, key, 30)) == 8


def test_macs_of_one_and_of_many_packets_agree_on_equal_data(bench: Bench, pad: IppPinPad) -> None:
    key = bench.pinpad.working_key("mac")
    assert pad.mac(bytes(300), key) != pad.mac(bytes(16), key)
    assert pad.mac(b"12345678", key) == pad.mac(b"12345678", key)


def test_keys_are_loaded_and_found(pad: IppPinPad) -> None:
    assert not pad.has_master_key(3)
    pad.load_master_key(3, "0123456789ABCDEFFEDCBA9876543210")
    assert pad.has_master_key(3)
    pad.display("THANK YOU")
    pad.cancel()


def test_a_slip_is_printed_once_in_chinese(bench: Bench, printer: EscposPrinter) -> None:
    assert printer.print_slip(SLIP, "R1", 5).outcome == "printed"
    assert printer.print_slip(SLIP, "R1", 5).outcome == "printed"
    assert len(bench.printer.slips()) == 1
    assert "银联 UnionPay" in bench.printer.slips()[0]


@pytest.mark.parametrize(
    ("fault", "repair", "cause"),
    [("paper-out", "paper-ok", "paper out"), ("cover-open", "cover-closed", "cover open")],
)
def test_trouble_before_the_slip_is_certain(
    bench: Bench, printer: EscposPrinter, fault: str, repair: str, cause: str
) -> None:
    bench.printer.fault(fault)
    outcome = printer.print_slip(SLIP, "R1", 2)
    assert (outcome.outcome, outcome.cause) == ("not printed", cause)
    bench.printer.fault(repair)
    assert printer.print_slip(SLIP, "R1", 5).outcome == "printed"
    assert len(bench.printer.slips()) == 1


def test_a_cutter_that_jams_behind_the_text_leaves_the_slip_unknown(bench: Bench, printer: EscposPrinter) -> None:
    bench.printer.fault("cutter")
    outcome = printer.print_slip(SLIP, "R1", 1)
    assert (outcome.outcome, outcome.cause) == ("unknown", "cutter")


def test_without_process_ids_the_outcome_is_unknown(bench: Bench, printer: EscposPrinter) -> None:
    bench.printer.fault("no-process-id")
    assert printer.print_slip(SLIP, "R1", 0.5).outcome == "unknown"


def test_a_device_that_was_unplugged_is_back_within_two_seconds(bench: Bench) -> None:
    worker = DeviceWorker("pinpad", lambda: IppPinPad(bench.pinpad.port, lambda: open_port(bench.pinpad.port)))
    worker.start()
    until(lambda: worker.status().state == "ready", 3)
    bench.pinpad.fault("unplug")
    until(lambda: worker.status().state == "gone", 2)
    bench.pinpad.fault("replug")
    until(lambda: worker.status().state == "ready", 2)
    worker.submit(lambda device: device.display("BACK"), deadline_in(2)).result(3)
    worker.close()


def test_a_7e1_pad_works_and_reopens_on_a_line_with_real_parity(tmp_path: Path) -> None:
    with Bench(tmp_path / "bench", wire="rfc2217") as bench:
        assert "format=7E1" in bench.pinpad.port
        device = IppPinPad(bench.pinpad.port, lambda: open_port(bench.pinpad.port))
        for text in ("FIRST", "AGAIN"):
            device.open(deadline_in(5))
            device.display(text)
            assert bench.pinpad.wait(lambda state, text=text: text in str(state["display"]))  # type: ignore[misc]
            device.close()


def test_a_printer_behind_a_serial_server_prints(tmp_path: Path) -> None:
    with Bench(tmp_path / "bench", wire="rfc2217") as bench:
        device = EscposPrinter(bench.printer.port, lambda: open_port(bench.printer.port))
        device.open(deadline_in(5))
        assert device.print_slip(SLIP, "R1", 5).outcome == "printed"
        device.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_serial_server_that_takes_no_more_is_given_up_at_the_deadline_and_loses_no_byte(
    tmp_path: Path, seed: int
) -> None:
    """Half of the bytes are FF, which RFC 2217 doubles: wherever the line stopped, the next write goes on rightly."""
    dice = random.Random(seed)
    data = bytes(dice.choice((0xFF, 0x41)) for _ in range(1000)) * 1000
    with Bench(tmp_path / "bench", wire="rfc2217") as bench:
        port = open_port(bench.printer.port)
        port._device._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        with bench.loop.lock, pytest.raises(PortTimeout, match="took"):
            port.write(data, deadline_in(0.3 + seed / 100))
        port.write(b"AAAA" * dice.randrange(3, 9), deadline_in(20))
        assert bench.printer.wait(lambda state: dict(state["counters"])["bytes in"] == port.counters.bytes_written, 20)  # type: ignore[call-overload]
        assert port.counters.write_timeouts == 1
        port.close()
