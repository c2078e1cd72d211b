"""status.txt: the status for a serial console of 80 by 24, worst first, made from the JSON document alone.

The daemon and `reversalctl status` render with the same function. It needs no catalogue (the document carries its
texts in both languages), so the command starts fast; only the frame's own words stand here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

WIDTH, HEIGHT = 80, 23  # of a 24-line console: one line is left for the prompt

_LABELS: dict[str, tuple[str, str]] = {
    "ok": ("OK", "正常"),
    "warning": ("WARNING", "警告"),
    "critical": ("CRITICAL", "严重"),
    "unknown": ("UNKNOWN", "未知"),
    "open": ("Open", "未完成冲正"),
    "none-open": ("Open: no reversals", "未完成冲正：无"),
    "parked": ("need a person", "待人工"),
    "held": ("held", "暂停"),
    "oldest": ("oldest", "最早"),
    "unconfirmed": ("unconfirmed", "未确认"),
    "under-way": ("under way", "进行中"),
    "also": ("Also", "另有"),
    "lane": ("Lane", "通道"),
    "up": ("up", "已连接"),
    "down": ("DOWN", "断线"),
    "link-unknown": ("not used yet", "未使用"),
    "sells": ("may sell", "可交易"),
    "blocked": ("NO NEW SALES", "暂停交易"),
    "no-lane": ("NOT CONFIGURED", "未配置"),
    "devices": ("Devices", "设备"),
    "no-devices": ("none", "无"),
    "store": ("Store", "存储"),
    "free": ("free", "可用"),
    "full": ("FULL", "已满"),
    "commit": ("a write takes", "写入耗时"),
    "wear": ("a reversal writes", "每笔冲正写入"),
    "agent": ("Agent", "系统"),
    "up-for": ("up for", "已运行"),
    "selftest": ("Self test", "自检"),
    "never": ("none yet", "尚未进行"),
    "pass": ("passed", "通过"),
    "warn": ("WARNINGS", "有警告"),
    "fail": ("FAILED", "有故障"),
    "due": ("next due", "下次"),
    "host-clock": ("host's clock", "主机时钟"),
    "item": ("Item", "编号"),
    "amount": ("Amount", "金额"),
    "card": ("Card", "卡号"),
    "stan": ("STAN", "流水号"),
    "age": ("Age", "时长"),
    "tries": ("Tries", "次数"),
    "code": ("Code", "应答码"),
    "next": ("Next", "下次"),
    "now": ("now", "发送中"),
    "in": ("in", ""),
    "more": ("more: reversalctl list", "更多：reversalctl list"),
    "last": ("Last finished", "最近完成"),
    "do": ("Do", "处理"),
    "then": ("Next step", "下一步"),
    "stale": ("stale after", "失效时间"),
    "shop": ("shop", "商户"),
    "engineer": ("field engineer", "现场工程师"),
    "bank": ("bank", "银行"),
    "nobody": ("nobody", "无需人工"),
    "ended": (
        "THE AGENT WAS STOPPED ({reason}). No reversal is being sent. Below: how things stood then.",
        "系统已停止（{reason}），冲正没有在发送。以下为停止时的状态。",
    ),
    "as-asked": ("as asked", "按要求"),
    "start": (
        "systemctl start reversald; then: journalctl -u reversald -n 50",
        "执行 systemctl start reversald；再查看 journalctl -u reversald -n 50",
    ),
}
_COLUMNS = (("item", 14), ("amount", 16), ("card", 17), ("stan", 7), ("age", 8), ("tries", 6), ("code", 5), ("next", 0))
_COLUMNS_ZH = (
    ("item", 14),
    ("amount", 16),
    ("card", 17),
    ("stan", 7),
    ("age", 8),
    ("tries", 5),
    ("code", 7),
    ("next", 0),
)
_CONDITIONS_MAX, _LANES_MAX = 3, 4

# A wide character, or a word of narrow ones, with the closing marks behind it: these never begin a line.
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60"


@cache
def _piece() -> re.Pattern[str]:
    """Compiled when a line is too long: 5 ms that most calls of `reversalctl status` do not need."""
    return re.compile(f"(?:[{_WIDE}]|[^{_WIDE}\\s]+)[，。；：、！？）]*\\s*")


def render(
    document: Mapping[str, Any],
    language: str,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    notice: tuple[str, str] | None = None,
) -> str:
    """The whole text, at most `height` lines of `width` columns.

    `notice`: what stands above everything (the agent is dead) and what to do about it. Without one, a document that
    says by itself that the agent has ended gets one.
    """
    if notice is None and document.get("stopped") is not None:
        notice = _ended(document["stopped"]["reason"], language)
    page = _Page(document, language, width)
    head, tail = page.head(notice), page.tail(notice)
    room = height - len(head) - len(tail)
    return "\n".join(cut(line, width) for line in [*head, *page.body(room), *tail]) + "\n"


def _ended(reason: str, language: str) -> tuple[str, str]:
    """The file outlives its writer: it must not go on saying that all is well."""
    return label("ended", language).format(reason=reason or label("as-asked", language)), label("start", language)


def columns(text: str) -> int:
    """Columns of a text on a terminal: Chinese characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def pad(text: str, width: int) -> str:
    """The text cut or filled with blanks to that many columns; with width 0 as it is."""
    if not width:
        return text
    text = cut(text, width - 1)
    return text + " " * (width - columns(text))


def colon(language: str) -> str:
    """What stands between a name and its value; Chinese has a mark of its own, as wide as ours with its blank."""
    return "：" if language == "zh" else ": "


def comma(language: str) -> str:
    """What stands between the pieces of a line."""
    return "，" if language == "zh" else ", "


def bracketed(text: str, language: str) -> str:
    """The text in brackets, with what stands before them."""
    return f"（{text}）" if language == "zh" else f" ({text})"


def cut(text: str, width: int) -> str:
    """The text in at most that many columns; "~" at its end says that something is missing."""
    if columns(text) <= width:
        return text
    kept = ""
    for character in text:
        if columns(kept + character) > width - 1:
            break
        kept += character
    return kept + "~"


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of that many columns, broken at blanks or between Chinese characters."""
    lines, line = [], ""
    for word in _words(text):
        if line and columns(indent + line + word.rstrip()) > width:
            lines.append(indent + line.rstrip())
            line = ""
        line += word if line else word.lstrip()
    return [*lines, indent + line.rstrip()] if line.strip() else lines


def short_span(seconds: float | None, language: str) -> str:
    """A time span in one unit for a table: "45 s", "12 min", "3 h", "9 d"."""
    if seconds is None:
        return "?"
    for length, english, chinese in ((86_400, "d", "天"), (3600, "h", "小时"), (60, "min", "分")):
        if seconds >= length:
            return f"{int(seconds // length)} {chinese if language == 'zh' else english}"
    return f"{int(seconds)} {'秒' if language == 'zh' else 's'}"


def item_row(item: Mapping[str, Any], language: str) -> list[str]:
    """The cells of one item, in the order of the table's columns."""
    return [
        item["id"],
        item["amount"],
        item["card"],
        item["stan"],
        short_span(item["age_s"], language),
        str(item["tries"]),
        item["last_code"] or "-",
        _next(item, language),
    ]


def table(items: Iterable[Mapping[str, Any]], language: str) -> list[str]:
    """Head and one line for each item."""
    shape = _shape(language)
    head = [label(name, language) for name, _ in shape]
    rows = [head, *(item_row(one, language) for one in items)]
    return ["".join(pad(cell, size) for cell, (_, size) in zip(row, shape, strict=True)).rstrip() for row in rows]


def label(name: str, language: str) -> str:
    """One word of the frame."""
    english, chinese = _LABELS[name]
    return chinese if language == "zh" else english


def local_time(at_utc: str) -> str:
    """A stamp in this machine's own time zone, for people: "2026-03-04 15:06:07 +0800"."""
    try:
        from datetime import datetime  # 10 ms, for items only

        return datetime.fromisoformat(at_utc).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return at_utc


class _Page:
    """One document being laid out."""

    def __init__(self, document: Mapping[str, Any], language: str, width: int) -> None:
        self._document = document
        self._language = language
        self._width = width

    def head(self, notice: tuple[str, str] | None) -> list[str]:
        overall = self._document["overall"]
        severity = "critical" if notice else overall["severity"]
        return [
            *self._worst(self._label(severity), notice[0] if notice else self._headline(), beneath=notice is not None),
            self._impact(),
            *self._also(),
            *self._lanes(),
            self._devices(),
            self._store(),
            self._agent(),
            *self._selftest(),
        ]

    def _worst(self, severity: str, headline: str, *, beneath: bool) -> list[str]:
        """What is worst and when this was written; a headline that has no room beside the time stands beneath."""
        line, written = f"{severity}  {headline}", self._written()
        if not beneath and columns(line) + 1 + columns(written) < self._width:
            return [self._spread(line, written)]
        return [self._spread(severity, written), *wrap(headline, self._width, "  ")]

    def body(self, room: int) -> list[str]:
        items = self._document["items"]
        if not items:
            return self._finished(room)
        rows = table(items, self._language)
        lines = ["-" * self._width, rows[0]]
        shown = 0
        for one, row in zip(items, rows[1:], strict=True):
            block = [row, *self._why(one)]
            if len(lines) + len(block) + 1 > room and shown:
                break
            lines += block
            shown += 1
        left = self._document["pending_count"] - shown
        return [*lines[: room - 1], f"... {left} {self._label('more')}"] if left > 0 else lines[:room]

    def tail(self, notice: tuple[str, str] | None) -> list[str]:
        """What to do next, as commands."""
        first = self._document["conditions"][0]
        step = notice[1] if notice else first[f"action_{self._suffix}"]
        return _clip(wrap(self._named("then", step), self._width), 2)

    @property
    def _suffix(self) -> str:
        return "zh" if self._language == "zh" else "en"

    def _label(self, name: str) -> str:
        return label(name, self._language)

    def _named(self, name: str, value: str) -> str:
        return self._label(name) + colon(self._language) + value

    def _counted(self, count: int, name: str) -> str:
        return f"{self._label(name)} {count} 笔" if self._language == "zh" else f"{count} {self._label(name)}"

    def _listed(self, pieces: Iterable[str]) -> str:
        return comma(self._language).join(pieces)

    def _headline(self) -> str:
        overall = self._document["overall"]
        return f"{overall['code']}: {overall['text_' + self._suffix]}"

    def _written(self) -> str:
        return local_time(self._document["updated_utc"])

    def _spread(self, left: str, right: str) -> str:
        room = self._width - columns(right) - 1
        return pad(left, room) + " " + right if room > 20 else left

    def _impact(self) -> str:
        impact = self._document["impact"]
        others = [
            self._counted(impact[key], name)
            for key, name in (("unconfirmed", "unconfirmed"), ("under_way", "under-way"))
            if impact[key]
        ]
        if not impact["owed"]:
            return self._listed([self._label("none-open"), *others])
        amounts = ", ".join(amount["text"] for amount in impact["amounts"])
        parts = [self._named("open", f"{impact['owed']}{bracketed(amounts, self._language)}")]
        parts += [self._counted(impact[key], key) for key in ("parked", "held") if impact[key]]
        parts.append(f"{self._label('oldest')} {short_span(impact['oldest_s'], self._language)}")
        return self._listed([*parts, *others])

    def _also(self) -> list[str]:
        """The conditions after the first, as far as there is room."""
        others = self._document["conditions"][1 : 1 + _CONDITIONS_MAX]
        return [self._named("also", f"{one['code']} {one['text_' + self._suffix]}") for one in others]

    def _lanes(self) -> list[str]:
        return [self._lane(lane) for lane in _worst_lanes(self._document["lanes"])[:_LANES_MAX]]

    def _lane(self, lane: Mapping[str, Any]) -> str:
        name = f"{self._label('lane')} {lane['name']}{colon(self._language)}"
        if not lane["configured"]:
            return name + self._label("no-lane")
        sells = self._label("sells" if lane["may_sell"] else "blocked")
        link = lane["link"]
        if link is None:
            return name + sells
        state = self._label(link["state"] if link["state"] != "unknown" else "link-unknown")
        words = [sells, f"{state} {short_span(link['for_s'], self._language)}"]
        if link["last_error_code"] and link["state"] == "down":
            words.append(link["last_error_code"])
        return name + self._listed(words)

    def _devices(self) -> str:
        devices = self._document["devices"]
        shown = self._listed(f"{one['name']} {one['state_' + self._suffix]}" for one in devices)
        return self._named("devices", shown or self._label("no-devices"))

    def _store(self) -> str:
        store = self._document["store"]
        room = self._label("full") if store["full"] else f"{sized(store['bytes_free'])} {self._label('free')}"
        wear_kb = store["bytes_per_reversal"] / 1000
        told = [room]
        if store["commits"]:
            told.append(f"{self._label('commit')} {store['commit_p50_ms']:.1f} ms")
        if wear_kb:
            told.append(f"{self._label('wear')} {wear_kb:.0f} kB")
        return self._named("store", self._listed(told))

    def _agent(self) -> str:
        agent = self._document["agent"]
        up_for = short_span(agent["uptime_s"], self._language)
        told = (agent["version"], f"pid {agent['pid']}", f"{self._label('up-for')} {up_for}")
        return self._named("agent", self._listed(told))

    def _selftest(self) -> list[str]:
        """The last self test and the next; how far the host's clock is from ours. Without a monitor: nothing."""
        watch = self._document.get("watch") or {}
        if "selftest" not in watch:
            return []
        last = watch["selftest"]
        told = self._label("never")
        if last is not None:
            due = f"{self._label('due')} {local_time(last['due_utc'])[5:16]}"
            told = self._listed([f"{self._label(last['result'])} {local_time(last['at_utc'])[5:16]}", due])
        apart = max((facts["offset_s"] for facts in watch.get("host_clock", {}).values()), key=abs, default=None)
        between = "；" if self._language == "zh" else "; "
        clock = "" if apart is None else f"{between}{self._label('host-clock')} {signed(apart)} s"
        return [self._named("selftest", told + clock)]

    def _why(self, item: Mapping[str, Any]) -> list[str]:
        found = item["diagnosis"]
        suffix = self._suffix
        who = bracketed(self._label(found["who"]), self._language)
        action = f"{self._label('do')}{who}{colon(self._language)}{found['action_' + suffix]}"
        return [
            *_clip(wrap(f"{found['code']}: {found['cause_' + suffix]}", self._width, "  "), 2),
            *_clip(wrap(action, self._width, "  "), 2),
        ]

    def _finished(self, room: int) -> list[str]:
        """With nothing open: what was done last."""
        lines = [
            "  ".join(
                ("", one["id"], one["amount"], one["stan"], one[f"state_{self._suffix}"], local_time(one["ended_utc"]))
            )
            for one in self._document["finished"]
        ]
        return [self._named("last", "").rstrip(), *lines][:room] if lines else []


def _clip(lines: list[str], most: int) -> list[str]:
    """The first lines; a "~" says that there is more."""
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + "~"]


def _worst_lanes(lanes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Lanes that cannot sell, then those that are down; else in the order of the configuration."""
    return sorted(lanes, key=lambda lane: (lane["may_sell"], (lane["link"] or {}).get("state") != "down"))


def _shape(language: str) -> Sequence[tuple[str, int]]:
    return _COLUMNS_ZH if language == "zh" else _COLUMNS


def _next(item: Mapping[str, Any], language: str) -> str:
    if item["trying_now"]:
        return label("now", language)
    if item["next_try_s"] is None:
        return label("held", language) if item["held"] else "-"
    return short_span(item["next_try_s"], language)


def _words(text: str) -> list[str]:
    """Pieces that may stand at the end of a line, each with the blanks behind it."""
    return _piece().findall(text)


def signed(seconds: float) -> str:
    """Whole seconds with their sign: "+3", "-61", "+0"."""
    return f"{round(seconds):+d}"


def sized(count: float) -> str:
    """Bytes as people say them: "1.5 MB"."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
