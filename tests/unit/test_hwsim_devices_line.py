"""Line faults: the same seed gives the same damage, the n-th frame is the n-th frame."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.devices.device import SimDevice
from hwsim.errors import BenchError
from hwsim.fault_script import load_script
from hwsim.faults import Line, spoil_last

FRAME = bytes(range(32))


def sent(line: Line, frames: int = 1, now: float = 0.0) -> list[bytes]:
    said = []
    for _frame in range(frames):
        line.outbound(FRAME, now, spoil_last)
        said.append(line.collect(now))
    return said


def test_a_clean_line_changes_nothing() -> None:
    assert sent(Line(), 3) == [FRAME] * 3


def test_only_the_chosen_frames_are_damaged() -> None:
    line = Line()
    line.arm("drop", nth=2, count=2)
    assert sent(line, 5) == [FRAME, b"", b"", FRAME, FRAME]
    assert line.describe() == []


def test_a_fault_without_an_end_acts_until_cleared() -> None:
    line = Line()
    line.arm("truncate", count=0)
    assert sent(line, 3) == [FRAME[:16]] * 3
    line.clear()
    assert sent(line) == [FRAME]


@pytest.mark.parametrize(
    ("fault", "length"), [("corrupt", 32), ("drop-byte", 31), ("duplicate", 64), ("noise", 48), ("wrong-checksum", 32)]
)
def test_each_fault_damages_and_the_same_seed_damages_alike(fault: str, length: int) -> None:
    results = []
    for _time in range(2):
        line = Line(seed=7)
        line.arm(fault)
        results.append(sent(line)[0])
    assert results[0] == results[1] != FRAME
    assert len(results[0]) == length


def test_another_seed_damages_otherwise() -> None:
    results = set()
    for seed in range(8):
        line = Line(seed)
        line.arm("corrupt")
        results.add(sent(line)[0])
    assert len(results) > 1


def test_a_delayed_frame_holds_back_the_ones_behind_it() -> None:
    line = Line()
    line.arm("delay", seconds=2.0)
    assert sent(line, 2, now=10.0) == [b"", b""]
    assert line.next_due() == 12.0
    assert line.collect(12.0) == FRAME * 2


def test_echoes_and_control_bytes_are_not_counted() -> None:
    line = Line()
    line.arm("drop")
    line.outbound(b"\x06", 0.0, spoil_last, counted=False)
    line.outbound(FRAME, 0.0, spoil_last)
    assert line.collect(0.0) == b"\x06"


def test_a_fault_can_act_on_what_the_device_hears() -> None:
    line = Line()
    line.arm("drop", direction="in")
    assert [line.inbound(FRAME), line.inbound(FRAME)] == [b"", FRAME]


def test_a_mismatch_garbles_every_byte() -> None:
    line = Line()
    line.mismatch = True
    assert all(a != b for a, b in zip(line.inbound(FRAME), FRAME, strict=True))


@pytest.mark.parametrize(
    "args", [{"nth": "two"}, {"nth": -1}, {"seconds": "long"}, {"direction": "up"}, {"colour": "red"}]
)
def test_a_wrong_argument_is_a_clear_error(args: dict[str, object]) -> None:
    with pytest.raises(BenchError, match="cannot take"):
        Line().arm("corrupt", **args)


class Echo(SimDevice):
    """Says what it hears, a second later."""

    kind = "echo"

    def receive(self, data: bytes) -> None:
        self.after(1.0, lambda: self.emit(data))

    def power_on(self) -> None:
        self.counters["power"] += 1

    def details(self) -> dict[str, object]:
        return {}


def test_a_delayed_answer_comes_at_its_time_even_when_the_clock_jumps() -> None:
    device = Echo()
    assert device.feed(b"a", 5.0) == b""
    assert device.next_wake() == 6.0
    assert device.tick(100.0) == b"a"
    assert device.next_wake() is None


def test_a_hung_device_hears_and_says_nothing_then_lives_on() -> None:
    device = Echo()
    device.feed(b"before", 0.0)
    device.apply_fault("silence", seconds=3.0)
    assert device.feed(b"during", 0.5) == b""
    assert device.tick(3.0) == b""
    device.feed(b"after", 3.5)
    assert device.tick(4.5) == b"after"


def test_endless_silence_ends_with_clear() -> None:
    device = Echo()
    device.apply_fault("silence")
    assert device.feed(b"x", 99.0) == b""
    device.apply_fault("clear")
    device.feed(b"y", 100.0)
    assert device.tick(101.0) == b"y"


def test_a_brown_out_starts_the_device_afresh_and_loses_what_was_due() -> None:
    device = Echo()
    device.feed(b"lost", 0.0)
    device.apply_fault("brown-out", seconds=0.5)
    assert device.tick(10.0) == b""
    assert device.counters["power"] == 1
    assert not device.silent


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_script_is_played_in_the_order_of_its_times(tmp_path: Path) -> None:
    text = (
        'title = "T"\nshop = "a sentence"\n[[step]]\nat_s = 2\ndevice = "reader"\nfault = "clear"\n'
        '[[step]]\ndevice = "printer"\nfault = "corrupt"\nnth = 3\n'
    )
    script = load_script(write(tmp_path / "s.toml", text))
    assert [(step.at_s, step.fault, step.args) for step in script.steps] == [
        (0.0, "corrupt", {"nth": 3}),
        (2.0, "clear", {}),
    ]
    assert script.values == {"shop": "a sentence"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title = ", "not valid TOML"),
        ("step = 3", "needs a text `title`"),
        ('[[step]]\nfault = "x"', "step 1: device is None"),
        ('[[step]]\ndevice = "reader"', "step 1 has no `fault`"),
        ('[[step]]\ndevice = "reader"\nfault = "x"\nat_s = -1', "at_s is not a number"),
    ],
)
def test_a_wrong_script_names_the_step_and_the_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BenchError, match=problem):
        load_script(write(tmp_path / "s.toml", text))
