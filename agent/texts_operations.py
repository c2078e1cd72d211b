"""The second part of the catalogue (`texts_operations.toml`): refusals, alerts, checks, plans, forms.

Read only by what needs it: `reversalctl status` does not.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.said import said
from agent.texts import Severity, Text, Who, text_of, texts_of
from protocol.frozen import dataclass

_FILE = Path(__file__).with_name("texts_operations.toml")


@dataclass(frozen=True, slots=True)
class AlertTexts:
    """One [alert.CODE]."""

    severity: Severity
    who: Who
    text: Text
    action: Text


@dataclass(frozen=True, slots=True)
class CheckTexts:
    """One [check.CODE]."""

    title: Text
    ok: Text
    bad: Text
    action: Text


@dataclass(frozen=True, slots=True)
class PlanTexts:
    """One [plan.NAME]."""

    title: Text
    agent: Text
    people: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Operations:
    """The texts by group and code."""

    alerts: Mapping[str, AlertTexts]
    checks: Mapping[str, CheckTexts]
    plans: Mapping[str, PlanTexts]
    refusals: Mapping[str, Text]
    phrases: Mapping[str, Text]
    drills: Mapping[str, Text]
    words: Mapping[str, Mapping[str, Text]]

    def word(self, kind: str, name: str) -> Text:
        """One word; a word that is not in the catalogue stands for itself."""
        return self.words[kind].get(name, Text(name, name))


@functools.cache
def operations() -> Operations:
    """The texts of this release, read once."""
    with _FILE.open("rb") as file:
        return _read(tomllib.load(file))


def phrase(name: str, language: str, **values: str | Text) -> str:
    """One sentence in one language."""
    return operations().phrases[name].fill(values).of(language)


def refusal(code: str, text: str) -> Text:
    """What the agent's refusal means: in Chinese the same sentence where it is known, else what the code means."""
    known = operations().refusals.get(code)
    quoted, meant = f"{code}: {text}", said(text)
    if meant.zh != meant.en:
        return Text(quoted, f"{meant.zh}（{code}）")
    return Text(quoted, f"{known.zh}（{code}）" if known else quoted)


def _read(data: Mapping[str, Any]) -> Operations:
    return Operations(
        alerts={code: _alert(table) for code, table in data["alert"].items()},
        checks={code: CheckTexts(**texts_of(table)) for code, table in data["check"].items()},
        plans={name: _plan(table) for name, table in data["plan"].items()},
        refusals=texts_of(data["refusal"]),
        phrases=texts_of(data["phrase"]),
        drills=texts_of(data["drill"]),
        words={kind: texts_of(table) for kind, table in data["words"].items()},
    )


def _alert(table: Mapping[str, Any]) -> AlertTexts:
    return AlertTexts(table["severity"], table["who"], text_of(table["text"]), text_of(table["action"]))


def _plan(table: Mapping[str, Any]) -> PlanTexts:
    return PlanTexts(text_of(table["title"]), text_of(table["agent"]), tuple(map(text_of, table["people"])))


def all_texts(texts: Operations) -> Iterator[tuple[str, Text]]:
    """Every text with the place where it stands: for tests and for the documents."""
    for code, alert in texts.alerts.items():
        yield f"alerts.{code}.text", alert.text
        yield f"alerts.{code}.action", alert.action
    for code, check in texts.checks.items():
        for part in ("title", "ok", "bad", "action"):
            yield f"checks.{code}.{part}", getattr(check, part)
    for name, plan in texts.plans.items():
        yield f"plans.{name}.title", plan.title
        yield f"plans.{name}.agent", plan.agent
        yield from ((f"plans.{name}.people.{number}", step) for number, step in enumerate(plan.people))
    for group in ("refusals", "phrases", "drills"):
        for name, text in getattr(texts, group).items():
            yield f"{group}.{name}", text
    for kind, words in texts.words.items():
        for name, text in words.items():
            yield f"words.{kind}.{name}", text
