"""What a cashier is told of the money is true for the kind of transaction."""

from __future__ import annotations

import re

import pytest

from agent.money_effect import EFFECTS, effect_of
from agent.outcome_texts import describe
from agent.records import State
from tests.dialogue import policy
from tests.unit.status_samples import transaction

GIVES_BACK = sorted(kind for kind, effect in EFFECTS.items() if effect in ("undoes", "gives"))
FAILED = (State.DECLINED, State.REVERSING, State.REVERSED, State.PARKED)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def told(kind: str, state: State, **changes: object) -> dict[str, object]:
    return describe(transaction(kind=kind, state=state, **changes), policy().profile)


@pytest.mark.parametrize("state", FAILED)
@pytest.mark.parametrize("kind", GIVES_BACK)
def test_a_void_or_refund_that_failed_is_never_told_as_nothing_charged(kind: str, state: State) -> None:
    """The customer is still charged for what should have been undone."""
    said = told(kind, state)
    english = f"{said['text_en']} {said['next_step_en']}"
    chinese = f"{said['text_zh']} {said['next_step_zh']}"
    assert "nothing is charged" not in english
    assert "gets the money back" not in english.replace("does not get the money back", "")
    assert "未扣款" not in chinese
    assert "款项将退回" not in chinese


def test_a_sale_that_failed_is_told_as_nothing_charged() -> None:
    assert "nothing is charged" in str(told("sale", State.DECLINED)["text_en"])
    assert "未扣款" in str(told("sale", State.REVERSED)["next_step_zh"])


@pytest.mark.parametrize("state", [State.DECLINED, State.REVERSED])
def test_a_void_that_failed_says_that_the_original_stands(state: State) -> None:
    assert "original transaction still stands" in str(told("void", state)["text_en"])
    assert "原交易仍有效" in str(told("void", state)["text_zh"])


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("kind", [*sorted(EFFECTS), "instalment"])
def test_every_state_of_every_kind_is_told_in_both_languages(kind: str, state: State) -> None:
    said = told(kind, state)
    for name in ("text", "next_step"):
        assert said[f"{name}_en"]
        assert not CHINESE.search(str(said[f"{name}_en"]))
        assert CHINESE.search(str(said[f"{name}_zh"]))


@pytest.mark.parametrize("kind", GIVES_BACK)
def test_nobody_is_asked_about_goods_where_nothing_is_sold(kind: str) -> None:
    assert all("goods" not in str(told(kind, state)["next_step_en"]) for state in State)


def test_a_kind_that_a_profile_added_is_taken_to_charge() -> None:
    assert effect_of("instalment") == "takes"


def test_an_undecided_sale_is_not_told_as_cancelled() -> None:
    """Nobody has reversed it: the goods may be gone, and the till is asked."""
    said = told("sale", State.PARKED, undecided=True, cause="not-confirmed")
    assert "cancelled" not in str(said["text_en"])
    assert "confirm or reverse" in str(said["next_step_en"])
    assert "取消" not in str(said["text_zh"])


def test_a_request_that_never_left_sends_nobody_for_another_card() -> None:
    said = told("sale", State.DECLINED, cause="not-sent-network")
    assert "card" not in str(said["next_step_en"])
    assert "换卡" not in str(said["next_step_zh"])
