"""Emergency plans as code: what triggers them, what the agent does by itself, what people do.

Pure. A plan is on while one of its alerts has stood for `after_s`; its texts are [plan.*] of the catalogue, its
settings are these defaults and what [[plan]] of the configuration changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.config_watch import Plan
from agent.texts import Text
from agent.texts_operations import operations
from protocol.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """How one plan works. `alerts`: any of these triggers it."""

    name: str
    alerts: frozenset[str]
    after_s: float
    block_sales: bool
    print_notice: bool
    people: tuple[str, ...] = ()
    enabled: bool = True


# A full disk refuses sales by itself, with its own code (E-JOURNAL-FULL): that plan need not.
# after_s: Assumed; a link that comes back within a minute, a plug that was pulled by mistake, are no emergencies.
DEFAULTS: tuple[Rules, ...] = (
    Rules("host-outage", frozenset({"N-LINK-DOWN"}), 60.0, block_sales=False, print_notice=True),
    Rules("power-failing", frozenset({"N-BATTERY-LOW"}), 0.0, block_sales=True, print_notice=True),
    Rules("storage-failing", frozenset({"N-DISK-FULL", "N-STORE-SLOW"}), 0.0, block_sales=False, print_notice=True),
    Rules("device-lost", frozenset({"N-DEVICE"}), 30.0, block_sales=False, print_notice=False),
)


def effective(configured: Sequence[Plan]) -> list[Rules]:
    """The plans as configured; a later table of the same name wins."""
    found = {rules.name: rules for rules in DEFAULTS}
    for plan in configured:
        before = found[plan.name]
        found[plan.name] = replace(
            before,
            enabled=plan.enabled,
            after_s=before.after_s if plan.after_s is None else plan.after_s,
            block_sales=before.block_sales if plan.block_sales is None else plan.block_sales,
            print_notice=before.print_notice if plan.print_notice is None else plan.print_notice,
            people=plan.people,
        )
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Active:
    """A plan that is on."""

    rules: Rules
    since_utc: str

    @property
    def people(self) -> list[Text]:
        """What people do: the plan's steps, then the shop's own."""
        own = [Text(line, line) for line in self.rules.people]
        return [*operations().plans[self.rules.name].people, *own]

    @property
    def title(self) -> Text:
        """What has happened."""
        return operations().plans[self.rules.name].title

    def document(self) -> dict[str, Any]:
        """For the status."""
        texts = operations().plans[self.rules.name]
        return {
            "name": self.rules.name,
            "since_utc": self.since_utc,
            "blocks_sales": self.rules.block_sales,
            "title_en": texts.title.en,
            "title_zh": texts.title.zh,
            "agent_en": texts.agent.en,
            "agent_zh": texts.agent.zh,
            "people_en": [step.en for step in self.people],
            "people_zh": [step.zh for step in self.people],
        }


class Plans:
    """Which plans are on."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._active: dict[str, Active] = {}

    def update(
        self, configured: Sequence[Plan], alerts: Mapping[str, object], mono: float, at_utc: str
    ) -> list[Active]:
        """The plans that were triggered now; `alerts`: the codes that stand."""
        triggered = []
        for rules in effective(configured):
            if not rules.enabled or not rules.alerts & set(alerts):
                self._since.pop(rules.name, None)
                self._active.pop(rules.name, None)
                continue
            since = self._since.setdefault(rules.name, mono)
            if rules.name in self._active:
                self._active[rules.name] = replace(self._active[rules.name], rules=rules)
            elif mono - since >= rules.after_s:
                self._active[rules.name] = Active(rules, at_utc)
                triggered.append(self._active[rules.name])
        return triggered

    def active(self) -> list[Active]:
        """The plans that are on, the oldest first."""
        return sorted(self._active.values(), key=lambda plan: plan.since_utc)

    def objection(self) -> str:
        """Why no new sale may start; "" if it may."""
        for plan in self.active():
            if plan.rules.block_sales:
                return f"emergency plan {plan.rules.name} is on"
        return ""
