"""`profile check` and `profile list`: every error with its line, in English and Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.profile_report import (
    in_chinese,
    line_of,
    problems,
    problems_json,
    problems_text,
    profile_rows,
    reason_of,
)
from protocol.profile import profile_names

_PROTOCOL = Path(__file__).resolve().parents[2] / "protocol"
# Where the reasons are written; a literal (or f-string) as the last argument of `error(...)` or first of ProfileError.
_SOURCES = ("profile.py", "profile_policy.py", "profile_sections.py", "tables.py")
_REASON = re.compile(r'(?:\.(?:error|complain|_spoil)\([^,()]*(?:\([^()]*\))?, |ProfileError\()f?"((?:[^"\\]|\\.)*)"')

BAD = """extends = "unionpay-pos"
[retry]
base_s = "soon"
[envelope]
colour = "red"
[mac]
algorithm = "rot13"
"""


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "bank.toml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize("name", profile_names())
def test_the_shipped_profiles_have_no_errors(name: str) -> None:
    file = _PROTOCOL / "profiles" / f"{name}.toml"
    assert problems(file) == []
    assert problems_text(file, [], "en").endswith(": no errors")
    assert problems_text(file, [], "zh").endswith(": 没有错误")


def test_errors_of_several_sections_are_all_told_with_their_lines(tmp_path: Path) -> None:
    found = problems(_file(tmp_path, BAD))
    assert [line_of(error) for error in found] == [3, 5, 7]
    text = problems_text(tmp_path / "bank.toml", found, "en")
    assert text.splitlines()[0] == "bank.toml:3, key retry.base_s: must be a number"
    assert "未知的键" in problems_text(tmp_path / "bank.toml", found, "zh")


def test_json_holds_line_and_both_languages(tmp_path: Path) -> None:
    file = _file(tmp_path, BAD)
    told = problems_json(file, problems(file))
    assert told["errors"][0] == {
        "where": "bank.toml:3, key retry.base_s",
        "line": 3,
        "text_en": "must be a number",
        "text_zh": "必须是数值",
    }


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (error,) = problems(_file(tmp_path, 'title = "x"\n= 3\n'))
    assert line_of(error) == 2
    assert reason_of(error).zh.startswith("不是有效的 TOML")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    (error,) = problems(tmp_path / "none.toml")
    assert reason_of(error).zh.startswith("无法读取")
    assert line_of(error) == 0


def test_every_reason_in_the_source_has_a_chinese_text() -> None:
    reasons = [match for name in _SOURCES for match in _REASON.findall((_PROTOCOL / name).read_text("utf-8"))]
    filled = [re.sub(r"\{[^{}]*(?:\{[^{}]*\})?[^{}]*\}", "X", reason) for reason in reasons]
    assert len(filled) > 25
    assert [reason for reason in filled if in_chinese(_likely(reason)) is None] == []


def _likely(reason: str) -> str:
    """A reason as it reads with values in it."""
    return "must be a number" if reason == "must be X" else reason


def test_every_profile_is_listed_with_its_title(tmp_path: Path) -> None:
    _file(tmp_path, 'extends = "iso93"\ntitle = "Our bank"\n')
    rows = profile_rows([tmp_path])
    assert [row["profile"] for row in rows] == ["bank", *profile_names()]
    assert rows[0]["title"] == "Our bank"


def test_a_broken_profile_of_a_directory_is_listed_with_its_error(tmp_path: Path) -> None:
    _file(tmp_path, BAD)
    assert "E-PROFILE" in profile_rows([tmp_path])[0]["error"]
