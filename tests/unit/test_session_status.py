"""What people are told of a session: its view without keys, and the conditions that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.session import Session
from agent.session_desk import EchoResult, Seat
from agent.session_status import merged, session_conditions, session_view
from tests.unit.session_samples import MAK, PIK, at, block, policy, session

OK = {"code": "S-OK", "severity": "ok"}
PENDING = {"code": "S-PENDING", "severity": "warning"}


def seat(one: Session, **rules: Any) -> Seat:
    """A lane's seat with this session."""
    return Seat(one, policy(**rules), None, lambda provider: None)


def found(one: Session, **rules: Any) -> list[tuple[str, str]]:
    """Code and severity of each condition."""
    view = session_view(seat(one, **rules), at(100))
    return [(condition["code"], condition["severity"]) for condition in session_conditions("main", view)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"valid": True}, []),
        ({"wanted": "start"}, [("S-NOT-SIGNED-ON", "warning")]),
        ({"wanted": "start", "failures": 1, "last_error": "no way"}, [("S-NOT-SIGNED-ON", "critical")]),
        ({"failures": 1, "key_check": "wrong"}, [("S-KEYS", "critical")]),
        ({"valid": True, "failures": 1}, []),
        ({"valid": True, "failures": 2, "last_error": "no way"}, [("S-SIGN-ON-LATE", "warning")]),
        ({"valid": True, "host_asks": "update"}, [("S-HOST-ASKS", "warning")]),
    ],
)
def test_what_is_wrong_with_a_session_is_said(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert found(replace(session(), **changes)) == expected


def test_a_lane_that_needs_no_session_lacks_none() -> None:
    assert found(session(), signs_on=False) == []
    assert found(session(), sign_on_required=False) == []


def test_texts_name_lane_cause_and_next_step_in_both_languages() -> None:
    view = session_view(seat(replace(session(), failures=1, last_error="no way")), at(0))
    (condition,) = session_conditions("till-1", view)
    for language in ("en", "zh"):
        assert "till-1" in condition[f"text_{language}"]
        assert "no way" in condition[f"text_{language}"]
        assert "reversalctl sign-on till-1" in condition[f"action_{language}"]


def test_the_cause_is_chinese_in_the_chinese_text() -> None:
    failure = "E-LINK-REFUSED: 192.0.2.1:5000 refused the connection (ask the acquirer)"
    view = session_view(seat(replace(session(), failures=1, last_error=failure)), at(0))
    (condition,) = session_conditions("till-1", view)
    assert condition["text_zh"].endswith("：主机拒绝连接（E-LINK-REFUSED）")


def test_conditions_of_sessions_stand_among_the_others_worst_first() -> None:
    failing = session_view(seat(replace(session(), failures=1)), at(0))
    well = session_view(seat(replace(session(), valid=True)), at(0))
    assert merged([OK], {"main": well}) == [OK]
    assert [one["code"] for one in merged([OK], {"main": failing})] == ["S-NOT-SIGNED-ON"]
    assert [one["code"] for one in merged([PENDING], {"main": failing})] == ["S-NOT-SIGNED-ON", "S-PENDING"]


def test_the_view_shows_times_and_echo_and_no_key() -> None:
    one = seat(replace(session(), valid=True, keys=block(PIK, MAK), key_value="ABCD1234", wake_at=160.5))
    one.echo = EchoResult("2026-03-07T08:00:00.000Z", 21.5, "answered")
    view = session_view(one, at(100))
    assert (view["next_sign_on_s"], view["echo"]["round_trip_ms"], view["key_check_value"]) == (60, 21.5, "ABCD1234")
    assert block(PIK, MAK)[:16] not in str(view)
