"""The report's own catalogue (`report.toml`): words of the frame, kinds of incident, recommendations by code."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path

from agent.texts import Text, text_of, texts_of
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
        words=texts_of(data["text"]),
        kinds=texts_of(data["kind"]),
        dimensions=texts_of(data["dimension"]),
        devices=texts_of(data["device"]),
        advice={code: AdviceTexts(text_of(one["text"]), text_of(one["do"])) for code, one in data["advice"].items()},
    )


def word(name: str, /, **values: str | Text) -> Text:
    """One text of the frame, filled in."""
    return texts().words[name].fill(values)
