"""The drop-in gateway: a POS application that knows nothing of the agent, the real daemon, a simulated host."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree
from tests.pos_client import BATCH, MERCHANT, TERMINAL, TPDU, PosClient, free_port

pytestmark = pytest.mark.slow

GATEWAY = """
[[gateway]]
lane = "main"
listen = "127.0.0.1:{port}"
when_refused = "{when_refused}"
"""
# Faults after which the application must not believe in an approval, and the host may have charged.
LOST = (
    "drop-request",
    "close-before-processing",
    "reset-before-processing",
    "drop-reply",
    "close-before-reply",
    "close-mid-frame",
    "reset",
    "garbage",
    "length-zero",
    "bad-mac",
    "no-mac",
    "wrong-stan",
    "wrong-amount",
    "wrong-terminal",
    "wrong-mti",
    "no-code",
)


class Shop:
    """Host, daemon with a gateway, and its till."""

    def __init__(
        self,
        directory: Path,
        *,
        when_refused: str = "close",
        start: bool = True,
        unknown_reversal: str = "25",
        **bench: object,
    ) -> None:
        settings = HostSettings(mac_on_all_replies=True, unknown_reversal=unknown_reversal)
        self.host = HostServer(settings=settings).start()
        self.port = free_port()
        self.bench = AgentBench(directory, [self.host.address], **bench)  # type: ignore[arg-type]
        text = self.bench.configuration.read_text() + GATEWAY.format(port=self.port, when_refused=when_refused)
        self.bench.configuration.write_text(text)
        if start:
            self.bench.agent.start()

    def __enter__(self) -> Shop:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.bench.agent.stop()
        self.host.stop()

    def till(self) -> PosClient:
        """A new connection of the till."""
        return PosClient(self.port)

    def sale(self, stan: str, amount_minor: int = 1250) -> str:
        """One sale on a connection of its own; the response code, "" for no answer."""
        with self.till() as till:
            till.send_sale(stan, amount_minor)
            return till.code()

    def reversal(self, stan: str, amount_minor: int = 1250, **more: str) -> str:
        """The till's own reversal; the response code, "" for no answer."""
        with self.till() as till:
            till.send_reversal(stan, amount_minor, **more)
            return till.code()

    def state(self, stan: str) -> str:
        """State of the latest item with this STAN; "absent" where there is none."""
        items = self.bench.agent.call("reversal.list", {"all": True, "limit": 1000})["items"]
        states = [item["state"] for item in items if item["stan"] == stan]
        return str(states[0]) if states else "absent"

    def until(self, stan: str, state: str) -> None:
        """Wait for a state."""
        self.bench.until(lambda: self.state(stan) == state, f"{stan} is {state}")

    def agree(self) -> None:
        """Books and journal."""
        agree(self.host, self.bench)


@contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """The process may open nothing more: what it has open stays so."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path) as shop:
        yield shop


# --- what goes well ---


def test_a_sale_passes_untouched_and_stands(shop: Shop) -> None:
    with shop.till() as till:
        till.send_sale("000101")
        reply = till.reply()
        assert reply is not None
        assert (reply.mti, reply.get(39), reply.get(11)) == ("0210", "00", "000101")
        assert till.mac_is_right()
        # The host swapped the application's own TPDU: it travelled both ways.
        assert till.received[0][2:7] == TPDU[:1] + TPDU[3:5] + TPDU[1:3]
        shop.until("000101", "completed")
        till.send_sale("000102", 300)  # the same connection takes the next one
        assert till.code() == "00"
    shop.until("000102", "completed")
    assert shop.host.ledger.net() == {"156": 1550}
    shop.agree()


def test_a_decline_is_delivered_and_ends_the_item(shop: Shop) -> None:
    assert shop.sale("000101", 1251) == "51"
    shop.until("000101", "declined")
    shop.agree()


def test_sign_on_echo_and_settlement_are_relayed_and_not_recorded(shop: Shop) -> None:
    with shop.till() as till:
        common = {41: TERMINAL, 42: MERCHANT}
        till.send("0800", {11: "000001", **common, 60: f"00{BATCH}003", 63: "01 "}, with_mac=False)
        assert till.code() == "00"
        till.send("0820", {11: "000002", **common, 60: f"00{BATCH}301"}, with_mac=False)
        assert till.code() == "00"
        totals = {48: "0" * 62, 49: "156", 60: f"00{BATCH}201", 63: "01 "}
        till.send("0500", {11: "000003", **common, **totals}, with_mac=False)
        settled = till.reply()
    assert settled is not None
    assert settled.mti == "0510"
    assert shop.bench.agent.call("reversal.list", {"all": True})["items"] == []


# --- a till that asks again, or no more ---


@pytest.mark.parametrize("waits_for_the_first", [True, False])
def test_a_request_that_is_repeated_gets_the_same_answer_and_is_charged_once(
    shop: Shop, waits_for_the_first: bool
) -> None:
    """Else its repetition would be a sale of its own, and the reversal of that would undo the one that stands."""
    shop.host.faults.add("0200", "delay", value="0.3")
    with shop.till() as first, shop.till() as second:
        first.send_sale("000101")
        if waits_for_the_first:
            assert first.code() == "00"
            shop.host.faults.add("0200", "drop-reply")
        second.send_sale("000101")
        assert second.code() == "00"
        assert waits_for_the_first or first.code() == "00"
        assert second.received == first.received
    (row,) = shop.host.ledger.rows()
    assert (row.requests, row.charges, row.effects) == (1, 1, 0)
    shop.host.faults.clear()
    with shop.till() as third:  # another sale under this number is no repetition
        third.send_sale("000101", 999)
        assert third.code() != ""
    assert "is a repetition" in shop.bench.log()


def test_what_nobody_waits_for_any_more_is_not_sent(shop: Shop) -> None:
    """It would be charged and reversed: the customer's money would be held for a sale that nobody wants."""
    shop.host.faults.add("0200", "delay", value="0.4")
    with shop.till() as first:
        first.send_sale("000101")
        shop.bench.until(lambda: shop.state("000101") == "begun", "the first is under way")
        second = shop.till()
        second.send_sale("000102")
        second.close()
        assert first.code() == "00"
    shop.bench.until(lambda: "A-GONE" in shop.bench.log(), "the second is refused")
    assert shop.state("000102") == "absent"
    assert [row.key.stan for row in shop.host.ledger.rows()] == ["000101"]
    shop.agree()


# --- what the host or the network does ---


@pytest.mark.parametrize("fault", LOST)
def test_whatever_loses_the_answer_reverses_the_sale(shop: Shop, fault: str) -> None:
    shop.host.faults.add("0200", fault)
    assert shop.sale("000101") == ""
    shop.until("000101", "reversed")
    assert shop.host.ledger.net().get("156", 0) == 0
    shop.agree()


def test_a_host_that_cannot_be_reached_costs_nothing(shop: Shop) -> None:
    shop.host.refuse_connections()
    assert shop.sale("000101") == ""
    shop.until("000101", "declined")
    shop.host.refuse_connections(False)
    assert shop.sale("000102") == "00"
    shop.agree()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_answer_that_cannot_be_delivered_reverses_the_sale(shop: Shop, how: str) -> None:
    shop.host.faults.add("0200", "delay", value="0.3")
    till = shop.till()
    till.send_sale("000101")
    shop.host.wait_for(lambda ledger: len(ledger.rows()) == 1)
    getattr(till, how)()
    shop.until("000101", "reversed")
    assert "could not be delivered" in shop.bench.log()
    shop.agree()


# --- what cannot be recorded is refused ---


def test_a_full_disk_refuses_and_nothing_reaches_the_host(tmp_path: Path) -> None:
    with Shop(tmp_path, reserve_bytes=1 << 40) as shop:
        assert shop.sale("000101") == ""
        assert "E-JOURNAL-FULL" in shop.bench.log()
        assert shop.host.ledger.rows() == []


def test_a_refusal_can_be_a_decline_that_the_application_believes(tmp_path: Path) -> None:
    with Shop(tmp_path, reserve_bytes=1 << 40, when_refused="decline") as shop, shop.till() as till:
        till.send_sale("000101")
        reply = till.reply()
        assert reply is not None
        assert (reply.mti, reply.get(39), reply.get(11), reply.get(4)) == ("0210", "96", "000101", "000000001250")
        assert till.mac_is_right()
        assert shop.host.ledger.rows() == []


def test_what_the_profile_does_not_know_as_a_transaction_is_refused(shop: Shop) -> None:
    with shop.till() as till:
        till.send_sale("000101", f3="990000")
        assert till.reply() is None
    with shop.till() as till:
        till.send_sale("000102", f41="10000009")
        assert till.reply() is None
    with shop.till() as till:
        till.send("0210", {11: "000103", 39: "00", 41: TERMINAL, 42: MERCHANT})
        assert till.reply() is None
    assert "A-TERMINAL" in shop.bench.log()
    assert shop.host.ledger.rows() == []


def test_a_request_under_a_pending_number_is_refused(shop: Shop) -> None:
    shop.host.faults.add("0200", "drop-reply")
    shop.host.faults.add("reversal", "drop-reply", count=None)
    assert shop.sale("000101") == ""
    shop.until("000101", "reversing")
    assert shop.sale("000101") == ""
    assert "A-STAN-PENDING" in shop.bench.log()
    shop.host.faults.clear()
    shop.until("000101", "reversed")
    shop.agree()


# --- the application's own reversals ---


def test_the_applications_reversal_of_a_delivered_sale_settles_the_item(shop: Shop) -> None:
    assert shop.sale("000101") == "00"
    shop.until("000101", "completed")
    assert shop.reversal("000101") == "00"
    assert shop.state("000101") == "reversed"
    (row,) = shop.host.ledger.rows()
    assert (row.effects, row.reversals) == (1, 1)
    shop.agree()


def test_the_applications_reversal_goes_on_by_itself_when_its_answer_is_lost(shop: Shop) -> None:
    assert shop.sale("000101") == "00"
    shop.until("000101", "completed")
    shop.host.faults.add("reversal", "drop-request")
    assert shop.reversal("000101") == ""
    shop.until("000101", "reversed")
    shop.agree()


def test_while_the_agent_reverses_the_applications_repeats_are_never_doubled(shop: Shop) -> None:
    shop.host.faults.add("0200", "drop-reply")
    shop.host.faults.add("reversal", "drop-reply", count=3)
    assert shop.sale("000101") == ""
    codes = [shop.reversal("000101") for _ in range(6)]
    assert "00" in codes
    assert codes[-1] == "00"
    assert shop.state("000101") == "reversed"
    (row,) = shop.host.ledger.rows()
    assert row.effects == 1
    before = row.reversals
    assert shop.reversal("000101") == "00"  # from memory: the host hears nothing any more
    shop.bench.agent.kill()
    shop.bench.agent.start()
    assert shop.reversal("000101") == "00"  # from the journal
    assert shop.host.ledger.rows()[0].reversals == before
    shop.agree()


def test_a_reversal_of_a_sale_that_the_agent_never_saw_is_relayed(shop: Shop) -> None:
    assert shop.reversal("000999") == "25"
    assert "of no open item is relayed" in shop.bench.log()


def test_a_reversal_with_another_amount_does_not_settle_the_item(shop: Shop) -> None:
    assert shop.sale("000101") == "00"
    shop.until("000101", "completed")
    assert shop.reversal("000101", 999) != "00"
    assert shop.state("000101") == "completed"


def test_a_reversal_of_a_sale_that_still_waits_for_its_turn_settles_it(shop: Shop) -> None:
    shop.host.faults.add("0200", "delay", value="0.4")
    with shop.till() as first, shop.till() as second, shop.till() as third:
        first.send_sale("000101")
        shop.bench.until(lambda: shop.state("000101") == "begun", "the first is under way")
        second.send_sale("000102")
        third.send_reversal("000102")
        assert (first.code(), second.code(), third.code()) == ("00", "00", "00")
    assert shop.state("000102") == "reversed"
    shop.agree()


def test_a_reversal_of_a_type_that_the_dialect_does_not_use_is_recognised(shop: Shop) -> None:
    """The host may know it all the same: then the sale would be undone, and stand in our journal."""
    assert shop.sale("000101") == "00"
    shop.until("000101", "completed")
    assert shop.reversal("000101", mti="0420") == "00"
    assert shop.state("000101") == "reversed"
    assert shop.host.ledger.rows()[0].reversals == 1
    shop.agree()


def test_a_reversal_that_names_another_original_cannot_clear_the_item(tmp_path: Path) -> None:
    """A host that says "nothing to reverse, so done" (12) to a wrong batch has not undone the charge."""
    with Shop(tmp_path, unknown_reversal="12") as shop:
        assert shop.sale("000101") == "00"
        shop.until("000101", "completed")
        assert shop.reversal("000101", f60="22000099") == "00"
        shop.until("000101", "reversed")
        assert shop.host.ledger.net().get("156", 0) == 0
        shop.agree()


def test_a_held_item_is_not_reversed_behind_the_operators_back(shop: Shop) -> None:
    shop.host.faults.add("0200", "drop-reply")
    shop.host.faults.add("reversal", "drop-reply", count=None)
    assert shop.sale("000101") == ""
    item = shop.bench.agent.call("reversal.list", {})["items"][0]["id"]
    shop.bench.agent.call("reversal.hold", {"id": item, "why": "the bank asks to wait"})
    shop.host.faults.clear()
    assert shop.reversal("000101") == ""
    assert "A-HELD" in shop.bench.log()
    shop.bench.agent.call("reversal.release", {"id": item})
    shop.until("000101", "reversed")
    shop.agree()


# --- death of the daemon ---


def test_a_daemon_killed_before_the_answer_reverses_after_its_restart(shop: Shop) -> None:
    shop.host.faults.add("0200", "delay", value="0.4")
    with shop.till() as till:
        till.send_sale("000101")
        shop.host.wait_for(lambda ledger: len(ledger.rows()) == 1)
        shop.bench.agent.kill()
        assert till.reply() is None
    shop.bench.agent.start()
    shop.until("000101", "reversed")
    shop.agree()


def test_a_stop_delivers_what_is_under_way(shop: Shop) -> None:
    shop.host.faults.add("0200", "delay", value="0.3")
    with shop.till() as till:
        till.send_sale("000101")
        shop.host.wait_for(lambda ledger: len(ledger.rows()) == 1)
        assert shop.bench.agent.stop() == 0
        assert till.code() == "00"
    shop.bench.agent.start()
    shop.until("000101", "completed")
    shop.agree()


def test_a_reversal_that_is_due_at_a_stop_still_finds_its_way(shop: Shop) -> None:
    """The sockets that a stop closes leave their numbers to the connection to the host."""
    quiet = [shop.till() for _ in range(4)]
    shop.host.faults.add("0200", "drop-reply")
    with shop.till() as till:
        till.send_sale("000101")
        shop.host.wait_for(lambda ledger: len(ledger.rows()) == 1)
        assert shop.bench.agent.stop() == 0
    for other in quiet:
        other.close()
    assert "E-LINK-UNREACHABLE" not in shop.bench.log()
    shop.bench.agent.start()
    shop.until("000101", "reversed")
    shop.agree()


# --- strangers ---


def test_noise_and_silence_cost_a_connection_and_nothing_else(shop: Shop) -> None:
    quiet = [shop.till() for _ in range(3)]
    with shop.till() as till:
        till.send_bytes(b"\x00\x00GET / HTTP/1.1\r\n")
        assert till.reply() is None
    with shop.till() as till:
        till.send_raw(TPDU + bytes(6) + b"\xff" * 40)
        assert till.reply() is None
    quiet[0].send_bytes(b"\x00")
    assert shop.sale("000101") == "00"
    for till in quiet:
        till.close()
    shop.agree()


def test_connections_beyond_the_limit_are_closed_at_once(shop: Shop) -> None:
    tills = [shop.till() for _ in range(8)]
    with shop.till() as ninth:
        assert ninth.reply() is None
    for till in tills:
        till.close()
    shop.bench.until(lambda: shop.sale("000101") == "00", "a place is free again")


def test_the_command_gateway_refuses_a_configuration_without_one(tmp_path: Path) -> None:
    bench = AgentBench(tmp_path, ["127.0.0.1:1"])
    command = [sys.executable, "-m", "agent", "gateway", "--config", str(bench.configuration)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 78
    assert "E-GATEWAY" in ended.stderr


def test_a_connection_for_which_no_descriptor_is_left_waits_and_ends_nothing(shop: Shop) -> None:
    pid = shop.bench.agent.pid
    with no_descriptors(pid):
        till = shop.till()
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.connect(str(shop.bench.directory / "run/agent.sock"))
        shop.bench.until(lambda: shop.bench.log().count("no connection can be taken") >= 2, "both are said")
    with till, caller:
        till.send_sale("000101")
        assert till.code() == "00"
        shop.until("000101", "completed")
    assert (shop.bench.agent.pid, shop.bench.agent.stop()) == (pid, 0)
