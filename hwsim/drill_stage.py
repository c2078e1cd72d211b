"""The stage of a drill: a simulated host and an agent of its own, in a directory that vanishes with the process.

    python -m hwsim.drill_stage host-outage

Standard output is JSON lines: {"configuration": path} when the stage stands and the fault has happened. Standard input:
"mend" takes the fault away, "end" (or its end) ends everything.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hwsim.agent_process import AgentProcess, DemoError
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE
from protocol.errors import AgentError

SALE = {
    "reference": "DRILL-1",
    "amount_minor": 8800,
    "pan": "6200000000000005",
    "expiry": "3012",
    "pos_entry_mode": "012",
}

CONFIGURATION = """\
# Written for a drill; the key is a public test key.
[agent]
state_dir = "{directory}/state"
run_dir = "{directory}/run"
status_every_s = 1.0
[policy]
while_pending = "warn"
[journal]
presize_bytes = 1048576
reserve_bytes = {reserve}
[alerts]
clear_after_s = 1
[selftest]
automatic = false
power_supply = "{directory}/power"
[[plan]]
name = "{plan}"
after_s = 0
[[lane]]
name = "drill"
profile = "unionpay-pos"
terminal_id = "10000001"
merchant_id = "102110000000001"
hosts = ["{host}"]
mac = "software"
mac_key_file = "{directory}/mac.key"
[lane.retry]
base_s = 1.0
cap_s = 5.0
connect_timeout_s = 2.0
send_timeout_s = 2.0
reply_timeout_s = 1.0
overtake_window_s = 1.0
"""
MISSING_DEVICE = """\
[[device]]
name = "printer"
kind = "printer"
driver = "escpos"
port = "serial:{directory}/no-printer"
"""
TEBIBYTE = 1 << 40
# A simulated mains adapter and battery, as the kernel shows them (Documentation/ABI/testing/sysfs-class-power).
MAINS = {
    "AC": {"type": "Mains", "online": "1"},
    "BAT0": {"type": "Battery", "status": "Charging", "capacity": "64"},
}
ON_BATTERY = {
    "AC": {"type": "Mains", "online": "0"},
    "BAT0": {"type": "Battery", "status": "Discharging", "capacity": "12"},
}
# Until the fault is seen and the plan is on: two tries of the reversal, or a restart of the agent.
READY_S = 30.0


class Stage:
    """One drill's host and agent."""

    def __init__(self, plan: str, directory: Path) -> None:
        self._host = HostServer()
        self._host.start()
        key = directory / "mac.key"
        key.write_text(UNIONPAY_MAK_DOUBLE.hex())
        key.chmod(0o600)
        self.configuration = directory / "reversald.toml"
        text = CONFIGURATION.format(directory=directory, plan=plan, host=self._host.address, reserve=1 << 20)
        if plan == "device-lost":
            text += MISSING_DEVICE.format(directory=directory)
        self.configuration.write_text(text)
        self.configuration.chmod(0o600)
        self._agent = AgentProcess(self.configuration, directory)
        self._plan = plan
        self._power = directory / "power"
        self._break: Callable[[], None] = {
            "host-outage": self._refuse,
            "power-failing": self._drain,
            "storage-failing": self._fill,
        }.get(plan, self._nothing)

    def play(self) -> None:
        """Start everything and let the fault happen: a sale without an answer, then what triggers the plan."""
        if self._plan == "power-failing":
            self._supply(MAINS)
        self._agent.start()
        self._host.faults.add("0200", "drop-reply")
        self._host.faults.add("reversal", "drop-reply", count=None)
        self._agent.call("transaction.run", SALE)
        self._break()
        self._until_plan_is_on()

    def mend(self) -> None:
        """The cause is gone."""
        self._host.faults.clear()
        self._host.refuse_connections(False)
        if self._plan == "power-failing":
            self._supply(MAINS)

    def close(self) -> None:
        """End agent and host."""
        self._agent.stop()
        self._host.stop()

    def _nothing(self) -> None:
        """What triggers the plan is there from the start."""

    def _refuse(self) -> None:
        """The line to the bank is dead."""
        self._host.refuse_connections()

    def _drain(self) -> None:
        """Mains are gone and the battery is low when the agent comes up again."""
        self._agent.stop()
        self._supply(ON_BATTERY)
        self._agent.start()

    def _fill(self) -> None:
        """A reserve that no disk has: for the agent the disk is full. It takes a restart to say so."""
        self._agent.stop()
        text = self.configuration.read_text()
        self.configuration.write_text(text.replace(f"reserve_bytes = {1 << 20}", f"reserve_bytes = {TEBIBYTE}"))
        self._agent.start()

    def _supply(self, supplies: dict[str, dict[str, str]]) -> None:
        for name, facts in supplies.items():
            (self._power / name).mkdir(parents=True, exist_ok=True)
            for fact, value in facts.items():
                (self._power / name / fact).write_text(value + "\n")

    def _until_plan_is_on(self) -> None:
        """The trainee begins when the agent has seen the fault. Raises DemoError."""
        ends = time.monotonic() + READY_S
        while self._plan not in self._plans_shown():
            if time.monotonic() > ends:
                raise DemoError(f"the plan {self._plan} did not trigger in {READY_S:g} s", "look at the agent's log")
            time.sleep(0.05)

    def _plans_shown(self) -> list[str]:
        """As the status file tells: it is what the trainee looks at first."""
        if not (self._agent.run_dir / "status.json").exists():
            return []
        told = self._agent.status()
        on = [plan["name"] for plan in told.get("watch", {}).get("plans", ())]
        return on if any(found["code"] == "S-PLAN" for found in told["conditions"]) else []


def main() -> int:
    """One drill, until standard input ends."""
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        stage = Stage(sys.argv[1], Path(directory))
        try:
            stage.play()
            print(json.dumps({"configuration": str(stage.configuration)}), flush=True)
            for line in sys.stdin:
                if line.strip() == "mend":
                    stage.mend()
                    print(json.dumps({"mended": True}), flush=True)
                elif line.strip() == "end":
                    break
        except AgentError as error:
            print(json.dumps({"error": error.text}), flush=True)
            return 1
        finally:
            stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
