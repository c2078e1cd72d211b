"""The vocabulary of configuration keys: what a key may hold, and how a wrong value is explained.

A section of the file is a frozen dataclass (see `agent/config_schema.py`); each of its fields
carries one `Key` as metadata, made by the functions below. `read_section` turns a TOML table into
such a dataclass and reports *every* thing that is wrong, never only the first.

Rules not to break:
1. A problem names the key, the line, what is wrong and what would be right.
2. The value of a secret key is never repeated, not even shortened.
3. Whatever the file says, reading it never raises: problems are collected.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from agent import toml_lines
from protocol.errors import AgentError
from protocol.frozen import dataclass
from protocol.masking import scrub

# Longest piece of a wrong value that an error repeats: enough to recognise it.
SHOWN_CHARACTERS_MAX = 48

# Shortest card number (ISO/IEC 7812-1: 8 to 19 digits; in use from 13). Somebody may have pasted one.
_PERHAPS_A_CARD = re.compile(r"\d{13,}")

Section = TypeVar("Section")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the file. `line` is 0 where no line can be named."""

    where: str
    line: int
    wrong: str
    right: str

    def __str__(self) -> str:
        place = f"{self.where or 'file'} (line {self.line})" if self.line else self.where or "file"
        return scrub(f"{place}: {self.wrong}; {self.right}" if self.right else f"{place}: {self.wrong}")


class ConfigError(AgentError):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    code = "E-CONFIG"

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} {'error' if count == 1 else 'errors'} in {source}"
        super().__init__("\n  ".join([head, *map(str, self.problems)]), "docs/configuration.md explains every key")


class Report:
    """Collects problems while one file is read."""

    def __init__(self, lines: Mapping[str, int] | None = None) -> None:
        self.problems: list[Problem] = []
        self.lines = lines or {}

    def add(self, where: str, wrong: str, right: str = "") -> None:
        self.problems.append(Problem(where, self._line(where), wrong, right))

    def _line(self, where: str) -> int:
        """Line of the key, or of what holds it where the key itself is missing."""
        while where and where not in self.lines:
            where = toml_lines.parent(where)
        return self.lines.get(where, 0)


@dataclass(frozen=True, slots=True)
class Key:
    """What one key may hold. `kind` is the name of its reader and its type in the documentation."""

    kind: str
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    shape: str = ""
    base: str = ""
    section: type[Any] | None = None
    secret: bool = False

    @property
    def range(self) -> str:
        """Allowed values in words, for errors and for the documentation."""
        if self.choices:
            return " | ".join(f'"{choice}"' for choice in self.choices)
        if self.low is not None:
            return f"{self.low} .. {self.high}" if self.high is not None else f"at least {self.low}"
        return self.shape


Metadata = Mapping[str, Key]


def _metadata(key: Key) -> Metadata:
    return {"key": key}


def text(meaning: str, pattern: str = r"[^\x00-\x1f]*", shape: str = "one line of text") -> Metadata:
    """A text; `pattern` must match all of it and `shape` says the same in words."""
    return _metadata(Key("text", meaning, pattern=pattern, shape=shape))


def secret(meaning: str, pattern: str, shape: str) -> Metadata:
    """A text that is never shown."""
    return _metadata(Key("text", meaning, pattern=pattern, shape=shape, secret=True))


def path(meaning: str, base: str) -> Metadata:
    """A file or directory; a relative one begins at `base`, a key or "this file"."""
    return _metadata(Key("path", meaning, base=base, shape=f"absolute, or relative to {base}"))


def paths(meaning: str, base: str) -> Metadata:
    """A list of directories."""
    return _metadata(Key("list of paths", meaning, base=base, shape=f"absolute, or relative to {base}"))


def integer(meaning: str, low: int, high: int, unit: str = "") -> Metadata:
    return _metadata(Key("integer", meaning, unit, low, high))


def number(meaning: str, low: float, high: float, unit: str = "") -> Metadata:
    return _metadata(Key("number", meaning, unit, low, high))


def flag(meaning: str) -> Metadata:
    return _metadata(Key("true or false", meaning, shape="true or false"))


def choice(meaning: str, *choices: str) -> Metadata:
    return _metadata(Key("choice", meaning, choices=choices))


def texts(meaning: str, pattern: str, shape: str, low: int = 0, high: int = 16) -> Metadata:
    """A list of texts, `low` to `high` of them."""
    return _metadata(Key("list of texts", meaning, low=low, high=high, pattern=pattern, shape=shape))


def table(meaning: str, section: type[Any]) -> Metadata:
    return _metadata(Key("table", meaning, section=section))


def tables(meaning: str, section: type[Any]) -> Metadata:
    """An array of tables, `[[name]]` in the file."""
    return _metadata(Key("tables", meaning, section=section))


def choice_or_table(meaning: str, section: type[Any], *choices: str) -> Metadata:
    return _metadata(Key("choice or table", meaning, choices=choices, section=section))


def keys_of(section: type[Any]) -> dict[str, Key]:
    """Name in the file -> key, in the order of the dataclass."""
    return {file_name(field): field.metadata["key"] for field in fields_of(section)}


def fields_of(section: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    """The fields that are keys of the file, in the order of the dataclass."""
    return tuple(field for field in dataclasses.fields(section) if "key" in field.metadata)


def file_name(field: dataclasses.Field[Any]) -> str:
    """An array of tables is plural in the program and singular in the file: `lanes`, `[[lane]]`."""
    is_plural = field.metadata["key"].kind == "tables"
    return field.name.removesuffix("s") if is_plural else field.name


def required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


# --- reading -------------------------------------------------------------------------------

_INVALID = object()


def read_section(section: type[Section], table: Mapping[str, object], where: str, report: Report) -> Section | None:
    """The section that `table` describes, or None when something in it is wrong (then it is reported)."""
    before = len(report.problems)
    values = read_fields(section, table, where, report)
    return section(**values) if len(report.problems) == before else None


def read_fields(section: type[Any], table: Mapping[str, object], where: str, report: Report) -> dict[str, Any]:
    """The good values by attribute. A table with something wrong in it is None, also inside an array of tables."""
    _report_unknown(section, table, where, report)
    values: dict[str, Any] = {}
    for field in fields_of(section):
        key: Key = field.metadata["key"]
        name = file_name(field)
        place = f"{where}.{name}" if where else name
        if name in table:
            value = _READERS[key.kind](key, table[name], place, report)
            values.update({field.name: value} if value is not _INVALID else {})
        elif required(field):
            report.add(place, "is missing", f"expected {_expected(key)}")
    return values


def _report_unknown(section: type[Any], table: Mapping[str, object], where: str, report: Report) -> None:
    known = keys_of(section)
    for name in table:
        if name not in known:
            import difflib  # 1 ms and 0.3 MB, and only for a mistake

            near = difflib.get_close_matches(name, known, n=1)
            right = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            report.add(f"{where}.{name}" if where else name, "unknown key", right)


def _wrong(key: Key, value: object, where: str, report: Report, expected: str = "") -> object:
    seen = "is not acceptable" if key.secret else f"{_shown(value)} is not acceptable"
    report.add(where, seen, f"expected {expected or _expected(key)}")
    return _INVALID


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    seen = f'"{value}"' if isinstance(value, str) else str(value)
    seen = _PERHAPS_A_CARD.sub(lambda digits: f"<{len(digits.group())} digits>", seen)
    return seen if len(seen) <= SHOWN_CHARACTERS_MAX else f"{seen[:SHOWN_CHARACTERS_MAX]}..."


def _expected(key: Key) -> str:
    words = {"choice": "one of", "choice or table": "a table or one of"}.get(key.kind, f"{key.kind},")
    unit = f" {key.unit}" if key.unit else ""
    return f"{words} {key.range}{unit}".rstrip(", ")


def _read_text(key: Key, value: object, where: str, report: Report) -> object:
    if isinstance(value, str) and re.fullmatch(key.pattern, value):
        return value
    return _wrong(key, value, where, report)


def _read_path(key: Key, value: object, where: str, report: Report) -> object:
    if isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    return _wrong(key, value, where, report)


def _read_integer(key: Key, value: object, where: str, report: Report) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and _within(key, value):
        return value
    return _wrong(key, value, where, report)


def _read_number(key: Key, value: object, where: str, report: Report) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and _within(key, value):
        return float(value)
    return _wrong(key, value, where, report)


def _within(key: Key, value: float) -> bool:
    return (key.low is None or value >= key.low) and (key.high is None or value <= key.high)


def _read_flag(key: Key, value: object, where: str, report: Report) -> object:
    return value if isinstance(value, bool) else _wrong(key, value, where, report)


def _read_choice(key: Key, value: object, where: str, report: Report) -> object:
    if value in key.choices:
        return value
    import difflib  # 1 ms and 0.3 MB, and only for a mistake

    near = difflib.get_close_matches(value, key.choices, n=1) if isinstance(value, str) else []
    return _wrong(key, value, where, report, f'one of {key.range}; did you mean "{near[0]}"?' if near else "")


def _read_texts(key: Key, value: object, where: str, report: Report) -> object:
    if not isinstance(value, list) or not _within(key, len(value)):
        expected = f"a list of {key.low} to {key.high}, each: {key.shape}"
        return _wrong(key, value, where, report, expected)
    one = dataclasses.replace(key, kind="text", low=None, high=None)
    return _all(_read_text(one, item, f"{where}[{index}]", report) for index, item in enumerate(value))


def _read_paths(key: Key, value: object, where: str, report: Report) -> object:
    if not isinstance(value, list):
        return _wrong(key, value, where, report)
    one = dataclasses.replace(key, kind="path")
    return _all(_read_path(one, item, f"{where}[{index}]", report) for index, item in enumerate(value))


def _all(items: Iterable[object]) -> object:
    """The items, all read before anything is decided, or the marker when one of them is wrong."""
    read = tuple(items)
    return _INVALID if _INVALID in read else read


def _read_table(key: Key, value: object, where: str, report: Report) -> object:
    assert key.section is not None, f"{where}: a table key without a section"
    if not isinstance(value, dict):
        return _wrong(key, value, where, report)
    return read_section(key.section, value, where, report)


def _read_tables(key: Key, value: object, where: str, report: Report) -> object:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return _wrong(key, value, where, report, f"an array of tables, [[{where}]]")
    return tuple(_read_table(key, item, f"{where}[{index}]", report) for index, item in enumerate(value))


def _read_choice_or_table(key: Key, value: object, where: str, report: Report) -> object:
    reader = _read_table if isinstance(value, dict) else _read_choice
    return reader(key, value, where, report)


_READERS: dict[str, Callable[[Key, object, str, Report], object]] = {
    "text": _read_text,
    "path": _read_path,
    "integer": _read_integer,
    "number": _read_number,
    "true or false": _read_flag,
    "choice": _read_choice,
    "list of texts": _read_texts,
    "list of paths": _read_paths,
    "table": _read_table,
    "tables": _read_tables,
    "choice or table": _read_choice_or_table,
}
