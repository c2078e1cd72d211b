"""docs/api.md names every method of the running daemon and every error code of the sources, and none that is gone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agent import rights

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
CODE = re.compile(r'"(A-[A-Z]+(?:-[A-Z]+)*)"')
# A desk's table of methods: "name": what does it.
METHOD = re.compile(r'"([a-z]+\.[a-z_]+)": [a-z]')


@pytest.fixture(scope="module")
def methods() -> set[str]:
    """What the desks put into the daemon's table."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "agent").glob("*.py"))]
    return {name for text in sources for name in METHOD.findall(text) if not name.endswith(".md")}


def first_cells() -> set[str]:
    """The methods that have a row of their own."""
    return set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", PAGE, re.MULTILINE)) - {"error.code"}


def test_every_method_of_the_daemon_has_a_row_and_no_other(methods: set[str]) -> None:
    assert len(methods) > 30
    assert first_cells() == methods


def test_every_right_is_given_for_a_method_that_exists(methods: set[str]) -> None:
    assert set(rights.METHODS) <= methods


def test_every_error_code_of_the_sources_is_explained_and_no_other() -> None:
    raised = {code for path in (ROOT / "agent").glob("*.py") for code in CODE.findall(path.read_text(encoding="utf-8"))}
    told = set(re.findall(r"`(A-[A-Z]+(?:-[A-Z]+)*)`", PAGE))
    assert len(raised) > 60
    assert raised - told == set()
    assert told - raised == set()


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_a_shell_example_works_as_it_is_printed(page: str) -> None:
    """A request is one line with its end; socat leaves half a second after its input unless it is told to wait."""
    text = (ROOT / page).read_text(encoding="utf-8")
    examples = re.findall(r"^(?:\$ )?(echo|printf) ([^|]*)\|\s+socat (.*)$", text, re.MULTILINE)
    assert len(examples) == text.count("| socat") + len(re.findall(r"\|\n\s+socat", text)) > 0
    for command, words, options in examples:
        request = json.loads(words.strip().removeprefix("'").removesuffix("'"))
        assert (command, "\n" in words.strip()) == ("echo", False)
        assert request["id"]
        assert re.match(r"-t [0-9]+ - UNIX", options)


def test_every_method_stands_in_the_table_of_rights(methods: set[str]) -> None:
    """docs/security.md: a name, or the family with a star."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(read|sell|act|settle)` \|[^|]*\|(.*)\|$", page, re.MULTILINE)
    table = {right: _named(cell) for right, cell in rows}
    for method in methods:
        right = rights.METHODS.get(method, rights.STRONGEST)
        family = method.partition(".")[0] + ".*"
        assert {method, family} & table[right] or (right == "settle"), f"{method} is missing in the row of {right}"
        for other in set(table) - {right}:
            assert method not in table[other], f"{method} stands in the row of {other}"


def _named(cell: str) -> set[str]:
    names: set[str] = set()
    for text in re.findall(r"`([^`]+)`", cell):
        family, _, parts = text.partition(".")
        names |= {f"{family}.{part}" for part in parts.split("/")}
    return names
