"""Faults in what only shows, in a real daemon: reversals go on in the same process, and people are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hwsim.host import HostServer
from tests.agent_bench import AgentBench

MORE = """
[alerts]
clear_after_s = 0
metrics_file = "reversald.prom"
"""
TEST_MORE = """
[selftest]
quiet_s = 0
"""
PAN = "6200000000000005"


class Shop:
    """A daemon whose showing parts can be broken and mended."""

    def __init__(self, directory: Path, host: HostServer) -> None:
        self.directory = directory
        self.host = host
        self.switch = directory / "broken"
        self.bench = AgentBench(directory, [host.address])
        text = self.bench.configuration.read_text().replace("[policy]", MORE + "[policy]", 1)
        self.bench.configuration.write_text(
            text.replace("status_every_s = 1.0", "status_every_s = 1.0\npage_every_s = 1")
        )
        faults = str(Path(__file__).with_name("show_fault"))
        self.bench.agent.start({"PYTHONPATH": faults, "SHOW_FAULT": str(self.switch)})

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "run/status.json").read_text())
        return found

    def broken(self) -> set[str]:
        return {fault["part"] for fault in self.status()["watch"]["faults"]}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "agent.cli", "--config", str(self.bench.configuration), *words]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def played(shop: Shop, parts: str) -> None:
    """A sale without an answer while the parts are broken: it is reversed all the same, by the same process."""
    pid = shop.bench.agent.pid
    shop.switch.write_text(parts)
    shop.host.faults.add("0200", "drop-reply")
    assert shop.bench.sale("S-1")["state"] in ("reversing", "reversed")
    shop.bench.until(lambda: shop.bench.state_of("S-1") == "reversed", "the reversal is acknowledged")
    assert shop.bench.sale("S-2")["state"] == "approved"
    shop.bench.until(lambda: shop.broken() >= set(parts.split()), f"the status tells of {parts}")
    os.kill(pid, 0)
    assert shop.bench.agent.pid == pid


def mended(shop: Shop) -> None:
    shop.switch.unlink()
    shop.bench.agent.call("transaction.complete", {"reference": "S-2"})
    assert shop.bench.sale("S-3")["state"] == "approved"
    shop.bench.until(lambda: not shop.broken(), "every part works again")
    shop.bench.until(lambda: "S-SHOW" not in json.dumps(shop.status()["conditions"]), "the condition is gone")
    assert PAN not in shop.bench.log() + json.dumps(shop.status())


@pytest.mark.slow
def test_page_text_alerts_metrics_trends_and_clock_may_fail_at_once(tmp_path: Path) -> None:
    with HostServer() as host:
        shop = Shop(tmp_path, host)
        with shop.bench:
            played(shop, "text page alerts metrics trends clock")
            told = shop.status()
            assert "S-SHOW" in {found["code"] for found in told["conditions"]}
            shop.bench.until(lambda: "N-SHOW" in shop.bench.log(), "an alert tells of it")
            shop.switch.write_text(shop.switch.read_text() + " samples")
            refused = shop.command("report")  # it asks for the store's history
            assert "A-SHOW" in refused.stdout + refused.stderr
            assert "ZeroDivisionError in sitecustomize.py" in json.dumps(told["watch"]["faults"])
            mended(shop)
            shop.bench.until(
                lambda: "reversal_show_faults_total" in (tmp_path / "run/reversald.prom").read_text(), "it is counted"
            )


@pytest.mark.slow
def test_a_status_that_cannot_be_made_leaves_sales_lists_and_reversals_alone(tmp_path: Path) -> None:
    with HostServer() as host:
        shop = Shop(tmp_path, host)
        with shop.bench:
            shop.bench.until(lambda: (tmp_path / "run/status.json").exists(), "a status is there")
            played(shop, "status")
            shop.bench.until(lambda: "C-SHOW" in shop.command("status").stdout, "the command says that it is old")
            assert shop.command("list").returncode == 0
            refused = shop.command("selftest")  # it asks for the status
            assert "A-SHOW" in refused.stdout + refused.stderr
            mended(shop)
            assert shop.command("status").returncode == 0


@pytest.mark.slow
def test_the_daemon_looks_itself_over_and_knows_the_hosts_clock(tmp_path: Path) -> None:
    with HostServer() as host, AgentBench(tmp_path, [host.address], confirm="on-approval") as bench:
        text = bench.configuration.read_text().replace("[policy]", TEST_MORE + "[policy]", 1)
        bench.configuration.write_text(text)
        bench.agent.start()
        assert bench.sale("S-1")["state"] == "completed"
        watch = bench.agent.call("agent.status", {})["watch"]
        assert abs(watch["host_clock"]["main"]["offset_s"]) < 30
        bench.until(lambda: bench.agent.call("agent.status", {})["watch"]["selftest"], "a self test was made by itself")
        last = bench.agent.call("agent.status", {})["watch"]["selftest"]
        assert last["due_utc"] > last["at_utc"]
        entries = bench.agent.call("maintenance.list", {})["entries"]
        assert [entry["kind"] for entry in entries] == ["selftest"]
        assert "T-LINK" not in entries[0]["text"]
        assert (tmp_path / "state/store-history.jsonl").read_text().count("\n") == 1
