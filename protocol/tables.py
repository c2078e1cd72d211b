"""Strict reading of TOML tables: what is unknown, missing or of the wrong type is a ProfileError with its place.

A reader either stops at the first error (it is raised) or, where its `Source` collects, notes each one and goes on with
a value of the right kind, so that one run tells everything. What was read then is thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from protocol.errors import ProfileError

_HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)(?:\s*\.\s*(?:"[^"]*"|[A-Za-z0-9_-]+))*)\s*=""")


def line_of(text: str, path: Sequence[str]) -> int:
    """Gives the line (1..) where the key with this dotted path stands in a TOML text; 0 when it cannot be told."""
    wanted, section = list(path), []
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = _parts(header[1])
            if section == wanted:
                return number
        elif (key := _KEY.match(line)) and section + _parts(key[1]) == wanted:
            return number
    return 0


def _parts(dotted: str) -> list[str]:
    """Gives the parts of a dotted key without their quotes."""
    return [part.strip().strip("\"'") for part in dotted.split(".")]


# What is read in place of a value that is missing or of the wrong type, where errors are collected.
_EMPTY: Mapping[Any, Any] = {str: "", int: 0, (int, float): 0.0, bool: False, list: [], dict: {}}


class Source:
    """Where tables come from: the files of one profile, the most special first.

    `errors`: a list that gets every error, where none is to be raised.
    """

    def __init__(self, files: Sequence[tuple[str, str]], errors: list[ProfileError] | None = None) -> None:
        self._files = tuple(files)
        self.errors = errors
        self._spoilt: set[str] = set()

    def tell(self, error: ProfileError, *, spoils: bool) -> None:
        """Raises the error, or notes it. `spoils`: the key has no value now, what else is said of it is no news."""
        if self.errors is None:
            raise error
        if error.where not in self._spoilt and str(error) not in map(str, self.errors):
            self.errors.append(error)
        if spoils:
            self._spoilt.add(error.where)

    def place(self, path: Sequence[str]) -> str:
        """Gives "file:line, key a.b.c" for a key, looked up with its parents when it has no line of its own."""
        dotted = ".".join(path)
        for depth in range(len(path), 0, -1):
            for name, text in self._files:
                if line := line_of(text, path[:depth]):
                    return f"{name}:{line}, key {dotted}"
        return f"{self._files[0][0]}, key {dotted}"


class Table:
    """One TOML table that must be read to its last key; `done()` complains about keys that nobody asked for."""

    def __init__(self, data: Mapping[str, Any], source: Source, path: Sequence[str] = ()) -> None:
        self._data = dict(data)
        self._source = source
        self._path = tuple(path)
        self._read: set[str] = set()

    def error(self, key: str, reason: str) -> ProfileError:
        """Gives (does not raise) the error for one key of this table."""
        path = (*self._path, key) if key else self._path
        return ProfileError(reason, where=self._source.place(path))

    def complain(self, key: str, reason: str) -> None:
        """Raises the error for one key, or where errors are collected, notes it and returns."""
        self._source.tell(self.error(key, reason), spoils=False)

    def names(self) -> list[str]:
        """Gives the names of all keys, in the order of the file."""
        return list(self._data)

    def text(self, key: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """Gives a string, one of `choices` where those are given."""
        value: str = self._value(key, str, "a string", default)
        if choices and value not in choices:
            self._spoil(key, f"must be one of {', '.join(choices)}")
            return choices[0]
        return value

    def pattern(self, key: str, pattern: str, meaning: str, default: str | None = None) -> str:
        """Gives a string that matches a regular expression as a whole; `meaning` says in words what it must be."""
        value = self.text(key, default)
        if value != default and re.fullmatch(pattern, value) is None:
            self._spoil(key, f"must be {meaning}")
            return default or ""
        return value

    def number(self, key: str, default: int | None = None, low: int = 0, high: int = 1_000_000_000) -> int:
        """Gives a whole number in low..high."""
        value: int = self._value(key, int, "a whole number", default)
        return int(self._within(key, value, low, high))

    def real(self, key: str, default: float | None = None, low: float = 0.0, high: float = 1e9) -> float:
        """Gives a number in low..high, whole or not."""
        value: float = float(self._value(key, (int, float), "a number", default))
        return self._within(key, value, low, high)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Gives true or false."""
        value: bool = self._value(key, bool, "true or false", default)
        return value

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Gives a list of strings."""
        return self._many(key, str, "a list of strings", default)

    def numbers(self, key: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Gives a list of whole numbers."""
        return self._many(key, int, "a list of whole numbers", default)

    def table(self, key: str, optional: bool = False) -> Table:
        """Gives a table inside this one; an empty one when it is optional and absent."""
        value = self._value(key, dict, "a table", {} if optional else None)
        found = self.is_table(key) or (optional and key not in self._data)
        # Where a table lacks, its keys lack too: that is no news.
        source = self._source if found else Source([("", "")], [])
        return Table(value, source, (*self._path, key))

    def is_table(self, key: str) -> bool:
        """Tells whether the value under the key is a table."""
        return isinstance(self._data.get(key), dict)

    def pass_over(self, key: str) -> None:
        """Marks a key as read whose value does not count."""
        self._read.add(key)

    def done(self) -> None:
        """Raises ProfileError when a key of this table was not read."""
        for key in self._data:
            if key not in self._read:
                self.complain(key, "unknown key")

    def _spoil(self, key: str, reason: str) -> None:
        self._source.tell(self.error(key, reason), spoils=True)

    def _value(self, key: str, kind: type | tuple[type, ...], meaning: str, default: Any) -> Any:
        self._read.add(key)
        if key not in self._data:
            if default is None:
                self._spoil(key, "missing key")
                return _EMPTY[kind]
            return default
        value = self._data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._spoil(key, f"must be {meaning}")
            return _EMPTY[kind] if default is None else default
        return value

    def _many(self, key: str, kind: type, meaning: str, default: Sequence[Any] | None) -> tuple[Any, ...]:
        values = self._value(key, list, meaning, None if default is None else list(default))
        if any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
            self._spoil(key, f"must be {meaning}")
            return ()
        if len(set(values)) != len(values):
            self.complain(key, "has the same value twice")
        return tuple(values)

    def _within(self, key: str, value: float, low: float, high: float) -> float:
        """Gives the value, or where errors are collected, the nearest that is allowed."""
        if not low <= value <= high:
            self._spoil(key, f"must be between {low} and {high}")
        return min(max(value, low), high)
