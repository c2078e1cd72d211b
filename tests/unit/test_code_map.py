"""docs/code.md names every file of the product once, with the sentence that the file says of itself."""

from __future__ import annotations

import re

from tests.code_map import PAGE, ROOT, files, made_anew, named

TEXT = PAGE.read_text(encoding="utf-8")


def test_every_file_stands_once_under_one_subject() -> None:
    assert sorted(named(TEXT)) == sorted(files()), "add the line under its subject, then: python -m tests.code_map"


def test_each_line_is_what_its_file_says() -> None:
    assert made_anew(TEXT) == TEXT, "python -m tests.code_map"


def test_every_page_that_it_points_to_exists() -> None:
    pages = re.findall(r"docs/[a-z.-]+[a-z]", TEXT)
    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []
