"""What is measured on: cores, disk, whether a sync waits for the medium; modules as an installation has them."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from pathlib import Path

from agent.journal_health import TOO_FAST_S
from tests.bench.figures import percentile


def describe(directory: Path) -> dict[str, str]:
    """In words, without the name of the machine."""
    sync_us = 1e6 * percentile([_sync_s(directory) for _ in range(50)], 50)
    real = "waits for the medium" if sync_us > 1e6 * TOO_FAST_S else "does NOT wait for the medium"
    return {
        "cores": str(os.cpu_count()),
        "load before": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "file system": f"{_file_system(directory)}; a sync takes {sync_us:.0f} us and {real}",
        "python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
    }


def installed(compiled: Path) -> Path:
    """A directory for compiled modules, as pip makes them at an installation: no start in a bench compiles anything."""
    compiled.mkdir()
    return compiled


def site_packages() -> str:
    """Where the libraries are."""
    return next(path for path in sys.path if path.endswith("site-packages"))


def _sync_s(directory: Path) -> float:
    descriptor = os.open(directory / "sync-time", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, bytes(4096))
        began = time.perf_counter()
        os.fdatasync(descriptor)
        return time.perf_counter() - began
    finally:
        os.close(descriptor)


def _file_system(directory: Path) -> str:
    """The type of the mount with the longest matching path."""
    found = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if str(directory).startswith(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1]
