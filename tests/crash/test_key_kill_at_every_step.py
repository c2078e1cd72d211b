"""The daemon is killed at every sync and rename of a rotation, a wrapping and a destruction of keys.

A secure element holds them wrapped, and a reversal is owed: it is acknowledged all the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree
from tests.conftest import Counted
from tests.crash.forge import Forge, ForgedAgent
from tests.crash.test_kill_at_every_step import forge
from tests.secure_element import SecureElement

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc libc6-dev"),
]

__all__ = ["forge"]  # a fixture

CHANGES = ("keys.rotate", "keys.wrap", "keys.unwrap", "keys.rotate", "keys.destroy")


class Story:
    """A reversal is owed; then a second daemon changes the keys and is killed on the way."""

    def __init__(self, directory: Path, forge: Forge) -> None:
        directory.mkdir()
        self.element = SecureElement(directory / "element")
        self.host = HostServer(settings=HostSettings(mac_on_all_replies=True)).start()
        self.bench = AgentBench(directory, [self.host.address])
        text = self.bench.configuration.read_text().replace("base_s = 0.2", "base_s = 60.0").replace("cap_s = 1.0", "")
        self.bench.configuration.write_text(text + self.element.table)
        self.bench.agent = ForgedAgent(self.bench.configuration, directory, forge)
        self.bench.agent.start()
        self.host.faults.add("0200", "drop-reply")
        self.host.faults.add("reversal", "drop-reply", count=None)
        self.bench.sale("OWED")
        self.bench.agent.kill()

    def change(self, environment: dict[str, str], trace: Path | None = None) -> tuple[bool, int]:
        """Whether the daemon died on the way, and how many calls of the trace were its start's."""
        process = self.bench.agent.spawn(environment)
        began = 0
        try:
            self.bench.until(lambda: process.poll() is not None or self._answers(), "it answers or is dead")
            began = len(trace.read_text().splitlines()) if trace else 0
            for method in CHANGES:
                self.bench.agent.call(method, {"now": True} if method == "keys.destroy" else {})
            return False, began
        except DemoError:
            process.wait(10)
            return True, began

    def _answers(self) -> bool:
        try:
            self.bench.agent.call("agent.status", {})
        except DemoError:
            return False
        return True

    def recover(self) -> None:
        """The next start opens the keys, a destruction takes nothing that is owed, and that is acknowledged."""
        self.bench.agent.start()
        self.bench.agent.call("keys.destroy", {"now": True})
        self.bench.agent.kill()
        self.host.faults.clear()
        self.bench.agent.start()
        self.bench.agent.call("reversal.retry", {"id": "main-1"})
        self.bench.until(lambda: self.bench.state_of("OWED") == "reversed", "it is reversed")
        agree(self.host, self.bench)

    def close(self) -> None:
        """Stop both."""
        self.bench.agent.stop()
        self.host.stop()


def steps(tmp_path: Path, forge: Forge) -> list[str]:
    """Every sync and rename that a run without a kill makes after its start."""
    story, trace = Story(tmp_path / "trace", forge), tmp_path / "trace.txt"
    try:
        died, began = story.change({"KILLPOINTS_TRACE": str(trace)}, trace)
        assert not died, story.bench.log()[-2000:]
        calls = trace.read_text().splitlines()[began:]
        story.bench.agent.kill()
        story.recover()
    finally:
        story.close()
    return [call for call in calls if call.split()[0] in ("sync", "rename")]


@pytest.mark.timeout(900)
def test_killed_at_every_step_of_a_change_of_keys_nothing_owed_is_lost(
    tmp_path: Path, forge: Forge, counted: Counted
) -> None:
    killed = 0
    for step in steps(tmp_path, forge):
        for when in ("before", "after"):
            story = Story(tmp_path / f"{step} {when}".replace(" ", "-"), forge)
            try:
                died, _ = story.change({"KILLPOINT": f"{step} {when}"})
                killed += died
                if not died:
                    story.bench.agent.kill()
                story.recover()
            except AssertionError as error:
                raise AssertionError(f"killed {when} {step}: {error}") from error
            finally:
                story.close()
    counted("crash: the daemon killed at every step of a change of keys", kills=killed, violations=0)
    assert killed > 20
