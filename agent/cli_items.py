"""`reversalctl list`, `show` and `why`: what is open and why, as tables and plain sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.folded_story import folded
from agent.said import said
from agent.status_text import bracketed, colon, columns, item_row, label, local_time, pad, short_span, table, wrap
from agent.texts import catalogue

_WIDTH = 78

_WORDS: dict[str, tuple[str, str]] = {
    "nothing": ("Nothing is open.", "没有未完成的记录。"),
    "shown": (
        "{count} open, {shown} shown, worst first. Why: reversalctl why ID",
        "共 {count} 笔未完成，显示 {shown} 笔，最严重的在前。原因：reversalctl why 编号",
    ),
    "state": ("State", "状态"),
    "reference": ("Reference", "订单号"),
    "kind": ("Kind", "交易类型"),
    "terminal": ("Terminal", "终端号"),
    "merchant": ("Merchant", "商户号"),
    "batch": ("Batch", "批次号"),
    "rrn": ("RRN", "参考号"),
    "approval": ("Approval code", "授权码"),
    "host": ("Host", "主机"),
    "begun": ("Begun", "开始时间"),
    "origin": ("Reversed because", "冲正原因"),
    "open_because": ("Open because", "未决原因"),
    "tries": ("Tries", "发送次数"),
    "last_try": ("Last try", "最近发送"),
    "next_try": ("Next try", "下次发送"),
    "cause": ("Cause", "原因"),
    "money": ("Money", "资金"),
    "evidence": ("Evidence", "证据"),
    "do": ("Do", "处理"),
    "type": ("Type", "命令"),
    "timeline": ("What happened", "经过"),
    "closed": ("Closed", "结案"),
    "lane": ("Lane", "通道"),
    "kept": ("Kept as evidence", "留存证据"),
}


def list_text(items: Sequence[Mapping[str, Any]], pending_count: int, language: str) -> str:
    """A table; each row ends with the diagnosis and who acts."""
    if not items:
        return _word("nothing", language) + "\n"
    head, *rows = table(items, language)
    width = max(columns(row) for row in (head, *rows)) + 2
    lines = [head]
    for one, row in zip(items, rows, strict=True):
        found = one["diagnosis"]
        lines.append(pad(row, width) + found["code"] + bracketed(label(found["who"], language), language))
    lines.append(_word("shown", language).format(count=pending_count, shown=len(items)))
    return "\n".join(lines) + "\n"


def json_lines(items: Iterable[Mapping[str, Any]]) -> str:
    """One object a line."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in items)


def show_text(item: Mapping[str, Any], language: str) -> str:
    """One item, one fact a line, then the diagnosis."""
    lines = [f"{item['id']}  {item['amount']}  {item['card']}", ""]
    facts = [
        (_origin_word(item, language) if name == "origin" else _word(name, language), value)
        for name, value in _facts(item, language)
        if value
    ]
    named = [(name + colon(language).rstrip(), value) for name, value in facts]
    width = max(columns(name) for name, _ in named) + 1
    lines += [pad(name, width) + " " + value for name, value in named]
    return "\n".join([*lines, "", *diagnosis_lines(item, language)]) + "\n"


def why_text(answer: Mapping[str, Any], language: str, *, full: bool = False) -> str:
    """The diagnosis first, then what happened, in order. `full`: every try, also those that ended alike."""
    item = answer["item"]
    suffix, between = _suffix(language), colon(language)
    row = item_row(item, language)
    lines = ["  ".join(row[:4]) + f"  {item[f'state_{suffix}']}", ""]
    if item["origin"]:
        lines += wrap(_origin_word(item, language) + between + item["origin"][f"text_{suffix}"], _WIDTH)
    lines += [*diagnosis_lines(item, language), "", _word("timeline", language) + between.rstrip()]
    for entry in answer["timeline"] if full else folded(answer["timeline"]):
        lines += [f"  {_when(entry)}", *wrap(entry[f"text_{suffix}"], _WIDTH, "      ")]
    return "\n".join(lines) + "\n"


def _when(entry: Mapping[str, Any]) -> str:
    """The time and number of an entry; of several that are told as one, the first and the last."""
    if "until_utc" not in entry:
        return f"{local_time(entry['at_utc'])}  [{entry['seq']}]"
    return f"{local_time(entry['at_utc'])} ... {local_time(entry['until_utc'])}  [{entry['seq']}-{entry['until_seq']}]"


def _origin_word(item: Mapping[str, Any], language: str) -> str:
    """Why it is reversed; of what has no reversal, or not yet, why it is open."""
    waits = item["state"] == "parked" and item["diagnosis"]["code"] in ("D-NOT-CONFIRMED", "D-NO-REVERSAL")
    return _word("open_because" if waits else "origin", language)


def diagnosis_lines(item: Mapping[str, Any], language: str) -> list[str]:
    """Cause, money, evidence, what to do, and the commands for it."""
    found, suffix, between = item["diagnosis"], _suffix(language), colon(language)
    lines = wrap(f"{_word('cause', language)}{between}{found['code']} {found[f'cause_{suffix}']}", _WIDTH)
    lines += wrap(f"{_word('money', language)}{between}{found[f'money_{suffix}']}", _WIDTH)
    for piece in found[f"evidence_{suffix}"]:
        lines += wrap(f"{_word('evidence', language)}{between}{piece}", _WIDTH)
    who = bracketed(label(found["who"], language), language)
    lines += wrap(f"{_word('do', language)}{who}{between}{found[f'action_{suffix}']}", _WIDTH)
    commands = [one for one in found["commands"] if one not in (f"reversalctl why {item['id']}", "reversalctl list")]
    return [*lines, *(f"{_word('type', language)}{between}{command}" for command in commands)]


def nearest(wanted: str, items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids that may be meant: same reference or STAN first, then similar ids."""
    import difflib  # only for a mistyped id

    same = [one["id"] for one in items if wanted in (one["reference"], one["stan"], one["stan"].lstrip("0"))]
    similar = difflib.get_close_matches(wanted, [one["id"] for one in items], n=3, cutoff=0.4)
    return list(dict.fromkeys([*same, *similar]))[:3]


def _facts(item: Mapping[str, Any], language: str) -> list[tuple[str, str]]:
    suffix = _suffix(language)
    origin, closing, kept = item["origin"], item["closing"], item["last_evidence"]
    return [
        ("state", item[f"state_{suffix}"]),
        ("origin", origin[f"text_{suffix}"] if origin else ""),
        ("reference", item["reference"]),
        ("kind", catalogue().word("kind", item["kind"]).of(language)),
        ("lane", item["lane"]),
        ("terminal", item["terminal_id"]),
        ("merchant", item["merchant_id"]),
        ("batch", f"{item['batch']}  {label('stan', language)} {item['stan']}"),
        ("rrn", item["rrn"]),
        ("approval", item["approval_code"]),
        ("host", item["host"]),
        ("begun", local_time(item["begun_utc"]) + bracketed(short_span(item["age_s"], language), language)),
        ("tries", str(item["tries"]) if item["tries"] else ""),
        ("last_try", _last_try(item, language)),
        ("next_try", _next_try(item, language)),
        ("closed", _closed(closing, language) if closing else ""),
        (
            "kept",
            f"{item['evidence_count']}{'；' if language == 'zh' else '; '}{_kept(kept, language)}" if kept else "",
        ),
    ]


def _closed(closing: Mapping[str, Any], language: str) -> str:
    reference = bracketed(closing["bank_reference"], language)
    return f"{closing['by']}{colon(language)}{closing['reason']}{reference}"


def _kept(kept: Mapping[str, Any], language: str) -> str:
    what, detail = said(kept["what"]).of(language), said(kept["detail"]).of(language)
    return what + colon(language) + detail if detail else what


def _last_try(item: Mapping[str, Any], language: str) -> str:
    if not item["last_try_utc"]:
        return ""
    code = (
        f"{item['last_code']} {item[f'last_code_{_suffix(language)}']}"
        if item["last_code"]
        else said(item["last_error"]).of(language)
    )
    return f"{local_time(item['last_try_utc'])}  {code}".rstrip()


def _next_try(item: Mapping[str, Any], language: str) -> str:
    if item["next_try_s"] is None:
        return ""
    return local_time(item["next_try_utc"]) + bracketed(short_span(item["next_try_s"], language), language)


def _suffix(language: str) -> str:
    return "zh" if language == "zh" else "en"


def _word(name: str, language: str) -> str:
    english, chinese = _WORDS[name]
    return chinese if language == "zh" else english
