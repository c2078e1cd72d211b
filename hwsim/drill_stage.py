"""The stage of a drill: a simulated host and an agent of its own, in a directory that vanishes with the process.

    python -m hwsim.drill_stage host-outage

Standard output is JSON lines: {"configuration": path} when the stage stands and the fault has happened. Standard input:
"mend" takes the fault away, "end" (or its end) ends everything.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hwsim.agent_process import AgentProcess
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
        self._break: Callable[[], None] = {"storage-failing": self._fill}.get(plan, self._silence)

    def play(self) -> None:
        """Start everything and let the fault happen: an unanswered sale, and a host that stays silent."""
        self._agent.start()
        self._break()
        self._agent.send_only("transaction.run", SALE)

    def mend(self) -> None:
        """The cause is gone."""
        self._host.faults.clear()

    def close(self) -> None:
        """End agent and host."""
        self._agent.stop()
        self._host.stop()

    def _silence(self) -> None:
        self._host.faults.add("0200", "drop-reply")
        self._host.faults.add("reversal", "drop-reply", count=None)

    def _fill(self) -> None:
        """A reserve that no disk has: for the agent the disk is full. It takes a restart to say so."""
        self._silence()
        self._agent.call("transaction.run", SALE)
        self._agent.stop()
        text = self.configuration.read_text()
        self.configuration.write_text(text.replace(f"reserve_bytes = {1 << 20}", f"reserve_bytes = {TEBIBYTE}"))
        self._agent.start()


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
