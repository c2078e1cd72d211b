"""What most end-to-end tests stand on; a file whose host or daemon is another one says so by a fixture of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench


@pytest.fixture
def host() -> Iterator[HostServer]:
    """A host that authenticates every reply."""
    with HostServer(settings=HostSettings(mac_on_all_replies=True)) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, host: HostServer) -> Iterator[AgentBench]:
    """A running daemon."""
    with AgentBench(tmp_path, [host.address]) as agent:
        agent.agent.start()
        yield agent
