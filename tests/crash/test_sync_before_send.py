"""Read from a system-call trace of the unmodified daemon: the intent is on the disk before the first byte leaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from tests.agent_bench import AgentBench
from tests.crash.daemon_trace import stop_traced

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="no strace: apt-get install strace"),
]

CALLS = "trace=pwrite64,write,fdatasync,fsync,sendto,recvfrom"
LOG_WRITTEN = re.compile(r"p?write(64)?\(\d+<[^>]*journal\.db-wal>")
LOG_SYNCED = re.compile(r"f(data)?sync\(\d+<[^>]*journal\.db-wal>\)\s+= 0")
ASKED = re.compile(r"recvfrom\(\d+<(UNIX|unix|socket)[^\n]*transaction\.run")
# How the two records are recognised in what is written: the intent by its reference, the attempt by its mark.
RECORDS = (r"\"reference\":\"TRACED\"", r"\"sending\":true")
LEFT = re.compile(r"sendto\(\d+<TCP")


def traced_sale(tmp_path: Path) -> list[str]:
    """The daemon's calls while it makes one sale and, its answer lost, one reversal."""
    trace = tmp_path / "trace.txt"
    with HostServer("unionpay") as host:
        host.faults.add("0200", "drop-reply")
        bench = AgentBench(tmp_path, [host.address])
        command = ["strace", "-f", "-yy", "-s", "5000", "-e", CALLS, "-o", str(trace), sys.executable]
        command += ["-m", "agent", "--config", str(bench.configuration)]
        with bench.agent.log_file.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ.copy())
        try:
            until_answers(bench)
            bench.sale("TRACED")
            bench.until(lambda: bench.state_of("TRACED") == "reversed", "the sale is reversed")
        finally:
            stop_traced(process)
    return trace.read_text(errors="replace").splitlines()


def until_answers(bench: AgentBench) -> None:
    """Wait for the daemon, which is slow under a trace."""
    for _ in range(1500):
        try:
            bench.agent.call("agent.status", {})
            return
        except DemoError:
            time.sleep(0.02)
    raise AssertionError(f"the traced daemon does not answer: {bench.log()}")


def test_the_sync_of_the_record_completes_before_the_first_byte_leaves(tmp_path: Path) -> None:
    lines = traced_sale(tmp_path)
    asked = next(number for number, line in enumerate(lines) if ASKED.search(line))
    sends = [number for number, line in enumerate(lines) if number > asked and LEFT.search(line)]
    assert len(sends) >= 2, "a request and a reversal left"
    for since, send, record in zip([asked, *sends], sends[:2], RECORDS, strict=False):
        before = lines[since:send]
        written = [number for number, line in enumerate(before) if LOG_WRITTEN.search(line) and record in line]
        synced = [number for number, line in enumerate(before) if LOG_SYNCED.search(line)]
        assert written, f"{record} was not written to the journal before line {send}"
        assert synced, f"no sync of the journal completed before line {send}"
        assert synced[-1] > written[0], "the record was not synced when the byte left"
