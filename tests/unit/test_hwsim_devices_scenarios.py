"""The scenario library: each file says what the shop sees and what the agent must do, and does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwsim
from hwsim.devices.contactless import ContactlessReader
from hwsim.devices.device import SimDevice
from hwsim.devices.pinpad import PinPad
from hwsim.devices.printer import Printer
from hwsim.devices.reader import SerialReader
from hwsim.fault_script import DEVICES, load_script

FOLDER = Path(hwsim.__file__).parent / "scenarios"
FILES = sorted(FOLDER.glob("*.toml"))
LONG_AFTER_S = 600.0


def devices() -> dict[str, SimDevice]:
    pad = PinPad()
    pad.load_key(0, "master")
    return {"printer": Printer(), "reader": SerialReader(), "pinpad": pad, "contactless": ContactlessReader()}


def test_the_library_has_at_least_forty_scenarios() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_says_what_the_shop_sees_and_what_the_agent_must_do(path: Path) -> None:
    script = load_script(path)
    assert script.steps
    for key in ("shop", "agent"):
        sentence = script.values[key]
        assert isinstance(sentence, str)
        assert len(sentence) > 10
    assert set(script.values) == {"shop", "agent", "sale"} | ({"expect"} & set(script.values))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_leaves_the_devices_in_the_state_that_it_names(path: Path) -> None:
    script, bench = load_script(path), devices()
    for step in script.steps:
        for device in bench.values():
            device.tick(step.at_s)
        bench[step.device].apply_fault(step.fault, **step.args)
    for device in bench.values():
        device.tick(LONG_AFTER_S)
    expected = script.values.get("expect", {})
    assert isinstance(expected, dict)
    assert set(expected) <= set(DEVICES)
    for name, values in expected.items():
        state = bench[name].state()
        assert {key: state[key] for key in values} == values


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_after_a_scenario_a_cleared_and_plugged_bench_answers_again(path: Path) -> None:
    script, bench = load_script(path), devices()
    for step in script.steps:
        bench[step.device].tick(step.at_s)
        bench[step.device].apply_fault(step.fault, **step.args)
    for device in bench.values():
        device.tick(LONG_AFTER_S)
        device.apply_fault("clear")
        device.apply_fault("replug")
    later = LONG_AFTER_S + 1
    assert b"\x03\x06\x81" in bench["reader"].feed(bytes.fromhex("03066500000000000100000061"), later)
    assert b"\x0f04" in bench["pinpad"].feed(bytes.fromhex("0F3034300E3A"), later)
    assert len(bench["printer"].feed(b"\x10\x04\x01", later)) == 1
