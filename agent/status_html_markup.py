"""Markup for the pages: `tag` builds elements, and every text inside is escaped unless it is `Html` already.

Rules not to break:
1. Only `tag`, `escape` and this package's own style and script make `Html`; a text of a host or device is a `str`.
2. Control characters and those that turn the reading direction are shown as U+FFFD: a hostile text stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.texts import Text
from agent.visible import visible

# What means something in HTML, in texts and in quoted attributes. `html.escape` does the same, but loads the table of
# all 2,231 named characters with it: 0.4 MB.
_MARKS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_VOID = frozenset({"meta", "link", "input", "br"})

Attribute = str | int | float | bool | None


class Html(str):
    """Markup that is safe as it stands."""

    __slots__ = ()

    def __add__(self, other: str) -> Html:
        """More markup behind it; a text is escaped."""
        return Html(str.__add__(self, escape(other)))


def escape(text: str) -> Html:
    """A text for any place in a page, attributes included."""
    if isinstance(text, Html):
        return text
    return Html(text) if text.isalnum() else Html(visible(text).translate(_MARKS))


def tag(name: str, /, *children: str, **attributes: Attribute) -> Html:
    """One element. `class_` is class, `data_x` is data-x; None and False leave an attribute out."""
    opening = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    """Parts one after the other, each escaped where it must be."""
    return Html(escape(between).join(escape(part) for part in parts))


def both(english: str, chinese: str) -> Html:
    """A text in both languages; the page shows the one that was chosen."""
    if english == chinese:
        return escape(english)
    return tag("span", english, lang="en") + tag("span", chinese, lang="zh-CN")


def of(text: Text) -> Html:
    """The same for a text of a catalogue."""
    return both(text.en, text.zh)


def told(facts: Mapping[str, Any], name: str) -> Html:
    """The same for a document's pair of keys `name_en` and `name_zh`."""
    return both(facts[f"{name}_en"], facts[f"{name}_zh"])


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(shown)}"'
