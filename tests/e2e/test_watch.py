"""What watches the agent, in the running daemon: alerts reach a program and the metrics, and never delay a reversal."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.agent_bench import CARD, AgentBench

pytestmark = pytest.mark.slow

KEEP = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def with_alerts(bench: AgentBench, command: list[str], more: str = "") -> None:
    lines = f'[alerts]\ncommand = {json.dumps(command)}\nclear_after_s = 1\nmetrics_file = "a.prom"\n{more}\n'
    text = bench.configuration.read_text()
    bench.configuration.write_text(text.replace("[journal]", lines + "[journal]"))


def told(file: Path) -> list[tuple[str, str]]:
    if not file.exists():
        return []
    return [(alert["told"], alert["code"]) for alert in map(json.loads, file.read_text().splitlines())]


def test_a_parked_item_is_told_and_its_end_too(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        got = tmp_path / "got.jsonl"
        with_alerts(bench, [sys.executable, "-c", KEEP, str(got)])
        bench.agent.start()
        host.faults.add("0200", "drop-reply")
        host.faults.add("reversal", "code", value="57")
        bench.sale("R1")
        bench.until(lambda: ("raised", "N-PARKED") in told(got), "the alert is told")
        status = bench.agent.status()
        assert "N-PARKED" in {alert["code"] for alert in status["watch"]["alerts"]}
        assert 'reversal_parked{lane="main"} 1' in (tmp_path / "run/a.prom").read_text()
        bench.agent.call("reversal.retry", {"id": "main-1"})
        bench.until(lambda: ("cleared", "N-PARKED") in told(got), "the all-clear is told")


def conditions(bench: AgentBench) -> set[str]:
    return {one["code"] for one in bench.agent.status()["conditions"]}


def command(bench: AgentBench, *arguments: str) -> tuple[int, str]:
    line = [sys.executable, "-m", "agent.cli", "--config", str(bench.configuration), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_self_test_finds_the_host_that_is_gone_and_is_kept_with_its_date(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        status, told = command(bench, "--json", "selftest")
        findings = [json.loads(line) for line in told.splitlines()]
        links = [one["result"] for one in findings[:-1] if one["code"] == "T-LINK"]
        assert (links, findings[-1]["result"], status) == (["pass", "pass"], "pass", 0)
        clock = [one for one in findings if one.get("code") == "T-CLOCK"]
        assert [one["subject"] for one in clock] == ["main"]  # the echo's answer bore the host's time
        host.stop()
        status, told = command(bench, "--language", "zh", "selftest")
        assert status == 2
        assert "失败  T-LINK" in told
        bench.until(lambda: "S-SELFTEST-FAILED" in conditions(bench), "the status says it")
        assert bench.agent.status()["watch"]["selftest"]["result"] == "fail"
        status, told = command(bench, "maintenance", "--note", "modem replaced")
        assert (status, len(told.splitlines()), "modem replaced" in told) == (0, 3, True)


def test_a_case_file_explains_the_message_and_holds_no_card(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        bench.agent.start()
        host.faults.add("0200", "drop-reply")
        host.faults.add("reversal", "code", value="57")
        bench.sale("R1")
        bench.until(lambda: bench.state_of("R1") == "parked", "the item is parked")
        target = tmp_path / "case.tar.gz"
        log = str(bench.agent.log_file)
        assert command(bench, "bundle", "main-1", "--output", str(target), "--log", log)[0] == 0
        with tarfile.open(target) as archive:
            contents = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
        message = next(data for name, data in contents.items() if name.endswith("main-1-message.txt")).decode()
        assert "0400" in message
        assert "620000******0005" in message
        pan, key = CARD["pan"], bench.directory / "mac.key"
        whole = b"".join(contents.values())
        for secret in (pan, pan.encode().hex(), base64.b64encode(pan.encode()).decode(), key.read_text()):
            assert secret.encode() not in whole
        assert list((tmp_path / "state").glob("case-*")) == []
        status, told = command(bench, "--json", "reconcile")
        assert (status, json.loads(told)["kind"]) == (1, "parked")


def test_a_plan_that_blocks_sales_refuses_them_before_anything_is_stored(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        plan = '[[plan]]\nname = "host-outage"\nafter_s = 0\nblock_sales = true\n'
        text = bench.configuration.read_text()
        bench.configuration.write_text(text.replace("[journal]", plan + "[journal]"))
        bench.agent.start()
        host.stop()
        assert bench.sale("R1")["outcome"] == "declined"  # it never left
        bench.until(lambda: "S-PLAN" in conditions(bench), "the plan is on")
        assert [one["name"] for one in bench.agent.status()["watch"]["plans"]] == ["host-outage"]
        with pytest.raises(DemoError, match="A-PLAN"):
            bench.sale("R2")
        assert bench.state_of("R2") == "absent"
        status, told = command(bench, "--language", "zh", "plan")
        assert (status, "* host-outage" in told, "* device-lost" in told) == (0, True, False)


def test_a_program_that_hangs_delays_no_reversal(tmp_path: Path, host: HostServer) -> None:
    with AgentBench(tmp_path, [host.address]) as bench:
        hang = [sys.executable, "-c", "import time; time.sleep(300)"]
        with_alerts(bench, hang, 'command_timeout_s = 300\nwebhook = "http://127.0.0.1:1/x"')
        bench.agent.start()
        for number in range(3):
            host.faults.add("0200", "drop-reply")
            bench.sale(f"R{number}")
            reference = f"R{number}"
            bench.until(lambda reference=reference: bench.state_of(reference) == "reversed", "reversed", 10)  # type: ignore[misc]
        assert bench.agent.stop() == 0
