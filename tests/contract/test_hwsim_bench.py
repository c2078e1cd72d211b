"""The bench on real ptys: what a driver, and other people's software, sees of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from escpos.printer import Serial

from hwsim.bench import Bench
from hwsim.errors import BenchError

GET_STATUS = bytes.fromhex("03066500000000000100000061")
DEADLINE_S = 5.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "bench") as bench:
        yield bench


def opened(path: Path, baud: int = 115200) -> serial.Serial:
    return serial.Serial(str(path), baud, timeout=DEADLINE_S, write_timeout=DEADLINE_S)


def test_the_reader_answers_on_its_pty(bench: Bench) -> None:
    with opened(bench.reader.path) as port:
        port.write(GET_STATUS)
        assert port.read(26) == GET_STATUS + bytes.fromhex("03068100000000000102000186")


def test_an_inserted_card_is_told_without_being_asked(bench: Bench) -> None:
    with opened(bench.reader.path) as port:
        bench.reader.insert_card("unionpay-credit")
        assert port.read(2) == b"\x50\x03"


def test_the_port_can_be_opened_again_and_again(bench: Bench) -> None:
    for _time in range(3):
        with opened(bench.pinpad.path) as port:
            port.write(bytes.fromhex("0F3034300E3A"))
            assert port.read(1) == b"\x06"


def test_after_a_replug_the_device_is_there_under_another_name(bench: Bench) -> None:
    before = bench.reader.name
    with opened(bench.reader.path) as port:
        bench.reader.fault("unplug")
        assert not bench.reader.path.exists()
        with pytest.raises(serial.SerialException):
            port.read(1)
    bench.reader.fault("replug")
    assert bench.reader.name not in ("", before)
    with opened(bench.reader.path) as port:
        port.write(GET_STATUS)
        assert port.read(13) == GET_STATUS


def test_a_timed_unplug_ends_by_itself(bench: Bench) -> None:
    bench.printer.fault("unplug", seconds=0.05)
    assert bench.printer.wait(lambda state: state["plugged"] is True, DEADLINE_S)
    assert bench.printer.path.exists()


def test_the_addresses_name_every_device(bench: Bench) -> None:
    addresses = bench.addresses()
    assert set(addresses) == {"printer", "reader", "pinpad", "contactless"}
    assert addresses["reader"]["port"] == f"serial:{bench.reader.path}?baud=115200&format=8N2"
    assert addresses["pinpad"]["port"].endswith("format=8N1")


def test_closing_the_bench_removes_its_links_and_descriptors(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Bench(tmp_path) as bench:
        assert bench.reader.path.is_symlink()
    assert list(tmp_path.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_slow_card_answers_through_the_pty_when_its_time_has_come(bench: Bench) -> None:
    bench.pinpad.person("enter", after_s=0.05)
    key = bench.pinpad.working_key("pin")
    body = f"70.6212345678900000003\x1c{key}1.00\x1c1".encode() + b"\x03"
    check = 0
    for byte in body:
        check ^= byte
    with opened(bench.pinpad.path, 19200) as port:
        port.write(b"\x02" + body + bytes([check]))
        assert port.read(10) == b"\x06\x0271.00601"
        assert len(port.read(18)) == 18


def test_an_unknown_fault_is_a_sentence(bench: Bench) -> None:
    with pytest.raises(BenchError, match="the printer has no fault 'fire'"):
        bench.printer.fault("fire")


def printer_of(bench: Bench) -> Serial:
    return Serial(devfile=str(bench.printer.path), baudrate=38400, timeout=1, dsrdtr=False, profile="TM-T88III")


def test_python_escpos_prints_over_the_pty(bench: Bench) -> None:
    printer = printer_of(bench)
    printer.set(align="center", bold=True, double_height=True)
    printer.textln("REVERSED")
    printer.set_with_default()
    printer.textln("STAN 000123")
    printer.qr("https://example.org/r/000123", native=True)
    printer.cut()
    assert bench.printer.wait(lambda state: state["slips"] == 1, DEADLINE_S)
    printer.close()
    slip = bench.printer.slips()[0]
    assert "REVERSED\nSTAN 000123\n[QR: https://example.org/r/000123]" in slip
    assert slip.splitlines()[0].strip() == "REVERSED"


def test_python_escpos_prints_chinese(bench: Bench) -> None:
    printer = printer_of(bench)
    printer._raw(b"\x1c&" + "冲正成功".encode("gb18030") + b"\n")
    printer.cut()
    assert bench.printer.wait(lambda state: state["slips"] == 1, DEADLINE_S)
    printer.close()
    assert bench.printer.slips() == ["冲正成功"]


def test_python_escpos_prints_an_image(bench: Bench) -> None:
    image = pytest.importorskip("PIL.Image", reason="pip install 'pos-reversal-agent[bench]'")
    printer = printer_of(bench)
    printer.image(image.new("1", (64, 16)), impl="bitImageRaster")
    printer.cut()
    assert bench.printer.wait(lambda state: state["slips"] == 1, DEADLINE_S)
    printer.close()
    assert bench.printer.slips() == ["[image 64x16]"]


@pytest.mark.parametrize(("fault", "level"), [("paper-ok", 2), ("paper-near-end", 1), ("paper-out", 0)])
def test_python_escpos_reads_the_paper_status(bench: Bench, fault: str, level: int) -> None:
    bench.printer.fault(fault)
    printer = printer_of(bench)
    assert printer.paper_status() == level
    printer.close()


def test_python_escpos_sees_an_open_cover_as_offline(bench: Bench) -> None:
    printer = printer_of(bench)
    assert printer.is_online()
    bench.printer.fault("cover-open")
    assert not printer.is_online()
    printer.close()


def test_a_bench_that_cannot_start_leaves_no_thread_behind(tmp_path: Path) -> None:
    before, descriptors = threading.active_count(), set(os.listdir("/proc/self/fd"))
    (tmp_path / "pinpad").mkdir()
    with pytest.raises(OSError, match="directory"):
        Bench(tmp_path)
    assert threading.active_count() == before
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert os.listdir(tmp_path) == ["pinpad"]
