"""The daemon makes no system call that its service file forbids."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.client import AgentClient, UnreachableError
from hwsim.host import HostServer
from tests.secure_element import SecureElement

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
# SQLite gives its files the owner of the database, but only when it runs as root, as tests may and the service not.
OF_ROOT_ONLY = frozenset({"fchown"})

CONFIGURATION = """
[agent]
state_dir = "state"
run_dir = "run"

[[lane]]
name = "till-1"
profile = "iso87-ascii"
terminal_id = "10000001"
merchant_id = "104110045110012"
hosts = ["{host}"]
"""


def needs(command: str, package: str) -> str:
    found = shutil.which(command)
    if found is None:
        pytest.skip(f"no {command} here: apt-get install {package}")
    return found


def members(group: str) -> set[str]:
    """The system calls of a systemd group."""
    command = [needs("systemd-analyze", "systemd"), "--no-pager", "syscall-filter", group]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    names = {line.strip() for line in lines if line.strip() and not line.strip().startswith("#")}
    groups = {name for name in names if name.startswith("@")}
    return (names - groups).union(*map(members, groups))


def allowed() -> set[str]:
    """What SystemCallFilter= leaves, in the order of its lines."""
    calls: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", (ROOT / "udev/reversald.service").read_text(), re.MULTILINE):
        named = set().union(*map(members, line.removeprefix("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def traced(directory: Path, host: str, more: str = "") -> set[str]:
    """The system calls of a daemon that starts, makes a sale, rotates its keys, answers questions and stops."""
    configuration, trace = directory / "reversald.toml", directory / "trace"
    configuration.write_text(CONFIGURATION.format(host=host) + more)
    strace = [needs("strace", "strace"), "-f", "-qq", "-o", str(trace)]
    command = [*strace, sys.executable, "-m", "agent", "--config", str(configuration)]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        with AgentClient(directory / "run/agent.sock", DEADLINE_S) as agent:
            pid = _pid(agent, process)
            sale = agent.run("2024-0001", 1250, pan="6200000000000005", expiry="3012", pos_entry_mode="012")
            assert sale["outcome"] == "completed"
            agent.call("keys.rotate", {})
            agent.agent_reload()
        os.kill(pid, signal.SIGTERM)
        process.wait(DEADLINE_S)
    return set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(errors="replace"), re.MULTILINE))


def _pid(agent: AgentClient, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return int(agent.agent_status()["agent"]["pid"])
        except UnreachableError:
            assert process.poll() is None, "the daemon has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_daemon_gets_on_with_the_system_calls_that_its_service_allows(tmp_path: Path) -> None:
    calls = allowed()
    assert {"fdatasync", "connect"} <= calls
    assert not {"chown", "mount", "setuid"} & calls
    with HostServer("iso87") as host:
        made = traced(tmp_path, host.address)
    assert {"fdatasync", "connect", "epoll_wait"} <= made
    assert made - calls - OF_ROOT_ONLY == set()


def test_a_program_that_wraps_the_keys_can_be_started_with_the_system_calls_that_the_service_allows(
    tmp_path: Path,
) -> None:
    element = SecureElement(tmp_path / "element")
    with HostServer("iso87") as host:
        made = traced(tmp_path, host.address, element.table)
    assert element.runs == ["wrap", "unwrap", "unwrap", "wrap", "unwrap"]
    assert {"execve", "setsid", "kill"} <= made
    assert made - allowed() - OF_ROOT_ONLY == set()
