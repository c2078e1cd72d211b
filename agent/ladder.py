"""The ladder of a replayed conversation, for people and as one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from agent.conversation_step import Step
from agent.status_text import wrap
from protocol.meanings import KINDS, Both, same

_WIDTH = 118
_TIME_WIDTH = 14
# Above this many seconds a time counts from 1970 and not from the start of something.
_CALENDAR_S = 1e8

_TERMINAL, _HOST, _AGENT = Both("terminal", "终端"), Both("host", "主机"), Both("agent", "系统")
_CARD, _CODE, _STAN = Both("card", "卡号"), Both("code", "应答码"), Both("STAN", "流水号")
_SUMMARY = Both("{steps} steps, {findings} findings", "共 {steps} 步，{findings} 处需要注意")


def ladder_text(steps: Sequence[Step], language: str) -> str:
    """All rungs, then how many findings there are."""
    lines: list[str] = []
    connection = ""
    for step in steps:
        if step.connection != connection:
            connection = step.connection
            lines += ["", f"=== {connection}"]
        lines += _rung(step, language)
    count = sum(len(step.findings) for step in steps)
    return "\n".join([*lines, "", _SUMMARY.of(language).format(steps=len(steps), findings=count)]).lstrip("\n")


def _rung(step: Step, language: str) -> list[str]:
    indent = " " * (_TIME_WIDTH + 2)
    lines = [f"{_clock(step.at):>{_TIME_WIDTH}}  {_arrow(step, language)}  {_facts(step, language)}".rstrip()]
    if step.what.en and (step.code_text.en or step.what.en):
        said = [step.what.of(language), step.code_text.of(language)]
        lines.append(indent + ("，" if language == "zh" else ", ").join(text for text in said if text))
    for text in step.decisions:
        lines += wrap(f"{_AGENT.of(language)}: {text.of(language)}", _WIDTH, indent)
    for found in step.findings:
        lines += wrap(f"! {found.text.of(language)} [{found.code}]", _WIDTH, indent)
    return lines


def _arrow(step: Step, language: str) -> str:
    terminal, host = _TERMINAL.of(language), _HOST.of(language)
    mti = step.mti or "????"
    if step.direction == "to-host":
        return f"{terminal} --{mti}--> {host}"
    if step.direction == "from-host":
        return f"{terminal} <--{mti}-- {host}"
    return f"{terminal} ......... {host}"


def _facts(step: Step, language: str) -> str:
    kind = KINDS.get(step.kind, same(step.kind)).of(language)
    facts = (
        kind,
        f"{_STAN.of(language)} {step.stan}" if step.stan else "",
        step.amount,
        f"{_CODE.of(language)} {step.code}" if step.code else "",
        f"{_CARD.of(language)} {step.card}" if step.card else "",
    )
    return "  ".join(fact for fact in facts if fact)


def _clock(at: float | None) -> str:
    """Time of day, or hours, minutes and seconds since whatever the capture counts from."""
    if at is None:
        return "-"
    if at > _CALENDAR_S:
        try:
            return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
        except (ValueError, OverflowError, OSError):
            return f"{at:.3f}"
    minutes, seconds = divmod(at, 60)
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}:{seconds:06.3f}"


def ladder_json(steps: Sequence[Step]) -> str:
    """One object a line."""
    return "\n".join(json.dumps(_object(step), ensure_ascii=False) for step in steps)


def _object(step: Step) -> dict[str, Any]:
    return {
        "at_s": step.at,
        "connection": step.connection,
        "direction": step.direction,
        "mti": step.mti,
        "what_en": step.what.en,
        "what_zh": step.what.zh,
        "kind": step.kind,
        "stan": step.stan,
        "amount": step.amount,
        "code": step.code,
        "code_text_en": step.code_text.en,
        "code_text_zh": step.code_text.zh,
        "card": step.card,
        "state": step.state,
        "decisions_en": [text.en for text in step.decisions],
        "decisions_zh": [text.zh for text in step.decisions],
        "findings": [{"code": one.code, "text_en": one.text.en, "text_zh": one.text.zh} for one in step.findings],
    }
