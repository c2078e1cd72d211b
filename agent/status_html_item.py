"""One item of the queue, and the table of what ended last, as rows of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.said import said
from agent.status_html_markup import Html, both, escape, join, of, tag, told
from agent.status_html_page import row, say, table
from agent.status_text import local_time
from agent.texts import Text, catalogue, duration

Heads = list[tuple[Html, str]]


def heads() -> Heads:
    """The columns of the queue."""
    names = (
        ("item", "key"), ("amount", "number"), ("card", "keep"), ("stan-batch", "keep"), ("age", ""), ("tries", ""),
        ("last", ""), ("next", ""),
    )  # fmt: skip
    return [(say(name), look) for name, look in names]


def item_body(item: Mapping[str, Any], columns: Heads) -> list[Html]:
    """The rows of one item: its facts, then why and what to do."""
    return [row(columns, _cells(item)), _story(item, len(columns))]


def finished_table(items: Sequence[Mapping[str, Any]]) -> Html:
    """What ended last, newest first."""
    columns: Heads = [
        (say("item"), "key"),
        (say("amount"), "number"),
        (say("card"), "keep"),
        (say("stan-batch"), "keep"),
        (say("outcome"), ""),
        (say("ended"), ""),
    ]
    rows = [
        row(
            columns,
            [
                escape(one["id"]),
                escape(one["amount"]),
                escape(one["card"]),
                escape(f"{one['stan']} / {one['batch']}"),
                _outcome(one),
                escape(local_time(one["ended_utc"]) if one["ended_utc"] else ""),
            ],
        )
        for one in items
    ]
    return table(columns, [rows], escape("finished"), rows=True)


def _outcome(item: Mapping[str, Any]) -> Html:
    code = item["acknowledged_with"] or item["response_code"]
    return join([told(item, "state"), f" ({code})" if code else ""])


def _cells(item: Mapping[str, Any]) -> list[Html]:
    return [
        tag("span", item["id"], class_="code"),
        tag("strong", item["amount"]),
        escape(item["card"]),
        escape(f"{item['stan']} / {item['batch']}"),
        of(duration(item["age_s"])),
        _tries(item),
        _last(item),
        _next(item),
    ]


def _tries(item: Mapping[str, Any]) -> Html:
    count = tag("span", str(item["tries"]), data_tries=item["id"])
    if not item["link_failures"]:
        return count
    return join([count, " (", say("not-left", count=str(item["link_failures"])), ")"])


def _last(item: Mapping[str, Any]) -> Html:
    if item["last_code"]:
        return join([tag("strong", item["last_code"]), " ", told(item, "last_code")])
    return say("no-answer") if item["tries"] else escape("-")


def _next(item: Mapping[str, Any]) -> Html:
    if item["trying_now"]:
        return tag("strong", say("sending"))
    if item["next_try_s"] is None:
        return tag("strong", say("held"), class_="warn") if item["held"] else say("no-next")
    return say("in-time", span=duration(item["next_try_s"]))


def _story(item: Mapping[str, Any], width: int) -> Html:
    found = item["diagnosis"]
    who = "" if found["who"] == "nobody" else join([" (", of(catalogue().word("who", found["who"])), ")"])
    commands = join([tag("code", command) for command in found["commands"]], " ")
    state = tag("span", told(item, "state"), class_="chip bad" if item["state"] == "parked" else "chip")
    cell = tag(
        "td",
        tag("p", state, " ", told(found, "cause"), " ", tag("span", found["code"], class_="code soft")),
        tag("p", tag("strong", say("do"), who, ": "), told(found, "action")),
        tag("p", told(found, "money"), class_="soft"),
        tag("p", commands) if commands else "",
        _evidence(item),
        colspan=width,
        role="cell",
    )
    return tag("tr", cell, class_="story", role="row")


def _evidence(item: Mapping[str, Any]) -> Html:
    found, origin = item["diagnosis"], item["origin"]
    lines = [both(en, zh) for en, zh in zip(found["evidence_en"], found["evidence_zh"], strict=True)]
    if origin is not None:
        lines.insert(0, say("origin", cause=Text(origin["text_en"], origin["text_zh"])))
    lines.append(say("begun", stamp=local_time(item["begun_utc"])))
    last = item["last_evidence"]
    if last is not None:
        what, detail = said(last["what"]), said(last["detail"])
        lines.append(join([f"{local_time(last['at_utc'])}: ", of(what), " ", of(detail)]))
    bank = {name: item[key] for name, key in (("terminal", "terminal_id"), ("merchant", "merchant_id"))}
    lines.append(say("for-the-bank", **bank, batch=item["batch"], stan=item["stan"]))
    fold = tag("ul", *(tag("li", line) for line in lines))
    return tag("details", tag("summary", say("evidence")), fold, class_="small", id=f"more-{item['id']}")
