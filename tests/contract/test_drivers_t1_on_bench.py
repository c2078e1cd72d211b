"""A T=1 card in the bench's readers: its blocks are made by our driver (TPDU level) or by the reader (APDU level)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.emv_session import TerminalData
from drivers.errors import CardGone, CardMute, CardUnreadable, DeviceError, DeviceGarbled
from drivers.port import deadline_in
from drivers.reader_ccid import CcidReader
from drivers.serial_port import open_port
from drivers.usb_port import CLASS_CCID, open_usb
from hwsim.bench import Bench, ReaderLevel, WireKind

TERMINAL = TerminalData(amount_minor=1234, date="261122", unpredictable="01020304")
CARD = "unionpay-t1"
READERS: dict[str, tuple[WireKind, ReaderLevel]] = {
    "serial, TPDU": ("pty", "tpdu"),
    "USB, TPDU": ("usb", "tpdu"),
    "USB, APDU": ("usb", "apdu"),
}


def opened(bench: Bench) -> CcidReader:
    port = bench.reader.port
    if port.startswith("usb:"):
        backend = bench.usb_backend()
        device = CcidReader(port, lambda: open_usb(port, CLASS_CCID, backend))
    else:
        device = CcidReader(port, lambda: open_port(port))
    device.open(deadline_in(5))
    return device


@pytest.fixture(params=READERS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    wire, level = READERS[request.param]
    with Bench(tmp_path / "bench", wire=wire, reader_level=level) as made:
        yield made


@pytest.fixture
def reader(bench: Bench) -> Iterator[CcidReader]:
    device = opened(bench)
    yield device
    device.close()


@pytest.fixture
def tpdu(tmp_path: Path) -> Iterator[tuple[Bench, CcidReader]]:
    """The serial reader with a powered T=1 card, where our own blocks go to the card."""
    with Bench(tmp_path / "bench") as bench:
        bench.reader.insert_card(CARD)
        device = opened(bench)
        device.wait_card(5)
        yield bench, device
        device.close()


def whole_sale(reader: CcidReader) -> tuple[str, str, str]:
    assert reader.wait_card(5).protocol == 1
    card = reader.read_card(TERMINAL)
    first = reader.first_generate_ac(TERMINAL)
    return card.pan[:6], first.kind, reader.second_generate_ac(True, "00").kind


def decisions(bench: Bench) -> list[str]:
    card = bench.reader.state()["card"]
    assert isinstance(card, dict)
    return list(card["decisions"])


@pytest.mark.parametrize("card", [CARD, "unionpay-t1-slow"])
def test_a_t1_card_makes_a_whole_sale_in_every_reader(bench: Bench, reader: CcidReader, card: str) -> None:
    bench.reader.insert_card(card)
    assert whole_sale(reader) == ("621234", "ARQC", "TC")
    assert decisions(bench) == ["ARQC 1", "TC 1"]
    reader.power_off()


def test_a_t0_card_too(bench: Bench, reader: CcidReader) -> None:
    bench.reader.insert_card("unionpay-credit")
    reader.wait_card(5)
    reader.read_card(TERMINAL)
    assert reader.first_generate_ac(TERMINAL).kind == "ARQC"


def test_a_pulled_t1_card_is_card_gone(bench: Bench, reader: CcidReader) -> None:
    bench.reader.insert_card(CARD)
    reader.wait_card(5)
    reader.read_card(TERMINAL)
    bench.reader.fault("card-pulled", after_commands=1)
    with pytest.raises(CardGone):
        reader.first_generate_ac(TERMINAL)


@pytest.mark.parametrize(
    ("fault", "args", "counter"),
    [
        ("card-garbles", {"count": 2}, "t1_damaged_blocks"),
        ("card-deaf", {"count": 2}, "t1_repeated_blocks"),
        ("card-block-lost", {"count": 2}, "t1_lost_blocks"),
        ("card-asks-time", {"count": 3}, "time_requests"),
        ("card-block-size", {"size": 5}, "t1_sizes_refused"),
        ("parity-error", {}, "t1_lost_blocks"),
    ],
)
def test_what_the_protocol_can_mend_does_not_disturb_the_sale(
    tpdu: tuple[Bench, CcidReader], fault: str, args: dict[str, object], counter: str
) -> None:
    bench, reader = tpdu
    reader.read_card(TERMINAL)
    bench.reader.fault(fault, **args)
    assert reader.first_generate_ac(TERMINAL).kind == "ARQC"
    assert reader.second_generate_ac(True, "00").kind == "TC"
    assert decisions(bench) == ["ARQC 1", "TC 1"]
    mended = int(str(args.get("count", 1)))
    assert reader.counters.get(counter, 0) == (0 if fault == "card-block-size" else mended)


@pytest.mark.parametrize(
    ("fault", "args", "error"),
    [
        ("card-garbles", {"count": 3}, DeviceGarbled),
        ("card-deaf", {"count": 3}, DeviceGarbled),
        ("card-block-lost", {"count": 3}, CardMute),
        ("card-aborts", {}, CardUnreadable),
        ("card-out-of-step", {}, DeviceGarbled),
    ],
)
def test_what_it_cannot_mend_is_a_typed_error_and_the_next_command_begins_in_step(
    tpdu: tuple[Bench, CcidReader], fault: str, args: dict[str, object], error: type[DeviceError]
) -> None:
    bench, reader = tpdu
    reader.read_card(TERMINAL)
    bench.reader.fault(fault, **args)
    with pytest.raises(error):
        reader.first_generate_ac(TERMINAL)
    assert reader.read_card(TERMINAL).pan.startswith("621234")
    assert reader.counters["t1_resynchronised"] == 1
    assert len(decisions(bench)) <= 1  # never a second cryptogram


def test_a_card_that_does_not_come_back_into_step_is_mute(tpdu: tuple[Bench, CcidReader]) -> None:
    bench, reader = tpdu
    bench.reader.fault("card-block-lost", count=20)
    for _ in range(2):
        with pytest.raises(CardMute):
            reader.read_card(TERMINAL)
    assert reader.slot_status(deadline_in(2))
