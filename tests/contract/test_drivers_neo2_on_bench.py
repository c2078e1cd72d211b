"""The NEO 2 driver against a simulated reader on a pty, which computes its CRC by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import DeviceError, NoCard, PortError
from drivers.port import deadline_in
from drivers.reader_neo2 import NeoReader
from drivers.serial_port import open_port
from hwsim.bench import BenchDevice
from hwsim.devices.contactless import ContactlessReader, crc16
from hwsim.wires.loop import WireLoop
from hwsim.wires.pty import PtyWire

Device = BenchDevice[ContactlessReader]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    simulated = ContactlessReader()
    with WireLoop() as loop:
        yield BenchDevice(simulated, loop, tmp_path, PtyWire(simulated, tmp_path / "contactless"))


@pytest.fixture
def reader(device: Device) -> Iterator[NeoReader]:
    made = NeoReader(device.port, lambda: open_port(device.port))
    made.open(deadline_in(5))
    yield made
    made.close()


def test_the_frames_printed_in_the_manual_are_understood_and_answered() -> None:
    simulated = ContactlessReader()
    ping = bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 18 01 00 00 B3 CD")
    assert simulated.feed(ping, 0.0) == bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 18 00 00 00 FA 83")
    assert crc16(b"123456789") == 0x29B1  # the check value of CRC-16/CCITT-FALSE


def test_every_cut_of_a_frame_is_the_same_frame() -> None:
    ping = bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 18 01 00 00 B3 CD")
    for place in range(1, len(ping)):
        simulated = ContactlessReader()
        assert simulated.feed(b"\xff" + ping[:place], 0.0) == b""
        assert simulated.feed(ping[place:], 0.1)[10:12] == b"\x18\x00"


def test_a_wrong_crc_an_unknown_command_and_a_broken_frame_are_told_or_forgotten() -> None:
    simulated = ContactlessReader()
    frame = bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 18 01 00 00")
    assert simulated.feed(frame + b"\0\0", 0.0)[11] == 0x04
    unknown = frame[:10] + b"\x77\x01\0\0"
    assert simulated.feed(unknown + crc16(unknown).to_bytes(2, "little"), 0.0)[11] == 0x02
    simulated.feed(frame, 1.0)
    assert simulated.feed(frame + b"\xb3\xcd", 2.0)[10:12] == b"\x18\x00"


def test_it_greets_tells_its_firmware_and_passes_its_test(reader: NeoReader) -> None:
    assert reader.firmware == "NEO v2.00.bench"
    assert reader.test(deadline_in(2)) == "reader answers, firmware NEO v2.00.bench"


def test_a_tapped_card_gives_its_track_and_the_amount(device: Device, reader: NeoReader) -> None:
    tapped = threading.Thread(
        target=lambda: device.wait(lambda state: bool(state["waiting"])) and device.fault("tap", card="visa-credit")
    )
    tapped.start()
    found = reader.activate(10, 1250, "260101")
    tapped.join()
    assert found.track2.startswith("4111111111111111=")
    assert bytes.fromhex("9F0206000000001250") in found.chip_data


def test_nobody_taps_a_card(reader: NeoReader) -> None:
    with pytest.raises(NoCard):
        reader.activate(1, 1250, "260101")
    assert "answers" in reader.test(deadline_in(2))


def test_automatic_poll_mode_keeps_the_last_card(device: Device, reader: NeoReader) -> None:
    reader.poll_automatically(True)
    with pytest.raises(DeviceError):
        reader.last_result()
    device.fault("tap", card="unionpay-debit")
    assert reader.last_result().track2.startswith("62")
    reader.poll_automatically(False)


def test_a_wait_is_cancelled_and_the_display_shows_a_text(device: Device, reader: NeoReader) -> None:
    reader.show("PRESENT CARD")
    assert device.state()["display"] == "PRESENT CARD"
    reader.cancel()
    assert device.state()["waiting"] is False


def test_a_damaged_answer_is_asked_for_again_where_that_does_no_harm(device: Device, reader: NeoReader) -> None:
    device.fault("corrupt")
    with pytest.raises(DeviceError):
        reader.test(deadline_in(3))
    assert "answers" in reader.test(deadline_in(3))


def test_a_reader_that_was_unplugged_is_a_port_error_and_opens_again(device: Device, reader: NeoReader) -> None:
    device.fault("unplug")
    with pytest.raises(PortError):
        reader.test(deadline_in(2))
    reader.close()
    device.fault("replug")
    reader.open(deadline_in(5))
    assert "answers" in reader.test(deadline_in(2))
