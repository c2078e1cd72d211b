"""What the benches stand on: a fast host and the daemon as processes, a journal with thousands of pending reversals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.journal import Entry, Journal
from agent.records import State, Transaction, dump
from agent.vault import Vault
from hwsim.agent_process import AgentProcess
from protocol.masking import mask_pan
from protocol.profile import load_profile
from protocol.requests import RequestFacts, build_request
from protocol.reversal import freeze, identity_of
from protocol.rules import Profile
from tests.bench.machine import site_packages

ROOT = Path(__file__).resolve().parents[2]
KEY = bytes.fromhex("0E329232EA6D0D73A2B5C8D3E6F10426")  # a public test key
PAN = "6200000000000005"
CARD = {"pan": PAN, "expiry": "3012", "pos_entry_mode": "012"}
WAIT_S = 300.0
BATCH_ENTRIES = 500
Lanes = Sequence[tuple[str, str, int]]

HEAD = """\
[agent]
state_dir = "{directory}/state"
run_dir = "{directory}/run"
log_level = "warning"

[policy]
confirm = "on-approval"
while_pending = "warn"

[journal]
reserve_bytes = 1048576
"""

LANE = """
[[lane]]
name = "{name}"
profile = "{profile}"
terminal_id = "{terminal_id}"
merchant_id = "102110000000001"
hosts = ["127.0.0.1:{port}"]
{more}
[lane.retry]
first_delay_s = 0
jitter = 0
persistent_connection = true
reply_timeout_s = 10
"""

DEVICES = """
[[device]]
name = "printer"
kind = "printer"
driver = "escpos"
port = "serial:{directory}/printer?baud=38400&format=8N1"
columns = 48

[[device]]
name = "reader"
kind = "reader"
driver = "ccid-serial"
port = "serial:{directory}/reader?baud=115200&format=8N2"

[[device]]
name = "pinpad"
kind = "pinpad"
driver = "ipp"
port = "serial:{directory}/pinpad?baud=19200&format=8N1"

[checkout]
reader = "reader"
pinpad = "pinpad"
printer = "printer"
merchant_name = "演示商店 DEMO SHOP"
"""


# --- processes ---------------------------------------------------------------------------------


def environment(compiled: Path) -> dict[str, str]:
    """As after an installation: modules are compiled once (into `compiled`) and found by their path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONPATH": f"{ROOT}{os.pathsep}{site_packages()}"}


# `-S`: without the start-up files of site-packages, where an editable installation keeps its slow finder.
PYTHON = (sys.executable, "-S")


class BenchAgent(AgentProcess):
    """The daemon, started as an installed one is."""

    def __init__(self, configuration: Path, directory: Path, compiled: Path) -> None:
        super().__init__(configuration, directory)
        self._compiled = compiled

    def spawn(self, environment_: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*PYTHON, "-m", "agent", "--config", str(self.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log_file.parent,
                env={**environment(self._compiled), **(environment_ or {})},
            )
        return self._process


class Host:
    """A fast host in a process of its own (tests/bench/host.py); a `closed` one refuses connections until `listen`."""

    def __init__(
        self,
        compiled: Path,
        profile: str = "unionpay-pos",
        delay_ms: float = 0,
        key: bytes = KEY,
        *,
        closed: bool = False,
    ) -> None:
        self._process = subprocess.Popen(
            [*PYTHON, "-m", "tests.bench.host", profile, str(delay_ms), key.hex(), *(["closed"] if closed else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(compiled),
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Of the host's process."""
        return self._process.pid

    def listen(self) -> None:
        """The outage is over."""
        assert self._process.stdin is not None
        self._process.stdin.write("listen\n")
        self._process.stdin.flush()

    def books(self) -> dict[str, Any]:
        """What came so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def until(condition: Callable[[], object], what: str, every_s: float = 0.01) -> None:
    """Wait for it. Raises RuntimeError: the bench cannot run."""
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {WAIT_S:g} s in vain until {what}")
        time.sleep(every_s)


# --- a place with a configuration and a journal ------------------------------------------------


class Place:
    """One directory: configuration, journal, daemon. `lanes`: (name, profile, port); port 1 is a dead host."""

    def __init__(self, directory: Path, lanes: Lanes, *, compiled: Path, devices: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.lanes = lanes
        key_file = directory / "mac.key"
        key_file.write_text(KEY.hex())
        key_file.chmod(0o600)
        parts = [HEAD.format(directory=directory), *(self._lane(*numbered) for numbered in enumerate(lanes))]
        if devices:
            parts.append(DEVICES.format(directory=directory))
        self.configuration = directory / "reversald.toml"
        self.configuration.write_text("\n".join(parts), encoding="utf-8")
        self.configuration.chmod(0o600)
        self.agent = BenchAgent(self.configuration, directory, compiled)

    def _lane(self, number: int, lane: tuple[str, str, int]) -> str:
        name, profile, port = lane
        more = 'currency = "840"'
        if profile.startswith("unionpay"):
            more = f'batch = "000017"\nmac = "software"\nmac_key_file = "{self.directory}/mac.key"'
        return LANE.format(name=name, profile=profile, terminal_id=terminal_id(number), port=port, more=more)

    def journal(self) -> Journal:
        """The daemon's own journal, while the daemon does not run."""
        state = self.directory / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        path, mark = state / "journal.db", state / "highwater"
        vault = Vault.open_or_create(state / "data.key", [path, mark])
        return Journal.open(path, vault, mark, presize_bytes=4 << 20, reserve_bytes=0)

    def seed(self, count: int) -> None:
        """`count` owed reversals, shared among the lanes."""
        journal = self.journal()
        for entries, counters in batches(self.lanes, count):
            journal.append(entries, counters)
        journal.close()


def terminal_id(number: int) -> str:
    """DE 41 of the lane with this number."""
    return f"{10000001 + number}"


def batches(lanes: Lanes, count: int) -> Iterator[tuple[list[Entry], dict[str, int]]]:
    """Owed reversals as entries, in commits of a few hundred."""
    profiles = {profile: load_profile(profile) for _, profile, _ in lanes}
    for start in range(0, count, BATCH_ENTRIES):
        entries, counters = [], {}
        for number in range(start, min(start + BATCH_ENTRIES, count)):
            lane = number % len(lanes)
            name, profile, _ = lanes[lane]
            entries.append(entry(owed(profiles[profile], name, terminal_id(lane), number // len(lanes) + 1)))
            counters[f"stan:{name}"] = counters[f"txn:{name}"] = number // len(lanes) + 1
        yield entries, counters


def owed(profile: Profile, lane: str, terminal: str, number: int) -> Transaction:
    """A sale whose answer never came."""
    facts = RequestFacts(
        kind="sale",
        amount_minor=1000 + number % 5000,
        currency="156" if profile.name.startswith("unionpay") else "840",
        stan=f"{number:06d}",
        batch="000017",
        terminal_id=terminal,
        merchant_id="102110000000001",
        local_date="0611",
        local_time="120000",
        transmission="0611040000",
        **CARD,
    )
    request = build_request(profile, facts)
    begun = Transaction(
        id=f"{lane}-{number}",
        lane=lane,
        reference=f"ref-{number}",
        kind="sale",
        amount_minor=facts.amount_minor,
        currency=facts.currency,
        stan=facts.stan,
        batch=facts.batch,
        terminal_id=terminal,
        merchant_id=facts.merchant_id,
        profile=profile.name,
        masked_pan=mask_pan(PAN),
        begun_at_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        on_unknown="reverse",
        confirm="on-approval",
        driver="agent",
        request_identity=identity_of(request),
        frozen=freeze(request, profile, "timeout", own_stan=facts.stan),
    )
    return replace(begun, state=State.REVERSING, reason="timeout", cause="timeout", attempts=1, left=True)


def entry(txn: Transaction) -> Entry:
    """As the loop stores it."""
    return Entry(
        txn_id=txn.id,
        lane=txn.lane,
        reference=txn.reference,
        state=str(txn.state),
        pending=txn.pending,
        event="Lost",
        public=dump(txn),
        secret=txn.secret(),
        at_utc=txn.begun_at_utc,
    )


@contextmanager
def running(place: Place) -> Iterator[AgentProcess]:
    """The daemon, until the block ends."""
    place.agent.start()
    try:
        yield place.agent
    finally:
        place.agent.stop()


# --- looks at a process ------------------------------------------------------------------------


def memory_mb(pid: int) -> dict[str, float]:
    """Resident, proportional and private memory in MB (smaps_rollup)."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    found = {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows}
    private = found["Private_Dirty"] + found["Private_Clean"]
    return {"rss": found["Rss"], "pss": found["Pss"], "private": private, "anonymous": found["Anonymous"]}


def memory_peak_mb(pid: int) -> float:
    """The most that was ever resident, in MB: the kernel keeps it, and asking for it disturbs nothing (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def cpu_ms(pid: int) -> float:
    """Milliseconds of CPU that all threads of a process have used, to the nanosecond (schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def wake_ups(pid: int) -> int:
    """How often the threads of a process went to sleep by themselves: each time something woke them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def threads_and_files(pid: int) -> tuple[int, int]:
    """Threads and open files."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())), len(list(Path(f"/proc/{pid}/fd").iterdir()))
