"""The report for a terminal or a mail: 80 columns, the same order as the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.currency import letters
from agent.report_texts import texts, word
from agent.status_text import bracketed, colon, columns, comma, local_time, pad, short_span, sized, wrap
from agent.texts import Text, catalogue, duration
from agent.visible import visible

WIDTH = 79
_BAR_MAX = 40


def render(report: Mapping[str, Any], language: str) -> str:
    """The whole text."""
    return "\n".join(_Page(report, language).lines()) + "\n"


class _Page:
    """One report being laid out."""

    def __init__(self, report: Mapping[str, Any], language: str) -> None:
        self._report = report
        self._language = language
        self._suffix = "zh" if language == "zh" else "en"

    def lines(self) -> list[str]:
        """Everything, section by section."""
        parts = (
            self._head(), self._advice(), self._incidents(), self._acknowledge(), self._offenders(), self._balance(),
            self._store(), self._cases(),
        )  # fmt: skip
        return [visible(line.rstrip(), "?") for part in parts for line in part]

    def _say(self, name: str, /, **values: str | Text) -> str:
        return word(name, **values).of(self._language)

    def _told(self, facts: Mapping[str, Any], name: str) -> str:
        return str(facts[f"{name}_{self._suffix}"])

    def _span(self, seconds: float | None) -> str:
        return duration(seconds).of(self._language)

    def _title(self, name: str) -> list[str]:
        heading = self._say(name)
        return ["", heading, "-" * columns(heading)]

    def _head(self) -> Iterator[str]:
        report = self._report
        period = self._say(
            "period", since=local_time(report["since_utc"]), until=local_time(report["until_utc"])
        )  # fmt: skip
        yield f"{self._say('title')}  {period}"
        yield from wrap(
            self._say(
                "made",
                records=str(report["records"]),
                last=local_time(report["last_record_utc"]),
                now=local_time(report["made_utc"]),
            ),
            WIDTH,
        )
        if report["unreadable"]:
            yield from wrap(self._say("unreadable", count=str(report["unreadable"])), WIDTH)
        if report["absent"]:
            yield from wrap(self._say("absent", count=str(report["absent"])), WIDTH)
        yield from self._money()

    def _money(self) -> Iterator[str]:
        money = self._report["money"]
        open_now = self._say("owed-none")
        if money["open"]:
            parked = f"{money['parked']} {self._say('parked')}"
            if self._language == "zh":
                parked = f"{self._say('parked')} {money['parked']}"
            sums = bracketed(_sums(money["open_amounts"]), self._language)
            open_now = f"{money['open']}{sums}{comma(self._language)}{parked}"
        yield from self._title("money")
        rows = [
            ("owed-now", open_now),
            ("returned", _counted(money["returned"], money["returned_amounts"])),
            *([("not-given", _counted(money["not_given"], money["not_given_amounts"]))] if money["not_given"] else []),
            ("by-hand", _counted(money["by_hand"], money["by_hand_amounts"])),
            ("sales", str(self._report["sales"])),
            ("reversals", f"{self._report['reversals']}{bracketed(self._share(), self._language)}"),
        ]
        named = [(self._say(name) + colon(self._language).rstrip(), value) for name, value in rows]
        width = max(columns(name) for name, _ in named) + 2
        yield from (pad(name, width) + value for name, value in named)

    def _share(self) -> str:
        part, of_what = share(self._report), self._say("share")
        return f"{of_what} {part}" if self._language == "zh" else f"{part} {of_what}"

    def _advice(self) -> Iterator[str]:
        yield from self._title("advice")
        for one in self._report["advice"]:
            yield from wrap(f"{one['code']}: {self._told(one, 'text')}", WIDTH)
            yield from wrap(self._say("do") + colon(self._language) + self._told(one, "do"), WIDTH, "  ")
            evidence = "; ".join(one[f"evidence_{self._suffix}"])
            if evidence:
                yield from wrap(self._say("evidence") + colon(self._language) + evidence, WIDTH, "  ")
        yield from wrap(self._say("not-in-journal"), WIDTH)

    def _incidents(self) -> Iterator[str]:
        yield from self._title("incidents")
        if not self._report["incidents"]:
            yield self._say("incidents-none")
        for one in self._report["incidents"]:
            lane = one["lane"] or self._say("all-lanes")
            span = self._span(one["duration_s"])
            lasted = self._say("still", span=span) if one["open"] else span
            told = (self._told(one, "kind"), f"{self._say('lane')} {lane}", local_time(one["began_utc"]), lasted)
            yield f"#{one['number']} {comma(self._language).join(told)}"
            for line in incident_details(one, self._language):
                yield from wrap(line, WIDTH, "   ")

    def _acknowledge(self) -> Iterator[str]:
        told = self._report["acknowledge"]
        yield from self._title("acknowledge")
        if told["unknown"]:
            yield self._say("clock", count=str(told["unknown"]))
        if not told["count"]:
            yield self._say("acknowledge-none")
            return
        yield from wrap(caption(told).of(self._language), WIDTH)
        most = max(one["count"] for one in told["bins"])
        bins = told["bins"]
        last = max(place for place, one in enumerate(bins) if one["count"])
        for one, name in list(zip(bins, bin_names(bins), strict=True))[: last + 1]:
            bar = "#" * -(-one["count"] * _BAR_MAX // most)
            yield pad("  " + name.of(self._language), 20) + f"{one['count']:>6} {bar}"

    def _offenders(self) -> Iterator[str]:
        yield from self._title("offenders")
        if not self._report["offenders"]:
            yield from wrap(self._say("offenders-none"), WIDTH)
            return
        rows = [[self._say(name) for name in ("dimension", "which", "reversals", "of-sales", "tries", "amounts")]]
        for one in self._report["offenders"]:
            of_sales = str(one["sales"]) if one["sales"] else "-"
            rows.append(
                [
                    self._told(one, "dimension"),
                    self._told(one, "which"),
                    str(one["reversals"]),
                    of_sales,
                    str(one["attempts"]),
                    ", ".join(one["amounts"]),
                ]
            )
        yield from _table(rows)

    def _balance(self) -> Iterator[str]:
        yield from self._title("balance")
        names = ("completed", "declined", "reversed", "settled", "pending")
        heads = ("lane", "batch", "currency", "intents", *names, "balanced")
        rows = [[self._say(name) for name in heads]]
        for one in self._report["balance"]:
            counts = [str(one[name]) for name in ("intents", *names)]
            verdict = self._say("yes" if one["balanced"] else "no")
            rows.append([one["lane"], one["batch"] or "-", letters(one["currency"]), *counts, verdict])
        yield from _table(rows)
        yield from wrap(whole(self._report).of(self._language), WIDTH)
        yield from wrap(self._say("balance-note"), WIDTH)

    def _store(self) -> Iterator[str]:
        yield from self._title("store")
        for line in store_lines(self._report["store"]):
            yield from wrap(line.of(self._language), WIDTH)

    def _cases(self) -> Iterator[str]:
        yield from self._title("cases")
        if not self._report["cases"]:
            yield self._say("cases-none")
            return
        rows = [[self._say(name) for name in ("item", "amount", "card", "state", "tries", "codes", "took")]]
        for one in self._report["cases"]:
            took = short_span(one["took_s"], self._language) if one["ended_utc"] else "-"
            codes = codes_text(one["codes"]) or "-"
            rows.append(
                [one["id"], one["amount"], one["card"], self._told(one, "state"), str(one["attempts"]), codes, took]
            )
        yield from _table(rows)


def incident_details(one: Mapping[str, Any], language: str) -> Iterator[str]:
    """Cause, money, tries and codes of one incident, a line each."""
    suffix = "zh" if language == "zh" else "en"
    for cause in one["causes"]:
        text = str(cause[f"text_{suffix}"])
        yield word("times", text=text, count=str(cause["count"])).of(language) if cause["count"] > 1 else text
    if one["quiet_s"] is not None:
        yield word("quiet", span=duration(one["quiet_s"])).of(language)
    money = _sums(one["amounts"]) or word("no-money").of(language)
    between = colon(language)
    named = bracketed(", ".join(one["items"]), language)
    yield f"{word('items').of(language)}{between}{one['items_count']}{named}{'；' if language == 'zh' else '; '}{money}"
    if one["attempts"]:
        yield f"{word('tries').of(language)}{between}{tries(one).of(language)}"
    if one["codes"]:
        yield f"{word('codes').of(language)}{between}{codes_text(one['codes'])}"


def tries(one: Mapping[str, Any]) -> Text:
    """How many tries, from when to when."""
    first, last = short_time(one["first_attempt_utc"]), short_time(one["last_attempt_utc"])
    name = "try-once" if one["attempts"] == 1 else "try-span"
    return word(name, count=str(one["attempts"]), first=first, last=last)


def short_time(at_utc: str) -> str:
    """Month, day and time: the year and the zone stand at the top of the report."""
    return local_time(at_utc)[5:19]


def codes_text(codes: Mapping[str, int]) -> str:
    """Response codes with how often each came: "96 x3, 00"."""
    return ", ".join(f"{code} x{count}" if count > 1 else code for code, count in codes.items())


def caption(told: Mapping[str, Any]) -> Text:
    """The distribution in words."""
    spans = {name: duration(told[f"{name}_s"]) for name in ("p50", "p95", "p99", "slowest")}
    return word("acknowledge-caption", count=str(told["count"]), **spans)


def bin_names(bins: Sequence[Mapping[str, Any]]) -> list[Text]:
    """The histogram's labels: "1 s", "3 s", ..., "longer"."""
    return [word("longer") if one["up_to_s"] is None else _up_to(one["up_to_s"]) for one in bins]


def _up_to(seconds: float) -> Text:
    return Text(f"≤ {short_span(seconds, 'en')}", f"≤ {short_span(seconds, 'zh')}")


def share(report: Mapping[str, Any]) -> str:
    """Reversals among sales: "2.5 %"."""
    return f"{100 * report['reversals'] / report['sales']:.1f} %" if report["sales"] else "-"


def whole(report: Mapping[str, Any]) -> Text:
    """The balance of the whole journal in one line, as `reversalctl verify` gives it."""
    told = report["whole"]
    named = [(count, catalogue().word("state", state)) for state, count in told["states"].items()]
    states = Text(
        " + ".join(f"{count} {name.en}" for count, name in named) or "0",
        " + ".join(f"{count} {name.zh}" for count, name in named) or "0",
    )
    return word("whole", begun=str(told["begun"]), states=states, pending=str(told["pending"]))


def store_lines(store: Mapping[str, Any] | None) -> Iterator[Text]:
    """The store in words, a line each."""
    if store is None:
        yield word("store-none")
        return
    if not store["commit_worst_ms"]:
        yield word("store-idle")
    times = {name: f"{store[f'commit_{name}_ms']:.1f}" for name in ("p50", "p99", "worst")}
    if store["commit_worst_ms"]:
        yield word("store-times", **times)
    if store["slower_by"] is not None:
        yield word("store-slower", times=f"{store['slower_by']:.1f}")
    room = {"free": "bytes_free", "least": "bytes_free_least", "used": "bytes_used", "first": "bytes_used_first"}
    yield word("store-room", **{name: sized(store[key]) for name, key in room.items()})
    if store["full_in_days"] is not None:
        yield word("store-full", days=str(store["full_in_days"]))
    yield word("store-records", count=str(store["records"] - store["records_first"]))
    yield word("store-samples", count=str(store["samples"]))


def kind_name(kind: str) -> Text:
    """A kind of incident."""
    return texts().kinds[kind]


def _sums(amounts: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(amount["text"] for amount in amounts)


def _counted(count: int, amounts: Sequence[Mapping[str, Any]]) -> str:
    return f"{count} ({_sums(amounts)})" if count else "0"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(columns(row[at]) for row in rows) + 2 for at in range(len(rows[0]))]
    for row in rows:
        yield "".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
