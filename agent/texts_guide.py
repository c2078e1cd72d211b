"""The documents that are printed from the catalogue: the field guides and the registry of words.

`python -m agent.texts_guide docs` writes them; a test keeps them up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from agent.texts import Catalogue, DiagnosisTexts, catalogue

_CLASSES = ("network", "host", "data", "device", "storage", "operator")

_FRAME: dict[str, tuple[str, str]] = {
    "title": ("Field guide", "现场手册"),
    "intro": (
        "Look for what you see, then read the code. `reversalctl why ID` names the code of an item and fills in its "
        "numbers. Printed from `agent/texts.toml`; do not edit.",
        "先按现象查找，再看对应代码。`reversalctl why 编号` 会给出该笔记录的代码和具体号码。"
        "本文由 `agent/texts.toml` 自动生成，请勿手工修改。",
    ),
    "rule": (
        "Never delete the journal, never reinstall to get rid of an open reversal: the customer's money is in it. "
        "Nothing is lost by switching off: every open reversal is stored and goes on after the start.",
        "切勿删除日志数据库，也不要用重装系统来清除未完成的冲正：持卡人的资金记录在其中。"
        "断电不会丢失：所有未完成冲正均已保存，开机后自动继续。",
    ),
    "symptoms": ("What you see", "现象"),
    "code": ("Code", "代码"),
    "who": ("Who acts", "处理人"),
    "codes": ("The codes", "代码说明"),
    "meaning": ("Meaning", "含义"),
    "money": ("Money", "资金"),
    "action": ("Action", "处理"),
    "commands": ("Type", "命令"),
    "patience": ("Before that", "先等待"),
    "alone": (
        "for the first {minutes} min the agent acts alone: wait",
        "最初 {minutes} 分钟由系统自动处理",
    ),
    "conditions": ("The agent as a whole (`reversalctl status`)", "系统整体状态（`reversalctl status`）"),
    "severity": ("Severity", "级别"),
    "answers": ("What reversalctl itself says", "reversalctl 自身提示"),
    "exit": ("Exit status", "退出码"),
}


def field_guide(language: str) -> str:
    """The whole field guide in one language, as Markdown."""
    texts = catalogue()
    lines = [f"# {_frame('title', language)}", "", _frame("intro", language), "", f"**{_frame('rule', language)}**", ""]
    lines += [*_symptoms(texts, language), f"## {_frame('codes', language)}", ""]
    for entry in _in_order(texts):
        lines += [*_code(entry, texts, language), ""]
    lines += [*_conditions(texts, language), "", *_answers(texts, language)]
    return "\n".join(lines) + "\n"


def words_page() -> str:
    """The registry of words as Markdown."""
    lines = [
        "# Words",
        "",
        "Code, logs, commands, documents and database use these words. Printed from `agent/texts.toml`; do not edit.",
    ]
    for kind, words in catalogue().words.items():
        lines += ["", f"## {kind.replace('_', ' ')}", "", "| word | English | 中文 |", "|---|---|---|"]
        lines += [f"| `{name}` | {text.en} | {text.zh} |" for name, text in words.items()]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Each document by its file name in `docs/`."""
    return {
        "field-guide.en.md": field_guide("en"),
        "field-guide.zh-CN.md": field_guide("zh"),
        "words.md": words_page(),
    }


def _frame(name: str, language: str) -> str:
    english, chinese = _FRAME[name]
    return chinese if language == "zh" else english


def _in_order(texts: Catalogue) -> Iterator[DiagnosisTexts]:
    for cause_class in _CLASSES:
        yield from (entry for entry in texts.diagnoses.values() if entry.cause_class == cause_class)


def _symptoms(texts: Catalogue, language: str) -> list[str]:
    """The index: symptom, code, who acts; one table for each class of causes."""
    lines = [f"## {_frame('symptoms', language)}", ""]
    for cause_class in _CLASSES:
        lines += [f"### {texts.word('class', cause_class).of(language)}", ""]
        lines += [f"| {_frame('symptoms', language)} | {_frame('code', language)} | {_frame('who', language)} |"]
        lines += ["|---|---|---|"]
        for entry in _in_order(texts):
            if entry.cause_class == cause_class:
                who = texts.word("who", entry.who).of(language)
                lines.append(f"| {entry.symptom.of(language)} | [{entry.code}](#{entry.code.lower()}) | {who} |")
        lines.append("")
    return lines


def _code(entry: DiagnosisTexts, texts: Catalogue, language: str) -> list[str]:
    """One code: meaning, money, action, who, commands."""
    lines = [f"### {entry.code}", "", entry.symptom.of(language), ""]
    lines += [_point("meaning", _plain(entry.cause.of(language)), language)]
    lines += [_point("money", _plain(texts.money[entry.money].of(language)), language)]
    who = texts.word("who", entry.who).of(language)
    lines += [_point("action", _plain(entry.action.of(language)), language, who)]
    if entry.patience_s:
        minutes = f"{entry.patience_s / 60:g}"
        lines += [_point("patience", _frame("alone", language).format(minutes=minutes), language)]
    if entry.commands:
        shown = [f"`{command.replace('{id}', 'ID')}`" for command in entry.commands]
        lines += [_point("commands", ("、" if language == "zh" else ", ").join(shown), language)]
    return lines


def _point(name: str, text: str, language: str, who: str = "") -> str:
    """One point of a code; Chinese has marks of its own, and no blank behind them."""
    if language == "zh":
        return f"* {_frame(name, language)}{f'（{who}）' if who else ''}：{text}"
    return f"* {_frame(name, language)}{f' ({who})' if who else ''}: {text}"


def _conditions(texts: Catalogue, language: str) -> list[str]:
    head = ("code", "severity", "meaning", "action", "who")
    lines = [
        f"## {_frame('conditions', language)}",
        "",
        _row(_frame(name, language) for name in head),
        "|---" * 5 + "|",
    ]
    for entry in texts.conditions.values():
        severity = texts.word("severity", entry.severity).of(language)
        cells = (entry.code, severity, _plain(entry.text.of(language)), _plain(entry.action.of(language)))
        lines.append(_row((*cells, texts.word("who", entry.who).of(language))))
    return lines


def _answers(texts: Catalogue, language: str) -> list[str]:
    head = ("code", "exit", "meaning", "action")
    lines = [f"## {_frame('answers', language)}", "", _row(_frame(name, language) for name in head), "|---" * 4 + "|"]
    for entry in texts.commands.values():
        cells = (entry.code, str(entry.exit_status), _plain(entry.text.of(language)), _plain(entry.action.of(language)))
        lines.append(_row(cells))
    return lines


def _row(cells: Iterator[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Placeholders as words in angle brackets, which Markdown must not take for tags."""
    return text.replace("{", "‹").replace("}", "›").replace("|", "\\|")


if __name__ == "__main__":
    for name, page in pages().items():
        Path(sys.argv[1], name).write_text(page, encoding="utf-8")
