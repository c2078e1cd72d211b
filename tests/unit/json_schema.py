"""A checker for the part of JSON Schema that docs/status.schema.json uses; anything else in a schema is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "properties", "required", "additionalProperties",
    "items", "enum", "const", "minimum", "minItems", "maxItems",
}  # fmt: skip
_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def violations(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], where: str = "$") -> Iterator[str]:
    """Everything that is wrong, each with its place."""
    unknown = set(schema) - _KNOWN
    if unknown:
        raise AssertionError(f"{where}: the checker does not know {unknown}")
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
        return
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
        return
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        yield f"{where}: {value!r} is below {schema['minimum']}"
    if isinstance(value, dict):
        yield from _object(value, schema, root, where)
    if isinstance(value, list):
        yield from _array(value, schema, root, where)


def _is(value: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    number = isinstance(value, int | float) and not isinstance(value, bool)
    for name in names:
        if name == "integer" and number and isinstance(value, int):
            return True
        if name == "number" and number:
            return True
        if name in _TYPES and isinstance(value, _TYPES[name]):
            return True
    return False


def _object(value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], where: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    yield from (f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    if schema.get("additionalProperties") is False:
        yield from (f"{where}: {name} is not described" for name in value if name not in properties)
    for name in properties.keys() & value.keys():
        yield from violations(value[name], properties[name], root, f"{where}.{name}")


def _array(value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], where: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{where}: {len(value)} entries"
    for place, one in enumerate(value):
        yield from violations(one, schema["items"], root, f"{where}[{place}]")
