"""What the unmodified daemon does to its disk over a day of sales, in the order in which it does it.

The daemon runs under strace. Its trace becomes the calls that `powercut` replays (write, sync, truncate, rename, link,
unlink below the state directory), and between them everything that the outside learnt: `sent` (bytes to the host) and
`told` (an answer to the application). A call that the model does not know, on a file below the directory, is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench
from tests.crash.powercut import Call

HOST = HostSettings(mac_on_all_replies=True)
DELIVERED = frozenset({"GOOD", "LATE"})
"""Whose goods are handed over as soon as the application hears "approved"."""

_KNOWN = "openat,close,lseek,write,pwrite64,fsync,fdatasync,ftruncate,fallocate,rename,link,unlink,sendto"
_UNKNOWN = "renameat,renameat2,linkat,unlinkat,writev,pwritev,pwritev2,sendmsg,sendfile,copy_file_range"
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^<>]*))?")
_BEGUN = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(\d+)<([^<>]*)(?:<[^>]*>)?>")
_SENT = re.compile(r'\d+<(TCP|UNIX-STREAM):\[[^\]"]*(,"[^"]*")?\]>, "((?:\\x[0-9a-f]{2})*)"')
_NUMBER = re.compile(r", (\d+)")


@dataclass(frozen=True)
class Recording:
    """The calls of all processes of one story, and the configuration under which they ran.

    The first process is killed; at the call `restart` the second one begins.
    """

    calls: list[Call]
    restart: int
    directory: str
    configuration: Path


def record(place: Path, presize_bytes: int) -> Recording:
    """The story: sales that end well, are lost, called off, declined, owed over a restart, and confirmed late.

    `presize_bytes`: as in the configuration; below 1 MiB neither filler nor ballast are made, and the images are small.
    """
    if shutil.which("strace") is None:
        pytest.skip("no strace; to run this test: apt install strace")
    with HostServer(settings=HOST) as host:
        bench = AgentBench(place, [host.address], reply_timeout_s=0.3)
        text = bench.configuration.read_text().replace("1048576", str(presize_bytes))
        bench.configuration.write_text(text)
        with _Traced(bench, place / "trace.1", signal.SIGKILL):
            _first_day(bench, host)
        with _Traced(bench, place / "trace.2", signal.SIGTERM):
            _second_day(bench)
    directory = str(place / "state")
    first, second = (list(_Reader(directory).calls(_whole_lines(place / name))) for name in ("trace.1", "trace.2"))
    return Recording([*first, *second], len(first), directory, bench.configuration)


def _first_day(bench: AgentBench, host: HostServer) -> None:
    call = bench.agent.call
    assert bench.sale("GOOD")["outcome"] == "approved"
    call("transaction.complete", {"reference": "GOOD"})
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply")
    bench.sale("LOST")
    bench.until(lambda: bench.state_of("LOST") == "reversed", "the lost sale is reversed")
    assert bench.sale("CALLED-OFF")["outcome"] == "approved"
    call("transaction.reverse", {"reference": "CALLED-OFF"})
    bench.until(lambda: bench.state_of("CALLED-OFF") == "reversed", "the sale that was called off is reversed")
    assert bench.sale("NO", 1051)["outcome"] == "declined"
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "drop-reply", count=None)
    bench.sale("OWED")
    assert bench.sale("LATE")["outcome"] == "approved"
    host.faults.clear()


def _second_day(bench: AgentBench) -> None:
    bench.until(lambda: bench.state_of("OWED") == "reversed", "what was owed is reversed after the restart")
    bench.agent.call("transaction.complete", {"reference": "LATE"})


class _Traced:
    """The daemon under strace; at the end it gets this signal."""

    def __init__(self, bench: AgentBench, trace: Path, at_end: signal.Signals) -> None:
        self._bench = bench
        self._at_end = at_end
        self._command = ["strace", "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "9999999"]
        self._command += ["-e", f"trace={_KNOWN},{_UNKNOWN}", "-o", str(trace), sys.executable]
        self._command += ["-m", "agent", "--config", str(bench.configuration)]

    def __enter__(self) -> None:
        with self._bench.agent.log_file.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self._bench.until(self._answers, "the traced daemon answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._bench.log()[-3000:]
        try:
            self._bench.agent.call("agent.status", {})
        except DemoError:
            return False
        return True

    def __exit__(self, *_exc: object) -> None:
        stop_traced(self._process, self._at_end)


def stop_traced(strace: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End the traced daemon; strace itself takes no SIGTERM while its command runs, and ends with it."""
    children = Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), how)
    try:
        strace.wait(30)
    finally:
        strace.kill()


def _whole_lines(trace: Path) -> Iterator[str]:
    """The lines, calls that another thread interrupted put together again where they ended."""
    begun: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        if first := _BEGUN.match(line):
            begun[first[1]] = first[2]
        elif rest := _RESUMED.match(line):
            yield f"{rest[1]} {begun.pop(rest[1])}{rest[2]}"
        else:
            yield line


class _Reader:
    """From lines of strace to calls. Knows how far each open file has been written."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._at: dict[str, int] = {}

    def calls(self, lines: Iterable[str]) -> Iterator[Call]:
        """See `Call`."""
        for line in lines:
            found = _LINE.match(line)
            if found and int(found[4]) >= 0:
                yield from self._call(found[2], found[3], int(found[4]), found[5] or "")

    def _call(self, name: str, arguments: str, result: int, opened: str) -> Iterator[Call]:
        if name == "sendto":
            yield from self._outside(arguments)
            return
        descriptor = _DESCRIPTOR.match(arguments)
        texts = [_decoded(text) for text in _TEXT.findall(_DESCRIPTOR.sub("", arguments))]
        if name == "openat":
            paths = [_plain(opened)]
        elif descriptor:
            paths = [_plain(descriptor[2])]
        else:
            paths = [text.decode() for text in texts]
        if any(self._concerns(path) for path in paths):
            number = str(result) if name == "openat" else descriptor[1] if descriptor else ""
            yield from self._below(name, arguments, paths, texts, number, result)

    def _concerns(self, path: str) -> bool:
        return path == self._directory or path.startswith(self._directory + "/")

    def _outside(self, arguments: str) -> Iterator[Call]:
        found = _SENT.match(arguments)
        if found and found[1] == "TCP":
            yield Call("sent", (), _decoded(found[3]))
        elif found and found[2]:  # a socket without a name is not the application's
            yield Call("told", (), _decoded(found[3]))

    def _below(
        self, name: str, arguments: str, paths: list[str], texts: list[bytes], number: str, result: int
    ) -> Iterator[Call]:
        where = tuple(paths)
        if name == "openat":
            assert "O_TRUNC" not in arguments, f"{where} is truncated when opened: the model does not know that"
            self._at[number] = 0
            yield Call("open", where)
        elif name == "lseek":
            self._at[number] = result
        elif name == "write":
            assert result == len(texts[0]), "a short write"
            yield Call("write", where, texts[0], self._at[number])
            self._at[number] += result
        elif name == "pwrite64":
            yield Call("write", where, texts[0], int(_NUMBER.findall(arguments)[-1]))
        elif name in ("fsync", "fdatasync"):
            yield Call("sync", where)
        elif name == "ftruncate":
            yield Call("truncate", where, offset=int(_NUMBER.findall(arguments)[-1]))
        elif name == "fallocate":  # of new files only: the length is what the file will have
            yield Call("truncate", where, offset=sum(map(int, _NUMBER.findall(arguments)[-2:])))
        elif name in ("rename", "link", "unlink"):
            yield Call(name, where)
        else:
            assert name == "close", f"a call that the model does not know: {name} {where}"


def _plain(text: str) -> str:
    return _decoded(text).decode() if text.startswith("\\x") else text


def _decoded(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
