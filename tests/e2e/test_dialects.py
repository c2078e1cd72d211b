"""The main job in every dialect that the simulated host speaks with a codec of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE, UNIONPAY_MAK_SINGLE
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Dialect:
    """A profile and the host that speaks it."""

    profile: str
    host: HostSettings
    key: bytes
    first: str
    repeat: str
    pos_entry_mode: str = "012"


DIALECTS = [
    Dialect(
        "unionpay-pos",
        HostSettings(dialect="unionpay", mac="up-ecb", mac_key=UNIONPAY_MAK_SINGLE, mac_on_all_replies=True),
        UNIONPAY_MAK_SINGLE,
        "0400",
        "0400",
    ),
    Dialect(
        "unionpay-x919",
        HostSettings(dialect="unionpay", mac="x919", mac_key=UNIONPAY_MAK_DOUBLE, mac_on_all_replies=True),
        UNIONPAY_MAK_DOUBLE,
        "0400",
        "0400",
    ),
    Dialect("nac-edc", HostSettings(dialect="nac-edc", mac="none"), b"", "0400", "0400"),
    Dialect("iso87-ascii", HostSettings(dialect="iso87", mac="none"), b"", "0420", "0421"),
    Dialect("iso93", HostSettings(dialect="iso93", mac="none"), b"", "1420", "1421", "210101213344"),
]


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.profile)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Dialect, HostServer, AgentBench]]:
    """A host of that dialect and a daemon that speaks to it."""
    dialect: Dialect = request.param
    with (
        HostServer(settings=dialect.host) as host,
        AgentBench(tmp_path, [host.address], profile=dialect.profile, key=dialect.key) as bench,
    ):
        bench.agent.start()
        yield dialect, host, bench


def test_a_sale_stands_and_an_unanswered_one_is_reversed_and_repeated(
    world: tuple[Dialect, HostServer, AgentBench],
) -> None:
    dialect, host, bench = world
    assert bench.sale("GOOD", 1000, pos_entry_mode=dialect.pos_entry_mode)["outcome"] == "approved"
    bench.agent.call("transaction.complete", {"reference": "GOOD"})
    host.faults.add("financial", "drop-reply")
    host.faults.add("reversal", "drop-reply")
    bench.sale("LOST", 2000, pos_entry_mode=dialect.pos_entry_mode)
    bench.until(lambda: bench.state_of("LOST") == "reversed", "the lost sale is reversed")
    agree(host, bench)
    stats = host.machine.stats
    if dialect.repeat == dialect.first:
        assert stats[dialect.first] == 2
    else:
        assert (stats[dialect.first], stats[dialect.repeat]) == (1, 1)


def test_a_reversal_killed_in_its_first_try_goes_on_after_the_restart(
    world: tuple[Dialect, HostServer, AgentBench],
) -> None:
    dialect, host, bench = world
    host.faults.add("financial", "drop-reply")
    host.faults.add("reversal", "drop-reply")
    bench.sale("LOST", 2000, pos_entry_mode=dialect.pos_entry_mode)
    bench.until(lambda: host.machine.stats[dialect.first] == 1, "the first try has arrived")
    bench.agent.kill()
    bench.agent.start()
    bench.until(lambda: bench.state_of("LOST") == "reversed", "the lost sale is reversed")
    agree(host, bench)
    assert host.machine.stats[dialect.repeat] >= 1


def test_an_approved_sale_that_did_not_happen_is_reversed_with_what_the_answer_told(
    world: tuple[Dialect, HostServer, AgentBench],
) -> None:
    dialect, host, bench = world
    assert bench.sale("BACK", 2000, pos_entry_mode=dialect.pos_entry_mode)["outcome"] == "approved"
    bench.agent.call("transaction.reverse", {"reference": "BACK"})
    bench.until(lambda: bench.state_of("BACK") == "reversed", "the sale is reversed")
    agree(host, bench)
