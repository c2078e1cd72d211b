"""The report as a page: self-contained, for screen and paper; the frame, style and plots are those of status.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.currency import letters
from agent.plots import Band, bands, bars, steps
from agent.report_stories import KINDS, moment
from agent.report_text import bin_names, caption, codes_text, kind_name, share, short_time, store_lines, tries, whole
from agent.report_texts import word
from agent.status_html_markup import Html, both, escape, join, of, tag, told
from agent.status_html_page import figure, page, row, section, table
from agent.status_text import local_time, sized
from agent.texts import Text, duration

# Reversals shown on the page; a spreadsheet takes all of them.
CASES_MAX = 200
INCIDENTS_MAX = 200
_TROUBLE = {"people": "warn", "host": "warn"}
_STATES = ("completed", "declined", "reversed", "settled", "pending")


def render(report: Mapping[str, Any], language: str) -> str:
    """The whole page."""
    body = tag(
        "main",
        _head(report),
        _advice(report),
        _incidents(report),
        _acknowledge(report),
        _offenders(report),
        _balance(report),
        _store(report),
        _cases(report),
        tag("footer", _say("not-in-journal")),
    )
    return page(word("title"), body, language, data={})


def _say(name: str, /, **values: str | Text) -> Html:
    return of(word(name, **values))


def _head(report: Mapping[str, Any]) -> Html:
    money = report["money"]
    period = _say("period", since=local_time(report["since_utc"]), until=local_time(report["until_utc"]))
    made = _say(
        "made",
        records=str(report["records"]),
        last=local_time(report["last_record_utc"]),
        now=local_time(report["made_utc"]),
    )
    lost = escape("")
    if report["unreadable"]:
        lost = tag("div", tag("strong", _say("unreadable", count=str(report["unreadable"]))), class_="banner bad")
    if report["absent"]:
        lost = lost + tag("p", _say("absent", count=str(report["absent"])), class_="small")
    owed = _sums(money["open_amounts"]) or _say("owed-none")
    sums = tag("p", owed, class_="sums" if money["open"] else "sums good", id="sums")
    figures = [
        ("open", str(money["open"]), "bad" if money["open"] else ""),
        ("parked", str(money["parked"]), "bad" if money["parked"] else ""),
        ("returned", str(money["returned"]), ""),
        ("by-hand", str(money["by_hand"]), ""),
        ("sales", str(report["sales"]), ""),
        ("reversals", str(report["reversals"]), ""),
        ("share", share(report), ""),
    ]
    items = [
        tag("li", tag("b", value, id=f"figure-{name}"), _say(name), class_=mark or None)
        for name, value, mark in figures
    ]
    back = join([_say("returned"), ": ", _sums(money["returned_amounts"]) or _say("nothing")])
    card = tag(
        "div",
        tag("p", _say("owed-now"), class_="soft small"),
        sums,
        tag("ul", *items, class_="figures"),
        tag("p", back, class_="soft"),
        class_="card",
    )
    head = tag("p", tag("strong", period), tag("br"), tag("span", made, class_="soft small"))
    return head + lost + section("money", _say("money"), card)


def _sums(amounts: Sequence[Mapping[str, Any]]) -> Html:
    return join([tag("span", amount["text"], class_="sum") for amount in amounts], " ")


# --- what to do --------------------------------------------------------------------------------


def _advice(report: Mapping[str, Any]) -> Html:
    entries = []
    for one in report["advice"]:
        evidence = [both(en, zh) for en, zh in zip(one["evidence_en"], one["evidence_zh"], strict=True)]
        shown = tag("p", _say("evidence"), ": ", join(evidence, "; "), class_="small soft") if evidence else ""
        code = tag("span", one["code"], class_="code")
        entries.append(
            tag(
                "li",
                tag("p", tag("strong", told(one, "text")), " ", code),
                tag("p", told(one, "do"), class_="do"),
                shown,
                class_="good" if one["code"] == "R-NONE" else "bad" if one["code"] in _URGENT else "warn",
            )
        )
    return section("advice", _say("advice"), tag("ul", *entries, class_="steps-to-take"))


_URGENT = frozenset({"R-VERIFY", "R-OPEN", "R-STORAGE"})


# --- incidents ---------------------------------------------------------------------------------


def _incidents(report: Mapping[str, Any]) -> Html:
    found = report["incidents"]
    if not found:
        return section("incidents", _say("incidents"), tag("p", _say("incidents-none"), class_="soft"))
    heads = [
        (_say(name), look)
        for name, look in (
            ("number", "key"), ("kind", "name"), ("began", ""), ("duration", ""), ("money", "number"), ("items", ""),
            ("tries", ""), ("cause", ""),
        )
    ]  # fmt: skip
    rows = [row(heads, _incident(one)) for one in found[-INCIDENTS_MAX:]]
    left = len(found) - INCIDENTS_MAX
    more = tag("p", _say("cases-more", count=str(left))) if left > 0 else ""
    shown = table(heads, [rows], escape("incidents"), rows=True)
    return section("incidents", _say("incidents"), _incident_plot(report), shown, more)


def _incident(one: Mapping[str, Any]) -> list[Html]:
    lane = escape(one["lane"]) if one["lane"] else _say("all-lanes")
    span = duration(one["duration_s"])
    lasted = tag("strong", _say("still", span=span), class_="bad") if one["open"] else of(span)
    quiet = "" if one["quiet_s"] is None else join([tag("br"), _say("quiet", span=duration(one["quiet_s"]))])
    causes = [
        of(word("times", text=Text(cause["text_en"], cause["text_zh"]), count=str(cause["count"])))
        if cause["count"] > 1
        else told(cause, "text")
        for cause in one["causes"]
    ]
    codes = ""
    if one["codes"]:
        codes = tag("span", tag("br"), _say("codes"), ": ", tag("strong", codes_text(one["codes"])))
    return [
        escape(f"#{one['number']}"),
        join([tag("strong", told(one, "kind")), tag("br"), _say("lane"), " ", lane]),
        tag("time", short_time(one["began_utc"]), datetime=one["began_utc"]),
        join([lasted, quiet]),
        join([tag("strong", amount["text"]) for amount in one["amounts"]], tag("br"))
        if one["amounts"]
        else escape("-"),
        join([str(one["items_count"]), tag("br"), tag("span", _few(one["items"]), class_="code soft")]),
        of(tries(one)) if one["attempts"] else escape("-"),
        join([join(causes, "; "), codes]),
    ]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")


def _incident_plot(report: Mapping[str, Any]) -> Html:
    """One row of bands for each kind that occurred, over the whole period."""
    start, end = moment(report["since_utc"]), moment(report["until_utc"])
    if start is None or end is None or end <= start:
        return escape("")
    length = (end - start).total_seconds()
    rows = []
    for kind in KINDS:
        shown = [one for one in report["incidents"] if one["kind"] == kind]
        spans = []
        for one in shown:
            began, ended = moment(one["began_utc"]), moment(one["ended_utc"]) or end
            if began is not None:
                place = (began - start).total_seconds()
                spans.append(Band(place, (ended - start).total_seconds(), _TROUBLE.get(kind, "bad")))
        if shown:
            name = f"plot-{kind}"
            label = join([of(kind_name(kind)), f" ({len(shown)})"])
            rows.append(figure(name, label, bands(spans, 0.0, length, name)))
    ends = tag(
        "div",
        tag("span", local_time(report["since_utc"])),
        tag("span", local_time(report["until_utc"])),
        class_="axis",
        aria_hidden="true",
    )
    return tag("div", tag("p", _say("incidents-plot"), class_="soft small"), *rows, ends, class_="card")


# --- distribution, offenders, balance, cases ---------------------------------------------------


def _acknowledge(report: Mapping[str, Any]) -> Html:
    facts = report["acknowledge"]
    unknown = tag("p", _say("clock", count=str(facts["unknown"]))) if facts["unknown"] else ""
    if not facts["count"]:
        return section("acknowledge", _say("acknowledge"), tag("p", _say("acknowledge-none"), class_="soft"), unknown)
    ends = [one["up_to_s"] for one in facts["bins"]]
    p95 = next(place for place, end in enumerate(ends) if end is None or facts["p95_s"] <= end)
    slow = frozenset(range(p95, len(ends)))
    plot = bars([one["count"] for one in facts["bins"]], "plot-acknowledge", slow)
    counts = [tag("strong", str(one["count"])) if one["count"] else escape("0") for one in facts["bins"]]
    labels = [
        join([count, tag("br"), tag("span", of(name), class_="tick")])
        for count, name in zip(counts, bin_names(facts["bins"]), strict=True)
    ]
    shown = figure("plot-acknowledge", of(caption(facts)), plot, *labels, tall=True)
    return section("acknowledge", _say("acknowledge"), tag("div", shown, unknown, class_="card"))


def _offenders(report: Mapping[str, Any]) -> Html:
    found = report["offenders"]
    if not found:
        return section("offenders", _say("offenders"), tag("p", _say("offenders-none"), class_="soft"))
    names = (
        ("which", "key"), ("dimension", ""), ("reversals", "number"), ("of-sales", "number"), ("tries", "number"),
        ("amounts", "number"),
    )  # fmt: skip
    heads = [(_say(name), look) for name, look in names]
    rows = [
        row(
            heads,
            [
                told(one, "which"),
                told(one, "dimension"),
                escape(str(one["reversals"])),
                escape(str(one["sales"]) if one["sales"] else "-"),
                escape(str(one["attempts"])),
                escape(", ".join(one["amounts"])),
            ],
        )
        for one in found
    ]
    return section("offenders", _say("offenders"), table(heads, [rows], escape("offenders"), rows=True))


def _balance(report: Mapping[str, Any]) -> Html:
    names = ("batch", "lane", "currency", "intents", *_STATES, "balanced")
    heads = [(_say(name), "key" if name == "batch" else "number" if name in _NUMBERS else "") for name in names]
    rows = [row(heads, _batch(one)) for one in report["balance"]]
    shown = table(heads, [rows], escape("balance"), rows=True) if rows else tag("p", _say("empty"))
    lines = tag("p", of(whole(report)), id="whole") + tag("p", _say("balance-note"), class_="small soft")
    return section("balance", _say("balance"), shown, lines)


_NUMBERS = frozenset({"intents", *_STATES})


def _batch(one: Mapping[str, Any]) -> list[Html]:
    counts = [
        join([str(one[name]), tag("br"), tag("span", one["amounts"][name], class_="small soft")])
        if one[name]
        else escape("0")
        for name in _STATES
    ]
    verdict = _say("yes") if one["balanced"] else tag("strong", _say("no"), class_="bad")
    lead = [escape(one["batch"] or "-"), escape(one["lane"]), escape(letters(one["currency"]))]
    return [*lead, escape(str(one["intents"])), *counts, verdict]


def _store(report: Mapping[str, Any]) -> Html:
    """The samples in words, and how they went over the period."""
    told = report["store"]
    lines = [tag("p", of(line), class_="small") for line in store_lines(told)]
    if told is None:
        return section("store", _say("store"), *lines)
    plots = [
        _store_plot(told, "commit_p99_ms", "store-p99-plot", lambda most: f"{most:.1f}"),
        _store_plot(told, "bytes_free", "store-free-plot", sized),
        _store_plot(told, "bytes_used", "store-used-plot", sized),
    ]
    ends = [tag("span", local_time(told[name])) for name in ("since_utc", "until_utc")]
    axis = tag("div", *ends, class_="axis", aria_hidden="true")
    return section("store", _say("store"), tag("div", *lines, *plots, axis, class_="card"))


def _store_plot(told: Mapping[str, Any], fact: str, name: str, shown: Callable[[float], str]) -> Html:
    start = moment(told["since_utc"])
    assert start is not None, "a sample without a readable time was taken"
    places = [(moment(point["at_utc"]), float(point[fact])) for point in told["points"]]
    points = [((at - start).total_seconds(), value) for at, value in places if at is not None]
    most = max(value for _, value in points)
    end = max(points[-1][0], 1.0)
    return figure(name, _say(name, most=shown(most)), steps(points, 0.0, end, name))


def _cases(report: Mapping[str, Any]) -> Html:
    found = report["cases"]
    if not found:
        return section("cases", _say("cases"), tag("p", _say("cases-none"), class_="soft"))
    names = (
        ("item", "key"), ("amount", "number"), ("card", "keep"), ("stan-batch", "keep"), ("state", ""),
        ("tries", "number"), ("codes", ""), ("took", ""), ("why", ""),
    )  # fmt: skip
    heads = [(_say(name), look) for name, look in names]
    rows = [row(heads, _case(one)) for one in found[:CASES_MAX]]
    left = len(found) - CASES_MAX
    more = tag("p", _say("cases-more", count=str(left))) if left > 0 else ""
    return section("cases", _say("cases"), table(heads, [rows], escape("cases"), rows=True), more)


def _case(one: Mapping[str, Any]) -> list[Html]:
    look = {"parked": "chip bad", "reversing": "chip warn"}.get(one["state"], "chip")
    numbers = " ".join(f"#{number}" for number in one["incidents"])
    return [
        tag("span", one["id"], class_="code"),
        escape(one["amount"]),
        escape(one["card"]),
        escape(f"{one['stan']} / {one['batch']}"),
        tag("span", told(one, "state"), class_=look),
        escape(str(one["attempts"])),
        escape(codes_text(one["codes"]) or "-"),
        of(duration(one["took_s"])) if one["ended_utc"] else escape("-"),
        join([told(one, "cause"), f" {numbers}" if numbers else ""]),
    ]
