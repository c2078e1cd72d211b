"""Every fault that the bench promises, on a timeline and on the n-th frame, and its effect on what a device says.

A probe is a fixed conversation. A good device gives the same transcript (bytes and times) each time; with the fault it
is another one, and not before the fault is due.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hwsim.devices.contactless import ContactlessReader, crc16
from hwsim.devices.device import SimDevice
from hwsim.devices.pinpad import PinPad
from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.devices.printer import Printer
from hwsim.devices.reader import SerialReader
from hwsim.errors import BenchError
from hwsim.fault_script import load_script
from hwsim.script_runner import play

LASTS_S = 4.0  # of one question: longer than any delay of a fault


def framed(message: str) -> bytes:
    body, check = b"\x03\x06" + bytes.fromhex(message), 0
    for byte in body:
        check ^= byte
    return body + bytes([check])


def packet(text: bytes) -> bytes:
    body, check = text + b"\x03", 0
    for byte in body:
        check ^= byte
    return b"\x02" + body + bytes([check])


def pad() -> PinPad:
    device = PinPad()
    device.load_key(0, "master")
    return device


def reader() -> SerialReader:
    device = SerialReader()
    device.insert_card("unionpay-credit")
    device.tick(0.0)  # the notice that a card is in
    return device


PIN_KEY = encrypted_under(TEST_KEYS["master"], TEST_KEYS["pin"])
PROBES: dict[str, tuple[Callable[[], SimDevice], list[bytes]]] = {
    "reader": (
        reader,
        [
            framed("65 00000000 00 01 000000"),
            framed("62 00000000 00 02 000000"),
            framed("6F 13000000 00 03 000000 00A404000E315041592E5359532E4444463031"),
            framed("63 00000000 00 04 000000"),
        ],
    ),
    "pinpad": (
        pad,
        [
            bytes.fromhex("0F3034300E3A"),
            b"\x06",
            packet(f"70.6212345678900000003\x1c{PIN_KEY}1.00\x1c1".encode()),
            b"\x06",
        ],
    ),
    "contactless": (ContactlessReader, [bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 18 01 00 00 B3 CD")]),
    "printer": (
        Printer,
        [
            b"\x10\x04\x01",
            b"\x10\x04\x02",
            b"\x10\x04\x04",
            b"text\n\x1dV\x00",
            b"\x1d(H\x06\x0000ABCD",
            b"\x10\x04\x03",
        ],
    ),
}

# The list, in its words.
EVERY_DEVICE = [
    ("corrupt", {}),
    ("drop", {}),
    ("duplicate", {}),
    ("delay", {"seconds": 0.5}),
    ("wrong checksum", {}),
    ("silence", {}),
    ("baud mismatch", {}),
    ("unplug", {}),
    ("re-enumerate", {}),
    ("brown-out", {}),
    ("clock stretched", {}),
]
OF_ONE_DEVICE = [
    ("pinpad", "nak storm", {}),
    ("reader", "nak storm", {}),
    ("printer", "paper out", {}),
    ("printer", "cover", {}),
    ("printer", "cutter", {}),
    ("reader", "card pulled", {}),
    ("reader", "card mute", {}),
    ("reader", "wrong ATR", {}),
    ("pinpad", "PIN time-out", {}),
    ("pinpad", "cancel", {}),
    ("pinpad", "tamper", {}),
]
FAULTS = [(device, *fault) for device in PROBES for fault in EVERY_DEVICE] + OF_ONE_DEVICE
Args = dict[str, object]


def probed(device: SimDevice, name: str, began_s: float) -> list[tuple[float, bytes]]:
    """What the device says to its probe, and when."""
    said, now = list[tuple[float, bytes]](), began_s
    for question in PROBES[name][1]:
        heard, end = device.feed(question, now), now + LASTS_S
        while True:
            if heard:
                said.append((round(now - began_s, 6), heard))
            wake = device.next_wake()
            if wake is None or wake >= end:
                break
            now = max(now, wake)
            heard = device.tick(now)
        now = end
        device.tick(now)
    return said


def frames_of(name: str) -> int:
    """How many frames a probe's answers are."""
    device = PROBES[name][0]()
    device.apply_fault("drop", nth=10**6)
    probed(device, name, 1.0)
    lines = device.state()["line_faults"]
    assert isinstance(lines, list)
    found = re.search(r"seen=(\d+)", lines[0])
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("name", PROBES)
def test_a_good_device_says_the_same_each_time(name: str) -> None:
    device = PROBES[name][0]()
    assert probed(device, name, 1.0) == probed(device, name, 101.0) == probed(device, name, 201.0)


@pytest.mark.parametrize(("name", "fault", "args"), FAULTS)
def test_a_fault_happens_at_its_time(name: str, fault: str, args: Args, tmp_path: Path) -> None:
    file = tmp_path / "script.toml"
    more = "".join(f"{key} = {value}\n" for key, value in args.items())
    file.write_text(f'title = "x"\n[[step]]\nat_s = 200.0\ndevice = "{name}"\nfault = "{fault}"\n{more}')
    step = load_script(file).steps[0]
    device = PROBES[name][0]()
    good = probed(device, name, 1.0)
    assert probed(device, name, 101.0) == good
    device.tick(step.at_s)
    device.apply_fault(step.fault, **step.args)
    assert probed(device, name, step.at_s) != good


@pytest.mark.parametrize(("name", "fault", "args"), FAULTS)
def test_a_fault_happens_at_the_nth_frame(name: str, fault: str, args: Args) -> None:
    device = PROBES[name][0]()
    good = probed(device, name, 1.0)
    nth = frames_of(name) + 1 if fault != "nak storm" else len(heard_frames(name)) + 1
    device.apply_fault(fault, nth=nth, **args)
    assert probed(device, name, 101.0) == good
    later = probed(device, name, 201.0) + probed(device, name, 301.0)
    assert later != good + good


def heard_frames(name: str) -> list[bytes]:
    """What the device refuses in a storm of NAKs: each packet that it hears."""
    return [question for question in PROBES[name][1] if len(question) > 1]


@pytest.mark.parametrize("name", PROBES)
def test_clear_and_replug_end_every_fault_of_the_line(name: str) -> None:
    device = PROBES[name][0]()
    good = probed(device, name, 1.0)
    for number, (fault, args) in enumerate(EVERY_DEVICE):
        device.tick(100.0 * (number + 1))
        device.apply_fault(fault, **args)
        device.apply_fault("replug")
        device.apply_fault("clear")
        assert probed(device, name, 100.0 * (number + 1) + 10) == good


def test_a_planned_fault_that_cannot_happen_harms_nobody() -> None:
    device = reader()
    device.apply_fault("insert-card", card="gold", nth=1)
    assert len(probed(device, "reader", 1.0)) == 4
    assert device.counters["faults refused"] == 1


@pytest.mark.parametrize("place", [{"nth": "two"}, {"nth": -1}, {"nth": True}, {"nth": 1, "direction": "up"}])
def test_a_wrong_place_is_a_sentence(place: Args) -> None:
    with pytest.raises(BenchError, match="cannot take nth"):
        reader().apply_fault("card-mute", **place)


def test_a_fault_may_wait_for_what_the_device_hears() -> None:
    device = reader()
    device.apply_fault("card-mute", nth=2, direction="in")
    device.feed(PROBES["reader"][1][0], 1.0)
    assert device.state()["mute"] is False
    device.feed(PROBES["reader"][1][1], 2.0)
    assert device.state()["mute"] is True


def test_a_slow_clock_lengthens_what_the_device_does_by_itself() -> None:
    device = ContactlessReader()
    device.apply_fault("clock-stretched", factor=3.0)
    activate = bytes.fromhex("56 69 56 4F 74 65 63 68 32 00 02 01 00 01 02")
    device.feed(activate + check_bytes(activate), 10.0)
    assert device.tick(15.9) == b""
    assert device.tick(16.1)[10:12] == b"\x02\x08"


def check_bytes(frame: bytes) -> bytes:
    return crc16(frame).to_bytes(2, "little")


def test_scripts_play_steps_at_their_times() -> None:
    slept: list[float] = []
    done: list[str] = []
    script = load_script(Path(__file__).parents[2] / "hwsim/scenarios/hub-replugged.toml")
    assert play(
        script, lambda device, fault, args: done.append(device), lambda s: bool(slept.append(s)), lambda step: None
    )
    assert len(done) == len(script.steps)
