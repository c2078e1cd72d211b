"""The catalogue (`texts.toml`): stable codes and what they say to people, in English and Chinese.

Rules not to break:
1. A code never changes once released.
2. Both languages say the same, with the same placeholders; tests keep that.
3. Filling in never fails in front of a user: a value that is not known reads "?".
"""

from __future__ import annotations

import functools
import string
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from protocol.frozen import dataclass

Language = Literal["en", "zh"]

CauseClass = Literal["data", "network", "host", "device", "storage", "operator"]
Who = Literal["shop", "engineer", "bank", "nobody"]
Severity = Literal["ok", "warning", "critical", "unknown"]

_FILE = Path(__file__).with_name("texts.toml")


@dataclass(frozen=True, slots=True)
class Text:
    """The same sentence in both languages."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The sentence in one language; English for a language that the catalogue does not have."""
        return self.zh if language == "zh" else self.en

    def fill(self, values: Values) -> Text:
        """The sentence with its {placeholders} filled in; rule 3."""
        return Text(_filled(self.en, values, "en"), _filled(self.zh, values, "zh"))

    def __add__(self, other: Text) -> Text:
        return Text(self.en + other.en, self.zh + other.zh)


Values = Mapping[str, "str | Text"]


@dataclass(frozen=True, slots=True)
class DiagnosisTexts:
    """One [diagnosis.CODE] of the catalogue."""

    code: str
    cause_class: CauseClass
    who: Who
    patience_s: float
    money: str
    commands: tuple[str, ...]
    symptom: Text
    cause: Text
    action: Text


@dataclass(frozen=True, slots=True)
class ConditionTexts:
    """One [condition.CODE]: something about the agent as a whole."""

    code: str
    severity: Severity
    who: Who
    text: Text
    action: Text


@dataclass(frozen=True, slots=True)
class CommandTexts:
    """One [command.CODE]: something that reversalctl itself says, and its exit status."""

    code: str
    exit_status: int
    text: Text
    action: Text


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All texts by code."""

    diagnoses: Mapping[str, DiagnosisTexts]
    conditions: Mapping[str, ConditionTexts]
    commands: Mapping[str, CommandTexts]
    money: Mapping[str, Text]
    evidence: Mapping[str, Text]
    origins: Mapping[str, Text]
    timeline: Mapping[str, Text]
    words: Mapping[str, Mapping[str, Text]]
    said: Mapping[str, Text]
    wait: Text

    def word(self, kind: str, name: str) -> Text:
        """One word of the registry ("who", "bank"); a word that is not in it stands for itself."""
        return self.words[kind].get(name, Text(name, name))

    def origin(self, cause: str) -> Text:
        """Why a transaction is reversed, from the record's `cause`."""
        return self.origins.get(cause, self.origins["other"]).fill({"cause": cause or "?"})


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue of this release, read once."""
    with _FILE.open("rb") as file:
        return _read(tomllib.load(file))


def duration(seconds: float | None) -> Text:
    """A time span in at most two units: "2 h 5 min", "3 天 4 小时"; "?" where it is not known."""
    if seconds is None:
        return Text("?", "?")
    left = max(0, int(seconds))
    days, left = divmod(left, 86_400)
    hours, left = divmod(left, 3600)
    minutes, rest = divmod(left, 60)
    units = ((days, "d", "天"), (hours, "h", "小时"), (minutes, "min", "分"), (rest, "s", "秒"))
    first = next((place for place, unit in enumerate(units) if unit[0]), 3)
    shown = [unit for unit in units[first : first + 2] if unit[0]] or [units[3]]
    english = " ".join(f"{count} {name}" for count, name, _ in shown)
    return Text(english, " ".join(f"{count} {name}" for count, _, name in shown))


def placeholders(text: str) -> set[str]:
    """The names of the {placeholders} in a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


class _Known(dict[str, str]):
    """Values of one language, looked up only when a text names them; rule 3."""

    def __init__(self, values: Values, language: Language) -> None:
        super().__init__()
        self._values = values
        self._language = language

    def __missing__(self, name: str) -> str:
        value = self._values.get(name, "")
        return (value.of(self._language) if isinstance(value, Text) else value) or "?"


def _filled(text: str, values: Values, language: Language) -> str:
    return text.format_map(_Known(values, language)) if "{" in text else text


def _read(data: Mapping[str, Any]) -> Catalogue:
    return Catalogue(
        diagnoses={code: _diagnosis(code, table) for code, table in data["diagnosis"].items()},
        conditions={code: _condition(code, table) for code, table in data["condition"].items()},
        commands={
            code: CommandTexts(code, table["exit"], text_of(table["text"]), text_of(table["action"]))
            for code, table in data["command"].items()
        },
        money=texts_of(data["money"]),
        evidence=texts_of(data["evidence"]),
        origins=texts_of(data["origin"]),
        timeline=texts_of(data["timeline"]),
        words={kind: texts_of(table) for kind, table in data["words"].items()},
        said=texts_of(data["said"]),
        wait=text_of(data["wait"]),
    )


def _diagnosis(code: str, table: Mapping[str, Any]) -> DiagnosisTexts:
    return DiagnosisTexts(
        code=code,
        cause_class=table["class"],
        who=table["who"],
        patience_s=float(table.get("patience_s", 0)),
        money=table["money"],
        commands=tuple(table["commands"]),
        symptom=text_of(table["symptom"]),
        cause=text_of(table["cause"]),
        action=text_of(table["action"]),
    )


def _condition(code: str, table: Mapping[str, Any]) -> ConditionTexts:
    return ConditionTexts(code, table["severity"], table["who"], text_of(table["text"]), text_of(table["action"]))


def texts_of(table: Mapping[str, Any]) -> dict[str, Text]:
    """Every text of a table of a catalogue, by its name."""
    return {name: text_of(pair) for name, pair in table.items()}


def text_of(pair: Mapping[str, str]) -> Text:
    """One text as it stands in a catalogue."""
    return Text(pair["en"], pair["zh"])


def all_texts(texts: Catalogue) -> Iterator[tuple[str, Text]]:
    """Every text with the place where it stands: for tests and for the documents."""
    for code, diagnosis in texts.diagnoses.items():
        for part in ("symptom", "cause", "action"):
            yield f"diagnosis.{code}.{part}", getattr(diagnosis, part)
    for group, entries in (("condition", texts.conditions), ("command", texts.commands)):
        for code, entry in entries.items():
            yield f"{group}.{code}.text", entry.text
            yield f"{group}.{code}.action", entry.action
    for group in ("money", "evidence", "origins", "timeline", "said"):
        for name, text in getattr(texts, group).items():
            yield f"{group}.{name}", text
    for kind, words in texts.words.items():
        for name, text in words.items():
            yield f"words.{kind}.{name}", text
    yield "wait", texts.wait
