"""The agent in a clean Debian root: its package built, its terminal configured, a reversal owed, what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE
from tests.agent_bench import CARD, CONFIGURATION
from tests.debian_root import Inside

ROOT = Path(__file__).parents[1]
PACKAGE = "pos-reversal-agent"
STATE = "/var/lib/reversald"
OVERRIDE = "/etc/reversald/remove-although-pending"
REASON = "Li Wei, shop 12: terminal is scrapped, the bank booked by hand"


def built(directory: Path, version: str) -> Path:
    """The package of these sources under that version."""
    command = [sys.executable, "udev/make_deb.py", "--version", version, "--output", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if "could not be had" in done.stderr:
        pytest.skip(f"the wheels to ship cannot be had here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def configure(root: Inside, host: HostServer) -> None:
    """As a technician would: written by root, read by the daemon."""
    owner = root.file(STATE).stat()
    text = CONFIGURATION.format(
        directory="/x",
        confirm="by-application",
        confirm_timeout_s=60,
        reserve_bytes=1 << 20,
        mirror="",
        profile="unionpay-pos",
        hosts=f'"{host.address}"',
        mac="software",
        mac_key='mac_key_file = "/etc/reversald/mac.key"',
        more="",
        reply_timeout_s=0.5,
        overtake_window_s=1.0,
    )
    text = text.replace('"/x/state"', f'"{STATE}"').replace('"/x/run"', '"/run/reversald"')
    root.file("/etc/reversald/reversald.toml").write_text(text)
    key = root.file("/etc/reversald/mac.key")
    key.write_text(UNIONPAY_MAK_DOUBLE.hex())
    key.chmod(0o600)
    subprocess.run(["chown", f"{owner.st_uid}:{owner.st_gid}", str(key)], check=True)


def items(root: Inside) -> list[dict[str, object]]:
    """What is pending, as `reversalctl list` tells it."""
    done = root.run("reversalctl", "--json", "list", check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"id"')]


def answers(root: Inside) -> bool:
    """Whether the daemon can be asked."""
    return root.run("reversalctl", "--json", "list", check=False).returncode == 0


def owe(root: Inside, host: HostServer) -> None:
    """A sale whose answer is lost, and a host that does not acknowledge."""
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    sale = {"lane": "main", "reference": "R1", "amount_minor": 1250, **CARD}
    program = (
        "import sys; sys.path.insert(0, '/usr/lib/pos-reversal-agent')\n"
        "from agent.client import AgentClient\n"
        f"AgentClient().call('transaction.run', {sale!r})\n"
    )
    root.run("/usr/bin/python3", "-c", program)
    assert [one["state"] for one in items(root)] == ["reversing"]


def state_of_package(root: Inside) -> str:
    """Status and version, as dpkg has them: "ii  0.1.0"."""
    done = root.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Version}", PACKAGE, check=False)
    return done.stdout.strip()
