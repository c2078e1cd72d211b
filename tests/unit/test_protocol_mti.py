"""Message types: what answers what, what repeats what."""

from __future__ import annotations

import pytest

from protocol.errors import MessageError
from protocol.mti import describe, is_reply, is_reversal, is_valid, repeat_of, reply_to


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("0100", "0110"),
        ("0200", "0210"),
        ("0220", "0230"),
        ("0400", "0410"),
        ("0401", "0410"),
        ("0420", "0430"),
        ("0421", "0430"),
        ("0800", "0810"),
        ("0820", "0830"),
        ("1420", "1430"),
        ("1421", "1430"),
        ("1804", "1814"),
    ],
)
def test_a_repeat_is_answered_like_its_original(sent: str, answer: str) -> None:
    assert reply_to(sent) == answer


@pytest.mark.parametrize("mti", ["0210", "0430", "", "02", "9999", "abcd"])
def test_an_answer_has_no_answer(mti: str) -> None:
    with pytest.raises(MessageError):
        reply_to(mti)


def test_a_repeat_says_it_is_one_and_stays_one() -> None:
    assert repeat_of("0420") == "0421" == repeat_of("0421")
    assert repeat_of("0400") == "0401"


def test_types_are_told_apart() -> None:
    assert is_reversal("0400")
    assert is_reversal("1430")
    assert not is_reversal("0200")
    assert is_reply("0410")
    assert not is_reply("0420")
    assert is_valid("0200")
    assert not is_valid("3200")
    assert not is_valid("02000")


def test_types_are_described_in_both_languages() -> None:
    assert describe("0421") == "reversal advice, repeat"
    assert describe("0421", "zh") == "冲正通知（重发）"
    assert describe("0210", "zh") == "金融应答"
    assert describe("0900") == "unknown request"
