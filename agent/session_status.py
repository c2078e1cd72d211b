"""A lane's session as status and API show it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.events import Now
from agent.said import said
from agent.session_desk import Seat
from agent.session_texts import CONDITIONS, wanted, wish
from agent.status_item import both
from agent.texts import Severity, Text
from protocol.masking import scrub

_ORDER: Mapping[str, int] = {"critical": 0, "unknown": 1, "warning": 2, "ok": 3}
_ALL_WELL = "S-OK"
# A failed sign-on of a lane whose old session still holds is shown from this many failures on. Assumed: one is chance.
LATE_FAILURES = 2

View = dict[str, Any]


def session_view(seat: Seat, now: Now) -> View:
    """One lane's session: JSON-able, without any key."""
    session, echo = seat.session, seat.echo
    next_s = None if session.wake_at is None else max(0, int(session.wake_at - now.mono))
    return {
        "signs_on": seat.policy.signs_on,
        "required": seat.policy.required,
        "signed_on": session.valid,
        "since_utc": session.since_utc,
        "batch": session.batch,
        "key_check": session.key_check,
        "key_check_value": session.key_value,
        "next_sign_on_s": next_s,
        "step": session.step,
        "wanted": session.wanted,
        **both("wanted", wanted(session.wanted)),
        "failures": session.failures,
        "last_error": scrub(session.last_error),
        "host_asks": session.host_asks,
        **both("host_asks", wish(session.host_asks)),
        "echo": None
        if echo is None
        else {"at_utc": echo.at_utc, "round_trip_ms": echo.round_trip_ms, "text": scrub(echo.text)},
    }


def merged(found: list[View], sessions: Mapping[str, View]) -> list[View]:
    """The conditions of a status with those of the sessions among them, worst first."""
    own = [condition for name, view in sessions.items() for condition in session_conditions(name, view)]
    if not own:
        return found
    return sorted([*(one for one in found if one["code"] != _ALL_WELL), *own], key=lambda one: _ORDER[one["severity"]])


def session_conditions(lane: str, view: Mapping[str, Any]) -> Iterator[View]:
    """What is wrong with one session."""
    why = said(view["last_error"]) if view["last_error"] else Text(view["wanted_en"], view["wanted_zh"])
    failing = bool(view["failures"])
    if failing and view["key_check"] == "wrong" and not view["signed_on"]:
        yield _condition("S-KEYS", lane, why=why)
    elif view["required"] and not view["signed_on"]:
        yield _condition("S-NOT-SIGNED-ON", lane, None if failing else "warning", why=why)
    elif view["failures"] >= LATE_FAILURES:
        yield _condition("S-SIGN-ON-LATE", lane, why=why)
    if view["host_asks"]:
        yield _condition("S-HOST-ASKS", lane, wish=Text(view["host_asks_en"], view["host_asks_zh"]))
    upload = view.get("upload")
    if upload and upload["step"] in ("details", "end") and upload["last_error"]:
        batch = Text(upload["batch"], upload["batch"])
        yield _condition("S-UPLOAD", lane, batch=batch, why=said(upload["last_error"]))
    if unanswered := view.get("script_results", {}).get("unanswered"):
        yield _condition("S-SCRIPT-RESULT", lane, count=Text(str(unanswered), str(unanswered)))


def _condition(code: str, lane: str, severity: Severity | None = None, **values: Text) -> View:
    entry = CONDITIONS[code]
    given: dict[str, str | Text] = {"lane": lane, **values}
    return {
        "code": code,
        "severity": severity or entry.severity,
        "who": entry.who,
        "lane": lane,
        "device": "",
        **both("text", entry.text.fill(given)),
        **both("action", entry.action.fill(given)),
    }
