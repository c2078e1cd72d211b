"""A process that has loaded the daemon once and forks it, many times, with a fault of a preloaded library armed.

python -m tests.crash.daemon_server
    reads one JSON object a line: {"configuration", "log", "environment"} and, for faults.c, {"below", "kind", "at"};
    forks the daemon, says {"pid"}, and when it has ended {"signal", "code", "writes", "syncs"} (counts by faults.c, and
    only where it ended by itself). Which library is preloaded decides which faults there are.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from typing import Any

import agent.daemon  # noqa: F401  loaded once, before the first fork
from agent.__main__ import main as reversald


def main() -> None:
    """See the module."""
    faults = ctypes.CDLL(os.environ["LD_PRELOAD"])
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(faults, order, writing)
        os.close(writing)
        print(json.dumps({"pid": child}), flush=True)
        with os.fdopen(reading) as stream:
            counts = stream.read().split() or ["0", "0"]
        _, status = os.waitpid(child, 0)
        ended = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}
        ended["code"] = os.waitstatus_to_exitcode(status)
        print(json.dumps(ended | {"writes": int(counts[0]), "syncs": int(counts[1])}), flush=True)


def _child(faults: ctypes.CDLL, order: dict[str, Any], counts: int) -> None:
    code: int | str | None = 70
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        if "kind" in order:
            faults.fault_arm(order["below"].encode(), int(order["kind"]), int(order["at"]))
        else:
            faults.killpoints_read_orders()
        code = reversald(["--config", order["configuration"]])
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        if "kind" in order:
            found = [ctypes.c_int.in_dll(faults, f"fault_{name}").value for name in ("writes", "syncs")]
            os.write(counts, b"%d %d" % (found[0], found[1]))
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
