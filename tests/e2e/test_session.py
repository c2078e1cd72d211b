"""A lane's whole day with the real daemon: sign-on, keys, batch, echo, settlement, and the reversals meanwhile."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE, UNIONPAY_MASTER_KEY
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow

STRICT = HostSettings(mac_on_all_replies=True, rotate_keys=True, require_sign_on=True, check_batch=True)
OTHER_MASTER = bytes.fromhex("404142434445464748494A4B4C4D4E4F")


@pytest.fixture
def host() -> Iterator[HostServer]:
    """A host that wants a sign-on, hands out new keys with each, and checks batch and MAC."""
    with HostServer(settings=STRICT) as server:
        yield server


def sign_on_lines(directory: Path, master: bytes = UNIONPAY_MASTER_KEY) -> str:
    """The lane's keys in the configuration for signing on."""
    file = directory / "master.key"
    file.write_text(master.hex())
    file.chmod(0o600)
    return f'sign_on = true\nmaster_key_file = "{file}"\n'


@pytest.fixture
def bench(tmp_path: Path, host: HostServer) -> Iterator[AgentBench]:
    """A daemon whose lane signs on; not started."""
    with AgentBench(tmp_path, [host.address], more=sign_on_lines(tmp_path)) as agent:
        yield agent


def session(bench: AgentBench) -> dict[str, Any]:
    """The lane's session, fresh."""
    found: dict[str, Any] = bench.agent.call("agent.status", {})["lanes"][0]["session"]
    return found


def codes(bench: AgentBench) -> list[str]:
    """The codes of all conditions."""
    return [one["code"] for one in bench.agent.call("agent.status", {})["conditions"]]


def refusal(bench: AgentBench, method: str, params: dict[str, Any]) -> str:
    """The text with which the daemon refuses."""
    with pytest.raises(DemoError) as caught:
        bench.agent.call(method, params)
    return str(caught.value)


def sale(reference: str, amount_minor: int = 1250) -> dict[str, Any]:
    """The parameters of a sale."""
    return {
        "reference": reference,
        "amount_minor": amount_minor,
        "pan": "6200000000000005",
        "expiry": "3012",
        "pos_entry_mode": "012",
    }


def complete(bench: AgentBench, reference: str, amount_minor: int = 1250) -> None:
    """A sale that stands."""
    assert bench.sale(reference, amount_minor)["outcome"] == "approved", bench.log()[-2000:]
    bench.agent.call("transaction.complete", {"reference": reference})


def ctl(bench: AgentBench, *words: str) -> tuple[int, str]:
    """reversalctl against this daemon: exit status and what it printed."""
    out = io.StringIO()
    place = ["--socket", str(bench.agent.run_dir / "agent.sock"), "--config", str(bench.configuration)]
    status = main([*place, *words], out=out, err=out)
    return status, out.getvalue()


def heard(host: HostServer, mti: str) -> list[str]:
    """The host's transcript of one message type."""
    return [line for line in host.machine.transcript if line.startswith(mti)]


# --- sign-on, keys, batch ---


def test_a_start_signs_on_and_the_first_sale_has_the_new_key_and_the_hosts_batch(
    bench: AgentBench, host: HostServer
) -> None:
    bench.agent.start()
    complete(bench, "R1")
    assert heard(host, "0800")[0].endswith("-> 0810 00")
    (row,) = host.ledger.rows()
    assert (row.key.batch, row.charges) == ("000001", 1)
    found = session(bench)
    assert (found["signed_on"], found["batch"], found["key_check"]) == (True, "000001", "right")
    assert 86000 < found["next_sign_on_s"] <= 86400
    agree(host, bench)


def test_wrong_check_values_refuse_trading_with_cause_and_next_step_and_raise_an_alarm(
    tmp_path: Path, host: HostServer
) -> None:
    with AgentBench(tmp_path, [host.address], more=sign_on_lines(tmp_path, OTHER_MASTER)) as bench:
        bench.agent.start()
        bench.until(lambda: session(bench)["key_check"] == "wrong", "the keys are found wrong")
        text = refusal(bench, "transaction.run", sale("R1"))
        assert "A-NOT-SIGNED-ON" in text
        assert "check value" in text
        assert codes(bench)[0] == "S-KEYS"
        assert host.ledger.rows() == []
        assert not bench.agent.call("agent.status", {})["lanes"][0]["may_sell"]


def test_while_the_host_refuses_the_sign_on_no_sale_starts_and_it_is_tried_until_it_works(
    bench: AgentBench, host: HostServer
) -> None:
    host.faults.add("0800", "code", count=3, value="96")
    bench.agent.start()
    bench.until(lambda: session(bench)["failures"] >= 1, "the first sign-on is refused")
    assert "A-NOT-SIGNED-ON" in refusal(bench, "transaction.run", sale("R1"))
    bench.until(lambda: session(bench)["signed_on"], "the sign-on works")
    complete(bench, "R2")
    assert len(heard(host, "0800")) == 4
    agree(host, bench)


def test_the_hosts_header_asks_for_a_sign_on_and_gets_one(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R1")
    host.faults.add("0200", "processing-requirement", value="3")
    complete(bench, "R2")
    bench.until(lambda: len(heard(host, "0800")) == 2, "the second sign-on")
    complete(bench, "R3")
    assert len(heard(host, "0800")) == 2
    agree(host, bench)


def test_any_other_wish_of_the_header_is_shown_until_it_is_gone(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    host.faults.add("0200", "processing-requirement", value="7")
    complete(bench, "R1")
    assert session(bench)["host_asks"] == "blacklist"
    assert "S-HOST-ASKS" in codes(bench)
    complete(bench, "R2")
    assert session(bench)["host_asks"] == ""


def test_a_batch_that_the_host_does_not_know_is_mended_by_a_sign_on(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R1")
    host.machine.sign_on.settle("10000001")
    assert bench.sale("R2")["response_code"] == "77"
    bench.until(lambda: session(bench)["batch"] == "000002", "the host's batch is adopted")
    complete(bench, "R3")
    agree(host, bench)


def test_a_kill_between_sign_on_and_sale_loses_neither_key_nor_batch(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "drop-request", count=2)
    bench.begin_sale("R1")
    host.wait_for(lambda ledger: len(ledger.rows()) == 1)
    bench.agent.kill()
    host.faults.add("0800", "code", count=None, value="96")
    bench.agent.start()
    bench.until(lambda: bench.state_of("R1") == "reversed", "the stored key clears the reversal without a sign-on")
    assert not session(bench)["signed_on"]
    host.faults.clear()
    bench.until(lambda: session(bench)["signed_on"], "signed on again")
    complete(bench, "R2")
    agree(host, bench)


def test_a_host_that_is_silent_to_sign_ons_does_not_keep_a_reversal_from_being_acknowledged(
    bench: AgentBench, host: HostServer
) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "drop-request")
    bench.begin_sale("R1")
    host.wait_for(lambda ledger: len(ledger.rows()) == 1)
    bench.agent.kill()
    host.faults.add("0800", "drop-request", count=None)
    before = len(host.machine.transcript)
    bench.agent.start()
    bench.until(lambda: bench.state_of("R1") == "reversed", "reversed")
    assert not session(bench)["signed_on"]
    assert list(host.machine.transcript)[before].startswith("0400")
    agree(host, bench)


def test_a_reversal_that_is_pending_when_the_key_changes_is_cleared_with_the_new_key(
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
    bench.until(lambda: bench.state_of("R1") == "reversed", "reversed under the new key")
    assert host.machine.stats["mac-wrong"] == 0
    agree(host, bench)


def test_a_key_that_changed_behind_our_back_is_noticed_by_a0_and_mended_by_a_sign_on(
    bench: AgentBench, host: HostServer
) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "drop-request")
    bench.sale("R1")
    host.machine.sign_on.sign_on("10000001", "003")  # somebody else signs this terminal on: new keys at the host
    bench.until(lambda: bench.state_of("R1") == "reversed", "reversed")
    assert host.machine.stats["mac-wrong"] >= 1
    assert len(heard(host, "0800")) == 2
    agree(host, bench)


def test_a_pending_reversal_keeps_the_batch_of_its_original(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "drop-request", count=None)
    bench.sale("R1")
    host.machine.sign_on.settle("10000001")
    bench.until(lambda: bench.agent.call("session.sign_on", {})["batch"] == "000002", "the new batch")
    host.faults.clear()
    bench.until(lambda: bench.state_of("R1") == "reversed", "reversed")
    assert [row.key.batch for row in host.ledger.rows()] == ["000001"]
    agree(host, bench)


def test_a_lane_without_sign_on_sells_as_before(tmp_path: Path) -> None:
    with (
        HostServer(settings=HostSettings(mac_on_all_replies=True)) as host,
        AgentBench(tmp_path, [host.address]) as bench,
    ):
        bench.agent.start()
        complete(bench, "R1")
        assert "A-NO-SIGN-ON" in refusal(bench, "session.sign_on", {})
        assert heard(host, "0800") == []
        assert session(bench)["batch"] == "000017"


def test_no_key_is_readable_in_any_file_that_the_daemon_writes(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R1")
    bench.agent.call("session.sign_on", {})
    bench.agent.stop()
    keys = [UNIONPAY_MASTER_KEY, UNIONPAY_MAK_DOUBLE, host.machine.sign_on.mac_key("10000001")]
    forbidden = [form for key in keys for form in (key, key.hex().encode(), key.hex().upper().encode())]
    for file in (path for path in bench.directory.rglob("*") if path.is_file() and path.suffix != ".key"):
        content = file.read_bytes()
        assert not any(form in content for form in forbidden), file


# --- echo, settlement, waiting ---


def test_an_echo_test_tells_the_round_trip_or_that_nobody_answers(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    status, text = ctl(bench, "--json", "echo")
    answer = json.loads(text)
    assert (status, answer["answered"]) == (0, True)
    assert 0 < answer["round_trip_ms"] < 5000
    assert session(bench)["echo"]["round_trip_ms"] == answer["round_trip_ms"]
    host.faults.add("0820", "drop-request")
    assert ctl(bench, "echo")[0] == 1
    assert session(bench)["echo"]["round_trip_ms"] is None


def test_a_settlement_with_equal_totals_opens_the_next_batch(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R1", 1000)
    complete(bench, "R2", 2300)
    host.faults.add("0200", "drop-reply")
    bench.sale("GONE", 700)
    bench.until(lambda: bench.state_of("GONE") == "reversed", "reversed")
    status, text = ctl(bench, "--json", "settle-batch")
    answer = json.loads(text)
    assert (status, answer["outcome"], answer["next_batch"]) == (0, "equal", "000002")
    assert answer["totals"] == {"debit_minor": 3300, "debits": 2, "credit_minor": 0, "credits": 0}
    complete(bench, "R3", 500)
    answer = bench.agent.call("batch.settle", {})
    assert (answer["totals"]["debit_minor"], answer["outcome"], answer["next_batch"]) == (500, "equal", "000003")
    bench.agent.kill()
    bench.agent.start()
    assert session(bench)["batch"] == "000003"
    agree(host, bench)


def test_unequal_totals_are_told(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    complete(bench, "R1")
    host.machine.sign_on.totals_flag = _unequal  # type: ignore[method-assign]
    status, text = ctl(bench, "--language", "zh", "settle-batch")
    assert status == 1
    assert "不平" in text


def test_after_unequal_totals_the_details_are_uploaded_each_once(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    for number in range(9):
        complete(bench, f"R{number}", 100 + number)
    host.machine.sign_on.totals_flag = _unequal  # type: ignore[method-assign]
    status, text = ctl(bench, "--json", "settle-batch")
    answer = json.loads(text)
    assert (status, answer["outcome"], answer["upload"]["step"], answer["upload"]["accepted"]) == (
        1,
        "unequal",
        "done",
        9,
    )
    first, second, end = host.ledger.notices()
    told = [*first.details(), *second.details()]
    assert sorted(told) == sorted((row.key.stan, row.amount_minor) for row in host.ledger.rows())
    assert (end.network_code, end.about) == ("202", "0009")
    complete(bench, "NEXT", 500)
    agree(host, bench)


def test_an_upload_that_a_kill_cuts_short_goes_on_and_tells_no_detail_twice(
    bench: AgentBench, host: HostServer
) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    for number in range(9):
        complete(bench, f"R{number}", 100 + number)
    host.machine.sign_on.totals_flag = _unequal  # type: ignore[method-assign]
    host.faults.add("0320", "drop-reply", nth=2, count=2)
    answer = bench.agent.call("batch.settle", {})
    assert (answer["settled"], answer["upload"]["step"], answer["upload"]["accepted"]) == (True, "details", 8)
    assert "A-UPLOADING" in refusal(bench, "batch.settle", {})
    complete(bench, "NEXT", 500)  # the next batch trades meanwhile
    bench.agent.kill()
    bench.agent.start()
    bench.until(lambda: (session(bench)["upload"] or {}).get("step") == "done", "the upload is at its end")
    assert [len(one.details()) for one in host.ledger.notices()] == [8, 1, 0]
    agree(host, bench)  # no violation: nothing was told twice


def _unequal(terminal: str, batch: str, element_48: str) -> str:
    return "2"


def test_a_settlement_is_refused_while_a_reversal_is_owed_and_names_it(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R0", 100)
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "code", count=None, value="96")
    bench.sale("R1")
    status, text = ctl(bench, "settle-batch")
    assert status == 65
    assert "main-2 (reversing, 1250)" in text
    assert heard(host, "0500") == []
    assert session(bench)["batch"] == "000001"
    assert ctl(bench, "wait-clear", "--timeout", "1")[0] == 75
    host.faults.clear()
    assert ctl(bench, "wait-clear", "--timeout", "30")[0] == 0
    assert ctl(bench, "settle-batch")[0] == 0
    agree(host, bench)


def test_before_a_settlement_what_is_owed_is_sent_at_once(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "code", value="77")  # "later": the next try would come after the longest wait
    bench.sale("R1")
    bench.until(lambda: heard(host, "0400"), "the first try")
    assert bench.agent.call("batch.settle", {})["outcome"] == "equal"
    assert bench.state_of("R1") == "reversed"


def test_an_override_needs_a_reason_and_stays_in_the_history(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R0", 100)
    host.faults.add("0200", "drop-reply")
    host.faults.add("0400", "code", count=None, value="96")
    bench.sale("R1")
    assert ctl(bench, "settle-batch", "--override")[0] == 65
    reason = "the bank closes at nine, 4111 1111 1111 1111"  # what a person types is not trusted to be clean
    status, text = ctl(bench, "--json", "settle-batch", "--override", "--reason", reason)
    answer = json.loads(text)
    assert (status, answer["overridden"], [item["id"] for item in answer["open"]]) == (1, True, ["main-2"])
    assert answer["outcome"] == "unequal"  # the host still counts the sale that is to be reversed
    assert session(bench)["batch"] == "000002"
    host.faults.clear()
    bench.until(lambda: bench.state_of("R1") == "reversed", "the reversal of the old batch is acknowledged")
    agree(host, bench)
    bench.agent.stop()
    assert ctl(bench, "verify")[0] == 0
    records = _records(bench, "batch:main:000001")
    assert [event for event, _ in records] == ["Override", "Settled"]
    assert records[0][1]["reason"].startswith("the bank closes at nine, ")
    assert "1111 1111" not in records[0][1]["reason"]
    assert records[0][1]["open"] == ["main-2"]
    assert records[0][1]["by"]


def _records(bench: AgentBench, entry_id: str) -> list[tuple[str, dict[str, Any]]]:
    import sqlite3  # only to look into a stopped daemon's journal

    with sqlite3.connect(f"file:{bench.directory}/state/journal.db?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT event, public FROM record WHERE txn_id = ? ORDER BY seq", (entry_id,)
        ).fetchall()
    connection.close()
    return [(event, json.loads(public)) for event, public in rows]


def test_with_the_gate_wait_a_settlement_waits_until_nothing_is_owed(tmp_path: Path, host: HostServer) -> None:
    profile = tmp_path / "patient.toml"
    profile.write_text('extends = "unionpay-pos"\ntitle = "patient"\n[session]\nsettle_gate = "wait"\n')
    with AgentBench(tmp_path, [host.address], profile=str(profile), more=sign_on_lines(tmp_path)) as bench:
        bench.agent.start()
        host.faults.add("0200", "drop-reply")
        host.faults.add("0400", "code", count=6, value="96")
        bench.sale("R1")
        answers: list[dict[str, Any]] = []
        settling = threading.Thread(target=_into(answers, lambda: bench.agent.call("batch.settle", {})))
        settling.start()
        bench.until(lambda: "settled" in _why_no_sale(bench), "the batch is being settled")
        assert "A-SETTLING" in refusal(bench, "transaction.begin", sale("R2"))
        settling.join(60)
        assert answers[0]["outcome"] == "equal"
        assert bench.state_of("R1") == "reversed"
        agree(host, bench)


def _why_no_sale(bench: AgentBench) -> str:
    return str(bench.agent.call("agent.status", {})["lanes"][0]["may_not_sell_because"])


def test_a_sale_during_a_settlement_waits_for_its_end_and_belongs_to_the_next_batch(
    bench: AgentBench, host: HostServer
) -> None:
    bench.agent.start()
    complete(bench, "R1")
    host.faults.add("0500", "late-request", value="0.3")
    answers: list[dict[str, Any]] = []
    settling = threading.Thread(target=_into(answers, lambda: bench.agent.call("batch.settle", {})))
    settling.start()
    bench.until(lambda: heard(host, "0500"), "the settlement is at the host")
    found = bench.sale("R2")
    settling.join(30)
    assert (answers[0]["outcome"], answers[0]["totals"]["debits"]) == ("equal", 1)
    assert (found["outcome"], found["batch"]) == ("approved", "000002")


def _into(answers: list[dict[str, Any]], ask: Callable[[], dict[str, Any]]) -> Callable[[], None]:
    def work() -> None:
        answers.append(ask())

    return work


def test_a_settlement_without_answer_is_unknown_and_the_batch_is_asked_for(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    complete(bench, "R1")
    host.faults.add("0500", "drop-reply")
    answer = bench.agent.call("batch.settle", {})
    assert (answer["outcome"], answer["settled"]) == ("unknown", False)
    bench.until(lambda: session(bench)["batch"] == "000002", "the host's batch after a sign-on")
    complete(bench, "R2")


def test_sign_on_by_command_tells_success_and_failure(bench: AgentBench, host: HostServer) -> None:
    bench.agent.start()
    bench.until(lambda: session(bench)["signed_on"], "signed on")
    status, text = ctl(bench, "sign-on", "main")
    assert status == 0
    assert "000001" in text
    host.faults.add("0800", "code", value="03")
    status, text = ctl(bench, "sign-on")
    assert status == 1
    assert "code 03" in text
