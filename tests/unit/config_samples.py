"""A good configuration, written to a directory, and profiles that need no profile files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from agent.config import Configuration, load
from protocol.errors import ProfileError
from protocol.profile import Profile
from protocol.rules import MacRules, RetryRules

RETRY = RetryRules(
    first_delay_s=0.0,
    base_s=5.0,
    factor=2.0,
    cap_s=300.0,
    jitter=0.2,
    park_after_attempts=50,
    parked_every_s=3600.0,
    connect_timeout_s=10.0,
    send_timeout_s=10.0,
    reply_timeout_s=30.0,
    overtake_window_s=60.0,
    persistent_connection=False,
    triggers=("link-up", "timer"),
)
ALGORITHMS = {"with-mac": "x919", "with-sm4": "up-sm4", "without-mac": "none"}

GOOD = """\
profiles_directories = ["profiles"]

[agent]
state_dir = "state"
run_dir = "run"
language = "zh"

[policy]
confirm = "by-application"
while_pending = { count = 3, age_s = 3600 }

[[lane]]
name = "till-1"
profile = "with-mac"
terminal_id = "10000001"
merchant_id = "104110045110012"
hosts = ["127.0.0.1:5000", "[::1]:5001"]
mac = "software"
mac_key_file = "mac.key"

[lane.retry]
cap_s = 60

[[lane]]
name = "till-2"
profile = "without-mac"
terminal_id = "10000002"
merchant_id = "104110045110012"
hosts = ["host.example:7001"]
tls = { ca_file = "ca.pem" }

[[device]]
name = "reader"
kind = "reader"
driver = "ccid-serial"
port = "serial:/dev/pos/reader?baud=115200"

[[device]]
name = "pad"
kind = "pinpad"
driver = "ipp"
port = "rfc2217://127.0.0.1:4001?baud=9600&format=7E1"

[checkout]
reader = "reader"
pinpad = "pad"
"""


def load_sample_profile(name: str, directories: Sequence[Path | str]) -> Profile:
    """The few facts of a profile that a configuration is compared with."""
    if name not in ALGORITHMS:
        raise ProfileError(f"there is no profile {name!r}", hint=f"known: {', '.join(ALGORITHMS)}")
    return cast(Profile, SimpleNamespace(mac=MacRules(algorithm=ALGORITHMS[name]), retry=RETRY))


def write(directory: Path, text: str = GOOD) -> Path:
    """The file with `text`, beside the key and certificate files that GOOD names."""
    file = directory / "reversald.toml"
    file.write_text(text)
    (directory / "ca.pem").write_text("not read here")
    key = directory / "mac.key"
    key.write_text("0123456789abcdeffedcba9876543210\n")
    key.chmod(0o600)
    return file


def loaded(directory: Path, text: str = GOOD, **options: Any) -> Configuration:
    return load(write(directory, text), load_sample_profile, **options)
