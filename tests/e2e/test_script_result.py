"""An application that drives the chip card itself: its script result is told before the reversal, also over a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.host import HostServer
from tests.agent_bench import CARD, AgentBench, agree

pytestmark = pytest.mark.slow
CHIP = "9F360200A1" + "9505000004E000" + "DF3105" + "2000000001"


def _heard(host: HostServer) -> list[str]:
    return [line[:4] for line in list(host.machine.transcript) if line[:4] in ("0200", "0400", "0620")]


def _nothing_of_the_card(directory: Path) -> None:
    """Neither as text nor in BCD, in any file of the agent."""
    pan = CARD["pan"]
    files = [path for place in ("state", "run") for path in (directory / place).rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        assert pan.encode() not in data, path
        assert bytes.fromhex(pan) not in data, path


@pytest.mark.parametrize("kill", [False, True])
def test_it_is_told_first_and_once(tmp_path: Path, host: HostServer, kill: bool) -> None:
    host.faults.add("0620", "drop-reply")  # told, and nobody here knows it: it is told again under the same number
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        assert bench.sale("R1")["outcome"] == "approved"
        kept = bench.agent.call("transaction.script_result", {"reference": "R1", "chip_data": CHIP})
        assert kept["kept"] is True
        bench.agent.call("transaction.reverse", {"reference": "R1"})
        if kill:
            host.wait_for(lambda ledger: bool(ledger.notices()))
            bench.agent.kill()
            bench.agent.start()
        bench.until(lambda: bench.state_of("R1") == "reversed", "the sale is reversed")
        assert _heard(host) == ["0200", "0620", "0620", "0400"]
        (notice,) = host.ledger.notices()
        assert (notice.stan, notice.about[:12]) == (kept["stan"], "000017" + "000001")
        listed = bench.agent.call("script.list", {})["lanes"]["main"]
        assert (listed["waiting"], listed["ended"][0]["how"]) == ([], "answered")
        agree(host, bench)
    _nothing_of_the_card(tmp_path)


def test_an_upload_leaves_no_card_number_behind(tmp_path: Path, host: HostServer) -> None:
    host.machine.sign_on.totals_flag = lambda *_: "2"  # type: ignore[method-assign]
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        bench.sale("R1")
        bench.agent.call("transaction.complete", {"reference": "R1"})
        host.faults.add("0320", "drop-reply")
        answer = bench.agent.call("batch.settle", {})
        assert answer["outcome"] == "unequal"
        bench.agent.kill()  # while the message with the card number waits for its answer
        _nothing_of_the_card(tmp_path)
        bench.agent.start()
        bench.until(
            lambda: bench.agent.call("agent.status", {})["lanes"][0]["session"]["upload"]["step"] == "done", "uploaded"
        )
        assert [len(one.details()) for one in host.ledger.notices()] == [1, 0]
        agree(host, bench)
