"""The report's own catalogue (`report.toml`): words of the frame, kinds of incident, recommendations by code."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path

from agent.texts import Text
from protocol.frozen import dataclass

_FILE = Path(__file__).with_name("report.toml")


@dataclass(frozen=True, slots=True)
class AdviceTexts:
    """One [advice.CODE]."""

    text: Text
    do: Text


@dataclass(frozen=True, slots=True)
class ReportTexts:
    """All texts of the report."""

    words: Mapping[str, Text]
    kinds: Mapping[str, Text]
    dimensions: Mapping[str, Text]
    devices: Mapping[str, Text]
    advice: Mapping[str, AdviceTexts]


@functools.cache
def texts() -> ReportTexts:
    """Read once."""
    with _FILE.open("rb") as file:
        data = tomllib.load(file)
    return ReportTexts(
        words=_pairs(data["text"]),
        kinds=_pairs(data["kind"]),
        dimensions=_pairs(data["dimension"]),
        devices=_pairs(data["device"]),
        advice={code: AdviceTexts(_text(one["text"]), _text(one["do"])) for code, one in data["advice"].items()},
    )


def word(name: str, /, **values: str | Text) -> Text:
    """One text of the frame, filled in."""
    return texts().words[name].fill(values)


def _pairs(table: Mapping[str, Mapping[str, str]]) -> dict[str, Text]:
    return {name: _text(pair) for name, pair in table.items()}


def _text(pair: Mapping[str, str]) -> Text:
    return Text(pair["en"], pair["zh"])
