"""Whatever the host does to a sale or to its reversal, books and journal agree in the end: real daemon, real TCP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow

# Faults after which the host may have charged and the agent cannot know it: the sale must be reversed.
ON_SALE = (
    "drop-request",
    "close-before-processing",
    "reset-before-processing",
    "hang",
    "drop-reply",
    "close-before-reply",
    "close-mid-frame",
    "reset",
    "garbage",
    "length-zero",
    "length-max",
    "half-then-silence",
    "bad-mac",
    "no-mac",
    "wrong-stan",
    "wrong-amount",
    "wrong-terminal",
    "wrong-merchant",
    "wrong-mti",
    "no-code",
)
# Faults of the reversal's answer: none of them may clear it or undo the sale twice.
ON_REVERSAL = (
    *ON_SALE,
    "code",
    "code-after-effect",
    "duplicate-reply",
    "two-in-one",
    "late-reply",
    "late-request",
    "byte-by-byte",
    "close-after-reply",
    "answer-and-hang",
    "processing-requirement",
)
# The agent still gets the right answer.
HARMLESS = ("byte-by-byte", "duplicate-reply", "two-in-one", "close-after-reply", "processing-requirement")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HostServer, AgentBench]]:
    """One host and one daemon for all faults: they must stand them one after the other."""
    directory = tmp_path_factory.mktemp("agent")
    with (
        HostServer(settings=HostSettings(mac_on_all_replies=True)) as host,
        AgentBench(directory, [host.address]) as bench,
    ):
        bench.agent.start()
        yield host, bench


def until_reversed(bench: AgentBench, reference: str) -> None:
    """The sale was called off and the host has acknowledged its reversal."""
    bench.until(lambda: bench.state_of(reference) == "reversed", f"{reference} is reversed")


@pytest.mark.parametrize("fault", ON_SALE)
def test_a_sale_whose_answer_fails_is_reversed(world: tuple[HostServer, AgentBench], fault: str) -> None:
    host, bench = world
    host.faults.add("0200", fault)
    outcome = bench.sale(f"sale-{fault}")["outcome"]
    assert outcome in ("reversing", "reversed")
    until_reversed(bench, f"sale-{fault}")
    agree(host, bench)


@pytest.mark.parametrize("fault", ON_REVERSAL)
def test_a_reversal_whose_answer_fails_is_sent_until_acknowledged(
    world: tuple[HostServer, AgentBench], fault: str
) -> None:
    host, bench = world
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", fault, count=2)
    bench.sale(f"reversal-{fault}")
    until_reversed(bench, f"reversal-{fault}")
    agree(host, bench)


@pytest.mark.parametrize("fault", HARMLESS)
def test_an_answer_that_arrives_oddly_but_whole_is_understood(world: tuple[HostServer, AgentBench], fault: str) -> None:
    host, bench = world
    host.faults.add("0200", fault)
    assert bench.sale(f"odd-{fault}")["outcome"] == "approved"
    bench.agent.call("transaction.complete", {"reference": f"odd-{fault}"})
    agree(host, bench)


def test_a_declined_sale_is_declined(world: tuple[HostServer, AgentBench]) -> None:
    host, bench = world
    result = bench.sale("declined", 1051)
    assert (result["outcome"], result["response_code"]) == ("declined", "51")
    assert "insufficient" in result["text_en"].lower()
    agree(host, bench)


def test_a_sale_while_the_host_refuses_connections_is_declined_and_charges_nobody(
    world: tuple[HostServer, AgentBench],
) -> None:
    host, bench = world
    host.refuse_connections(True)
    result = bench.sale("refused")
    assert (result["outcome"], result["cause"]) == ("declined", "not-sent-network")
    host.refuse_connections(False)
    agree(host, bench)


def test_asking_again_under_the_same_reference_never_sells_twice(world: tuple[HostServer, AgentBench]) -> None:
    host, bench = world
    first = bench.sale("again")
    second = bench.sale("again")
    assert second["repeated"]
    assert (second["id"], second["stan"]) == (first["id"], first["stan"])
    assert len([row for row in host.ledger.rows() if row.key.stan == first["stan"]]) == 1
    bench.agent.call("transaction.reverse", {"reference": "again", "reason": "customer"})
    until_reversed(bench, "again")
    agree(host, bench)


def test_a_late_approval_is_evidence_and_the_reversal_goes_on(world: tuple[HostServer, AgentBench]) -> None:
    host, bench = world
    host.faults.add("0200", "delay", value="0.8")
    bench.sale("late")
    until_reversed(bench, "late")
    agree(host, bench)


def test_an_original_that_is_overtaken_by_its_reversal_does_not_charge(world: tuple[HostServer, AgentBench]) -> None:
    host, bench = world
    host.faults.add("0200", "late-request", value="1.5")
    bench.sale("overtaken")
    until_reversed(bench, "overtaken")
    host.wait_for(lambda ledger: all(row.charges - row.effects in (0, 1) for row in ledger.rows()))
    agree(host, bench)
