"""A real daemon process beside a simulated host, in a directory of its own: what the end-to-end tests stand on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwsim.agent_process import AgentProcess, DemoError
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE

CARD = {"pan": "6200000000000005", "expiry": "3012", "pos_entry_mode": "012"}
DEADLINE_S = 30.0

CONFIGURATION = """\
[agent]
state_dir = "{directory}/state"
run_dir = "{directory}/run"
status_every_s = 1.0

[policy]
confirm = "{confirm}"
confirm_timeout_s = {confirm_timeout_s}
nobody_knows = "reverse"
while_pending = "warn"
settle = "one-person"

[journal]
presize_bytes = 1048576
reserve_bytes = {reserve_bytes}
{mirror}

[[lane]]
name = "main"
profile = "{profile}"
terminal_id = "10000001"
merchant_id = "102110000000001"
batch = "000017"
hosts = [{hosts}]
mac = "{mac}"
{mac_key}
{more}
[lane.retry]
base_s = 0.2
cap_s = 1.0
connect_timeout_s = 2.0
send_timeout_s = 2.0
reply_timeout_s = {reply_timeout_s}
overtake_window_s = {overtake_window_s}
"""


class AgentBench:
    """Builds the configuration, starts and stops the daemon, asks for sales."""

    def __init__(
        self,
        directory: Path,
        hosts: list[str],
        *,
        profile: str = "unionpay-pos",
        key: bytes = UNIONPAY_MAK_DOUBLE,
        confirm: str = "by-application",
        confirm_timeout_s: float = 60.0,
        reply_timeout_s: float = 0.5,
        overtake_window_s: float = 1.0,
        reserve_bytes: int = 16 << 20,
        mirror: str = "",
        more: str = "",
    ) -> None:
        self.directory = directory
        key_line = ""
        if key:
            key_file = directory / "mac.key"
            key_file.write_text(key.hex())
            key_file.chmod(0o600)
            key_line = f'mac_key_file = "{key_file}"'
        self.configuration = directory / "reversald.toml"
        self.configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                profile=profile,
                hosts=", ".join(f'"{host}"' for host in hosts),
                mac="software" if key else "none",
                mac_key=key_line,
                confirm=confirm,
                confirm_timeout_s=confirm_timeout_s,
                reply_timeout_s=reply_timeout_s,
                overtake_window_s=overtake_window_s,
                reserve_bytes=reserve_bytes,
                mirror=f'mirror = "{mirror}"' if mirror else "",
                more=more,
            )
        )
        self.configuration.chmod(0o600)
        self.agent = AgentProcess(self.configuration, directory)

    def __enter__(self) -> AgentBench:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.agent.stop()

    def sale(self, reference: str, amount_minor: int = 1250, **more: Any) -> dict[str, Any]:
        """A sale, waited for."""
        params = {"reference": reference, "amount_minor": amount_minor, **CARD, **more}
        found: dict[str, Any] = self.agent.call("transaction.run", params)
        return found

    def begin_sale(self, reference: str, amount_minor: int = 1250) -> None:
        """A sale, not waited for."""
        self.agent.send_only("transaction.run", {"reference": reference, "amount_minor": amount_minor, **CARD})

    def state_of(self, reference: str) -> str:
        """Its state; "absent" where the daemon has never heard of it."""
        try:
            return str(self.agent.call("transaction.status", {"reference": reference})["state"])
        except DemoError as error:
            if "A-NO-REFERENCE" in error.text or "is recorded" in error.text:
                return "absent"
            raise

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait for a condition. Fails with the daemon's log."""
        end = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain until {what}; log:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def log(self) -> str:
        """All that the daemon has said."""
        return self.agent.log_file.read_text(errors="replace") if self.agent.log_file.exists() else ""


def agree(host: HostServer, bench: AgentBench, allowed: frozenset[str] = frozenset()) -> None:
    """The host's books and the agent's journal tell the same story; nothing is charged without a completed sale.

    `allowed`: violations that the scene itself brings about.
    """
    assert [one for one in host.ledger.violations() if one.name not in allowed] == []
    items = {item["stan"]: item for item in bench.agent.call("reversal.list", {"all": True, "limit": 1000})["items"]}
    for row in host.ledger.rows():
        assert row.effects <= 1, f"reversed {row.effects} times: {row}"
        item = items.get(row.key.stan)
        if item is None and not row.requests:
            continue  # a till's own reversal of a sale that was refused
        assert item is not None, f"the host knows {row.key}, the agent does not"
        stands = row.charges - row.effects
        assert stands == (1 if item["state"] == "completed" else 0), f"host {row.state}, agent {item['state']}: {row}"
