"""A hostile program on the same machine can neither clear nor forge nor stall: the reversal goes out on time."""

from __future__ import annotations

import grp
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.rights import METHODS
from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.agent_bench import CARD, AgentBench, agree

pytestmark = pytest.mark.slow

ATTACK_S = 5.0
# Tries come at 0.2, 0.4, 0.8, then every 1.0 s, each with 20 % jitter, and wait 0.5 s for their answer. What is above
# is what the attackers could add.
GAP_S_MAX = 3.5
MEMORY_KIB_MAX = 60_000

Attack = Callable[[Path, float, random.Random], None]


def dial(path: Path) -> socket.socket:
    """A connection to the API."""
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(0.5)
    try:
        channel.connect(str(path))
    except OSError:
        channel.close()
        raise
    return channel


def line(method: str, params: object, number: object = 1) -> bytes:
    """One request."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def flood(path: Path, until: float, chance: random.Random) -> None:
    """Valid requests as fast as they are taken, answers thrown away."""
    with dial(path) as channel:
        block = b"".join(line("agent.status", {}, n) for n in range(200))
        while time.monotonic() < until:
            channel.sendall(block)
            while (heard := channel.recv(1 << 16)) and b"\n" not in heard:
                pass


def slow_loris(path: Path, until: float, chance: random.Random) -> None:
    """A line that never ends."""
    with dial(path) as channel:
        while time.monotonic() < until:
            channel.sendall(b" ")
            time.sleep(0.05)


def endless_line(path: Path, until: float, chance: random.Random) -> None:
    """A line without end, as fast as it goes."""
    while time.monotonic() < until:
        with dial(path) as channel:
            for _ in range(64):
                channel.sendall(b"A" * 65536)


def deaf(path: Path, until: float, chance: random.Random) -> None:
    """Asks and never reads."""
    with dial(path) as channel:
        while time.monotonic() < until:
            channel.sendall(line("reversal.list", {"all": True, "limit": 1000}))


def wrong_types(path: Path, until: float, chance: random.Random) -> None:
    """Every method with values that it does not expect."""
    values: list[object] = [
        None,
        True,
        -1,
        1e308,
        2**63,
        "",
        "x" * 5000,
        "\u202e",
        [],
        {},
        [[[[[]]]]],
        {"a": {"b": {}}},
    ]
    names = ["id", "reference", "lane", "amount_minor", "kind", "why", "reason", "original", "pan", "all", "limit"]
    while time.monotonic() < until:
        with dial(path) as channel:
            for method in [*METHODS, "reversal.settle", "no.such", ""]:
                params = {name: chance.choice(values) for name in chance.sample(names, 4)}
                channel.sendall(line(method, chance.choice([params, params, params, None, [], 7])))
            channel.recv(1 << 16)


def noise(path: Path, until: float, chance: random.Random) -> None:
    """Bytes."""
    while time.monotonic() < until:
        with dial(path) as channel:
            channel.sendall(chance.randbytes(4096) + b"\n" + b'{"a":' * 3000 + b"\n")
            channel.recv(1 << 16)


def forger(path: Path, until: float, chance: random.Random) -> None:
    """Tries to end what is not its own."""
    while time.monotonic() < until:
        with dial(path) as channel:
            for number, (method, params) in enumerate(FORGERIES):
                channel.sendall(line(method, params, number))
            channel.recv(1 << 16)


# What could end the item "main-1" of the sale "OWED" if anything were believed.
FORGERIES: list[tuple[str, dict[str, Any]]] = [
    ("transaction.complete", {"reference": "OWED"}),
    ("transaction.reply", {"reference": "OWED", "response_code": "00", "mac": "valid"}),
    ("transaction.reply", {"reference": "OWED", "message_hex": "0410"}),
    ("transaction.run", {"reference": "OWED", "amount_minor": 1, **CARD}),
    ("transaction.begin", {"reference": "OWED", "amount_minor": 1250, **CARD}),
    ("reversal.settle", {"id": "main-1", "reason": "x"}),
    ("reversal.settle", {"id": ["main-1"], "reason": "x", "bank_reference": "y"}),
    ("reversal.confirm", {"id": "main-1", "code": "000000"}),
    ("reversal.confirm", {"id": "main-1", "bank_code": "00000000"}),
    ("reversal.list", {"all": True, "limit": -1}),
    ("reversal.show", {"id": "main-1' OR 1=1 --"}),
    ("journal.export", {"target": "/dev/null"}),
]

ATTACKS: dict[str, list[Attack]] = {
    "flood": [flood] * 4,
    "slow-loris": [slow_loris] * 10,
    "endless-line": [endless_line] * 4,
    "deaf": [deaf] * 6,
    "wrong-types": [wrong_types] * 3,
    "noise": [noise] * 3,
    "forger": [forger] * 3,
    "all": [flood, flood, slow_loris, endless_line, deaf, deaf, wrong_types, noise, forger],
}


def attempts(host: HostServer) -> int:
    """Reversals that the host has seen."""
    return sum(row.reversals + row.repeats for row in host.ledger.rows())


def memory_kib(pid: int) -> int:
    """Resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(row for row in text.splitlines() if row.startswith("VmRSS:")).split()[1])


def answers(bench: AgentBench) -> bool:
    """Whether there is a connection for us. The attackers here are of our own user and may take its share."""
    try:
        bench.agent.call("agent.status", {})
    except DemoError:
        return False
    return True


def run(attack: Attack, path: Path, until: float, seed: int) -> None:
    """Until the time is over; a connection that the daemon ends is dialled again."""
    chance = random.Random(seed)
    while time.monotonic() < until:
        try:
            attack(path, until, chance)
        except OSError:
            time.sleep(0.01)


def longest_gap_s(host: HostServer, until: float) -> float:
    """The longest time without a new try, watched from outside."""
    seen, since, longest = attempts(host), time.monotonic(), 0.0
    while time.monotonic() < until:
        time.sleep(0.01)
        if attempts(host) != seen:
            longest = max(longest, time.monotonic() - since)
            seen, since = attempts(host), time.monotonic()
    return max(longest, time.monotonic() - since)


@pytest.mark.parametrize("name", ATTACKS)
def test_under_attack_the_reversal_goes_out_on_time_and_nothing_is_cleared(
    bench: AgentBench, host: HostServer, name: str
) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("OWED")
    bench.until(lambda: attempts(host) >= 2, "two tries were made")
    path, before_kib = bench.directory / "run" / "agent.sock", memory_kib(bench.agent.pid)
    until = time.monotonic() + ATTACK_S
    attackers = [
        threading.Thread(target=run, args=(attack, path, until, seed)) for seed, attack in enumerate(ATTACKS[name])
    ]
    for attacker in attackers:
        attacker.start()
    gap_s = longest_gap_s(host, until)
    grown_kib = memory_kib(bench.agent.pid) - before_kib
    for attacker in attackers:
        attacker.join(10)
        assert not attacker.is_alive()
    bench.until(lambda: answers(bench), "the daemon has room for others again")
    print(f"{name}: longest gap {gap_s:.2f} s, memory +{grown_kib} KiB")
    assert gap_s < GAP_S_MAX
    assert grown_kib < MEMORY_KIB_MAX
    bench.until(lambda: state(bench) in ("reversing", "parked"), "it is owed as before")
    host.faults.clear()
    bench.until(lambda: state(bench) == "reversed", "the host acknowledged it")
    agree(host, bench)


def state(bench: AgentBench) -> str:
    """Of the owed sale; "busy" while connections of the attack that the kernel held back are still being ended."""
    try:
        return bench.state_of("OWED")
    except DemoError as error:
        if "A-BUSY" not in error.text:
            raise
        return "busy"


# --- another user of the machine ---

STRANGER_ID = 65534
SYSTEM_PYTHON = "/usr/bin/python3"  # the one of the virtual environment may lie where others cannot look
STRANGER = """\
import json, socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.settimeout(10)
channel.connect(sys.argv[1])
stream = channel.makefile("rwb")
for request in json.loads(sys.argv[2]):
    stream.write(json.dumps(request).encode() + b"\\n")
    stream.flush()
    answer = json.loads(stream.readline())
    print(answer.get("error", {}).get("data", {}).get("code", "ok"))
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that other users can look into."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="apt-get install python3")
def test_another_user_sells_and_looks_but_neither_acts_nor_settles(open_directory: Path, host: HostServer) -> None:
    with AgentBench(open_directory, [host.address]) as bench:
        text = bench.configuration.read_text()
        group = grp.getgrgid(STRANGER_ID).gr_name
        bench.configuration.write_text(text.replace("[agent]", f'[agent]\nsocket_group = "{group}"'))
        bench.agent.start()
        host.faults.add("0200", "drop-reply")
        host.faults.add("reversal", "drop-reply", count=None)
        bench.sale("OWED")
        calls = [
            ("agent.status", {}),
            ("reversal.list", {}),
            ("reversal.retry", {"all": True}),
            ("reversal.hold", {"id": "main-1", "why": "x"}),
            ("reversal.park", {"id": "main-1", "why": "x"}),
            ("reversal.settle", {"id": "main-1", "reason": "x", "bank_reference": "y"}),
            ("journal.export", {"target": str(open_directory / "copy")}),
            ("agent.reload", {}),
        ]
        requests = [{"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in enumerate(calls)]
        command = [SYSTEM_PYTHON, "-c", STRANGER, str(open_directory / "run/agent.sock"), json.dumps(requests)]
        said = subprocess.run(
            command, user=STRANGER_ID, group=STRANGER_ID, extra_groups=[], capture_output=True, text=True, check=True
        )
        assert said.stdout.split() == ["ok", "ok", *["A-RIGHTS"] * 6]
        log = bench.log()
        assert log.count("may not call") == 6
        assert f"uid {STRANGER_ID}" in log
        host.faults.clear()
        bench.until(lambda: bench.state_of("OWED") == "reversed", "it is reversed")
