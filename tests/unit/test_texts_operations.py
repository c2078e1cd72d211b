"""The second part of the catalogue keeps the rules of the first."""

from __future__ import annotations

import pytest

from agent.texts import Text, placeholders
from agent.texts_operations import all_texts, operations, refusal
from tests.unit.test_texts_catalogue import CHINESE, JARGON

EVERY = list(all_texts(operations()))


@pytest.mark.parametrize(("where", "text"), EVERY, ids=[where for where, _ in EVERY])
def test_a_text_has_both_languages_and_the_same_placeholders(where: str, text: Text) -> None:
    assert text.en.strip()
    assert text.zh.strip()
    assert placeholders(text.en) == placeholders(text.zh)
    assert not CHINESE.search(text.en)
    assert not JARGON.search(text.en)


@pytest.mark.parametrize(("where", "text"), EVERY, ids=[where for where, _ in EVERY])
def test_the_chinese_is_chinese(where: str, text: Text) -> None:
    assert CHINESE.search(text.zh) or text.zh == text.en


def test_a_refusal_is_told_in_the_readers_language_and_names_its_code() -> None:
    told = refusal("A-HELD", "the item is held")
    assert told.en == "A-HELD: the item is held"
    assert told.zh.startswith("该笔已被暂停")
    assert "（A-HELD）" in told.zh
    assert refusal("A-UNHEARD-OF", "x").zh == "A-UNHEARD-OF: x"
