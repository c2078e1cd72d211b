"""The catalogue: every code speaks both languages and says the same in each."""

from __future__ import annotations

import re

import pytest

from agent.diagnosis import BY_ERROR, BY_MAC_VERDICT, BY_RESPONSE_CODE
from agent.linkstate import _HINTS
from agent.records import State
from agent.slips import WORDS as SLIP_WORDS
from agent.texts import Text, all_texts, catalogue, duration, placeholders

EVERY = list(all_texts(catalogue()))
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Not words for a shop: no name of a program's inside may reach a person.
JARGON = re.compile(r"\b(traceback|exception|null|None|stack|errno|socket\.|JSON|fsync|commit|mutex|thread)\b")


@pytest.mark.parametrize(("where", "text"), EVERY, ids=[where for where, _ in EVERY])
def test_a_text_has_both_languages_and_the_same_placeholders(where: str, text: Text) -> None:
    assert text.en.strip()
    assert text.zh.strip()
    assert placeholders(text.en) == placeholders(text.zh)


@pytest.mark.parametrize(("where", "text"), EVERY, ids=[where for where, _ in EVERY])
def test_the_chinese_is_chinese_and_the_english_is_not(where: str, text: Text) -> None:
    bare_zh = re.sub(r"\{[a-z_]+\}", "", text.zh)
    assert (
        CHINESE.search(bare_zh) or not re.search(r"[A-Za-z]", re.sub(r"\{[a-z_]+\}", "", text.en)) or "MAC" in text.zh
    )
    assert not CHINESE.search(text.en)


@pytest.mark.parametrize(("where", "text"), EVERY, ids=[where for where, _ in EVERY])
def test_no_jargon_reaches_a_person(where: str, text: Text) -> None:
    assert not JARGON.search(text.en)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [("reversal", "冲正"), ("STAN", "流水号"), ("batch", "批次"), ("response code", "应答码"), ("merchant", "商户")],
)
def test_the_field_terms_stand_in_the_chinese_texts(english: str, chinese: str) -> None:
    """Where English names the thing, Chinese uses the word of the field."""
    about = [(where, text) for where, text in EVERY if english in text.en and where.startswith("diagnosis.")]
    missing = [where for where, text in about if chinese not in text.zh]
    assert len(missing) <= len(about) // 4, missing


def test_the_banks_reference_is_not_taken_for_the_rrn() -> None:
    """参考号 is the RRN; what the bank gives for an adjustment is its 凭证号, in the catalogue and on the slip."""
    zh = [text.zh for _, text in EVERY if "bank's reference" in text.en or "{bank_reference}" in text.en]
    assert zh
    zh += [SLIP_WORDS["settled"][2]]
    assert [text for text in zh if "银行凭证号" not in text] == []


def test_every_error_code_that_a_link_can_have_leads_to_a_diagnosis() -> None:
    assert {f"E-LINK-{kind.upper()}" for kind in _HINTS} <= set(BY_ERROR)


def test_every_code_that_a_diagnosis_can_give_is_in_the_catalogue() -> None:
    codes = {*BY_ERROR.values(), *BY_MAC_VERDICT.values(), *BY_RESPONSE_CODE.values()}
    assert codes <= set(catalogue().diagnoses)


def test_every_diagnosis_names_a_known_class_who_and_money() -> None:
    known = catalogue()
    for entry in known.diagnoses.values():
        assert entry.cause_class in known.words["class"]
        assert entry.who in known.words["who"]
        assert entry.money in known.money


def test_every_state_has_a_word() -> None:
    assert set(catalogue().words["state"]) == {str(state) for state in State}


def test_an_unknown_value_reads_as_a_question_mark() -> None:
    assert Text("code {code}", "应答码 {code}").fill({"code": ""}) == Text("code ?", "应答码 ?")


def test_braces_in_a_value_are_not_placeholders() -> None:
    assert Text("{error}", "{error}").fill({"error": "{stan} {0}"}).en == "{stan} {0}"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0 s", "0 秒"),
        (59.9, "59 s", "59 秒"),
        (61, "1 min 1 s", "1 分 1 秒"),
        (3600, "1 h", "1 小时"),
        (90_061, "1 d 1 h", "1 天 1 小时"),
        (None, "?", "?"),
        (-5, "0 s", "0 秒"),
    ],
)
def test_a_time_span_is_read_in_two_units_at_most(seconds: float | None, english: str, chinese: str) -> None:
    assert duration(seconds) == Text(english, chinese)
