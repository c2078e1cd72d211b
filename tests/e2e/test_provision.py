"""A technician's first hour: `reversalctl provision` on simulated devices and host, and the first sale afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agent import config as settings
from hwsim.agent_process import AgentProcess
from hwsim.bench import Bench
from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_SINGLE, UNIONPAY_MASTER_KEY
from hwsim.host.settings import HostSettings
from protocol.mac import key_check_value
from tests.shop_bench import GOOD_CARD, pad_host

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
MERCHANT = "102110000000001"
CHECK = key_check_value(UNIONPAY_MAK_SINGLE)
OTHER_KEY = bytes(reversed(UNIONPAY_MAK_SINGLE))


def wrapped(key: bytes) -> str:
    """A working key as the bank sends it: under the master key that only the PIN pad has."""
    return encrypted_under(TEST_KEYS["master"], key.hex())


class Terminal:
    """A terminal on a technician's table: devices on ptys, a host, and a machine without a configuration of its own."""

    def __init__(self, directory: Path, host: HostServer) -> None:
        self.directory = directory
        self.devices = Bench(directory / "devices")
        self.host = host
        self.configuration = directory / "reversald.toml"
        # What a machine has before it: where state and run directory are (the test's, not this machine's).
        self.before = (
            f'[agent]\nstate_dir = "{directory}/state"\nrun_dir = "{directory}/run"\n'
            '[[lane]]\nname = "till-1"\nprofile = "unionpay-pos"\nterminal_id = "10000001"\n'
            f'merchant_id = "{MERCHANT}"\nhosts = ["192.0.2.1:1"]\n'
        )
        self.configuration.write_text(self.before)
        self.agent = AgentProcess(self.configuration, directory)

    def answers(self, **changed: str) -> dict[str, str]:
        """Right ones, except for `changed`."""
        right = {
            **{"profile": "unionpay-pos", "terminal_id": "10000001", "merchant_id": MERCHANT},
            **{"hosts": self.host.address, "mac": "pinpad", "merchant_name": "测试商店"},
            **{"mac_key": wrapped(UNIONPAY_MAK_SINGLE), "mac_key_check": CHECK},
            **{"pinpad_port": self.devices.pinpad.port, "reader_port": self.devices.reader.port},
            **{"printer_port": self.devices.printer.port, "printer_columns": "48"},
        }
        return {**right, "pin_key": wrapped(bytes.fromhex(TEST_KEYS["pin"])), **changed}

    def provision(self, answers: Mapping[str, str], *options: str) -> tuple[int, str]:
        """Exit status and everything that was said."""
        file = self.directory / "answers.toml"
        file.write_text("".join(f'{name} = "{value}"\n' for name, value in answers.items()))
        command = [sys.executable, "-m", "agent.cli", "--config", str(self.configuration), "provision"]
        command += ["--answers", str(file), *options]
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert "Traceback" not in done.stdout
        return done.returncode, done.stdout

    def untouched(self) -> bool:
        """Nothing was written: no configuration, no key, no draft."""
        left = {path.name for path in self.directory.iterdir()}
        return self.configuration.read_text() == self.before and left == {"answers.toml", "devices", "reversald.toml"}

    def close(self) -> None:
        """Stop all."""
        self.agent.stop()
        self.devices.close()


@pytest.fixture
def host() -> Iterator[HostServer]:
    with pad_host() as server:
        yield server


@pytest.fixture
def terminal(tmp_path: Path, host: HostServer) -> Iterator[Terminal]:
    made = Terminal(tmp_path, host)
    yield made
    made.close()


def test_right_answers_pass_on_every_device_and_the_first_card_sale_goes_through(terminal: Terminal) -> None:
    status, told = terminal.provision(terminal.answers())
    assert status == 0, told
    for device in ("reader", "pinpad", "printer"):
        assert f"  ok    {device} {terminal.devices.devices()[device].port}: " in told
    assert f"  ok    MAC key till-1: check value {CHECK}" in told
    assert f"  ok    host {terminal.host.address}: connects" in told
    assert "  ok    echo till-1: answered by" in told
    assert terminal.host.ledger.rows() == [], "nothing is sold by a trial"
    made = settings.load(terminal.configuration)
    assert {device.kind for device in made.devices} == {"reader", "pinpad", "printer"}
    terminal.agent.start()
    terminal.devices.reader.insert_card(GOOD_CARD)
    terminal.devices.pinpad.person("enter")
    slips = len(terminal.devices.printer.slips())
    sale = terminal.agent.call("transaction.run", {"reference": "R1", "amount_minor": 1250, "checkout": True})
    assert (sale["outcome"], sale["amount_minor"]) == ("completed", 1250)
    assert terminal.devices.pinpad.state()["planned_acts"] == 0, "the PIN was asked for"
    assert terminal.devices.printer.wait(lambda state: int(str(state["slips"])) > slips)
    assert "测试商店" in terminal.devices.printer.slips()[-1]
    (row,) = terminal.host.ledger.rows()
    assert (row.charges, row.effects, terminal.host.ledger.violations()) == (1, 0, [])


def test_a_device_that_is_unplugged_is_named_and_nothing_is_written(terminal: Terminal) -> None:
    answers = terminal.answers()
    terminal.devices.reader.fault("unplug")
    status, told = terminal.provision(answers)
    assert status == 1
    assert f"  FAIL  reader {answers['reader_port']}: E-PORT-MISSING: " in told
    assert "Nothing was written." in told
    assert terminal.untouched()
    assert all(f"  ok    {other} " in told for other in ("pinpad", "printer")), "the others are told, too"


def test_a_device_at_the_port_of_another_is_named_and_nothing_is_written(terminal: Terminal) -> None:
    crossed = {"pinpad_port": terminal.devices.printer.port, "printer_port": terminal.devices.pinpad.port}
    status, told = terminal.provision(terminal.answers(**crossed))
    assert status == 1
    assert f"  FAIL  pinpad {crossed['pinpad_port']}: " in told
    assert f"  FAIL  printer {crossed['printer_port']}: " in told
    assert terminal.untouched()


def test_a_pin_pad_without_the_master_key_is_named(terminal: Terminal) -> None:
    status, told = terminal.provision(terminal.answers(pinpad_master_key="3"))
    assert status == 1
    assert "master key 3 is not loaded" in told
    assert terminal.untouched()


def test_a_host_that_refuses_is_named_and_nothing_is_written(terminal: Terminal) -> None:
    terminal.host.refuse_connections()
    status, told = terminal.provision(terminal.answers())
    assert status == 1
    assert f"  FAIL  host {terminal.host.address}: Connection refused" in told
    assert "  FAIL  echo till-1: " in told
    assert terminal.untouched()


def test_a_mac_key_that_is_not_the_banks_is_found_by_its_check_value(terminal: Terminal) -> None:
    status, told = terminal.provision(terminal.answers(mac_key=wrapped(OTHER_KEY), language="zh"))
    assert status == 1
    assert f"失败  MAC 密钥 till-1：校验值 {key_check_value(OTHER_KEY)}，银行为 {CHECK}" in told
    assert "未写入任何内容" in told
    assert wrapped(OTHER_KEY) not in told
    assert terminal.untouched()


def test_a_software_key_is_compared_too(terminal: Terminal) -> None:
    key = terminal.directory / "devices" / "mac.key"
    key.write_text(OTHER_KEY.hex())
    key.chmod(0o600)
    given = {"mac": "software", "mac_key_file": str(key), "mac_key_check": CHECK[:4]}
    answers = {name: value for name, value in terminal.answers(**given).items() if name != "mac_key"}
    status, told = terminal.provision(answers)
    assert status == 1
    assert f"the bank's is {CHECK[:4]}" in told
    assert terminal.untouched()


def test_a_master_key_that_is_not_the_banks_is_found_by_the_sign_on(tmp_path: Path) -> None:
    with HostServer(settings=HostSettings(mac_key=UNIONPAY_MAK_SINGLE, rotate_keys=True)) as host:
        terminal = Terminal(tmp_path, host)
        terminal.devices.pinpad.load_key(0, UNIONPAY_MASTER_KEY.hex())
        given = {"mac": "pinpad", "sign_on": "yes"}
        answers = {name: value for name, value in terminal.answers(**given).items() if "key" not in name}
        try:
            status, told = terminal.provision(answers)
            assert status == 0, told
            assert "  ok    sign-on till-1: signed on, check value of the MAC key " in told
            terminal.configuration.write_text(terminal.before)
            terminal.devices.pinpad.load_key(0, TEST_KEYS["master"])
            status, told = terminal.provision(answers)
            assert status == 1
            assert "  FAIL  sign-on till-1: " in told
            assert "check value" in told
            assert terminal.configuration.read_text() == terminal.before
        finally:
            terminal.close()


def test_a_failed_trial_can_be_written_all_the_same_but_only_when_that_is_said(terminal: Terminal) -> None:
    answers = terminal.answers()
    terminal.devices.printer.fault("unplug")
    status, told = terminal.provision(answers, "--despite-failures")
    assert status == 0
    assert "  FAIL  printer " in told
    assert len(settings.load(terminal.configuration).devices) == 3


def test_while_the_agent_runs_nothing_is_tried_or_written(terminal: Terminal) -> None:
    assert terminal.provision(terminal.answers())[0] == 0
    terminal.agent.start()
    before = terminal.configuration.read_text()
    status, told = terminal.provision(terminal.answers(merchant_name="另一家店"))
    assert status == 74
    assert "stop it first" in told
    assert terminal.configuration.read_text() == before
