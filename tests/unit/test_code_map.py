"""docs/code.md names every file of the product once, with the sentence that the file says of itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("agent", "drivers", "protocol")
PAGE = (ROOT / "docs/code.md").read_text(encoding="utf-8")
LINE = re.compile(r"^- `([^`]+)`: (.+)$", re.MULTILINE)


def first_sentence(path: Path) -> str:
    """Of the module's docstring: to the full stop, or the whole first paragraph."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(told.split("\n\n")[0].split())
    found = re.match(r".*?\.(?= |$)", paragraph)
    return found.group() if found else paragraph


def test_every_file_stands_once_under_one_subject() -> None:
    named = [name for name, _ in LINE.findall(PAGE)]
    there = [path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).glob("*.py")]
    assert sorted(named) == sorted(there)


def test_each_line_is_what_its_file_says() -> None:
    wanted = [f"- `{name}`: {first_sentence(ROOT / name)}" for name, _ in LINE.findall(PAGE)]
    assert [line for line in PAGE.splitlines() if line.startswith("- ")] == wanted


def test_every_page_that_it_points_to_exists() -> None:
    pages = re.findall(r"docs/[a-z.-]+[a-z]", PAGE)
    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []
