"""A process that uses a journal and tells, by bytes on its standard output, what was acknowledged to it.

python -m tests.crash.journal_worker run DIRECTORY COUNT PRESIZE [archive]
    one run; each line of output is `ack SEQ`, `ready`, `archived SEQ`, `failed`, `refused CODE` or `closed`
python -m tests.crash.journal_worker serve
    reads one JSON object a line: {"directory", "count", "presize", "archive", "kind", "at"}; forks a child that arms
    the faults of faults.c (preloaded) and runs; answers {"lines", "signal", "code", "writes", "syncs"}. One start of
    Python serves hundreds of runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

from agent.journal import Journal, JournalFailed, JournalUnreadable
from agent.journal_archive import ArchiveError
from agent.journal_archiving import Window
from tests.journal_scenes import Home, entry

# All of the worker's records are of the first day of 2026.
EVERYTHING, NOW = Window("2026-02-01", "2026-03-02"), "2026-03-01T00:00:00Z"


def txn_of(number: int) -> str:
    """Three commits in a row belong to one transaction."""
    return f"t{number // 3}"


def step(journal: Journal, number: int) -> int:
    """The number-th commit (from 0): begun with a secret, reversing, reversed; it brings a counter."""
    state = ("begun", "reversing", "reversed")[number % 3]
    secret = bytes([65 + number % 26]) * 300 if number % 3 == 0 else b""
    one = entry(txn_of(number), state, state != "reversed", secret=secret, public=json.dumps({"number": number}))
    return journal.append([one], {"stan L1": number})


def run(directory: Path, count: int, presize: int, output: int, *, archive: bool = False) -> int:
    """Continues where the journal stands, for `count` commits, archives what is over where that is wanted, closes."""

    def tell(line: str) -> None:
        os.write(output, line.encode() + b"\n")

    try:
        journal = Home(directory).open(presize_bytes=presize, checkpoint_frames=30, settle_records=4)
        tell("ready")
        start = journal.health().head_seq
        for number in range(start, start + count):
            tell(f"ack {step(journal, number)}")
        if archive and journal.archive(EVERYTHING, NOW) is not None:
            tell(f"archived {journal.archived_upto}")
        journal.close()
    except JournalFailed:
        tell("failed")
        return 74
    except ArchiveError:
        tell("not archived")
        return 75
    except JournalUnreadable as error:
        tell(f"refused {error.code}")
        return 65
    tell("closed")
    return 0


def serve() -> None:
    """See the module."""
    faults = ctypes.CDLL(os.environ["LD_PRELOAD"])
    for line in sys.stdin:
        print(json.dumps(_forked(faults, json.loads(line))), flush=True)


def _forked(faults: ctypes.CDLL, order: dict[str, object]) -> dict[str, object]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(faults, order, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        lines = stream.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {"lines": lines, "signal": signal, "code": os.waitstatus_to_exitcode(status)}


def _child(faults: ctypes.CDLL, order: dict[str, object], output: int) -> None:
    code = 70
    try:
        directory = str(order["directory"])
        faults.fault_arm(directory.encode(), int(str(order["kind"])), int(str(order["at"])))
        numbers = (int(str(order["count"])), int(str(order["presize"])))
        code = run(Path(directory), *numbers, output, archive=bool(order["archive"]))
        counts = [ctypes.c_int.in_dll(faults, f"fault_{name}").value for name in ("writes", "syncs")]
        os.write(output, b"counts %d %d\n" % (counts[0], counts[1]))
    finally:
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        sys.exit(run(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), 1, archive="archive" in sys.argv[5:]))
