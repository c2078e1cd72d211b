"""Fault stories on real bytes: a simulated host does it; the agent names the cause, what to do, and who is told.

tests/unit/test_scenarios.py tells the same of states that take hours; here each story comes from a fault of hwsim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from agent.texts import catalogue
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Story:
    """A fault of the reversal's answer, the diagnosis, and who acts. `value`: the response code that the host gives."""

    fault: str
    code: str
    who: str = "nobody"
    value: str = ""
    parked: bool = False

    @property
    def name(self) -> str:
        return f"{self.fault} {self.value}".strip()


def refused(value: str, code: str, who: str = "nobody", *, parked: bool = False) -> Story:
    return Story("code", code, who, value, parked)


# Not among them: 12 ("nothing to reverse"), which ends a reversal; a host that says so and keeps the money lies.
STORIES: list[Story] = [
    Story("drop-request", "D-NO-REPLY"),
    Story("close-before-processing", "D-LINE-CUT"),
    Story("reset-before-processing", "D-LINE-CUT"),
    Story("hang", "D-NO-REPLY"),
    Story("drop-reply", "D-NO-REPLY"),
    Story("close-before-reply", "D-LINE-CUT"),
    Story("close-mid-frame", "D-LINE-CUT"),
    Story("reset", "D-LINE-CUT"),
    Story("garbage", "D-GARBAGE"),
    Story("length-zero", "D-GARBAGE"),
    Story("length-max", "D-GARBAGE"),
    Story("half-then-silence", "D-NO-REPLY"),
    Story("bad-mac", "D-MAC-BAD", "engineer"),
    Story("no-mac", "D-MAC-MISSING", "bank"),
    Story("wrong-stan", "D-NO-REPLY"),
    Story("wrong-amount", "D-NO-REPLY"),
    Story("wrong-terminal", "D-NO-REPLY"),
    Story("wrong-merchant", "D-NO-REPLY"),
    Story("wrong-mti", "D-NO-REPLY"),
    refused("03", "D-DATA-MERCHANT", "bank", parked=True),
    refused("05", "D-HOST-CODE"),
    refused("13", "D-DATA-AMOUNT", "bank", parked=True),
    refused("14", "D-DATA-CARD", "bank", parked=True),
    refused("25", "D-OVERTAKEN"),
    refused("30", "D-DATA-FORMAT", "engineer"),
    refused("54", "D-DATA-EXPIRY", "bank"),
    refused("57", "D-HOST-REFUSED", "bank", parked=True),
    refused("58", "D-DATA-TERMINAL", "bank", parked=True),
    refused("68", "D-HOST-CODE"),
    refused("77", "D-BATCH", "engineer"),
    refused("89", "D-DATA-TERMINAL", "bank", parked=True),
    refused("91", "D-HOST-BUSY"),
    refused("96", "D-HOST-BUSY"),
    refused("97", "D-DATA-TERMINAL", "bank", parked=True),
    refused("98", "D-HOST-BUSY"),
    refused("A0", "D-MAC-REFUSED", "engineer"),
    refused("A7", "D-KEYS", "engineer"),
    refused("ZZ", "D-HOST-CODE"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HostServer, AgentBench]]:
    directory = tmp_path_factory.mktemp("stories")
    settings = HostSettings(mac_on_all_replies=True)
    with HostServer(settings=settings) as host, AgentBench(directory, [host.address]) as bench:
        bench.agent.start()
        yield host, bench


def item(bench: AgentBench, reference: str) -> dict[str, Any]:
    items = bench.agent.call("reversal.list", {"all": True})["items"]
    found: dict[str, Any] = next(one for one in items if one["reference"] == reference)
    return found


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_a_fault_of_the_host_is_named_told_and_over_when_it_is_over(
    world: tuple[HostServer, AgentBench], story: Story
) -> None:
    host, bench = world
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", story.fault, count=None, **({"value": story.value} if story.value else {}))
    bench.sale(story.name)
    bench.until(lambda: item(bench, story.name)["diagnosis"]["code"] == story.code, f"it is diagnosed {story.code}")
    found = item(bench, story.name)
    assert found["diagnosis"]["who"] == story.who
    assert (found["state"] == "parked") == story.parked
    told(found["diagnosis"])
    wanted = "N-PARKED" if story.parked else "N-PENDING"
    bench.until(lambda: alert(bench, wanted, found["id"] if story.parked else ""), f"{wanted} stands")
    host.faults.clear()
    bench.agent.call("reversal.retry", {"all": True})
    bench.until(lambda: bench.state_of(story.name) == "reversed", "it is reversed")
    agree(host, bench)


def told(diagnosis: dict[str, Any]) -> None:
    """Cause and next action are whole sentences of the catalogue, in both languages."""
    texts = catalogue().diagnoses[diagnosis["code"]]
    action = catalogue().wait if texts.patience_s else texts.action  # all of them are young here
    for part, template in (("cause", texts.cause), ("action", action)):
        english, chinese = diagnosis[f"{part}_en"], diagnosis[f"{part}_zh"]
        assert english.startswith(template.en.partition("{")[0])
        assert chinese.startswith(template.zh.partition("{")[0])
        assert CHINESE.search(chinese)
        assert not CHINESE.search(english)
        assert "{" not in english + chinese


def alert(bench: AgentBench, code: str, subject: str) -> bool:
    standing = bench.agent.call("agent.status", {})["watch"]["alerts"]
    return any((one["code"], one["subject"]) == (code, subject) and CHINESE.search(one["text_zh"]) for one in standing)


def test_there_are_enough_stories() -> None:
    assert len({story.name for story in STORIES}) == len(STORIES) >= 30
