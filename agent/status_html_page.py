"""The frame of every page: one file without network, in two languages, for screen and paper.

Both languages stand in the page; two radio buttons choose, so that it works without a script. The script remembers the
choice, tells the page's age and reloads it. A policy in the page (CSP) names the one style and the one script by their
hashes and forbids everything else: a text of a host could not run or fetch anything even if it got in unescaped.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path

from agent.status_html_markup import Html, both, of, tag
from agent.texts import Text

_FILE = Path(__file__).with_name("status_html.toml")
# Without a script the page reloads itself this often.
_RELOAD_S = 30


@functools.cache
def words(file: Path = _FILE) -> Mapping[str, Text]:
    """The texts of a page's catalogue, by name."""
    with file.open("rb") as opened:
        return {name: Text(pair["en"], pair["zh"]) for name, pair in tomllib.load(opened)["text"].items()}


def say(name: str, /, **values: str | Text) -> Html:
    """One of the page's own texts, filled in."""
    return of(words()[name].fill(values)) if values else _plain(name)


@functools.cache
def _plain(name: str) -> Html:
    """A text without values stands on a page a thousand times: made once."""
    return of(words()[name])


@functools.cache
def _frame() -> tuple[str, str]:
    with _FILE.open("rb") as opened:
        page = tomllib.load(opened)["page"]
    return page["style"], page["script"]


def page(title: Text, body: Html, language: str, *, data: Mapping[str, str], reloads: bool = False) -> str:
    """A whole document. `data`: what the script reads, on the root element."""
    style, script = _frame()
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    again = tag("meta", http_equiv="refresh", content=_RELOAD_S)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title.of(language)),
        Html(f"<style>{style}</style>"),
        tag("noscript", again) if reloads else "",
    )
    content = tag("div", _languages(title), body, class_="page")
    root = {f"data_{name}": value for name, value in {**data, "title-en": title.en, "title-zh": title.zh}.items()}
    body_tag = tag("body", *_choice(language), content, Html(f"<script>{script}</script>"))
    return f"<!doctype html>\n{tag('html', head, body_tag, lang='zh-CN' if language == 'zh' else 'en', **root)}\n"


def section(name: str, heading: Html, *content: str) -> Html:
    """A part of the page with its heading."""
    return tag("section", tag("h2", heading, id=name), *content, aria_labelledby=name)


def figure(name: str, caption: Html, plot: Html, *axis: Html, tall: bool = False) -> Html:
    """A plot with what it shows in words, and the labels of its axis below."""
    even = "axis even" if len(axis) > 2 else "axis"
    labels = tag("div", *(tag("span", label) for label in axis), class_=even, aria_hidden="true")
    return tag(
        "figure", tag("figcaption", caption, id=name), plot, labels if axis else "", class_="tall" if tall else None
    )


def facts(pairs: list[tuple[Html, Html]]) -> Html:
    """Names and values."""
    return tag("dl", *(tag("dt", name) + tag("dd", value) for name, value in pairs if value))


def table(heads: list[tuple[Html, str]], bodies: list[list[Html]], caption: Html, *, rows: bool = False) -> Html:
    """A table that becomes a list of cards on a phone: `heads` are (text, class), `bodies` the rows of each body.

    Roles are named, since a browser forgets them when a table is laid out as blocks.
    """
    columns = [tag("th", text, scope="col", role="columnheader", class_=look or None) for text, look in heads]
    head = tag("thead", tag("tr", *columns, role="row"), role="rowgroup")
    parts = [tag("tbody", *body, role="rowgroup") for body in bodies]
    look = "stack rows" if rows else "stack"
    return tag("table", head, *parts, class_=look, role="table", aria_label=None, aria_labelledby=caption)


def row(heads: list[tuple[Html, str]], cells: list[Html]) -> Html:
    """One row of such a table; each cell bears its column's name for the phone."""
    return tag(
        "tr",
        *(
            tag("td", tag("span", head, class_="label"), tag("span", cell), role="cell", class_=look or None)
            for (head, look), cell in zip(heads, cells, strict=True)
        ),
        role="row",
    )


def _languages(title: Text) -> Html:
    names = (("en", "English"), ("zh", "中文"))
    labels = [tag("label", name, for_=f"language-{code}") for code, name in names]
    return tag("header", tag("h1", both(title.en, title.zh)), tag("div", *labels, class_="languages"), class_="top")


def _choice(language: str) -> list[Html]:
    return [
        tag(
            "input",
            type="radio",
            name="language",
            class_="choice",
            id=f"language-{code}",
            aria_label=name,
            checked=(code == "zh") == (language == "zh"),
        )
        for code, name in (("en", "English"), ("zh", "中文"))
    ]


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
