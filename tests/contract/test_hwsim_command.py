"""The command `hwsim`, as a person at a shell and as another program use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

COMMAND = [sys.executable, "-W", "error", "-m", "hwsim.cli"]
DEADLINE_S = 20.0


def hwsim(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


class Running:
    """A bench in its own process."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = str(directory)
        up = [*COMMAND, "up", "--json", "--directory", self.directory, *arguments]
        self.process = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return hwsim(*arguments, "--directory", self.directory)

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _out, error = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, error


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    bench = Running(tmp_path / "bench")
    yield bench
    bench.end()


def test_up_prints_one_object_on_one_line_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    bench = Running(tmp_path)
    addresses = json.loads(bench.line)
    assert set(addresses) == {"printer", "reader", "pinpad", "contactless"}
    assert addresses["printer"]["port"].startswith(f"serial:{tmp_path}/printer?")
    assert bench.end() == (0, "")
    assert os.listdir(tmp_path) == []


def test_faults_and_states_work_from_another_shell(running: Running) -> None:
    assert running.ask("fault", "printer", "paper-out").returncode == 0
    state = json.loads(running.ask("state", "printer").stdout)
    assert state["paper"] == "out"
    with serial.Serial(f"{running.directory}/printer", timeout=5) as port:
        port.write(b"\x10\x04\x04")
        assert port.read(1) == b"\x7e"


def test_a_card_is_inserted_and_a_person_planned_from_the_shell(running: Running) -> None:
    assert running.ask("fault", "reader", "insert-card", "card=unionpay-credit").returncode == 0
    assert running.ask("fault", "pinpad", "person", "kind=enter", "pin=4321", "after_s=0.5").returncode == 0
    states = json.loads(running.ask("state").stdout)
    assert states["reader"]["card"]["name"] == "unionpay-credit"
    assert states["pinpad"]["planned_acts"] == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("fault", "printer", "fire"), "the printer has no fault 'fire'"),
        (("fault", "scanner", "drop"), "the bench has no device 'scanner'"),
        (("fault", "reader", "corrupt", "nth=two"), "cannot take nth='two'"),
        (("fault", "reader", "silence", "seconds=long"), "cannot take seconds='long'"),
        (("fault", "reader", "insert-card", "card=gold"), "there is no test card 'gold'"),
        (("fault", "pinpad", "person", "kind=shout"), "a person cannot 'shout'"),
        (("fault", "reader", "corrupt", "nth"), "not of the form KEY=VALUE"),
        (("state", "scanner"), "the bench has no device 'scanner'"),
        (("run", "/nowhere.toml"), "the script /nowhere.toml cannot be read"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(running: Running, arguments: tuple[str, ...], text: str) -> None:
    answer = running.ask(*arguments)
    assert answer.returncode == 69
    assert text in answer.stderr
    assert "Traceback" not in answer.stderr


def test_without_a_bench_the_commands_say_how_to_start_one(tmp_path: Path) -> None:
    answer = hwsim("state", "--directory", str(tmp_path))
    assert answer.returncode == 69
    assert "start one with `hwsim up`" in answer.stderr


def test_a_second_bench_in_the_same_directory_is_refused(running: Running) -> None:
    answer = running.ask("up")
    assert answer.returncode == 69
    assert "already running" in answer.stderr


def test_a_bench_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    for wrong in (("--card", "gold"), ("--host", "nonsense")):
        answer = hwsim("up", "--directory", str(tmp_path), *wrong)
        assert answer.returncode == 69
        assert "Traceback" not in answer.stderr
        assert os.listdir(tmp_path) == []


def test_a_wrong_command_line_is_a_usage_error() -> None:
    answer = hwsim("fly")
    assert answer.returncode == 64
    assert "Traceback" not in answer.stderr


def test_a_script_is_played_on_a_running_bench(running: Running, tmp_path: Path) -> None:
    script = tmp_path / "cover.toml"
    script.write_text(
        'title = "Somebody opens the cover"\n'
        '[[step]]\ndevice = "printer"\nfault = "cover-open"\n'
        '[[step]]\nat_s = 0.05\ndevice = "printer"\nfault = "cover-closed"\n',
        "utf-8",
    )
    answer = running.ask("run", str(script))
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[0] == "Somebody opens the cover"
    state = json.loads(running.ask("state", "printer").stdout)
    assert state["cover_open"] is False
    assert state["counters"]["fault cover-open"] == 1


def test_the_printed_slips_are_shown(running: Running) -> None:
    with serial.Serial(f"{running.directory}/printer", timeout=5) as port:
        port.write("冲正成功\n".encode("gb18030") + b"\x1dV\x00" + b"\x1dr\x01")
        port.read(1)
    assert running.ask("slips").stdout == "---- slip 1 ----\n冲正成功\n"


def test_up_starts_a_host_when_asked_for(tmp_path: Path) -> None:
    bench = Running(tmp_path, "--host", "unionpay")
    assert json.loads(bench.line)["host"]["dialect"] == "unionpay"
    assert "host-control" in os.listdir(tmp_path)
    assert bench.end() == (0, "")
    assert os.listdir(tmp_path) == []


def test_a_recorded_device_can_be_replayed(running: Running, tmp_path: Path) -> None:
    recording, question = tmp_path / "pad.jsonl", bytes.fromhex("0F3034300E3A")
    device = f"{running.directory}/pinpad"
    command = [*COMMAND, "record", "pinpad", device, str(recording), "--directory", str(tmp_path / "tap")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        assert "opens" in recorder.stdout.readline()
        with serial.Serial(str(tmp_path / "tap" / "pinpad"), timeout=5) as port:
            port.write(question)
            heard = port.read(7)
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(DEADLINE_S) == 0
    assert len(heard) == 7
    command = [*COMMAND, "replay", str(recording), "--directory", str(tmp_path / "again")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as player:
        assert player.stdout is not None
        player.stdout.readline()
        with serial.Serial(str(tmp_path / "again" / "pinpad"), timeout=5) as port:
            port.write(question)
            assert port.read(7) == heard
        player.send_signal(signal.SIGTERM)
        assert player.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("words", [("host", "--dialect", "nonsense"), ("host", "--nonsense"), ("demo", "--nonsense")])
def test_a_wrong_command_line_has_one_exit_status_in_every_command(words: tuple[str, ...]) -> None:
    assert hwsim(*words).returncode == 64


def test_an_address_that_cannot_be_is_said_in_a_line() -> None:
    done = hwsim("host", "--port", "99999999")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
