"""`reversalctl profile check` and `list`: what is wrong with a profile, with its line, in English and Chinese.

`protocol.profile` says it in English; the reasons are few and fixed, so the Chinese ones stand here by their pattern.
A reason without a row is shown in English in both languages; a test looks for such reasons.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocol.errors import AgentError, ProfileError
from protocol.meanings import Both
from protocol.profile import check_profile, load_profile, profile_names

EXIT_CONFIG = 78  # sysexits.h: EX_CONFIG

_REASONS = (
    ("unknown key", "未知的键"),
    ("missing key", "缺少必需的键"),
    ("must be a string", "必须是字符串"),
    ("must be a whole number", "必须是整数"),
    ("must be a number", "必须是数值"),
    ("must be true or false", "必须是 true 或 false"),
    ("must be a list of strings", "必须是字符串列表"),
    ("must be a list of whole numbers", "必须是整数列表"),
    ("must be a table", "必须是表"),
    ("has the same value twice", "同一个值出现两次"),
    ("must be between (.+) and (.+)", r"必须在 \1 与 \2 之间"),
    ("must be one of (.+)", r"必须是其中之一：\1"),
    ("must be a message type", "必须是报文类型"),
    ("must be a reversal's type.*", "必须是冲正的报文类型"),
    ("must be ([0-9, or]+) digits or empty", "必须是规定位数的数字或为空"),
    ("must be 6 digits", "必须是 6 位数字"),
    ("must be 10 hexadecimal digits or empty", "必须是 10 位十六进制数字或为空"),
    ("must be hexadecimal bytes or empty", "必须是十六进制字节或为空"),
    ("must be one hexadecimal digit or empty", "必须是一位十六进制数字或为空"),
    ("must be one hexadecimal digit", "必须是一位十六进制数字"),
    ("must be a format like (.+)", r"必须是如下格式：\1"),
    ("must be the number of an element: 2 to 128 without 65", "必须是域号：2 至 128（65 除外）"),
    ("must be 64, 128 or 0 \\(no MAC\\)", "必须是 64、128 或 0（无 MAC）"),
    ("an algorithm needs a field", "使用 MAC 算法时必须指定域"),
    ("element (.+) must be there with 8 bytes or characters", r"必须定义第 \1 域，长度为 8 字节或 8 字符"),
    ("a message on a stream needs a length", "TCP 流上的报文必须有长度前缀"),
    ("lies outside the header", "超出报文头范围"),
    ("is not an element of this profile", "不是本报文规范中的域"),
    ("(.+) is not an element of this profile", r"\1 不是本报文规范中的域"),
    (
        "(.+) is not an element of this profile or positions of one, like 60:3-8",
        r"\1 不是本报文规范中的域或其位置，如 60:3-8",
    ),
    ("is not a template", "不是模板"),
    ("speaks of facts that there are not: (.+)", r"引用了不存在的数据：\1"),
    (
        "cannot be told from (.+) by message type, elements 3, 25 and type",
        r"无法与 \1 区分（报文类型、第 3 域、第 25 域、类型码相同）",
    ),
    ("(element|tag) ([0-9A-F]+) .*must never be stored in a reversal", r"\2：冲正中绝不允许保存该敏感数据"),
    (".* must never be stored in a reversal", "冲正中绝不允许保存该敏感数据"),
    ("(element|tag) ([0-9A-F]+) .*must never be stored in a notice", r"\2：通知报文中绝不允许保存该敏感数据"),
    (".* must never be stored in a notice", "通知报文中绝不允许保存该敏感数据"),
    ("must hold the result_tag", "必须包含 result_tag"),
    ("must be a notice's type.*", "必须是通知的报文类型"),
    ("must be a tag of chip data", "必须是 IC 卡数据标签"),
    (
        "chip data is reduced by chip_field and chip_tags, never copied",
        "IC 卡数据只能按 chip_field 和 chip_tags 精简，不能整体复制",
    ),
    ("(.+) does not fit element (.+) \\((.+)\\)", r"\1 不符合第 \2 域的格式（\3）"),
    ("(.+) is not made of letters and digits", r"\1 只能由字母和数字组成"),
    ("code (.+) has two meanings", r"应答码 \1 有两种含义"),
    ("code (.+) ends the reversal: nobody need be called", r"应答码 \1 使冲正结束：无需告警"),
    (
        "must hold (.+): a reversal never waits only for what may not happen",
        r"必须包含 \1：冲正不能只等待不一定发生的事件",
    ),
    ("code (.+) approves: it never counts without a MAC", r"应答码 \1 表示批准：没有 MAC 时绝不能采信"),
    ("element (.+) is not stored for comparison: it could hold secrets", r"第 \1 域可能含敏感数据，不能用于比较"),
    ("must hold 4 \\(amount\\), 11 \\(STAN\\) and 41 \\(terminal\\)", "必须包含 4（金额）、11（流水号）、41（终端号）"),
    ("must be elements of core other than 11 \\(STAN\\)", "必须是 core 中除 11（流水号）以外的域"),
    ("(.+) is none of (.+)", r"\1 不在可选项中：\2"),
    ("needs \\[session.messages.(.+)\\]", r"需要 [session.messages.\1]"),
    ("`extends` goes in a circle", "extends 形成循环"),
    ("no profile is called (.+)", r"没有名为 \1 的报文规范"),
    ("is not TOML: (.+)", r"不是有效的 TOML：\1"),
    ("cannot be read: (.+)", r"无法读取：\1"),
)
_LINE_IN_TOML = re.compile(r"at line ([0-9]+)")
_PLACE = re.compile(r"(?P<file>.+?):(?P<line>[0-9]+), key (?P<key>.+)")


def in_chinese(reason: str) -> str | None:
    """The Chinese of a reason; None where there is no row for it."""
    for pattern, chinese in _REASONS:
        match = re.fullmatch(pattern, reason, re.DOTALL)
        if match:
            return match.expand(chinese)
    return None


def reason_of(error: ProfileError) -> Both:
    """What is wrong, without its place."""
    reason = error.text.removeprefix(f"{error.where}: ") if error.where else error.text
    return Both(reason, in_chinese(reason) or reason)


def line_of(error: ProfileError) -> int:
    """The line of the file, 0 where it is not known."""
    match = _PLACE.fullmatch(error.where) or _LINE_IN_TOML.search(error.text)
    return int(match["line"] if match and "line" in match.re.groupindex else match[1]) if match else 0


def problems(file: Path, directories: Sequence[Path] = ()) -> list[ProfileError]:
    """Everything that is wrong with a profile file, by line; what it extends is looked up beside it too."""
    found = check_profile(str(file), [*directories, file.parent])
    return sorted(found, key=line_of)


def problems_text(file: Path, found: Sequence[ProfileError], language: str) -> str:
    """One line a problem, or that there is none."""
    if not found:
        return f"{file}: " + Both("no errors", "没有错误").of(language)
    return "\n".join(f"{error.where or file.name}: {reason_of(error).of(language)}{_hint(error)}" for error in found)


def _hint(error: AgentError) -> str:
    return f" ({error.hint})" if error.hint else ""


def problems_json(file: Path, found: Sequence[ProfileError]) -> dict[str, Any]:
    """One object."""
    return {
        "file": str(file),
        "errors": [
            {
                "where": error.where,
                "line": line_of(error),
                "text_en": reason_of(error).en,
                "text_zh": reason_of(error).zh,
            }
            for error in found
        ],
    }


def profile_rows(directories: Sequence[Path] = ()) -> list[dict[str, str]]:
    """Every profile that can be named: those of the directories first, then those that come with the program."""
    rows = []
    for directory in directories:
        for path in sorted(directory.glob("*.toml")):
            rows.append(_row(path.stem, str(path), [directory]))
    known = {row["profile"] for row in rows}
    return rows + [_row(name, "", ()) for name in profile_names() if name not in known]


def _row(name: str, path: str, directories: Sequence[Path]) -> dict[str, str]:
    try:
        profile = load_profile(path or name, directories)
    except ProfileError as error:
        return {"profile": name, "file": path, "title": "", "error": str(error)}
    types = ", ".join(sorted(set(profile.reversal.types.values())))
    return {"profile": name, "file": path, "title": profile.title, "reversal": types, "mac": profile.mac.algorithm}
