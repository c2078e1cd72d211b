"""A host that answers "original not found" without a MAC: strict by default, believed where the profile says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow


@pytest.fixture
def host() -> Iterator[HostServer]:
    """Only its approvals bear a MAC."""
    with HostServer(settings=HostSettings(mac_on_all_replies=False)) as server:
        server.faults.add("0200", "drop-request")  # it never sees the sale: its reversal is answered with 25
        yield server


def _profile(directory: Path, more: str) -> str:
    path = directory / "ourbank.toml"
    path.write_text(f'extends = "unionpay-pos"\ntitle = "our bank"\n{more}')
    return str(path)


def test_by_default_an_answer_without_a_mac_ends_no_reversal(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address], profile=_profile(tmp_path, "")) as bench:
        bench.agent.start()
        bench.sale("R1")
        host.wait_for(lambda ledger: any(row.reversals >= 4 for row in ledger.rows()), 30)
        assert bench.state_of("R1") == "reversing"


def test_where_the_profile_says_so_it_ends_it_and_the_grade_shows_it(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address], profile=_profile(tmp_path, '[mac]\noptional_on = ["25"]\n')) as bench:
        bench.agent.start()
        bench.sale("R1")
        bench.until(lambda: bench.state_of("R1") == "reversed", "the answer without a MAC counts")
        story = str(bench.agent.call("reversal.why", {"id": "main-1"}))
        assert "no MAC" in story
        agree(host, bench)
