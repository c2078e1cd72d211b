"""What parts of the program say of their own accord (errors, warnings, why a lane may not sell), in both languages.

Such a sentence is made in English where it happens, stored, logged and compared there. To show it in Chinese it is
recognised by its template in the catalogue ([said.NAME]); else by the code before it ([words.code]); else it stands as
it is: a person's words, a host's text.
"""

from __future__ import annotations

import functools
import re

from agent.texts import Text, catalogue
from protocol.masking import scrub

_CODE = re.compile(r"(?P<code>[A-Z]-[A-Z-]+): (?P<rest>.*)", re.DOTALL)
# Between independent remarks of one text.
_BETWEEN = "; "
# The same few errors stand in every status: they are looked up once.
KEPT = 256


@functools.lru_cache(maxsize=KEPT)
def said(text: str) -> Text:
    """The text for people, free of card data; the Chinese one is empty only where the English one is."""
    quoted = scrub(text)
    return Text(quoted, _in_chinese(quoted))


def coded(code: str, text: str) -> str:
    """A text with its code before it; what is no error has no code."""
    return f"{code}: {text}" if code and text and not text.startswith(code) else text


def _in_chinese(text: str) -> str:
    found = _CODE.fullmatch(text)
    if found is not None:
        inner = _templated(found["rest"]) or _by_code(found["code"])
        return f"{inner}（{found['code']}）" if inner else text
    return _templated(text) or _remarks(text)


def _remarks(text: str) -> str:
    """Several remarks: each by its own template, where all of them have one."""
    pieces = [_templated(piece) for piece in text.split(_BETWEEN)]
    return "；".join(pieces) if len(pieces) > 1 and all(pieces) else text


def _templated(text: str) -> str:
    for pattern, chinese in _patterns():
        found = pattern.fullmatch(text)
        if found is not None:
            values = {name: _value(name, value) for name, value in found.groupdict().items()}
            return Text("", chinese).fill(values).zh
    return ""


def _value(name: str, value: str) -> str:
    """What stands for a placeholder; states and records with their counts ("3 completed + 1 session") in words."""
    if name not in ("state", "states"):
        return _in_chinese(value)
    known = {**catalogue().words["state"], **catalogue().words["record"]}
    return " + ".join(
        " ".join(known[word].zh if word in known else word for word in one.split()) for one in value.split(" + ")
    )


def _by_code(code: str) -> str:
    known = catalogue().words["code"].get(code)
    return known.zh if known else ""


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Each template as a pattern; those with more text of their own first."""
    pairs = sorted(catalogue().said.values(), key=lambda text: -len(re.sub(r"\{\w+\}", "", text.en)))
    return [(_pattern(text.en), text.zh) for text in pairs]


def _pattern(template: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", template)
    made = [re.escape(piece) if place % 2 == 0 else f"(?P<{piece}>.+?)" for place, piece in enumerate(pieces)]
    return re.compile("".join(made), re.DOTALL)
