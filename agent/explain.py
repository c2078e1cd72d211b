"""`reversalctl explain`: an explanation as text for people or as one JSON object, and what a journal item holds.

Everything here prints what `protocol.explain` gives, which is masked already; nothing else is read from the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.currency import money
from agent.records import Transaction, load
from agent.status_text import columns, wrap
from agent.texts import catalogue
from protocol.errors import ProfileError
from protocol.explain import Explanation, Part, Trouble, explain, explain_auto
from protocol.masking import scrub
from protocol.meanings import KINDS, REASON_NAMES, Both, same
from protocol.profile import load_profile, profile_names
from protocol.reversal import reason_of_try, render
from protocol.rules import Profile

EXIT_DAMAGED = 65  # sysexits.h: EX_DATAERR

_BYTES_A_LINE = 12
_INDENT = "      "
# The order in which equal fits are named: general dialects before those of one bank.
_GENERAL_FIRST = ("unionpay-pos", "iso87-ascii", "iso93", "nac-edc", "as2805-like")

_WORDS = {
    "profile": Both("profile", "报文规范"),
    "layout": Both("layout", "格式"),
    "bytes": Both("bytes", "字节"),
    "damaged": Both("DAMAGED at byte", "数据损坏，位于字节"),
    "expected": Both("expected", "应为"),
    "found": Both("found", "实为"),
    "behind": Both("bytes behind the damage are not shown", "损坏处之后的字节不显示"),
    "fits": Both("fits", "符合"),
    "not": Both("does not fit", "不符合"),
    "at": Both("at byte", "位于字节"),
    "item": Both("journal item", "日志记录"),
    "state": Both("state", "状态"),
    "kind": Both("kind", "交易类型"),
    "reason": Both("reversed because", "冲正原因"),
    "attempts": Both("attempts", "发送次数"),
    "card": Both("card", "卡号"),
    "stan": Both("STAN", "流水号"),
    "slot": Both("made anew with each attempt", "每次发送重新生成"),
    "sealed": Both(
        "The bytes are sealed in the journal: ask the running agent, or give --journal COPY (from reversalctl export).",
        "报文字节密封保存在日志中：请查询运行中的系统，或用 --journal 指定 reversalctl export 的副本。",
    ),
    "none": Both("This kind of transaction has no reversal.", "该交易类型没有冲正报文。"),
}
_LAYOUTS = {
    "frame": Both("whole frame", "完整报文"),
    "message": Both("bare message, from the MTI on", "仅报文体（从 MTI 开始）"),
    "without length": Both("frame without its length", "无长度前缀的报文"),
    "unknown envelope": Both("message behind an unknown envelope", "未知报文头之后的报文"),
}


def say(name: str, language: str) -> str:
    """One word of the frame."""
    return _WORDS[name].of(language)


def profiles_for(name: str, directories: Sequence[Path] = ()) -> list[Profile]:
    """The profiles to try: the named one, or every known one for "auto". Raises ProfileError."""
    if name != "auto":
        return [load_profile(name, directories)]
    shipped = sorted(profile_names(), key=lambda one: (one not in _GENERAL_FIRST, _place(one), one))
    own = [str(path) for directory in directories for path in sorted(directory.glob("*.toml"))]
    return [load_profile(one, directories) for one in (*shipped, *_readable(own))]


def _place(name: str) -> int:
    return _GENERAL_FIRST.index(name) if name in _GENERAL_FIRST else len(_GENERAL_FIRST)


def _readable(paths: Sequence[str]) -> list[str]:
    """Those that load: `auto` is about the others; `profile check` says what is wrong with one."""
    good = []
    for path in paths:
        try:
            load_profile(path, [Path(path).parent])
        except ProfileError:
            continue
        good.append(path)
    return good


def explained(data: bytes, profiles: Sequence[Profile]) -> list[Explanation]:
    """The explanations by these profiles, the best first."""
    if len(profiles) == 1:
        return [explain(profiles[0], data, money)]
    return explain_auto(profiles, data, money)


# --- text --------------------------------------------------------------------------------------


def text_of(found: Sequence[Explanation], language: str) -> str:
    """The best explanation; with several, then which profiles fit and why others do not."""
    best = found[0]
    lines = [*_head(best, language), *(line for part in best.parts for line in part_lines(part, language))]
    if best.trouble:
        lines += ["", *_trouble_lines(best, best.trouble, language)]
    if len(found) > 1:
        lines += ["", *_ranking(found, language)]
    return "\n".join(lines)


def _head(one: Explanation, language: str) -> list[str]:
    layout = _LAYOUTS[one.layout].of(language)
    size = f"{len(one.shown)} {say('bytes', language)}"
    return [f"{say('profile', language)} {one.profile.name} ({one.profile.title}); {layout}; {size}", ""]


def part_lines(part: Part, language: str) -> list[str]:
    """One part: offset and bytes, then name and value, then the meanings."""
    rows = [part.hex[at : at + _BYTES_A_LINE] for at in range(0, len(part.hex), _BYTES_A_LINE)] or [()]
    number = f"F{part.field} " if part.kind == "field" else ""
    title = f"{number}{part.title.of(language)}"
    value = f"  {part.value}" if part.value and part.kind != "bitmap" else ""
    width = 3 * _BYTES_A_LINE + 1
    lines = [f"{part.offset:04X}  {' '.join(rows[0]):{width}}{title}{value}".rstrip()]
    lines += [f"{part.offset + n * _BYTES_A_LINE:04X}  {' '.join(row)}" for n, row in enumerate(rows[1:], 1)]
    indent = " " * (6 + width + 2)
    for line in part.lines:
        lines += wrap(line.of(language), 118, indent)
    return lines


def _trouble_lines(one: Explanation, trouble: Trouble, language: str) -> list[str]:
    """The damage with a marker under its bytes."""
    start = max(0, trouble.offset - 8)
    shown = list(one.shown[start : start + 16])
    size = min(trouble.size, 16 - (trouble.offset - start))
    marker = " " * (3 * (trouble.offset - start)) + "^^ " * max(1, size)
    field = "" if trouble.field is None else f" ({_field_name(trouble.field)})"
    colon = "：" if language == "zh" else ": "
    lines = [
        f"{say('damaged', language)} {trouble.offset} (0x{trouble.offset:04X}){field}",
        f"  {say('expected', language)}{colon}{trouble.expected.of(language)}",
        f"  {say('found', language)}{colon}{trouble.found.of(language)}",
        f"  {start:04X}  {' '.join(shown)}",
        f"{' ' * 8}{marker.rstrip()}",
    ]
    if rest := one.shown[trouble.offset :].count(".."):
        lines.append(f"  {rest} {say('behind', language)}")
    return lines


def _field_name(field: int) -> str:
    return {0: "MTI", 1: "bitmap"}.get(field, f"F{field}")


def _ranking(found: Sequence[Explanation], language: str) -> list[str]:
    width = max(columns(one.profile.name) for one in found) + 2
    return [f"  {one.profile.name:{width}}{verdict(one, language)}" for one in found]


def verdict(one: Explanation, language: str) -> str:
    """Why a profile fits or does not, in one line."""
    if one.trouble is None:
        return say("fits", language)
    trouble = one.trouble
    field = "" if trouble.field is None else f" ({_field_name(trouble.field)})"
    colon, comma = ("：", "，") if language == "zh" else (": ", ", ")
    return (
        f"{say('not', language)}{colon}{say('at', language)} {trouble.offset}{field}"
        f"{comma}{say('expected', language)} {trouble.expected.of(language)}"
        f"{comma}{say('found', language)} {trouble.found.of(language)}"
    )


# --- JSON --------------------------------------------------------------------------------------


def json_of(found: Sequence[Explanation]) -> dict[str, Any]:
    """One object: {"profile", "mti", "fields", ...}, or {"error": {...}} when the best one is damaged."""
    best = found[0]
    decoded: dict[str, Any] = {
        "profile": best.profile.name,
        "layout": best.layout,
        "mti": best.mti,
        "kind": best.kind,
        "fields": best.fields,
        "chip": best.chip,
        "parts": [_part_json(part) for part in best.parts],
    }
    if len(found) > 1:
        decoded["profiles"] = [
            {"profile": one.profile.name, "fits": one.fits, **_both("text", _verdict_both(one))} for one in found
        ]
    if best.trouble is None:
        return decoded
    return {"error": {**_trouble_json(best.trouble), "exit": EXIT_DAMAGED, "decoded": decoded}}


def _verdict_both(one: Explanation) -> Both:
    return Both(verdict(one, "en"), verdict(one, "zh"))


def _both(name: str, text: Both) -> dict[str, str]:
    return {f"{name}_en": text.en, f"{name}_zh": text.zh}


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "part": part.kind,
        "field": part.field if part.kind == "field" else None,
        "offset": part.offset,
        "hex": " ".join(part.hex),
        **_both("name", part.title),
        "value": part.value,
        "meaning_en": [line.en for line in part.lines],
        "meaning_zh": [line.zh for line in part.lines],
    }


def _trouble_json(trouble: Trouble) -> dict[str, Any]:
    return {
        "code": "E-MESSAGE" if trouble.field is not None else "E-FRAME",
        "offset": trouble.offset,
        "length": trouble.size,
        "field": trouble.field,
        **_both("expected", trouble.expected),
        **_both("found", trouble.found),
    }


# --- a journal item ----------------------------------------------------------------------------


def explain_item(
    public: str | Mapping[str, Any], body: bytes, directories: Sequence[Path] = ()
) -> tuple[Transaction, Explanation | None]:
    """A journal item from its stored parts: its facts, and its frozen reversal explained by the item's own profile.

    `public` is the entry's JSON (or the dict of it), `body` the opened secret, b"" where it is sealed or there is none.
    The profile is the one of today; the reversal's bytes are those that were frozen, with type and reason of the
    next try where one is owed. Raises ProfileError, ValueError.
    """
    stored = public if isinstance(public, str) else json.dumps(public)
    txn = load(stored, body)
    if not body:
        return txn, None
    profile = load_profile(txn.profile, directories)
    if txn.frozen and txn.reason:
        reason = reason_of_try(txn.frozen, profile, txn.reason, refused=bool(txn.last_code))
        body = render(txn.frozen, repeat=txn.left, reason_code=reason)
    return txn, explain(profile, body, money)


def item_text(txn: Transaction, found: Explanation | None, language: str) -> str:
    """A journal item for people."""
    kind = KINDS.get(txn.kind, same(txn.kind)).of(language)
    state = catalogue().word("state", str(txn.state)).of(language)
    numbers = f"{say('card', language)} {txn.masked_pan}  {say('stan', language)} {txn.stan}"
    lines = [
        f"{say('item', language)} {txn.id}  {say('state', language)} {state}  {say('kind', language)} {kind}",
        f"{_INDENT}{money(txn.amount_minor, txn.currency)}  {numbers}",
        f"{_INDENT}{say('attempts', language)} {txn.attempts}",
    ]
    if txn.reason:
        reason = REASON_NAMES.get(txn.reason, same(txn.reason)).of(language)
        lines.append(f"{_INDENT}{say('reason', language)} {reason} ({scrub(txn.cause)})")
    if found is None:
        return "\n".join([*lines, say("none" if txn.on_unknown != "reverse" else "sealed", language)])
    slots = ", ".join(slot.name for slot in txn.frozen.slots) if txn.frozen else ""
    return "\n".join(
        [
            *lines,
            f"{_INDENT}{say('slot', language)}{'：' if language == 'zh' else ': '}{slots}",
            "",
            text_of([found], language),
        ]
    )


def item_json(txn: Transaction, found: Explanation | None) -> dict[str, Any]:
    """A journal item as one object: that of the message, and the item's own facts under "item"."""
    item = {
        "id": txn.id,
        "state": str(txn.state),
        "kind": txn.kind,
        "stan": txn.stan,
        "amount_minor": txn.amount_minor,
        "currency": txn.currency,
        "card": txn.masked_pan,
        "attempts": txn.attempts,
        "slots": [slot.name for slot in txn.frozen.slots] if txn.frozen else [],
    }
    if found is None:
        return {"profile": txn.profile, "mti": "", "fields": {}, "item": item}
    return {**json_of([found]), "item": item}
