"""status.html: the status for a phone or a desktop, worst first, made from the JSON document and the page's memory.

The same facts as status.json and status.txt, in the same order: money first, then what to do, then the queue, then
what stands around it. Bounded: at most `ITEMS_MAX` items are shown whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.plots import Band, bands, steps
from agent.said import coded, said
from agent.status_html_history import History
from agent.status_html_item import finished_table, heads, item_body
from agent.status_html_markup import Html, escape, join, of, tag, told
from agent.status_html_page import facts, figure, page, say, section, table, words
from agent.status_html_watch import LOOK, alerts, host_clock, self_test, session
from agent.status_text import local_time
from agent.texts import catalogue, duration

# Items shown whole: more would make the page slow on a phone, and nobody reads them there.
ITEMS_MAX = 60
# How often an open page looks for a newer one.
RELOAD_S = 10
_LINK_LOOK = {"up": "good", "down": "bad", "unknown": "none"}


def render(document: Mapping[str, Any], history: History, page_every_s: float) -> str:
    """The whole page. `page_every_s`: how much later than status.json it may have been written."""
    body = join(
        [
            _banners(document),
            tag(
                "main",
                _verdict(document),
                _money(document),
                _conditions(document),
                alerts(document),
                _queue(document),
                _history(document, history),
                _lanes(document, history),
                _devices(document, history),
                _store(document),
                _finished(document),
                _unmatched(document),
            ),
            _foot(document),
        ]
    )
    data = {
        "updated": document["updated_utc"],
        "stale": f"{document['stale_after_s'] + page_every_s:g}",
        "reload": f"{RELOAD_S}",
    }
    return page(words()["terminal-title"], body, document["language"], data=data, reloads=True)


def _time(at_utc: str) -> Html:
    return tag("time", local_time(at_utc), datetime=at_utc) if at_utc else escape("")


# --- the top: is it true, how bad, how much money ----------------------------------------------


def _banners(document: Mapping[str, Any]) -> Html:
    stamp = local_time(document["updated_utc"])
    parts = [
        tag("div", tag("strong", say("stale")), say("stale-do"), id="stale", class_="banner bad", hidden=True),
        tag("div", tag("strong", say("clock")), id="clock", class_="banner warn", hidden=True),
        tag("noscript", tag("div", say("no-script", stamp=stamp), class_="banner warn")),
    ]
    if document["stopped"] is not None:
        reason = document["stopped"]["reason"]
        why = say("stopped-why", reason=reason) if reason else ""
        parts.append(tag("div", tag("strong", say("stopped")), why, class_="banner bad"))
    return tag("div", *parts, role="alert")


def _verdict(document: Mapping[str, Any]) -> Html:
    overall = document["overall"]
    word = of(catalogue().word("severity", overall["severity"]))
    since = join(
        [
            say("written"),
            " ",
            _time(document["updated_utc"]),
            " ",
            tag("span", "", lang="en", data_age="en"),
            tag("span", "", lang="zh-CN", data_age="zh"),
        ]
    )
    return tag(
        "div",
        tag("span", word, " ", tag("span", overall["code"], class_="code"), class_="word"),
        tag("p", told(overall, "text"), id="headline"),
        tag("p", since, class_="small"),
        class_=f"verdict {LOOK[overall['severity']]}",
    )


def _money(document: Mapping[str, Any]) -> Html:
    impact = document["impact"]
    if not impact["owed"]:
        sums = tag("p", say("money-none"), class_="sums good", id="sums")
        explained = say("money-zero")
    else:
        each = [tag("span", amount["text"], class_="sum") for amount in impact["amounts"]]
        sums, explained = tag("p", *each, class_="sums", id="sums"), say("money-some")
    return section(
        "money",
        say("money"),
        tag("div", sums, tag("p", explained, class_="soft"), _figures(impact), _batches(impact), class_="card"),
    )


def _figures(impact: Mapping[str, Any]) -> Html:
    shown: list[tuple[str, Html, str]] = [
        ("open", escape(str(impact["owed"])), ""),
        ("parked", escape(str(impact["parked"])), "bad" if impact["parked"] else ""),
        ("held", escape(str(impact["held"])), "warn" if impact["held"] else ""),
        ("oldest", of(duration(impact["oldest_s"])), ""),
        ("cards", escape(str(impact["cards_count"])), ""),
        ("unconfirmed", escape(str(impact["unconfirmed"])), ""),
        ("under-way", escape(str(impact["under_way"])), ""),
    ]
    zero_too = {"open", "parked"}
    needless = {"oldest": not impact["owed"]}
    items = [
        tag("li", tag("b", value, id=f"figure-{name}"), say(name), class_=look or None)
        for name, value, look in shown
        if name in zero_too or (value != "0" and not needless.get(name))
    ]
    return tag("ul", *items, class_="figures")


def _batches(impact: Mapping[str, Any]) -> Html:
    lines = []
    if impact["blocked_lanes"]:
        lines.append(tag("p", tag("strong", say("blocked", lanes=", ".join(impact["blocked_lanes"])), class_="bad")))
    if impact["batches"]:
        each = [
            say("batch-count", terminal=one["terminal_id"], batch=one["batch"], count=str(one["count"]))
            for one in impact["batches"]
        ]
        lines.append(tag("p", say("batches"), ": ", join(each, ", "), class_="small soft"))
    return join(lines)


def _conditions(document: Mapping[str, Any]) -> Html:
    if document["overall"]["severity"] == "ok":
        return escape("")
    entries = []
    for one in document["conditions"]:
        who = "" if one["who"] == "nobody" else tag("span", of(catalogue().word("who", one["who"])), class_="chip")
        code = tag("span", one["code"], class_="code")
        entries.append(
            tag(
                "li",
                tag("p", tag("strong", told(one, "text")), " ", code),
                tag("p", who, " ", told(one, "action"), class_="do"),
                class_=LOOK[one["severity"]],
            )
        )
    return section("conditions", say("conditions"), tag("ul", *entries, class_="steps-to-take"))


# --- the queue ---------------------------------------------------------------------------------


def _queue(document: Mapping[str, Any]) -> Html:
    shown = document["items"][:ITEMS_MAX]
    if not shown:
        return section("queue", say("queue"), tag("p", say("queue-none"), class_="soft"))
    left = document["pending_count"] - len(shown)
    more = tag("p", say("more", count=str(left))) if left > 0 else ""
    columns = heads()
    rows = [item_body(one, columns) for one in shown]
    return section("queue", say("queue"), table(columns, rows, escape("queue")), more)


def _finished(document: Mapping[str, Any]) -> Html:
    if not document["finished"]:
        return escape("")
    return section("finished", say("finished"), finished_table(document["finished"]))


def _unmatched(document: Mapping[str, Any]) -> Html:
    if not document["unmatched"]:
        return escape("")
    lines = [
        tag("li", f"{one['lane']}: {one['what']} ", tag("span", one["detail"], class_="code"))
        for one in document["unmatched"]
    ]
    return section("unmatched", say("unmatched"), tag("ul", *lines, class_="small"))


# --- history -----------------------------------------------------------------------------------


def _history(document: Mapping[str, Any], history: History) -> Html:
    points = [(moment, float(value)) for moment, value in history.points("queue")]
    most = max((int(value) for _, value in points), default=0)
    caption = say("queue-history", now=str(document["impact"]["owed"]), most=str(most))
    plot = steps(points, history.start_s, history.until_s, "plot-queue")
    return section(
        "history", say("history"), tag("div", figure("plot-queue", caption, plot, *_axis(history)), class_="card")
    )


def _axis(history: History) -> tuple[Html, Html]:
    span = max(0.0, history.until_s - history.start_s)
    return say("ago", age=duration(span)), say("now")


def _band_figure(history: History, series: str, name: str, looks: Mapping[str, str], word: str) -> Html:
    spans = history.spans(series)
    row = [Band(began, end, looks.get(value, "bad")) for began, end, value in spans]
    bad = [band for band in row if band.look == "bad"]
    span = duration(sum(band.end - band.start for band in bad))
    caption = say(f"{word}-history", count=str(len(bad)), span=span) if bad else say(f"{word}-steady")
    return figure(name, caption, bands(row, history.start_s, history.until_s, name), *_axis(history))


# --- lanes, devices, store ---------------------------------------------------------------------


def _lanes(document: Mapping[str, Any], history: History) -> Html:
    clocks = [host_clock(document, one["name"]) for one in document["lanes"]]
    cards = [
        _lane(one, history, f"plot-lane-{place}", clock)
        for place, (one, clock) in enumerate(zip(document["lanes"], clocks, strict=True))
    ]
    return section("lanes", say("lanes"), tag("div", *cards, class_="grid"))


def _lane(lane: Mapping[str, Any], history: History, plot: str, clock: Html) -> Html:
    heading = tag("div", tag("h3", say("lane", name=lane["name"])), _sells(lane))
    pairs = [
        (say(name), escape(lane[key]))
        for name, key in (
            ("terminal", "terminal_id"),
            ("merchant", "merchant_id"),
            ("batch", "batch"),
            ("profile", "profile"),
        )
    ]
    link = lane["link"]
    if link is None:
        return tag("article", heading, facts(pairs), class_="card")
    state = join(
        [
            tag("strong", say(link["state"]), class_=_LINK_LOOK[link["state"]]),
            " ",
            say("for-span", span=duration(link["for_s"])),
        ]
    )
    shape = _band_figure(history, f"lane {lane['name']}", plot, _LINK_LOOK, "link")
    return tag(
        "article",
        heading,
        tag("div", state),
        shape,
        facts([*pairs, (say("sign-on"), session(lane)), *_link(link), (say("host-clock"), clock)]),
        class_="card",
    )


def _sells(lane: Mapping[str, Any]) -> Html:
    if not lane["configured"]:
        return tag("span", say("not-configured"), class_="chip bad")
    return tag(
        "span",
        say("sells" if lane["may_sell"] else "sells-not"),
        class_="chip good" if lane["may_sell"] else "chip bad",
    )


def _link(link: Mapping[str, Any]) -> list[tuple[Html, Html]]:
    counters = link["counters"]
    hosts = [
        join([one["name"], " ", tag("span", say(one["state"]), class_=_LINK_LOOK[one["state"]])])
        for one in link["hosts"]
    ]
    counted = say(
        "counters",
        exchanges=str(counters["exchanges"]),
        timeouts=str(counters["timeouts"]),
        failures=str(counters["connect_failures"]),
        resets=str(counters["resets"]),
    )
    error = escape("")
    if link["last_error"]:
        shown = of(said(coded(link["last_error_code"], link["last_error"])))
        error = join([shown, " (", say("ago", age=duration(link["last_error_age_s"])), ")"])
    days = link["certificate_days"]
    left = escape("") if days is None else say("days-left", days=str(days))
    return [
        (say("hosts"), join(hosts, ", ")),
        (say("last-error"), error),
        (say("certificate"), left),
        (say("traffic"), counted),
    ]


def _devices(document: Mapping[str, Any], history: History) -> Html:
    devices: Sequence[Mapping[str, Any]] = document["devices"]
    if not devices:
        return section("devices", say("devices"), tag("p", say("devices-none"), class_="soft"))
    cards = [_device(one, history, f"plot-device-{place}") for place, one in enumerate(devices)]
    return section("devices", say("devices"), tag("div", *cards, class_="grid"))


def _device(device: Mapping[str, Any], history: History, plot: str) -> Html:
    look = "good" if device["usable"] else "bad"
    heading = tag("div", tag("h3", device["name"]), tag("span", told(device, "state"), class_=f"chip {look}"))
    remark = of(said(coded(device["error_code"], device["text"])))
    words_said = tag("p", remark, class_="small soft") if remark else ""
    since = say("for-span", span=duration(device["for_s"])) if device["for_s"] is not None else escape("")
    shape = _band_figure(history, f"device {device['name']}", plot, {"usable": "good", "opening": "warn"}, "device")
    return tag("article", heading, tag("div", since, class_="small soft"), words_said, shape, class_="card")


def _store(document: Mapping[str, Any]) -> Html:
    store, agent = document["store"], document["agent"]
    free = f"{store['bytes_free'] / 1e6:,.0f} MB"
    room = tag("strong", say("full"), class_="bad") if store["full"] else escape(free)
    times = say("write-times", p50=f"{store['commit_p50_ms']:.1f}", p99=f"{store['commit_p99_ms']:.1f}")
    pairs = [
        (say("room"), room),
        (say("write-time"), times),
        (say("records"), escape(str(store["head_seq"]))),
        (say("version"), escape(agent["version"])),
        (say("process"), escape(str(agent["pid"]))),
        (say("uptime"), of(duration(agent["uptime_s"]))),
        (say("self-test"), self_test(document)),
    ]
    warnings = [tag("p", of(said(warning)), class_="warn small") for warning in store["warnings"]]
    return section("store", say("store"), tag("div", facts(pairs), *warnings, class_="card"))


def _foot(document: Mapping[str, Any]) -> Html:
    return tag("footer", say("foot", sequence=str(document["sequence"])))
