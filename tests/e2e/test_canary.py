"""Card data cannot leak: whole scenarios with known cards, then everything that was left behind is searched."""

from __future__ import annotations

import base64
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.key_file import KeyFile
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench
from tests.card_canary import Canary, Secret
from tests.e2e.test_gateway import GATEWAY
from tests.pos_client import PosClient, free_port
from tests.secure_element import SecureElement

pytestmark = pytest.mark.slow

PAN, OTHER, GATEWAY_PAN = "6212345678900000003", "4111111111111111", "6212345678901232"
DISCRETIONARY = "30122010000098765"
TRACK = f"{PAN}={DISCRETIONARY}"
PIN_BLOCK = "A1B2C3D4E5F60718"
KEY_HEX = "0E329232EA6D0D73A2B5C8D3E6F10426"
# Tag 57, track 2 equivalent, as a chip gives it.
CHIP = "5713" + TRACK.replace("=", "D") + "F" + "9F2608A1A2A3A4A5A6A7A8"
CARD = {"pan": PAN, "expiry": "3012", "pos_entry_mode": "021", "track2": TRACK, "pin_block": PIN_BLOCK}

SECRETS = [
    Secret("card number", PAN),
    Secret("other card number", OTHER),
    Secret("gateway's card number", GATEWAY_PAN),
    Secret("discretionary data", DISCRETIONARY),
]


ALERTS = """
[alerts]
command = ["/bin/sh", "-c", "cat >> {directory}/told.jsonl"]
metrics_file = "{directory}/metrics.prom"
pending_count = 0
"""


class Witness:
    """Every byte that the daemon says on its socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.heard = b""

    def call(self, method: str, params: dict[str, Any]) -> None:
        """One call, whatever comes of it."""
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        self.say(request + b"\n")

    def say(self, data: bytes) -> None:
        """Bytes, and whatever is answered."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(20)
            channel.connect(str(self._path))
            channel.sendall(data)
            channel.shutdown(socket.SHUT_WR)
            while piece := channel.recv(65536):
                self.heard += piece


class Scene:
    """Daemon, host, till, witness, and a place for temporary files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = HostServer(settings=HostSettings(mac_on_all_replies=True)).start()
        self.bench = AgentBench(directory, [self.host.address], confirm_timeout_s=5.0, mirror=f"{directory}/second.db")
        self.port = free_port()
        text = self.bench.configuration.read_text() + GATEWAY.format(port=self.port, when_refused="decline")
        text += ALERTS.format(directory=directory)
        self.element = SecureElement(directory.parent / f"{directory.name}-element")
        text += self.element.table
        self.bench.configuration.write_text(text.replace("[agent]", '[agent]\nlog_level = "debug"'))
        (directory / "tmp").mkdir()
        self.environment = {"TMPDIR": str(directory / "tmp")}
        self.witness = Witness(directory / "run" / "agent.sock")
        self.said = b""
        self.key = Secret("MAC key", KEY_HEX)
        self.keys = {Secret("wrapping key", self.element.key_file.read_bytes().hex())}

    def start(self) -> None:
        self.bench.agent.start(self.environment)

    def note_keys(self) -> None:
        """The data keys as they are now, and the file key that they lie under: none of them may be seen anywhere."""
        file = self.directory / "state" / "data.key"
        ring = KeyFile(file, [self.element.wrapper()]).load()
        token = next(line.split()[3] for line in file.read_bytes().splitlines() if line.startswith(b"wrapped "))
        file_key = self.element.wrapper().unwrap("program", base64.b64decode(token))
        found = {"data key": ring.keys, "destroyed key's rest": ring.destroyed.values(), "file key": [file_key]}
        self.keys |= {Secret(name, key.hex()) for name, keys in found.items() for key in keys}

    def command(self, *arguments: str) -> None:
        """reversalctl, whatever it says."""
        command = [sys.executable, "-m", "agent.cli", "--config", str(self.bench.configuration), *arguments]
        ended = subprocess.run(
            command, capture_output=True, env={**os.environ, **self.environment}, timeout=60, check=False
        )
        self.said += ended.stdout + ended.stderr


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.bench.agent.stop()
    scene.host.stop()


def sale(scene: Scene, reference: str, **more: Any) -> None:
    """A sale with everything that a card has."""
    scene.witness.call("transaction.run", {"reference": reference, "amount_minor": 1000, **CARD, **more})


def play(scene: Scene) -> None:
    """What happens in the life of a terminal."""
    sale(scene, "GOOD", chip_data=CHIP)
    assert scene.bench.state_of("GOOD") == "approved", scene.witness.heard
    scene.witness.call("transaction.complete", {"reference": "GOOD"})
    sale(scene, "DECLINED", amount_minor=1051)
    for reference, fault in (("LOST", "drop-reply"), ("BAD-MAC", "bad-mac"), ("WRONG", "wrong-amount")):
        scene.host.faults.add("0200", fault)
        sale(scene, reference)
    scene.bench.until(lambda: scene.bench.state_of("WRONG") == "reversed", "it is reversed")
    scene.host.faults.add("0200", "drop-reply")
    scene.host.faults.add("reversal", "drop-reply", count=None)
    sale(scene, "KILLED")
    with PosClient(scene.port) as till:  # refused or not, it holds a card number
        till.send_sale("000900", f35=f"{GATEWAY_PAN}={DISCRETIONARY}", f22="021")
        till.reply()
    scene.bench.agent.kill()
    scene.start()


def misuse(scene: Scene) -> None:
    """Card data where none belongs."""
    call = scene.witness.call
    item = scene.bench.agent.call("reversal.list", {"all": True})["items"][0]["id"]
    for wrong in (PAN, TRACK, OTHER, f"card {PAN} of Mr X", PAN.encode().hex()):
        call("transaction.status", {"reference": wrong})
        call("transaction.run", {"reference": "X", "amount_minor": 1, "kind": wrong})
        call("transaction.run", {"reference": "X", "amount_minor": 1, "lane": wrong})
        call("transaction.run", {"reference": "X", "amount_minor": wrong})
        call("transaction.run", {"reference": "X", "amount_minor": 1, "expiry": wrong})
        call("transaction.run", {"reference": "X", "amount_minor": 1, wrong: 1})
        if PAN in wrong:  # the application's own number is stored and shown; whoever hides a card in it, can
            call("transaction.run", {"reference": f"ref {wrong}", "amount_minor": 1, **CARD})
        call("transaction.reply", {"reference": "GOOD", "message_hex": wrong})
        call("reversal.show", {"id": wrong})
        call("reversal.hold", {"id": item, "why": f"customer's {wrong}"})
        call("reversal.release", {"id": item})
        call("device.test", {"name": wrong})
        call(wrong, {})
        scene.witness.say(f'{{"jsonrpc": "2.0", "id": 1, "method": "agent.status", {wrong}\n'.encode())
        scene.command("show", wrong)
    for arguments in (["list"], ["show", item], ["why", item], ["status"], ["--json", "list"], ["--json", "why", item]):
        scene.command(*arguments)
    call("reversal.list", {"all": True})
    call("reversal.why", {"id": item})
    call("agent.status", {})


def misconfigure(scene: Scene) -> None:
    """Somebody pasted a card number and a key into the configuration."""
    wrong = scene.directory.parent / f"{scene.directory.name}-wrong.toml"
    text = scene.bench.configuration.read_text()
    for old, new in (
        ('batch = "000017"', f'batch = "{PAN}"'),
        ('batch = "000017"', f'batch = "000017"\nmac_key = "{PAN}"'),
        ('batch = "000017"', f'batch = "000017"\n{OTHER} = 1'),
        ('batch = "000017"', f'batch = "000017" {OTHER}'),
    ):
        wrong.write_text(text.replace(old, new))
        wrong.chmod(0o600)
        command = [sys.executable, "-m", "agent", "--check-config", "--config", str(wrong)]
        ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert ended.returncode == 78
        scene.said += ended.stdout + ended.stderr
    wrong.unlink()


def hand_out(scene: Scene) -> None:
    """Everything that is made to leave the terminal, with the daemon's own log in it."""
    item = scene.bench.agent.call("reversal.list", {"all": True})["items"][0]["id"]
    out, log = scene.directory / "out", scene.bench.agent.log_file
    out.mkdir()
    scene.command("bundle", "--output", str(out / "case.tar.gz"), "--log", str(log))
    scene.command("bundle", item, "--output", str(out / "item.tar.gz"), "--log", str(log))
    scene.command("report", "--html", str(out / "report.html"))
    scene.command("report", "--csv", str(out / "report.csv"))
    scene.command("reconcile", "--csv", str(out / "books.csv"))
    scene.command("form", item, "--output", str(out / "form.html"))
    scene.command("export", str(out / "copy.db"))
    handle_keys(scene)
    for arguments in (
        ["report", "--text"],
        ["explain", "--item", item],
        ["explain", "--profile", "unionpay-pos", CHIP],
        ["selftest"],
        ["maintenance", "--note", f"card {PAN} was stuck"],
        ["verify", "--copy", str(out / "copy.db")],
        ["keys", "list"],
        ["--json", "devices"],
        ["plan"],
    ):
        scene.command(*arguments)
    made = {path.name for path in out.iterdir()}
    assert {"case.tar.gz", "item.tar.gz", "report.html", "report.csv", "form.html", "copy.db"} <= made, scene.said[
        -2000:
    ]


def handle_keys(scene: Scene) -> None:
    """All that is done with keys, by an element that says them aloud where it fails."""
    scene.note_keys()
    for arguments in (["rotate"], ["wrap"], ["list"], ["check"], ["destroy"], ["destroy", "--now"], ["rotate"]):
        scene.command("keys", *arguments)
        scene.command("--json", "keys", *arguments)
        scene.note_keys()
        scene.element.be("fails")
        scene.command("keys", *arguments)
        scene.witness.call(f"keys.{arguments[0]}", {})
        scene.element.be("garbage")
        scene.command("--json", "keys", *arguments)
        scene.element.be("well")
    scene.note_keys()
    assert len({secret.digits for secret in scene.keys}) > 10


def crash(scene: Scene) -> None:
    """A fault of ours whose text holds the whole message, in mid-sale."""
    scene.bench.agent.kill()
    extra = {"PYTHONPATH": str(Path(__file__).with_name("canary_fault")), "CANARY_FAULT": "1"}
    scene.host.faults.clear()
    process = scene.bench.agent.spawn({**scene.environment, **extra})
    assert process.wait(30) == 70
    assert "RuntimeError" in scene.bench.log()
    assert "faulty" in scene.bench.log()  # the place is told, the text is not


def test_no_card_data_in_anything_that_is_left_behind(scene: Scene) -> None:
    scene.start()
    play(scene)
    misuse(scene)
    hand_out(scene)
    misconfigure(scene)
    canary = Canary([*SECRETS, Secret("PIN block", PIN_BLOCK), *scene.keys])
    found = canary.found_in_process(scene.bench.agent.pid)
    crash(scene)
    scene.start()
    scene.bench.until(lambda: scene.bench.state_of("KILLED") == "reversed", "the item got through all of it")
    scene.bench.agent.stop()
    found += canary.found("socket output", scene.witness.heard)
    found += canary.found("commands and checks", scene.said)
    found += canary.found_below(scene.directory)
    assert sum(canary.searched.values()) > 1_000_000  # the journal is among them
    assert any("journal.db" in where for where in canary.searched)
    for part in ("reversald.log", "case.tar.gz/", "second.db", "told.jsonl", "metrics.prom", "status.html", "copy.db"):
        assert any(part in where for where in canary.searched), part
    assert any("log.txt" in where for where in canary.searched)
    assert any("state/data.key" in where for where in canary.searched)
    assert not found, "\n".join(found)


def test_the_mac_key_is_in_its_own_file_and_nowhere_else(scene: Scene) -> None:
    scene.start()
    sale(scene, "GOOD")
    canary = Canary([scene.key])
    found = canary.found_in_process(scene.bench.agent.pid)
    scene.bench.agent.stop()
    found += canary.found_below(scene.directory)
    assert {line.split(":")[0] for line in found} == {str(scene.directory / "mac.key")}


def test_the_running_daemon_leaves_no_core_and_lets_nobody_attach(scene: Scene) -> None:
    scene.start()
    pid = scene.bench.agent.pid
    limits = Path(f"/proc/{pid}/limits").read_text()
    core = next(row for row in limits.splitlines() if row.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # A process that is not dumpable belongs to root in /proc, whoever runs it: proc(5).
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
    assert resource.getrlimit(resource.RLIMIT_CORE) != (0, 0) or os.geteuid() == 0
