"""Working keys that only the PIN pad can use: it proves them itself, makes the MAC and the PIN block with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hwsim.agent_process import DemoError
from hwsim.bench import Bench
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE, UNIONPAY_MAK_SINGLE, UNIONPAY_MASTER_KEY
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow

MASTER_SLOT = 0
OTHER_MASTER = "404142434445464748494A4B4C4D4E4F"
CHECKOUT = '[checkout]\nreader = "reader"\npinpad = "pinpad"\nprinter = "printer"\n'


@pytest.fixture(params=[UNIONPAY_MAK_SINGLE, UNIONPAY_MAK_DOUBLE], ids=["single-length", "double-length"])
def host(request: pytest.FixtureRequest) -> Iterator[HostServer]:
    """A host that hands out a new MAC key of that length with each sign-on."""
    settings = HostSettings(
        mac_key=request.param, mac_on_all_replies=True, rotate_keys=True, require_sign_on=True, check_batch=True
    )
    with HostServer(settings=settings) as server:
        yield server


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Bench]:
    """Reader, PIN pad and printer; the pad has the bank's master key."""
    with Bench(tmp_path / "devices") as bench:
        bench.pinpad.load_key(MASTER_SLOT, UNIONPAY_MASTER_KEY.hex().upper())
        yield bench


@pytest.fixture
def bench(tmp_path: Path, host: HostServer, devices: Bench) -> Iterator[AgentBench]:
    """A daemon whose lane signs on and leaves the keys to the pad; not started."""
    with AgentBench(tmp_path, [host.address], key=b"", more="sign_on = true\n", reply_timeout_s=3.0) as agent:
        text = agent.configuration.read_text().replace('mac = "none"', 'mac = "pinpad"\npinpad = "pinpad"')
        agent.configuration.write_text(text + devices.configuration() + CHECKOUT)
        yield agent


def session(bench: AgentBench) -> dict[str, Any]:
    """The lane's session, fresh."""
    found: dict[str, Any] = bench.agent.call("agent.status", {})["lanes"][0]["session"]
    return found


def test_the_pad_proves_the_keys_and_a_sale_with_chip_and_pin_uses_them(
    bench: AgentBench, host: HostServer, devices: Bench
) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on through the pad")
    assert session(bench)["key_check"] == "right"
    devices.pinpad.person("enter")
    devices.reader.insert_card("unionpay-credit")
    result = bench.agent.call("transaction.run", {"reference": "R1", "amount_minor": 1250, "checkout": True})
    assert result["outcome"] == "completed", bench.log()[-2000:]
    assert devices.pinpad.state()["planned_acts"] == 0  # the PIN was asked for: only the sign-on brought a PIN key
    assert host.machine.stats["mac-wrong"] == 0
    agree(host, bench)


def test_a_pad_with_another_master_key_refuses_trading(bench: AgentBench, host: HostServer, devices: Bench) -> None:
    devices.pinpad.load_key(MASTER_SLOT, OTHER_MASTER)
    bench.agent.start()
    bench.until(lambda: session(bench)["key_check"] == "wrong", "the pad finds the keys wrong")
    with pytest.raises(DemoError, match="A-NOT-SIGNED-ON"):
        bench.sale("R1")
    assert host.ledger.rows() == []
    devices.pinpad.load_key(MASTER_SLOT, UNIONPAY_MASTER_KEY.hex().upper())
    bench.until(lambda: session(bench)["signed_on"], "signed on with the right master key")
    assert bench.sale("R2")["outcome"] == "approved"


def test_a_reversal_that_is_pending_when_the_pads_key_changes_is_cleared_with_the_new_one(
    bench: AgentBench, host: HostServer
) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "drop-request", count=None)
    bench.sale("R1")
    before = session(bench)["key_check_value"]
    bench.until(lambda: bench.agent.call("session.sign_on", {})["key_check_value"] != before, "another key")
    host.faults.clear()
    bench.until(lambda: bench.state_of("R1") == "reversed", "reversed")
    assert host.machine.stats["mac-wrong"] == 0
    agree(host, bench)
