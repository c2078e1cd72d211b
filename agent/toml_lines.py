"""Where each key of a TOML text stands: `locate(text)` gives key path -> line number.

tomllib gives values without places, and an error without a line sends people hunting. The text
has already been accepted by tomllib, so this scanner may be simple: it only needs to know where
strings, arrays, tables and comments begin and end.

Paths look like `lane[1].hosts[0]`: dots between names, indexes from 0, for arrays of tables
(`[[lane]]`) as for arrays.
"""

from __future__ import annotations

import re

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}\n#]*")
# Longest delimiter first: three quotes open a multi-line string.
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"""+', re.DOTALL),
    re.compile(r"'''.*?'''+", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\])*"'),
    re.compile(r"'[^']*'"),
)


def locate(text: str) -> dict[str, int]:
    """Line (from 1) of every key, table and array element of a text that tomllib accepts."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def parent(path: str) -> str:
    """The path one step up: `lane[1].hosts[0]` -> `lane[1].hosts` -> `lane[1]` -> `lane` -> ``."""
    return path[: max(path.rfind("."), path.rfind("["), 0)]


class _Scanner:
    """Reads one text from its first character to its last, noting lines as it goes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[str, int] = {}
        self.last_index: dict[str, int] = {}

    def document(self) -> None:
        prefix = ""
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                prefix = self._header()
            else:
                self._pair(prefix)
            self._skip(_BLANK)

    def _header(self) -> str:
        """A `[table]` or `[[table]]` line; returns the path that its keys begin with."""
        is_array = self.text.startswith("[[", self.at)
        line = self._line()
        self.at += 2 if is_array else 1
        path = ""
        names = self._dotted_key()
        for name in names[:-1]:
            path = self._enter(_join(path, name))
        path = _join(path, names[-1])
        if is_array:
            self.lines.setdefault(path, line)
            self.last_index[path] = self.last_index.get(path, -1) + 1
            path = f"{path}[{self.last_index[path]}]"
        self.lines[path] = line
        self.at += 2 if is_array else 1
        return path

    def _enter(self, path: str) -> str:
        """A name in the middle of a header means the newest element where it is an array of tables."""
        return f"{path}[{self.last_index[path]}]" if path in self.last_index else path

    def _pair(self, prefix: str) -> None:
        line = self._line()
        path = prefix
        for name in self._dotted_key():
            path = _join(path, name)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _dotted_key(self) -> list[str]:
        names = [self._simple_key()]
        while self.text.startswith(".", self.at):
            self.at += 1
            names.append(self._simple_key())
        return names

    def _simple_key(self) -> str:
        self._skip(_SPACE)
        name = self._string()
        name = name[1:-1] if name else self._skip(_BARE_KEY)
        self._skip(_SPACE)
        return name

    def _value(self, path: str) -> None:
        if self.text.startswith("[", self.at):
            self._array(path)
        elif self.text.startswith("{", self.at):
            self._inline_table(path)
        elif not self._string():
            self._skip(_SCALAR)

    def _array(self, path: str) -> None:
        index = 0
        self.at += 1
        self._skip(_BLANK)
        while not self.text.startswith("]", self.at):
            element = f"{path}[{index}]"
            self.lines[element] = self._line()
            self._value(element)
            self._separator()
            index += 1
        self.at += 1

    def _inline_table(self, path: str) -> None:
        self.at += 1
        self._skip(_BLANK)
        while not self.text.startswith("}", self.at):
            self._pair(path)
            self._separator()
        self.at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self.text.startswith(",", self.at):
            self.at += 1
            self._skip(_BLANK)

    def _string(self) -> str:
        """The quoted string here with its quotes, or nothing where none begins here."""
        for pattern in _STRINGS:
            if found := pattern.match(self.text, self.at):
                self.at = found.end()
                return found.group()
        return ""

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found.group()

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
