"""The conversation of docs/api.md is what the daemon really says."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwsim.agent_process import AgentProcess
from hwsim.host import HostServer

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
DEADLINE_S = 20.0

CONFIGURATION = """
[agent]
state_dir = "state"
run_dir = "run"

[policy]
confirm = "by-application"

[[lane]]
name = "till-1"
profile = "iso87-ascii"
terminal_id = "10000001"
merchant_id = "104110045110012"
hosts = ["{host}"]

[lane.retry]
reply_timeout_s = 2
base_s = 1
"""


class Till:
    """A till on the bench: sends the page's lines as they stand."""

    def __init__(self, agent: AgentProcess, host: HostServer) -> None:
        self._agent, self._host = agent, host
        self._channel: socket.socket | None = None

    def say(self, line: str) -> Any:
        if self._channel is None:
            self._channel = socket.socket(socket.AF_UNIX)
            self._channel.settimeout(DEADLINE_S)
            self._channel.connect(str(self._agent.run_dir / "agent.sock"))
        self._channel.sendall(line.encode() + b"\n")
        with self._channel.makefile("rb") as answers:
            return json.loads(answers.readline())

    def hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def lose_reply(self) -> None:
        self._host.faults.add("0200", "drop-reply")

    def power_fails(self) -> None:
        self.hang_up()
        self._agent.kill()
        self._agent.start()

    @property
    def actions(self) -> dict[str, Callable[[], None]]:
        return {
            "the host's reply is lost": self.lose_reply,
            "the power fails; the daemon starts again": self.power_fails,
        }


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    with HostServer("iso87") as host:
        file = tmp_path / "reversald.toml"
        file.write_text(CONFIGURATION.format(host=host.address))
        with AgentProcess(file, tmp_path) as agent:
            agent.start()
            till = Till(agent, host)
            yield till
            till.hang_up()


def transcript() -> list[tuple[str, str]]:
    """(mark, rest) of each line of all transcripts of the page, in order."""
    blocks = re.findall(r"```transcript\n(.*?)```", PAGE, re.DOTALL)
    return [(line[:3], line[4:]) for block in blocks for line in block.splitlines()]


def test_the_conversation_of_the_page_is_what_the_daemon_says(till: Till) -> None:
    lines = transcript()
    assert [mark for mark, _ in lines].count("<--") >= 15
    sent, patient = "", False
    for mark, rest in lines:
        if mark == "***" and rest == "a moment later":
            patient = True
        elif mark == "***":
            till.actions[rest]()
        elif mark == "-->":
            sent = rest
        else:
            _expect(till, sent, json.loads(rest), patient=patient)
            patient = False


def _expect(till: Till, sent: str, shown: Any, *, patient: bool) -> None:
    """The answer holds everything that the page shows of it; where the page says so, only after a while."""
    deadline = time.monotonic() + DEADLINE_S
    answer = till.say(sent)
    while patient and not _holds(answer, shown) and time.monotonic() < deadline:
        time.sleep(0.05)
        answer = till.say(sent)
    assert _holds(answer, shown), f"\nsent     {sent}\nshown    {shown}\nanswered {answer}"


def _holds(answer: Any, shown: Any) -> bool:
    if isinstance(shown, dict):
        return isinstance(answer, dict) and all(name in answer and _holds(answer[name], shown[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(answer, list) and len(answer) == len(shown) and all(map(_holds, answer, shown))
    return bool(answer == shown)
