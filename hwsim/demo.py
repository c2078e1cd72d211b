"""`hwsim demo`: the main job on simulated hardware, with a real daemon process that is killed on the way.

What is real: the daemon (its own process), ISO 8583 over TCP, serial bytes over a pty (PIN pad), USB
transfers over USB/IP (reader and printer; no kernel, no root), SQLite on disk, SIGKILL. What is simulated:
card, reader, PIN pad, printer, and two hosts that keep books of the money.
The demo believes only the hosts' books: it ends with 1 when they and the agent's journal disagree.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.agent_process import AgentProcess, DemoError
from hwsim.bench import Bench
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_SINGLE
from hwsim.host.settings import HostSettings
from protocol.errors import AgentError

# Nothing in the demo takes longer on a slow, loaded machine.
DEADLINE_S = 40.0
# Log lines of the agent that follow from a host's answer, or from its silence.
AFTER_ANSWER = re.compile(r": (approved|completed|declined|reversed)|failed:|\(timeout\)")
SLIPS = 7  # a receipt, and for each of three cancelled sales one at its start and one at its confirmation
LANE_A, LANE_B = "unionpay", "iso87"
MERCHANT = "102110000000001"
TEST_PAN, TEST_EXPIRY = "6200000000000005", "3012"

CONFIGURATION = """\
# Written by `hwsim demo`; the keys are public test keys.
profiles_directories = []

[agent]
state_dir = "{directory}/state"
run_dir = "{directory}/run"
status_every_s = 1.0

[policy]
confirm = "by-application"
confirm_timeout_s = 60.0
nobody_knows = "reverse"
while_pending = {{ count = 10 }}

[[lane]]
name = "{lane_a}"
profile = "unionpay-pos"
terminal_id = "10000001"
merchant_id = "{merchant}"
batch = "000017"
hosts = ["{host_a}"]
mac = "pinpad"
pinpad = "pinpad"
mac_key = "{mac_key}"
pin_key = "{pin_key}"
retry = {{ base_s = 0.5, cap_s = 5.0, reply_timeout_s = 2.0, connect_timeout_s = 2.0 }}

[[lane]]
name = "{lane_b}"
profile = "iso87-ascii"
terminal_id = "20000001"
merchant_id = "{merchant}"
currency = "840"
hosts = ["{host_b}"]
retry = {{ base_s = 0.5, cap_s = 5.0, reply_timeout_s = 1.5, connect_timeout_s = 2.0 }}

{devices}
[checkout]
reader = "reader"
pinpad = "pinpad"
printer = "printer"
merchant_name = "演示商店 DEMO SHOP"
"""


@dataclass
class Demo:
    """Everything that runs, and what is told of it."""

    directory: Path
    bench: Bench
    host_a: HostServer
    host_b: HostServer
    agent: AgentProcess
    began: float = field(default_factory=time.monotonic)
    seen: dict[str, int] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """One line with the seconds since the start."""
        print(f"  {time.monotonic() - self.began:5.1f} s  {text}", flush=True)

    def head(self, text: str) -> None:
        """A new chapter."""
        print(f"\n{text}", flush=True)

    def follow(self, until: Callable[[], bool], what: str) -> None:
        """Tell what the hosts hear and how the agent's items move, until the condition holds. Raises DemoError."""
        deadline = time.monotonic() + DEADLINE_S
        while not until():
            self.tell_news()
            if time.monotonic() > deadline:
                raise DemoError(f"waited {DEADLINE_S:.0f} s in vain: {what}", f"see {self.agent.log_file}")
            time.sleep(0.02)
        self.tell_news()

    def tell_news(self) -> None:
        """What is new in the agent's log and in the hosts' transcripts, a host's answer before what it leads to."""
        agent_lines = self.agent.new_log_lines()
        host_lines = [*self._new_of(LANE_A, self.host_a), *self._new_of(LANE_B, self.host_b)]
        for line in agent_lines:
            if AFTER_ANSWER.search(line):
                self._tell(host_lines)
                host_lines = []
            self.say(f"agent         {line}")
        self._tell(host_lines)

    def _tell(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.say(line)

    def _new_of(self, name: str, host: HostServer) -> list[str]:
        lines = list(host.machine.transcript)
        new = lines[self.seen.get(name, 0) :]
        self.seen[name] = len(lines)
        return [f"host {name:8} {line}" for line in new]

    def sale(self, lane: str, reference: str, amount_minor: int, **more: Any) -> dict[str, Any]:
        """A sale that waits for its outcome."""
        result: dict[str, Any] = self.agent.call("transaction.run", _sale(lane, reference, amount_minor, **more))
        return result

    def state_of(self, reference: str) -> str:
        """How a sale stands; "" while the daemon is away or has never heard of it."""
        try:
            return str(self.agent.call("transaction.status", {"reference": reference})["state"])
        except DemoError:
            return ""


def _sale(lane: str, reference: str, amount_minor: int, **more: Any) -> dict[str, Any]:
    return {"lane": lane, "reference": reference, "amount_minor": amount_minor, **more}


def _keyed() -> dict[str, str]:
    """Card data of a sale that the application brings itself."""
    return {"pan": TEST_PAN, "expiry": TEST_EXPIRY, "pos_entry_mode": "012"}


def good_sale(demo: Demo) -> None:
    """Sale 1: everything works, through card, PIN pad, host and printer."""
    demo.head("1. A good sale of CNY 12.50: chip card, PIN, host, receipt")
    demo.bench.pinpad.person("enter")
    demo.bench.reader.insert_card("unionpay-credit")
    result = demo.sale(LANE_A, "SALE-1", 1250, checkout=True)
    demo.tell_news()
    demo.say(f"the till reads: {result['outcome']}: {result['text_en']} / {result['text_zh']}")
    _demand(result["outcome"] == "completed", f"the good sale is {result['outcome']}")
    print(_indented(demo.bench.printer.slips()[-1]))
    demo.bench.reader.remove_card()


def killed_sale(demo: Demo) -> None:
    """Sale 2: the reply is lost and the daemon is killed before it can do anything about it."""
    demo.head("2. The reply is lost and the power goes: CNY 20.00")
    demo.host_a.faults.add("0200", "drop-reply")
    demo.agent.send_only("transaction.run", _sale(LANE_A, "SALE-2", 2000, **_keyed()))
    demo.follow(lambda: _charges(demo.host_a) == 2, "the host charges the second sale")
    demo.say("the host has charged the customer; its reply never arrives")
    demo.agent.kill()
    demo.say("kill -9 to the daemon, in mid-sale")
    demo.agent.start()
    demo.say("the daemon starts again and reads its journal")
    demo.follow(lambda: demo.state_of("SALE-2") == "reversed", "the second sale is reversed")


def outage_sale(demo: Demo) -> None:
    """Sale 3: the host disappears in mid-sale and comes back later."""
    demo.head("3. The host fails in mid-sale: CNY 30.00")
    demo.host_a.faults.add("0200", "drop-reply")
    demo.agent.send_only("transaction.run", _sale(LANE_A, "SALE-3", 3000, **_keyed()))
    demo.follow(lambda: _charges(demo.host_a) == 3, "the host charges the third sale")
    demo.host_a.refuse_connections(True)
    demo.say("the host has charged the customer, and now refuses all connections")
    demo.follow(lambda: _link_failures(demo, "SALE-3") >= 2, "two tries fail")
    print(_indented(demo.agent.status_text()))
    demo.host_a.refuse_connections(False)
    demo.say("the host is back")
    demo.follow(lambda: demo.state_of("SALE-3") == "reversed", "the third sale is reversed")


def repeated_advice(demo: Demo) -> None:
    """Sale 4: on the other lane the first advice stays unanswered, so that the repeat is seen."""
    demo.head("4. Second lane, ISO 8583:1987: the first 0420 stays unanswered, the repeat is a 0421: USD 4.00")
    demo.host_b.faults.add("0200", "drop-reply")
    demo.host_b.faults.add("reversal", "drop-reply")
    demo.agent.send_only("transaction.run", _sale(LANE_B, "SALE-4", 400, **_keyed()))
    demo.follow(lambda: demo.state_of("SALE-4") == "reversed", "the fourth sale is reversed")


def _charges(host: HostServer) -> int:
    return sum(row.charges for row in host.ledger.rows())


def _link_failures(demo: Demo, reference: str) -> int:
    items = demo.agent.call("reversal.list", {})["items"]
    return max((int(item["link_failures"]) for item in items if item["reference"] == reference), default=0)


def compare(demo: Demo) -> bool:
    """The hosts' books beside the agent's journal; whether they agree."""
    demo.head("The hosts' books beside the agent's journal")
    items = {item["stan"] + item["lane"]: item for item in demo.agent.call("reversal.list", {"all": True})["items"]}
    print(f"  {'lane':9} {'STAN':6}  {'amount':>10}  {'host':9} {'charged':>7} {'undone':>6}   {'agent':9}  agree")
    agree = True
    for lane, host in ((LANE_A, demo.host_a), (LANE_B, demo.host_b)):
        for row in host.ledger.rows():
            item = items.pop(row.key.stan + lane, None)
            fits = _fits(row, item)
            agree &= fits
            state = item["state"] if item else "unknown"
            amount = item["amount"] if item else str(row.amount_minor)
            marks = f"{row.charges:>7} {row.effects:>6}"
            print(f"  {lane:9} {row.key.stan}  {amount:>10}  {row.state:9} {marks}   {state:9}  {_yes(fits)}")
    for item in items.values():
        agree &= item["state"] == "declined"
    violations = [*demo.host_a.ledger.violations(), *demo.host_b.ledger.violations()]
    for violation in violations:
        print(f"  the host accuses: {violation}")
    money = {**demo.host_a.ledger.net(), **demo.host_b.ledger.net()}
    print(f"  money that the hosts took in the end: {_money(money)}")
    return agree and not violations and money.get("156", 0) == 1250 and money.get("840", 0) == 0


def _fits(row: Any, item: Mapping[str, Any] | None) -> bool:
    """A charge stands exactly where the agent says completed; everything else is undone exactly once."""
    if item is None or item["amount_minor"] != row.amount_minor:
        return False
    stands = row.charges == 1 and row.effects == 0
    undone = row.charges == row.effects <= 1
    return stands if item["state"] == "completed" else undone and item["state"] in ("reversed", "declined")


def _money(net: Mapping[str, int]) -> str:
    names = {"156": "CNY", "840": "USD"}
    return ", ".join(f"{names.get(code, code)} {amount / 100:.2f}" for code, amount in sorted(net.items()))


def _yes(fits: bool) -> str:
    return "yes" if fits else "NO"


def _indented(text: str) -> str:
    return "\n".join("      | " + line.rstrip() for line in text.rstrip("\n").split("\n"))


def _demand(condition: bool, text: str) -> None:
    if not condition:
        raise DemoError(text, "see the lines above")


def write_configuration(directory: Path, bench: Bench, host_a: HostServer, host_b: HostServer) -> Path:
    """The daemon's configuration for this bench."""
    from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under

    text = CONFIGURATION.format(
        directory=directory,
        lane_a=LANE_A,
        lane_b=LANE_B,
        merchant=MERCHANT,
        host_a=host_a.address,
        host_b=host_b.address,
        mac_key=encrypted_under(TEST_KEYS["master"], UNIONPAY_MAK_SINGLE.hex()),
        pin_key=bench.pinpad.working_key("pin"),
        devices=bench.configuration(),
    )
    path = directory / "reversald.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def play(directory: Path) -> int:
    """The whole demonstration in `directory`; 0 when books and journal agree."""
    settings = HostSettings(dialect="unionpay", mac="up-ecb", mac_key=UNIONPAY_MAK_SINGLE)
    with (
        Bench(directory / "devices", wire="usb") as bench,
        HostServer(settings=settings) as host_a,
        HostServer("iso87") as host_b,
        AgentProcess(
            write_configuration(directory, bench, host_a, host_b), directory, bench.usb_environment()
        ) as agent,
    ):
        demo = Demo(directory, bench, host_a, host_b, agent)
        introduce(demo)
        agent.start()
        for chapter in (good_sale, killed_sale, outage_sale, repeated_advice):
            chapter(demo)
        agree = compare(demo)
        finish(demo)
    print(f"\n{'Books and journal agree.' if agree else 'BOOKS AND JOURNAL DISAGREE.'}")
    left = ("run/status.txt", "run/status.json", "reversald.log", "state/journal.db")
    print(f"Left to look at in {directory}: {', '.join(left)}")
    return 0 if agree else 1


def introduce(demo: Demo) -> None:
    """What stands on the bench."""
    print("A customer must never stay charged for a sale that did not happen. When a sale's outcome is unknown, the")
    print("agent reverses it (冲正): it keeps the reversal on disk and sends it until the host acknowledges it.")
    print("Four sales show it.\n")
    print("The bench (all simulated, real bytes):")
    for name, address in demo.bench.addresses().items():
        print(f"  {name:11} {address['port']}")
    print("              (USB without kernel or root: the agent reaches the bench by USB/IP)")
    print(f"  host {LANE_A:8} {demo.host_a.address}   UnionPay style: 0200, 0400 sent again; MAC by the PIN pad")
    print(f"  host {LANE_B:8} {demo.host_b.address}   ISO 8583:1987: 0200, 0420, repeat 0421")
    print(f"  agent     a process of its own, journal in {demo.directory}/state")


def finish(demo: Demo) -> None:
    """The last slips and the status, as a field engineer would look at them."""
    demo.follow(lambda: len(demo.bench.printer.slips()) >= SLIPS, f"{SLIPS} slips are printed")
    demo.follow(lambda: demo.agent.status()["pending_count"] == 0, "the status file says that nothing is open")
    demo.head(f"Slips printed: {len(demo.bench.printer.slips())}; the last one")
    print(_indented(demo.bench.printer.slips()[-1]))
    demo.head("The status file")
    print(_indented(demo.agent.status_text()))


def main(argv: Sequence[str] | None = None) -> int:
    """The command `hwsim demo`."""
    parser = argparse.ArgumentParser(prog="hwsim demo", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--directory", type=Path, default=None, help="where everything is left (default: .demo)")
    options = parser.parse_args(argv)
    directory = (options.directory or Path(".demo")).absolute()
    try:
        directory = _fresh(directory)
        return play(directory)
    except AgentError as error:
        print(f"hwsim demo: {error.text}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return 1


def _fresh(directory: Path) -> Path:
    """An empty directory; the last demo's is replaced, anything else is not touched. Raises DemoError."""
    if directory.exists() and not (directory / "reversald.toml").exists() and any(directory.iterdir()):
        raise DemoError(f"{directory} is not empty and not of an earlier demo", "name another --directory")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if len(str(directory / "run" / "agent.sock")) > 100:  # a Unix socket's path has at most 107 bytes
        short = Path(tempfile.mkdtemp(prefix="hwsim-demo-"))
        print(f"{directory} is too long a path for a socket; using {short}")
        return short
    return directory
