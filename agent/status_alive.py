"""Is the process that wrote a status still there? Light enough for a command that must answer at once.

A status names its writer (pid, when that process started, boot, process namespace) and the monotonic second of
writing. Boot and process tell dead from alive without believing any clock; the stamp tells a hanging one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

PROC = "/proc"
Directory = str | os.PathLike[str]  # no pathlib: it takes as long to load as the rest of this command


def writer(proc: Directory = PROC) -> dict[str, Any]:
    """How this process can be recognised later: stands in the status as "agent"."""
    pid = os.getpid()
    return {
        "pid": pid,
        "pid_started_ticks": _started_ticks(pid, proc),
        "pid_namespace": _namespace(proc),
        "boot_id": _boot_id(proc),
    }


def life(document: Mapping[str, Any], now_mono: float, proc: Directory = PROC) -> str:
    """ "alive", "stopped" (it said so), "rebooted" (the machine, since), "dead" or "silent" (it hangs)."""
    agent = document["agent"]
    if document.get("stopped") is not None:
        return "stopped"
    if agent["boot_id"] and agent["boot_id"] != _boot_id(proc):
        return "rebooted"
    if agent["pid_namespace"] == _namespace(proc) and agent["pid_started_ticks"] != _started_ticks(agent["pid"], proc):
        return "dead"
    return "silent" if age_s(document, now_mono) > document["stale_after_s"] else "alive"


def age_s(document: Mapping[str, Any], now_mono: float) -> float:
    """Seconds since the status was written, by the monotonic clock that all processes of one boot share."""
    return max(0.0, now_mono - float(document["updated_mono_s"]))


def _started_ticks(pid: int, proc: Directory) -> int:
    """When a process started, in clock ticks since boot; 0 where there is none. A pid alone may be used again."""
    try:
        stat = _read(proc, f"{pid}/stat")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])  # field 22 of proc(5); the name before it may hold blanks


def _namespace(proc: Directory) -> str:
    """Which process numbers are meant: a container counts its own."""
    try:
        return str(os.readlink(os.path.join(proc, "self/ns/pid")))
    except OSError:
        return ""


def _boot_id(proc: Directory) -> str:
    try:
        return _read(proc, "sys/kernel/random/boot_id").strip()
    except OSError:
        return ""


def _read(proc: Directory, name: str) -> str:
    with open(os.path.join(proc, name), encoding="utf-8", errors="replace") as file:
        return file.read()
