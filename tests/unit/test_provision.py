"""`reversalctl provision`: from answers to a checked configuration, and never to a worse one."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import config
from agent.journal import Journal
from agent.journal_contract import Entry
from agent.provision import ProvisionError, make_key, put_in_place, refuse_unsafe, render, usual_answers, write_draft
from agent.provision_questions import QUESTIONS, check_answers
from agent.vault import Vault
from hwsim.host import HostServer

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
GIVEN = {
    "profile": "iso87-ascii",
    "terminal_id": "10000001",
    "merchant_id": "104110045110012",
    "hosts": "192.0.2.1:5000, [2001:db8::1]:5000",
}


def complete(**more: str) -> dict[str, str]:
    answers, wrong = check_answers({**GIVEN, **more})
    assert wrong == []
    return answers


def loaded(text: str, directory: Path) -> config.Configuration:
    file = directory / "made.toml"
    file.write_text(text)
    return config.load(file)


def test_few_answers_make_a_configuration_that_loads(tmp_path: Path) -> None:
    lane = loaded(render(complete()), tmp_path).lanes[0]
    assert (lane.profile, lane.terminal_id, lane.merchant_id) == ("iso87-ascii", "10000001", "104110045110012")
    assert lane.hosts == ("192.0.2.1:5000", "[2001:db8::1]:5000")


def test_every_answer_arrives_in_the_configuration(tmp_path: Path) -> None:
    for name in ("ca.pem", "mac.key"):
        (tmp_path / name).write_text("0123456789ABCDEF0123456789ABCDEF")
        (tmp_path / name).chmod(0o600)
    more = {
        **{"language": "zh", "socket_group": "pos", "confirm": "by-application", "name": "till-7", "currency": "344"},
        **{"tls": "yes", "tls_pins": "ab" * 32, "mac": "software", "mac_key_file": str(tmp_path / "mac.key")},
        **{"profile": "unionpay-pos", "pinpad_port": "serial:/dev/pos/pinpad?baud=9600&format=7E1"},
        **{"reader_port": "usb:08e6:3437", "reader_driver": "ccid-usb", "merchant_name": '第一"咖啡"店'},
        **{"printer_port": "serial:/dev/pos/printer", "printer_columns": "48"},
    }
    made = loaded(render(complete(**more)), tmp_path)
    assert (made.agent.language, made.agent.socket_group, made.policy.confirm) == ("zh", "pos", "by-application")
    assert made.lanes[0].tls is not None
    assert made.lanes[0].tls.pin_sha256 == ("ab" * 32,)
    assert made.lanes[0].mac_key_file == tmp_path / "mac.key"
    assert {one.kind: one.driver for one in made.devices} == {
        "reader": "ccid-usb",
        "pinpad": "ipp",
        "printer": "escpos",
    }
    assert made.checkout is not None
    assert made.checkout.merchant_name == '第一"咖啡"店'


def test_every_key_is_explained_above_it() -> None:
    lines = render(complete()).splitlines()
    for number, line in enumerate(lines):
        if " = " in line:
            assert lines[number - 1].startswith("# "), line


def test_what_it_wrote_is_what_it_proposes_the_next_time(tmp_path: Path) -> None:
    answers = complete(language="zh", currency="344", printer_port="serial:/dev/pos/printer", printer_columns="42")
    file = tmp_path / "reversald.toml"
    file.write_text(render(answers))
    again, wrong = check_answers(usual_answers(file))
    assert wrong == []
    assert render(again) == render(answers)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("terminal_id", "1"),
        ("merchant_id", "x" * 15 + "y"),
        ("hosts", "192.0.2.1"),
        ("profile", "unionpay"),
        ("mac_key_file", "/etc/key"),
        ("printer_port", "COM1"),
        ("nonsense", "1"),
    ],
)
def test_a_wrong_answer_is_named_and_nothing_comes_of_it(name: str, answer: str) -> None:
    _, wrong = check_answers({**GIVEN, name: answer})
    assert [one.partition(":")[0] for one in wrong] == [name]


def test_everything_that_is_missing_is_named_at_once() -> None:
    _, wrong = check_answers({"profile": "iso87-ascii"})
    assert [one.partition(":")[0] for one in wrong] == ["terminal_id", "merchant_id", "hosts"]


def test_keys_are_kept_for_whoever_changes_something_else(tmp_path: Path) -> None:
    """They are proposed without being shown: the bank's letter is not at hand every time."""
    keys = {"mac_key": "0123456789ABCDEF", "pin_key": "FEDCBA9876543210" * 2, "pinpad_master_key": "2"}
    answers = complete(profile="unionpay-pos", mac="pinpad", pinpad_port="serial:/dev/pos/pinpad", **keys)
    file = tmp_path / "reversald.toml"
    file.write_text(render(answers))
    assert config.load(file).lanes[0].pinpad_master_key == 2
    again = usual_answers(file)
    assert {name: again[name] for name in keys} == keys


@pytest.mark.parametrize("value", ["12", "8CA64DE9C1", "8CA64DEX"])
def test_a_check_value_has_four_to_eight_digits(value: str) -> None:
    keys = {"mac": "pinpad", "mac_key": "0123456789ABCDEF", "pinpad_port": "serial:/dev/pos/pinpad"}
    _, wrong = check_answers({**GIVEN, **keys, "mac_key_check": value})
    assert [one.partition(":")[0] for one in wrong] == ["mac_key_check"]


def test_a_configuration_that_says_more_is_not_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "reversald.toml"
    file.write_text(render(complete()) + "\n[alerts]\npending_count = 3\n")
    with pytest.raises(ProvisionError, match=r"alerts\.pending_count"):
        usual_answers(file)


def test_questions_are_asked_in_both_languages() -> None:
    for question in QUESTIONS:
        assert question.text.en != question.text.zh
        assert any("\u4e00" <= letter <= "\u9fff" for letter in question.text.zh), question.name


# --- putting it in place -----------------------------------------------------------------------


def shop(directory: Path, *, pending: bool) -> Path:
    """A configuration in force, and a journal."""
    file = directory / "reversald.toml"
    file.write_text(render(complete(), str(directory / "state"), str(directory / "run")))
    state = directory / "state"
    state.mkdir(mode=0o700)
    vault = Vault.open_or_create(state / "data.key", (state / "journal.db",))
    journal = Journal.open(
        state / "journal.db", vault, state / "highwater", presize_bytes=0, reserve_bytes=0, create=True
    )
    public = json.dumps({"amount_minor": 1250, "currency": "156", "masked_pan": "620000******0005"})
    time_utc = "2026-11-22T12:00:00Z"
    journal.append([Entry("till-1-1", "till-1", "R1", "reversing", pending, "e", public, b"body", time_utc)])
    journal.close()
    return file


@pytest.mark.parametrize(
    "change",
    [{"terminal_id": "10000002"}, {"hosts": "192.0.2.9:5000"}, {"profile": "iso93"}, {"name": "till-2"}],
)
def test_while_something_is_pending_its_terminal_host_and_key_cannot_change(
    tmp_path: Path, change: dict[str, str]
) -> None:
    target = shop(tmp_path, pending=True)
    text = render(complete(**change), str(tmp_path / "state"), str(tmp_path / "run"))
    draft = write_draft(text, target)
    with pytest.raises(ProvisionError, match=r"till-1-1  till-1  CNY 12\.50"):
        refuse_unsafe(target, draft)


def test_while_something_is_pending_the_journal_stays_where_it_is(tmp_path: Path) -> None:
    target = shop(tmp_path, pending=True)
    draft = write_draft(render(complete(), str(tmp_path / "other"), str(tmp_path / "run")), target)
    with pytest.raises(ProvisionError, match="state_dir"):
        refuse_unsafe(target, draft)


def test_safe_changes_are_allowed_while_something_is_pending_and_all_when_nothing_is(tmp_path: Path) -> None:
    target = shop(tmp_path, pending=True)
    places = (str(tmp_path / "state"), str(tmp_path / "run"))
    refuse_unsafe(target, write_draft(render(complete(language="zh"), *places), target))
    (tmp_path / "second").mkdir()
    idle = shop(tmp_path / "second", pending=False)
    refuse_unsafe(idle, write_draft(render(complete(terminal_id="10000009")), idle))


def test_where_nobody_can_say_what_is_pending_nothing_changes(tmp_path: Path) -> None:
    target = shop(tmp_path, pending=False)
    (tmp_path / "state/data.key").unlink()
    with pytest.raises(ProvisionError, match="nobody can say"):
        refuse_unsafe(target, write_draft(render(complete(language="zh")), target))


def test_the_old_file_is_kept_and_the_new_one_has_private_rights(tmp_path: Path) -> None:
    target = tmp_path / "reversald.toml"
    assert put_in_place("one\n", target) is None
    assert stat.S_IMODE(target.stat().st_mode) in (0o600, 0o640)
    kept = put_in_place("two\n", target)
    assert kept is not None
    assert (kept.read_text(), target.read_text()) == ("one\n", "two\n")
    assert not list(tmp_path.glob("*.new"))


def test_an_old_file_that_cannot_be_kept_stays_and_is_said(tmp_path: Path) -> None:
    target = tmp_path / ("r" * 245)  # with the time behind it, the name is longer than a file system takes
    target.write_text("one\n")
    with pytest.raises(ProvisionError, match="cannot be written"):
        put_in_place("two\n", target)
    assert target.read_text() == "one\n"


def test_a_key_is_made_once_and_the_first_start_takes_it(tmp_path: Path) -> None:
    target = tmp_path / "reversald.toml"
    target.write_text(render(complete(), str(tmp_path / "state"), str(tmp_path / "run")))
    assert make_key(target)
    (made,) = (tmp_path / "state").iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert not make_key(target)
    vault = Vault.open_or_create(tmp_path / "state/data.key", (tmp_path / "state/journal.db",))
    assert vault.fresh


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[HostServer]:
    with HostServer("iso87") as server:
        yield server


def command(target: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "agent.cli", "--config", str(target), "--language", "en", "provision", *options]


def answers_file(directory: Path, host: str) -> Path:
    file = directory / "answers.toml"
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in {**GIVEN, "hosts": host}.items()))
    return file


def placed(directory: Path) -> Path:
    """An existing configuration, so that state and run directory are ours and not the machine's."""
    target = directory / "reversald.toml"
    target.write_text(render(complete(), str(directory / "state"), str(directory / "run")))
    return target


@pytest.mark.slow
def test_answers_from_a_file_are_tried_written_and_checked(tmp_path: Path, host: HostServer) -> None:
    target = placed(tmp_path)
    line = command(target, "--answers", str(answers_file(tmp_path, host.address)))
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok    host {host.address}: connects" in done.stdout
    assert "ok    echo till-1" in done.stdout
    assert f"{target}: no errors" in done.stdout
    assert config.load(target).lanes[0].hosts == (host.address,)
    assert (tmp_path / "state/data.key.new").exists()
    assert not (tmp_path / "state/journal.db").exists()


@pytest.mark.slow
def test_a_host_that_does_not_answer_leaves_everything_as_it_was(tmp_path: Path) -> None:
    target = placed(tmp_path)
    before = target.read_text()
    given = answers_file(tmp_path, "127.0.0.1:1")
    line = command(target, "--answers", str(given))
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "FAIL  host 127.0.0.1:1" in done.stdout
    assert "Nothing was written." in done.stdout
    assert target.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.toml", "reversald.toml"]
    done = subprocess.run([*line, "--despite-failures"], cwd=ROOT, capture_output=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0
    assert "127.0.0.1:1" in target.read_text()


class Person:
    """Somebody at a terminal who waits for a question before the answer is typed."""

    def __init__(self, line: list[str]) -> None:
        self._near, far = pty.openpty()
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "vt100"}
        self.process = subprocess.Popen(line, cwd=ROOT, stdin=far, stdout=far, stderr=far, env=environment)
        os.close(far)
        self.seen = ""

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} does not come; seen:\n{self.seen}"
            if select.select([self._near], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self._near, 65536).decode(errors="replace")
                except OSError:  # the other side has ended
                    assert text in self.seen, self.seen
        self.seen = self.seen.split(text, 1)[1]

    def say(self, question: str, answer: str) -> None:
        self.expect(question)
        os.write(self._near, answer.encode() + b"\n")

    def end(self) -> int:
        status = self.process.wait(DEADLINE_S)
        os.close(self._near)
        return status


@pytest.mark.slow
def test_a_dialogue_in_a_terminal_asks_again_and_proposes_what_is_there(tmp_path: Path, host: HostServer) -> None:
    target = placed(tmp_path)
    person = Person(command(target))
    person.say("Language of this terminal (en, zh) [en]: ", "en")
    person.say("Group of the tills' programs: ", "")
    person.say("[on-approval]: ", "by-application")
    person.say("Name of the lane [till-1]: ", "")
    person.say("[iso87-ascii]: ", "no-such")
    person.expect("not accepted: ")
    person.say("[iso87-ascii]: ", "")
    person.say("Terminal id (8) [10000001]: ", "123")
    person.expect("not accepted: 8 letters or digits")
    person.say("Terminal id (8) [10000001]: ", "20000002")
    person.say("Merchant id (15) [104110045110012]: ", "")
    person.say("[156]: ", "")
    person.say("Hosts, address:port, in order", host.address)
    person.say("TLS towards the hosts (yes, no) [no]: ", "")
    person.say("Who computes the MAC", "")
    person.say("Port of the PIN pad; empty: none: ", "")
    person.say("Port of the card reader; empty: none: ", "")
    person.say("Port of the printer; empty: none: ", "")
    person.expect("Trying it")
    person.expect(f"ok    host {host.address}")
    person.say("(yes/no)", "yes")
    person.expect("The old configuration is now ")
    person.expect("no errors")
    assert person.end() == 0
    made = config.load(target)
    assert made.policy.confirm == "by-application"
    assert made.lanes[0].terminal_id == "20000002"
    assert len(list(tmp_path.glob("reversald.toml.*.old"))) == 1


@pytest.mark.slow
def test_a_dialogue_in_chinese_that_is_not_confirmed_writes_nothing(tmp_path: Path) -> None:
    target = placed(tmp_path)
    before = target.read_text()
    person = Person(command(target, "--no-trial"))
    person.say("Language of this terminal (en, zh) [en]: ", "zh")
    person.say("收银程序所属用户组", "")
    for question in ("何时完成", "通道名称", "主机报文规范", "终端号", "商户号", "币种", "主机 地址", "TLS", "MAC"):
        person.say(question, "")
    for question in ("密码键盘端口", "读卡器端口", "打印机端口"):
        person.say(question, "")
    person.say("写入", "no")
    person.expect("未写入任何内容")
    assert person.end() == 1
    assert target.read_text() == before
