"""The effective configuration as TOML: what the daemon really works with, secrets hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.config_keys import Key, fields_of, file_name
from agent.config_schema import Configuration

HIDDEN = "<hidden>"


def effective(config: Configuration) -> str:
    """TOML text of every key with its value, defaults included. Keys without a value are left out."""
    return "\n".join([f"# effective configuration, read from {config.source}", *_section(config, "")]) + "\n"


def _section(section: Any, path: str) -> Iterator[str]:
    """First the plain keys, then the tables, as TOML wants it."""
    fields = [
        (file_name(field), field.metadata["key"], getattr(section, field.name)) for field in fields_of(type(section))
    ]
    for name, key, value in fields:
        if not key.section or isinstance(value, str):
            yield from _pair(name, key, value)
    for name, key, value in fields:
        place = f"{path}.{name}" if path else name
        if key.kind == "tables":
            for item in value:
                yield from ("", f"[[{place}]]", *_section(item, place))
        elif key.section and value is not None and not isinstance(value, str):
            yield from ("", f"[{place}]", *_section(value, place))


def _pair(name: str, key: Key, value: Any) -> Iterator[str]:
    if value is not None:
        yield f"{name} = {_value(HIDDEN if key.secret and value else value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str | Path):
        # A JSON string is a TOML basic string; DEL is the one character that TOML forbids and JSON does not.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
