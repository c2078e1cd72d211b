"""The data keys lie wrapped under a file, a credential or a secure element: nothing is lost, nor found without it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.last_word import pending_at_the_end
from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.agent_bench import AgentBench, agree
from tests.secure_element import SecureElement

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.fixture
def bench(tmp_path: Path, host: HostServer) -> Iterator[AgentBench]:
    """Configured, not started."""
    with AgentBench(tmp_path, [host.address]) as agent:
        yield agent


@pytest.fixture
def element(tmp_path: Path) -> SecureElement:
    return SecureElement(tmp_path / "element")


def key_file(bench: AgentBench) -> Path:
    return bench.directory / "state" / "data.key"


def wrap_under(bench: AgentBench, *tables: str) -> None:
    """The configuration with these sources and no others."""
    text = bench.configuration.read_text().split("[[keys.wrapping]]")[0]
    bench.configuration.write_text("\n".join([text, *tables]))


def wrapping_key(directory: Path, name: str = "wrapping.key") -> Path:
    file = directory / name
    file.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")
    file.chmod(0o600)
    return file


def table_of(file: Path) -> str:
    return f'[[keys.wrapping]]\nkey_file = "{file}"\n'


def command(bench: AgentBench, *arguments: str, language: str = "en") -> subprocess.CompletedProcess[str]:
    """reversalctl ..."""
    line = [sys.executable, "-m", "agent.cli", "--config", str(bench.configuration), "--language", language]
    return subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=120, check=False)


def owe(bench: AgentBench, host: HostServer, reference: str) -> None:
    """A reversal that cannot be acknowledged yet."""
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale(reference)
    assert bench.state_of(reference) == "reversing"


def acknowledged(bench: AgentBench, host: HostServer, *references: str) -> None:
    host.faults.clear()
    for reference in references:
        bench.until(lambda reference=reference: bench.state_of(reference) == "reversed", f"{reference} is reversed")
    agree(host, bench)


def refused(bench: AgentBench, words: str) -> None:
    """The daemon does not start, says why, may be started again, and has changed nothing."""
    state = bench.directory / "state"
    before = {file.name: file.read_bytes() for file in state.iterdir()} if state.exists() else {}
    bench.agent.spawn()
    assert bench.agent.wait() == 73
    last = bench.log().splitlines()[-1]
    assert words in last, bench.log()[-2000:]
    assert "Traceback" not in bench.log()
    with pytest.raises(DemoError):
        bench.sale("NEW")
    after = {file.name: file.read_bytes() for file in state.iterdir()}
    assert {name: body for name, body in after.items() if name in before} == before
    assert set(after) - set(before) <= {"journal.db.lock"}


def states(bench: AgentBench) -> list[str]:
    return [key["state"] for key in bench.agent.call("keys.list", {})["keys"]]


def test_a_sale_is_reversed_over_restarts_rotation_and_destruction_with_keys_in_a_secure_element(
    bench: AgentBench, host: HostServer, element: SecureElement
) -> None:
    wrap_under(bench, element.table)
    bench.agent.start()
    assert element.runs == ["wrap", "unwrap", "unwrap"]  # made, proven, and opened as the next start will
    assert b"wrapped 1 program " in key_file(bench).read_bytes()
    owe(bench, host, "OLD")
    bench.agent.kill()
    bench.agent.start()
    assert len(element.runs) == 4, "once a start"
    assert "sealed anew: 1" in command(bench, "keys", "rotate").stdout
    owe(bench, host, "NEW")
    bench.agent.kill()
    bench.agent.start()
    assert "destroyed" in command(bench, "keys", "destroy", "--now").stdout
    assert sorted(states(bench)) == ["destroyed", "seals"]
    bench.agent.kill()
    bench.agent.start()
    acknowledged(bench, host, "OLD", "NEW")
    bench.agent.stop()
    verified = command(bench, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    told = command(bench, "keys", "list").stdout
    assert f"wrapped under wrapping program {element.program}" in told


def test_an_element_that_is_absent_at_boot_stops_everything_until_it_is_back(
    bench: AgentBench, host: HostServer, element: SecureElement
) -> None:
    wrap_under(bench, element.table)
    element.be("absent")
    refused(bench, "secure element is not there")
    assert not key_file(bench).exists()
    element.be("well")
    bench.agent.start()
    owe(bench, host, "OWED")
    bench.agent.kill()
    for mood, words in (("absent", "is not there"), ("other-key", "does not open"), ("of-another", "another key or")):
        element.be(mood)
        refused(bench, words)
    element.be("well")
    element.key_file.write_bytes(os.urandom(32))
    refused(bench, "another key or element")
    element.program.unlink()
    refused(bench, "cannot be started")


def test_an_element_that_hangs_delays_no_reversal_and_no_answer(
    bench: AgentBench, host: HostServer, element: SecureElement
) -> None:
    wrap_under(bench, element.table)
    bench.agent.start()
    owe(bench, host, "OWED")
    before = key_file(bench).read_bytes()
    element.be("hangs")
    bench.agent.send_only("keys.rotate", {})
    bench.until(lambda: len(element.runs) == 4, "the element is asked and hangs")
    began = time.monotonic()
    acknowledged(bench, host, "OWED")
    assert bench.sale("NEXT")["outcome"] == "approved"
    assert time.monotonic() - began < 8.0, "the program has 10 s"
    bench.until(lambda: "did not answer" in bench.agent.call("keys.list", {})["wrapping"]["problem"], "it is told")
    assert key_file(bench).read_bytes() == before
    bench.until(lambda: "S-DATA-KEY-SOURCE" in [c["code"] for c in bench.agent.status()["conditions"]], "it is shown")
    element.be("well")
    checked = command(bench, "keys", "check")
    assert (checked.returncode, "can open them" in checked.stdout) == (0, True)
    bench.until(
        lambda: "S-DATA-KEY-SOURCE" not in [c["code"] for c in bench.agent.status()["conditions"]], "it is well again"
    )


def test_from_clear_to_wrapped_to_another_source_and_back_every_item_stays_readable(
    bench: AgentBench, host: HostServer, element: SecureElement, tmp_path: Path
) -> None:
    bench.agent.start()
    owe(bench, host, "CLEAR")
    file = wrapping_key(tmp_path)
    wrap_under(bench, table_of(file))
    bench.agent.stop()
    bench.agent.start()
    assert bench.agent.status()["keys"]["under"] == ""
    assert "S-DATA-KEY-FORM" in [one["code"] for one in bench.agent.status()["conditions"]]
    assert "flash may keep that" in command(bench, "keys", "wrap").stdout
    owe(bench, host, "FILE")
    wrap_under(bench, element.table, table_of(file))
    bench.agent.kill()
    bench.agent.start()
    assert "not as configured" in command(bench, "keys", "list").stdout
    command(bench, "keys", "wrap")
    owe(bench, host, "ELEMENT")
    file.unlink()
    wrap_under(bench, element.table)
    bench.agent.kill()
    bench.agent.start()
    assert bench.agent.status()["keys"]["under"] == f"wrapping program {element.program}"
    assert "the key file is in clear" in command(bench, "keys", "unwrap").stdout
    wrap_under(bench)
    bench.agent.kill()
    bench.agent.start()
    assert len(key_file(bench).read_bytes()) == 45
    acknowledged(bench, host, "CLEAR", "FILE", "ELEMENT")


def test_a_medium_or_credential_may_be_read_only_and_the_keys_rotate_all_the_same(
    bench: AgentBench, host: HostServer, tmp_path: Path
) -> None:
    given = tmp_path / "credentials"
    given.mkdir(mode=0o700)
    file = wrapping_key(given, "data-kek")
    file.chmod(0o440)  # as systemd 254 and later
    given.chmod(0o500)
    wrap_under(bench, '[[keys.wrapping]]\ncredential = "data-kek"\n')
    environment = {"CREDENTIALS_DIRECTORY": str(given)}
    bench.agent.start(environment)
    owe(bench, host, "OWED")
    assert "sealed anew: 1" in command(bench, "keys", "rotate").stdout
    bench.agent.kill()
    refused(bench, "/run/credentials/reversald.service/data-kek cannot be read")
    bench.agent.start(environment)
    acknowledged(bench, host, "OWED")


def test_with_a_wrong_missing_or_public_wrapping_key_nothing_starts_and_nothing_is_overwritten(
    bench: AgentBench, host: HostServer, tmp_path: Path
) -> None:
    file = wrapping_key(tmp_path)
    wrap_under(bench, table_of(file))
    bench.agent.start()
    owe(bench, host, "OWED")
    bench.agent.kill()
    good = file.read_bytes()
    wrapping_key(tmp_path)
    refused(bench, "and the key file is wrapped under key")
    file.unlink()
    refused(bench, "cannot be read")
    file.write_bytes(good)
    file.chmod(0o644)
    bench.agent.spawn()
    assert bench.agent.wait() == 78, "the configuration is refused, as for every key file"
    file.chmod(0o600)
    wrap_under(bench)
    refused(bench, "no [[keys.wrapping]] names such a source")
    wrap_under(bench, table_of(file))
    bench.agent.start()
    acknowledged(bench, host, "OWED")


def test_a_copy_in_the_safe_stands_in_for_an_element_that_broke(
    bench: AgentBench, host: HostServer, element: SecureElement, tmp_path: Path
) -> None:
    wrap_under(bench, element.table)
    bench.agent.start()
    owe(bench, host, "OWED")
    command(bench, "keys", "rotate")
    told = command(bench, "keys", "copy", str(tmp_path / "safe.key"))
    assert "put it into the safe" in told.stdout, told.stderr
    bench.agent.kill()
    element.key_file.unlink()
    refused(bench, "wrapping program")
    shutil.copy(tmp_path / "safe.key", key_file(bench))
    bench.agent.start()
    acknowledged(bench, host, "OWED")


def test_without_a_running_agent_the_keys_are_wrapped_rotated_and_shown(
    bench: AgentBench, host: HostServer, element: SecureElement
) -> None:
    bench.agent.start()
    owe(bench, host, "OWED")
    bench.agent.kill()
    wrap_under(bench, element.table)
    assert command(bench, "keys", "wrap").returncode == 0
    assert "stay readable with the old key" in command(bench, "keys", "rotate").stdout
    assert "下次启动可以解开" in command(bench, "keys", "check", language="zh").stdout
    element.be("absent")
    absent = command(bench, "keys", "check")
    assert absent.returncode != 0
    assert "secure element is not there" in absent.stderr
    assert "Traceback" not in absent.stderr
    element.be("well")
    bench.agent.start()
    acknowledged(bench, host, "OWED")


def test_a_configuration_check_says_what_it_can_and_runs_nothing(
    bench: AgentBench, element: SecureElement, tmp_path: Path
) -> None:
    check = [sys.executable, "-m", "agent", "--check-config", "--config", str(bench.configuration)]

    def checked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)

    bench.agent.start()
    bench.agent.stop()
    assert "note:" not in checked().stdout
    file = wrapping_key(tmp_path)
    wrap_under(bench, element.table, table_of(file))
    told = checked()
    assert told.returncode == 0
    assert "is in clear until reversalctl keys wrap" in told.stdout
    assert f"{file} lies on the medium of the key file" in told.stdout
    assert command(bench, "keys", "wrap").returncode == 0
    wrap_under(bench, table_of(file))
    assert "no [[keys.wrapping]] names such a source" in checked().stdout
    file.unlink()
    assert f"{file} is not there now" in checked().stdout
    wrap_under(bench, element.table)
    element.program.chmod(0o777)
    wrong = checked()
    assert wrong.returncode == 78
    assert "mode 0777: others may write to it" in wrong.stdout + wrong.stderr
    assert element.runs == ["wrap", "unwrap"], "only `keys wrap` asked the element"


def test_the_self_test_asks_the_element(bench: AgentBench, element: SecureElement) -> None:
    wrap_under(bench, element.table)
    bench.agent.start()
    assert "was reached" in command(bench, "selftest").stdout
    element.be("absent")
    failed = command(bench, "selftest", language="zh")
    assert failed.returncode == 2
    assert "安全芯片不在位" in failed.stdout


def test_a_leftover_in_clear_is_swept_away_by_the_next_start(bench: AgentBench, element: SecureElement) -> None:
    wrap_under(bench, element.table)
    bench.agent.start()
    bench.agent.kill()
    draft = key_file(bench).with_name("data.key.part")
    draft.write_bytes(b"half")
    bench.agent.start()
    assert not draft.exists()


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 0.3])
def test_the_last_status_of_an_agent_that_ends_as_asked_is_true_whatever_was_under_way(
    bench: AgentBench, host: HostServer, pause_s: float
) -> None:
    """Without its keys nobody else can say what is pending."""
    bench.agent.start()
    assert bench.sale("GOOD")["outcome"] == "approved"
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.begin_sale("LOST")
    bench.until(lambda: host.ledger.rows()[-1].key.stan != "000001", "its request has left")
    time.sleep(pause_s)
    bench.agent.stop()
    state = bench.directory / "state"
    items = pending_at_the_end(bench.directory / "run", state / "journal.db", state / "highwater")
    assert items is not None
    assert sorted(item["reference"] for item in items) == ["GOOD", "LOST"]
    bench.agent.start()
    bench.agent.kill()
    assert pending_at_the_end(bench.directory / "run", state / "journal.db", state / "highwater") is None


# --- an independent implementation -------------------------------------------------------------


def needs(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: apt-get install {package}")
    return found


def token(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """SoftHSM's library and its settings, with a token that has an AES key which never leaves it."""
    tool, maker = needs("pkcs11-tool", "opensc"), needs("softhsm2-util", "softhsm2")
    found = [path for path in Path("/usr/lib").rglob("libsofthsm2.so") if path.is_file()]
    if not found:
        pytest.skip("no libsofthsm2.so here: apt-get install softhsm2")
    (directory / "tokens").mkdir(parents=True)
    settings = directory / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
    make = [maker, "--init-token", "--free", "--label", "shop", "--so-pin", "12345678", "--pin", "4321"]
    keygen = ["--keygen", "--key-type", "AES:32", "--id", "01", "--sensitive", "--usage-decrypt"]
    for line in (make, [tool, "--module", str(found[0]), "--login", "--pin", "4321", *keygen]):
        subprocess.run(line, check=True, capture_output=True, timeout=60)
    return found[0], settings


def test_the_script_of_the_page_keeps_the_keys_in_a_pkcs11_token(
    bench: AgentBench, host: HostServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Software that is not ours: OpenSC and SoftHSM."""
    library, settings = token(tmp_path / "hsm", monkeypatch)
    script = re.search(r"```sh\n(#!/bin/sh\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert script is not None
    text = re.sub(r"^module=.*$", f"module={library}\nexport SOFTHSM2_CONF={settings}", script[1], flags=re.MULTILINE)
    program = tmp_path / "wrap-with-token"
    program.write_text(text)
    program.chmod(0o755)
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "token-pin").write_text("4321")
    wrap_under(bench, f'[[keys.wrapping]]\nprogram = ["{program}"]\n')
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    bench.agent.start(environment)
    owe(bench, host, "OWED")
    bench.agent.kill()
    bench.agent.start(environment)
    assert "sealed anew: 1" in command(bench, "keys", "rotate").stdout
    bench.agent.kill()
    (tmp_path / "hsm" / "tokens").rename(tmp_path / "hsm" / "pulled-out")
    bench.agent.spawn(environment)
    assert bench.agent.wait() == 73
    (tmp_path / "hsm" / "pulled-out").rename(tmp_path / "hsm" / "tokens")
    bench.agent.start(environment)
    acknowledged(bench, host, "OWED")
