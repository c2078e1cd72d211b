"""What several crash tests start from: a place for a journal, and a process that has faults made for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import fault_server as faults
from tests.crash.fault_server import FaultServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """Journals that are killed, or refused by the disk, at a call of one's choice."""
    made = FaultServer(faults.build(tmp_path_factory.mktemp("faults")))
    yield made
    made.close()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A memory disk where there is one: a kill does not touch the page cache, so the real disk adds only time."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="crash-", dir=memory if memory.is_dir() else None))
    yield directory
    shutil.rmtree(directory)
