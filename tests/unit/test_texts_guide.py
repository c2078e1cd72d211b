"""The documents printed from the catalogue are those of this catalogue, and lead from symptom to action."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import agent
from agent.texts import catalogue
from agent.texts_guide import field_guide, pages

DOCS = Path(agent.__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_printed_document_is_up_to_date(name: str) -> None:
    """Else: python -m agent.texts_guide docs"""
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_code_is_found_by_its_symptom_and_has_its_section(language: str) -> None:
    guide = field_guide(language)
    for code, entry in catalogue().diagnoses.items():
        assert f"| {entry.symptom.of(language)} | [{code}](#{code.lower()}) |" in guide
        assert f"\n### {code}\n" in guide
    for code in (*catalogue().conditions, *catalogue().commands):
        assert f"\n| {code} | " in guide


def test_no_placeholder_is_left_that_markdown_would_swallow() -> None:
    assert all("{" not in page and "<" not in page for page in pages().values())


def test_the_chinese_guide_uses_chinese_marks() -> None:
    """A half-width colon, comma or bracket behind a Chinese character is a trace of the English frame."""
    assert re.findall(r"[\u4e00-\u9fff][:;,()]", field_guide("zh")) == []
