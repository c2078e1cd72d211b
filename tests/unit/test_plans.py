"""An emergency plan triggers after its time and ends with its cause; a drill counts what was done, on its own stage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.config_watch import Plan
from agent.drill import SCRIPTS, Drill
from agent.plans import DEFAULTS, Plans, effective
from agent.status_conditions import of_plan
from agent.texts_operations import operations
from tests.unit.cli_bench import run
from tests.unit.status_samples import NOW

PAGE = (Path(__file__).parents[2] / "docs/emergency-plans.md").read_text(encoding="utf-8")
DOWN = {"N-LINK-DOWN": None}


def test_a_plan_triggers_once_after_its_time_and_ends_with_its_cause() -> None:
    plans = Plans()
    assert plans.update((), DOWN, 0.0, NOW.at_utc) == []
    assert plans.update((), DOWN, 59.0, NOW.at_utc) == []
    (triggered,) = plans.update((), DOWN, 60.0, NOW.at_utc)
    assert (triggered.rules.name, plans.objection()) == ("host-outage", "")
    assert plans.update((), DOWN, 70.0, NOW.at_utc) == []
    assert [plan.rules.name for plan in plans.active()] == ["host-outage"]
    plans.update((), {}, 80.0, NOW.at_utc)
    assert plans.active() == []
    assert plans.update((), DOWN, 90.0, NOW.at_utc) == []  # its time begins anew


def test_what_blocks_sales_says_why() -> None:
    plans = Plans()
    plans.update((), {"N-BATTERY-LOW": None}, 0.0, NOW.at_utc)
    assert plans.objection() == "emergency plan power-failing is on"


def test_the_configuration_changes_a_plan_also_while_it_is_on() -> None:
    plans = Plans()
    plans.update((Plan(name="host-outage", after_s=0.0),), DOWN, 0.0, NOW.at_utc)
    changed = Plan(name="host-outage", block_sales=True, people=("call 95516",))
    plans.update((changed,), DOWN, 1.0, NOW.at_utc)
    assert plans.objection()
    assert plans.active()[0].people[-1].en == "call 95516"
    assert "call 95516" in plans.active()[0].document()["people_zh"]
    plans.update((Plan(name="host-outage", enabled=False),), DOWN, 2.0, NOW.at_utc)
    assert plans.active() == []


def test_the_page_tells_each_plan_as_it_is() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (\d+) s \| (\w+) \| (\w+) \|$", PAGE, re.MULTILINE)
    told = {
        (name, frozenset(re.findall(r"`(N-[A-Z-]+)`", alerts)), float(after), blocks == "yes", prints == "yes")
        for name, alerts, after, blocks, prints in rows
    }
    assert told == {(one.name, one.alerts, one.after_s, one.block_sales, one.print_notice) for one in DEFAULTS}
    assert set(operations().plans) == {one.name for one in effective(())} == set(SCRIPTS)
    for rules in DEFAULTS:
        assert rules.alerts <= set(operations().alerts)
        assert of_plan(rules.name, operations().plans[rules.name].title)["code"] == "S-PLAN"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_step_of_a_drill_can_be_done_by_what_its_help_says(name: str) -> None:
    drill = Drill(name)
    while (step := drill.help()) is not None:
        for language in ("en", "zh"):
            said = re.search(r"reversalctl [a-zA-Z -]*", drill.text(step).of(language))
            assert said is not None
            assert re.fullmatch(step.pattern, said[0].strip().replace("ID", "drill-1").replace("FILE", "x.db")), said[0]
        assert said is not None
        assert drill.enter(said[0].strip(), 1.0) is step
    record = drill.record(12.4, NOW.at_utc, "anna")
    assert (record["passed"], record["alone"], record["score_percent"]) == (True, [], 50)


def test_a_step_counts_once_and_only_without_help_as_done_alone() -> None:
    drill = Drill("host-outage")
    assert drill.enter("reversalctl frobnicate", 1.0) is None
    assert drill.enter("reversalctl --json status", 2.04) is not None
    assert drill.enter("reversalctl status", 3.0) is None
    assert drill.enter("reversalctl why no-such-item", 4.0, failed=True) is None
    drill.help()
    drill.enter("reversalctl plan host-outage", 5.0)
    record = drill.record(5, NOW.at_utc, "anna")
    assert (record["done"], record["alone"], record["passed"]) == (["look", "plan"], ["look"], False)
    assert (record["missed"], record["wrong_commands"]) == (["why", "selftest", "retry", "note"], 1)
    assert record["times_s"] == {"look": 2.0, "plan": 5.0}
    assert record["score_percent"] == 25  # one alone, one with help, of six


@pytest.mark.parametrize(
    "option", [("--config", "/etc/reversald/reversald.toml"), ("--socket", "/run/x"), ("--status-file", "/x")]
)
def test_a_drill_cannot_be_pointed_at_another_agent(option: tuple[str, str]) -> None:
    status, _, err = run(*option, "drill", "host-outage")
    assert (status, err.startswith("C-DRILL-LIVE")) == (64, True)


def test_the_plans_can_be_read_without_an_agent(tmp_path: Path) -> None:
    status, out, _ = run("--socket", str(tmp_path / "none"), "--language", "zh", "plan", "host-outage")
    assert status == 0
    assert "无法连接银行主机" in out
    assert "1. 通知收银员" in out
