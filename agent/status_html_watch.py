"""What watches the agent, on its page: alerts that stand, the last self test, a lane's sign-on.

Each may be absent: an agent without a monitor, a lane without a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.said import said
from agent.status_html_markup import Html, escape, join, of, tag, told
from agent.status_html_page import say, section
from agent.status_text import local_time, signed

LOOK = {"ok": "good", "warning": "warn", "critical": "bad", "unknown": "none"}
ALERTS_MAX = 30


def alerts(document: Mapping[str, Any]) -> Html:
    """The alerts that stand, worst first, folded: most of them say in other words what the conditions say."""
    standing = document.get("watch", {}).get("alerts", [])
    if not standing:
        return escape("")
    entries = [
        tag(
            "li",
            tag("p", tag("strong", told(one, "text")), " ", tag("span", one["code"], class_="code")),
            tag("p", told(one, "action"), class_="do"),
            tag("p", say("since", stamp=local_time(one["since_utc"])), class_="small soft"),
            class_=LOOK[one["severity"]],
        )
        for one in standing[:ALERTS_MAX]
    ]
    shown = tag("ul", *entries, class_="steps-to-take")
    summary = tag("summary", say("alerts-count", count=str(len(standing))))
    return section("alerts", say("alerts"), tag("details", summary, shown, id="alerts-all"))


def self_test(document: Mapping[str, Any]) -> Html:
    """When the machine was last looked over, with what result, and when it is due again; empty where never."""
    last = document.get("watch", {}).get("selftest")
    if last is None:
        return escape("")
    look = {"pass": "good", "warn": "warn", "fail": "bad"}.get(last["result"], "none")
    due = say("due", stamp=local_time(last["due_utc"]))
    return join(
        [
            tag("strong", say(f"test-{last['result']}"), class_=look),
            " ",
            local_time(last["at_utc"]),
            "; ",
            tag("strong", due, class_="warn") if last["overdue"] else due,
        ]
    )


def host_clock(document: Mapping[str, Any], lane: str) -> Html:
    """How far the lane's host's clock is from ours; empty where the host did not tell."""
    facts = document.get("watch", {}).get("host_clock", {}).get(lane)
    return escape("") if facts is None else escape(f"{signed(facts['offset_s'])} s")


def session(lane: Mapping[str, Any]) -> Html:
    """Whether the lane has signed on; empty where it has no session of its own."""
    facts = lane.get("session")
    if facts is None or not facts["signs_on"]:
        return escape("")
    if facts["signed_on"]:
        return join([tag("span", say("signed-on"), class_="good"), " ", local_time(facts["since_utc"])])
    return join([tag("strong", say("not-signed-on"), class_="bad"), " ", of(said(facts["last_error"]))])
