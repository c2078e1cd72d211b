"""Values of elements made from facts: the small template language of the profiles.

    "{batch}{stan}"             facts, one after the other
    "{f90:5-10}"                positions 5 to 10 (counted from 1) of element 90 of the original
    "{f32>11}"                  right justified, filled with zeros to 11 digits
    "{learnt_date|0000}"        the fact, or 0000 where it is not known
    "{pin_block?12}"            12 where the fact is known, otherwise nothing

An element whose template holds a fact that is not known (and has no `|` text) is left out as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from protocol.frozen import dataclass

_TOKEN = re.compile(r"\{([a-z][a-z0-9_]*)(?::([0-9]+)-([0-9]+))?(?:>([0-9]+))?(?:([|?])([^{}]*))?\}|([^{}]+)")
_SLICE = re.compile(r"([1-9][0-9]{0,2})(?::([1-9][0-9]*)-([1-9][0-9]*))?")


@dataclass(frozen=True, slots=True)
class Slice:
    """An element, or some positions of it: "60:3-8" is positions 3 to 8 of element 60."""

    field: int
    start: int = 0
    end: int | None = None

    def of(self, value: str) -> str:
        """Gives the positions of the value; shorter where the value ends before."""
        return value[self.start : self.end]

    def __str__(self) -> str:
        return str(self.field) if self.end is None else f"{self.field}:{self.start + 1}-{self.end}"


def parse_slice(text: str) -> Slice | None:
    """Gives the slice that "60" or "60:3-8" means; None when the text means none."""
    match = _SLICE.fullmatch(text)
    if match is None:
        return None
    if match[2] is None:
        return Slice(int(match[1]))
    start, end = int(match[2]), int(match[3])
    return Slice(int(match[1]), start - 1, end) if start <= end else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A literal (`name` is empty) or a fact."""

    literal: str
    name: str = ""
    start: int = 0
    end: int | None = None
    width: int = 0
    default: str | None = None
    instead: str | None = None

    def value(self, facts: Mapping[str, str]) -> str | None:
        """Gives the text, None where the fact is not known."""
        if not self.name:
            return self.literal
        fact = facts.get(self.name, "")
        known = fact[self.start : self.end]
        if not known or (self.end is not None and len(fact) < self.end):
            return self.default
        return known.rjust(self.width, "0") if self.instead is None else self.instead


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    parts: tuple[_Part, ...]

    @property
    def names(self) -> frozenset[str]:
        """The facts that the template speaks of."""
        return frozenset(part.name for part in self.parts if part.name)

    def fill(self, facts: Mapping[str, str]) -> str | None:
        """Gives the element's value; None where a fact is not known."""
        values = [part.value(facts) for part in self.parts]
        return None if None in values else "".join(value for value in values if value is not None)

    def missing(self, facts: Mapping[str, str]) -> list[str]:
        """Gives the names of the facts for want of which `fill` gives nothing."""
        return [part.name for part in self.parts if part.value(facts) is None]


def parse_template(text: str) -> Template | None:
    """Gives the template that a text means; None when it is not well-formed."""
    parts, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        parts.append(_part(match))
        position = match.end()
    return Template(text, tuple(parts))


def _part(match: re.Match[str]) -> _Part:
    name, start, end, width, operator, operand, literal = match.groups()
    if literal is not None:
        return _Part(literal)
    return _Part(
        literal="",
        name=name,
        start=int(start) - 1 if start else 0,
        end=int(end) if end else None,
        width=int(width or 0),
        default=operand if operator == "|" else None,
        instead=operand if operator == "?" else None,
    )
