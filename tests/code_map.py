"""docs/code.md: which file holds what. `python -m tests.code_map` writes every file's sentence anew.

It names what still has no place on the page: only a person knows under which subject a new file belongs.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/code.md"
ROOMS = ("agent", "drivers", "protocol")
LINE = re.compile(r"^- `([^`]+)`:.*$", re.MULTILINE)


def first_sentence(path: Path) -> str:
    """Of the module's docstring: to the full stop, or the whole first paragraph."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(told.split("\n\n")[0].split())
    found = re.match(r".*?\.(?= |$)", paragraph)
    return found.group() if found else paragraph


def named(page: str) -> list[str]:
    """The files that stand on the page."""
    return LINE.findall(page)


def files() -> list[str]:
    """Those that should."""
    return [path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).glob("*.py")]


def made_anew(page: str) -> str:
    """The page with the sentences as the files say them now; files that are gone have left it."""
    there = [line for line in page.splitlines() if not (found := LINE.match(line)) or (ROOT / found[1]).exists()]
    return LINE.sub(lambda found: f"- `{found[1]}`: {first_sentence(ROOT / found[1])}", "\n".join(there) + "\n")


def main() -> int:
    """See the module."""
    page = made_anew(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    missing = sorted(set(files()) - set(named(page)))
    for name in missing:
        print(f"no place yet: - `{name}`:")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
