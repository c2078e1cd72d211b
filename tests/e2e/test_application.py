"""What a POS application can rely on: the real daemon's API, its restarts and its configuration."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from hwsim.agent_process import AgentProcess, DemoError
from hwsim.host import HostServer
from tests.agent_bench import CARD, AgentBench, agree

pytestmark = pytest.mark.slow


def refusal(bench: AgentBench, method: str, params: dict[str, object]) -> str:
    """The text with which the daemon refuses."""
    with pytest.raises(DemoError) as caught:
        bench.agent.call(method, params)
    return str(caught.value)


# --- the application confirms, or does not ---


def test_an_approved_sale_waits_for_its_confirmation_and_stands(bench: AgentBench, host: HostServer) -> None:
    result = bench.sale("R1")
    assert (result["outcome"], result["response_code"]) == ("approved", "00")
    assert result["approval_code"]
    bench.agent.call("transaction.complete", {"reference": "R1"})
    assert bench.state_of("R1") == "completed"
    assert "completed" in refusal(bench, "transaction.reverse", {"reference": "R1"})
    agree(host, bench)


def test_an_approved_sale_that_nobody_confirms_is_reversed(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address], confirm_timeout_s=5.0) as bench:
        bench.agent.start()
        bench.sale("R1")
        bench.until(lambda: bench.state_of("R1") == "reversed", "the sale is reversed")
        item = bench.agent.call("reversal.list", {"all": True})["items"][0]
        assert item["origin"]["cause"] == "not-confirmed"
        agree(host, bench)


def test_after_a_restart_the_application_is_asked_and_answers(bench: AgentBench, host: HostServer) -> None:
    bench.sale("KEPT", 1000)
    bench.sale("GIVEN-BACK", 2000)
    bench.agent.kill()
    bench.agent.start()
    asked = bench.agent.call("transaction.unconfirmed", {})["transactions"]
    assert sorted(item["reference"] for item in asked) == ["GIVEN-BACK", "KEPT"]
    bench.agent.call("transaction.complete", {"reference": "KEPT"})
    bench.agent.call("transaction.reverse", {"reference": "GIVEN-BACK"})
    bench.until(lambda: bench.state_of("GIVEN-BACK") == "reversed", "it is reversed")
    assert host.ledger.net() == {"156": 1000}
    agree(host, bench)


def test_an_application_that_talks_to_the_host_itself_reports_or_is_reversed(
    bench: AgentBench, host: HostServer
) -> None:
    begun = bench.agent.call("transaction.begin", {"reference": "OWN", "amount_minor": 500, **CARD})
    assert begun["stan"] == "000001"
    reported = {"reference": "OWN", "response_code": "00", "approval_code": "123456", "mac": "valid"}
    assert bench.agent.call("transaction.reply", reported)["outcome"] == "approved"
    bench.agent.call("transaction.reverse", {"reference": "OWN"})
    bench.until(lambda: bench.state_of("OWN") == "reversed", "the reversal of an unknown original is acknowledged")
    agree(host, bench)


@pytest.mark.parametrize(
    ("code", "mac", "outcome"),
    [("00", "unchecked", "reversing"), ("00", "invalid", "reversing"), ("51", "unchecked", "declined")],
)
def test_a_reported_approval_that_nobody_authenticated_is_reversed(
    bench: AgentBench, code: str, mac: str, outcome: str
) -> None:
    """A host with a MAC proves its approvals; a refusal may come without one."""
    bench.agent.call("transaction.begin", {"reference": "OWN", "amount_minor": 500, **CARD})
    told = bench.agent.call("transaction.reply", {"reference": "OWN", "response_code": code, "mac": mac})
    assert told["outcome"] == outcome


def test_the_same_reference_with_another_card_is_another_sale_and_refused(bench: AgentBench, host: HostServer) -> None:
    """Else a till whose numbers begin anew would be told that a stranger's sale is its own."""
    first = bench.sale("R1")
    again = {"reference": "R1", "amount_minor": 1250}
    assert bench.agent.call("transaction.run", again)["id"] == first["id"]
    assert bench.agent.call("transaction.run", {**again, **CARD})["repeated"]
    other = {**again, **CARD, "pan": "6222021234567890128"}
    assert "A-REFERENCE-USED" in refusal(bench, "transaction.run", other)
    assert len(host.ledger.rows()) == 1


def test_a_lane_that_only_warns_says_how_much_is_owed_in_both_languages(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "code", count=None, value="96")
    bench.sale("R1")
    told = bench.sale("R2")
    assert told["warning"] == "reversals owed: 1; new sales go on"
    assert told["warning_zh"] == "未完成冲正 1 笔，可继续交易"


def test_a_status_is_told_also_when_the_sale_is_unknown(bench: AgentBench) -> None:
    assert "A-NO-REFERENCE" in refusal(bench, "transaction.status", {"reference": "NEVER"})


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"reference": "X"}, "amount_minor"),
        ({"reference": "X", "amount_minor": "12"}, "amount_minor"),
        ({"reference": "X", "amount_minor": -1}, "amount_minor"),
        ({"reference": "", "amount_minor": 1}, "reference"),
        ({"reference": "X" * 65, "amount_minor": 1}, "reference"),
        ({"reference": "X", "amount_minor": 1, "kind": "gift"}, "gift"),
        ({"reference": "X", "amount_minor": 1, "lane": "other"}, "lane"),
        ({"reference": "X", "amount_minor": 1, "pan": "12"}, "pan"),
        ({"reference": "X", "amount_minor": 1, "amuont": 1}, "amuont"),
        ({"reference": "X", "amount_minor": 10**12}, "amount_minor"),
    ],
)
def test_a_wrong_sale_is_refused_in_words_and_nothing_is_sent(
    bench: AgentBench, host: HostServer, params: dict[str, object], word: str
) -> None:
    given = {"pan": CARD["pan"], "expiry": CARD["expiry"], "pos_entry_mode": "012", **params}
    assert word in refusal(bench, "transaction.run", given)
    assert host.ledger.rows() == []
    assert bench.sale("GOOD")["outcome"] == "approved"


# --- people ---


def test_an_operator_holds_releases_parks_and_settles(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "code", count=None, value="96")
    bench.sale("R1")
    item = bench.agent.call("reversal.list", {})["items"][0]["id"]
    assert bench.agent.call("reversal.hold", {"id": item, "why": "the bank asks to wait"})["state"] == "reversing"
    assert "held" in refusal(bench, "reversal.retry", {"id": item})
    bench.agent.call("reversal.release", {"id": item})
    bench.agent.call("reversal.park", {"id": item, "why": "case 4711"})
    settled = {"id": item, "reason": "adjusted by the bank", "bank_reference": "ADJ-1"}
    assert bench.agent.call("reversal.settle", settled)["item"]["state"] == "settled"
    story = bench.agent.call("reversal.why", {"id": item})["timeline"]
    assert {"Begin", "Hold", "Release", "Park", "Settle"} <= {row["event"] for row in story}
    assert "A-NOTHING-OWED" in refusal(bench, "reversal.settle", settled)


# --- restarts, reloads, second daemons ---


def test_a_pending_reversal_survives_twenty_kills(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.refuse_connections(False)
    host.faults.add("reversal", "drop-reply", count=None)
    bench.begin_sale("R1")
    host.wait_for(lambda ledger: len(ledger.rows()) == 1)
    for _ in range(20):
        bench.agent.kill()
        bench.agent.start()
    host.faults.clear()
    bench.until(lambda: bench.state_of("R1") == "reversed", "it is reversed")
    agree(host, bench)


def test_a_second_daemon_on_the_same_journal_is_refused(bench: AgentBench) -> None:
    second = AgentProcess(bench.configuration, bench.directory)
    second.log_file = bench.directory / "second.log"
    second.spawn()
    assert second.wait() == 73
    assert "E-JOURNAL-LOCKED" in second.log_file.read_text()
    assert bench.sale("R1")["outcome"] == "approved"


def test_a_wrong_new_configuration_is_refused_and_the_old_one_stays(bench: AgentBench, host: HostServer) -> None:
    good = bench.configuration.read_text()
    bench.configuration.write_text(good.replace('terminal_id = "10000001"', 'terminal_id = "1"'))
    os.kill(bench.agent.pid, signal.SIGHUP)
    bench.until(lambda: "is not taken over" in bench.log(), "the daemon says so")
    assert "terminal_id" in bench.log()
    assert bench.sale("R1")["outcome"] == "approved"


def test_a_reload_that_endangers_a_pending_reversal_is_refused_and_a_harmless_one_is_taken(
    bench: AgentBench, host: HostServer
) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("R1")
    good = bench.configuration.read_text()
    bench.configuration.write_text(good.replace('terminal_id = "10000001"', 'terminal_id = "10000002"'))
    assert "terminal_id" in refusal(bench, "agent.reload", {})
    bench.configuration.write_text(good.replace("cap_s = 1.0", "cap_s = 0.5"))
    assert bench.agent.call("agent.reload", {})["lanes"] == ["main"]
    host.faults.clear()
    bench.until(lambda: bench.state_of("R1") == "reversed", "it is reversed")
    bench.configuration.write_text(good.replace('terminal_id = "10000001"', 'terminal_id = "10000002"'))
    bench.agent.call("agent.reload", {})
    assert bench.sale("R2")["terminal_id"] == "10000002"


def test_the_status_file_tells_the_truth_also_after_the_daemons_death(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("R1")
    bench.until(lambda: bench.agent.status()["pending_count"] == 1, "the status file shows the item")
    bench.agent.kill()
    status = bench.agent.status()
    assert status["items"][0]["reference"] == "R1"
    assert not Path(f"/proc/{status['agent']['pid']}").exists()
    assert CARD["pan"] not in json.dumps(status)
    assert CARD["pan"] not in bench.agent.status_text()


def test_a_stop_waits_for_the_answer_under_way(tmp_path: Path, host: HostServer) -> None:
    host.faults.add("0200", "delay", value="0.3")
    with AgentBench(tmp_path, [host.address], reply_timeout_s=5.0) as bench:  # so that a busy machine loses no answer
        bench.agent.start()
        bench.begin_sale("R1")
        host.wait_for(lambda ledger: len(ledger.rows()) == 1)
        started = time.monotonic()
        assert bench.agent.stop() == 0
        assert time.monotonic() - started < 10
        bench.agent.start()
        assert bench.state_of("R1") == "approved"


def test_no_card_number_is_in_anything_that_the_daemon_leaves_behind(bench: AgentBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    bench.sale("R1", track2="6200000000000005=30122010000012345678")
    bench.until(lambda: bench.state_of("R1") == "reversed", "it is reversed")
    bench.agent.stop()
    digits = CARD["pan"]
    forms = [digits.encode(), bytes.fromhex(digits), digits.encode().hex().encode(), b"30122010000012345678"]
    for path in sorted(bench.directory.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert not [form for form in forms if form in content], f"card data in {path}"
