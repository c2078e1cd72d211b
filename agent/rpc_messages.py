"""JSON-RPC 2.0, one object a line: requests are read strictly, answers are made.

Rules not to break:
1. What a client sends is never repeated in an error: it could be card data. Names of methods and
   parameters are repeated only when they look like names.
2. Ambiguity is refused: a key given twice, NaN, a request without an id, a batch.
3. Nothing that a client sends raises anything but `RequestError` here.

Source: JSON-RPC 2.0 Specification, jsonrpc.org, 2013-01-04. Two things are stricter: a request
without an id (a "notification") is an error, since nobody may start a sale without hearing what
became of it; parameters are given by name only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from protocol.errors import AgentError
from protocol.frozen import dataclass
from protocol.masking import scrub

# Codes of the specification, and two from the range that it leaves to servers.
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMETERS, INTERNAL = -32700, -32600, -32601, -32602, -32603
APPLICATION, REFUSED_LINK = -32000, -32001

ID_LENGTH_MAX = 64
DEPTH_MAX = 8  # `original` in params in the request is three; room for applications to come.
INTEGER_MAX = 2**63 - 1  # What other languages and the database can hold.
_MEMBERS = ("jsonrpc", "id", "method", "params")
_NAME = re.compile(r"[A-Za-z_][A-Za-z_.]{0,39}")
# C0 and C1 controls, line and paragraph separator (they forge log lines), lone surrogates (no UTF-8).
_BAD_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

RequestId = str | int


class RequestError(AgentError):
    """A line is no request that can be carried out; `number` is its JSON-RPC code."""

    def __init__(self, number: int, code: str, text: str, hint: str = "", request_id: RequestId | None = None) -> None:
        super().__init__(text, hint)
        self.number = number
        self.code = code
        self.request_id = request_id


class ParameterError(AgentError):
    """A parameter is missing, unknown or of the wrong type. `parameters` names all that are wrong."""

    code = "A-PARAMETER"

    def __init__(self, text: str, hint: str = "", parameters: Iterable[str] = ()) -> None:
        super().__init__(text, hint)
        self.parameters = tuple(parameters)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One call. Has no repr: `params` may hold card data."""

    id: RequestId
    method: str
    params: dict[str, Any]


# --- requests ----------------------------------------------------------------------------------


def parse(line: bytes, methods: Iterable[str]) -> Request:
    """The request of one line (without its newline). Raises RequestError."""
    message = _json(line)
    if isinstance(message, list):
        _invalid("a batch (array) is not taken", "send one object a line; many lines may be under way")
    if not isinstance(message, dict):
        _invalid("the line is no JSON object", 'for example {"jsonrpc": "2.0", "id": 1, "method": "agent.status"}')
    request_id = _request_id(message)
    for name in message:
        if name not in _MEMBERS:
            _invalid(f"unknown member{_quoted(name)}", _near(name, _MEMBERS), request_id)
    if message.get("jsonrpc") != "2.0":
        _invalid('the member jsonrpc is not "2.0"', 'add "jsonrpc": "2.0"', request_id)
    method = message.get("method")
    if not isinstance(method, str):
        _invalid("the member method is no text", 'for example "method": "agent.status"', request_id)
    if method not in (known := tuple(methods)):
        raise RequestError(NO_METHOD, "A-METHOD", f"unknown method{_quoted(method)}", _near(method, known), request_id)
    params = message.get("params", {})
    if not isinstance(params, dict):
        text = "params is no object: parameters are given by name"
        raise RequestError(INVALID_PARAMETERS, "A-PARAMETER", text, 'for example {"reference": "4711"}', request_id)
    return Request(request_id, method, params)


def _json(line: bytes) -> Any:
    # A deep nesting is a RecursionError; a number of more than 4300 digits is a ValueError.
    try:
        text = line.decode()
        message = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_constant, parse_float=_finite)
    except _TwinError:
        _invalid("a name is given twice in one object", "send each name once")
    except (ValueError, RecursionError):
        hint = "one complete JSON object in UTF-8, then a newline"
        raise RequestError(PARSE_ERROR, "A-JSON", "the line is not JSON", hint) from None
    _check_values(message)
    return message


def _check_values(message: Any) -> None:
    """Nothing so deep or so odd that a later step could fail over it: a client must not end the daemon."""
    level = [message]
    for _ in range(DEPTH_MAX):
        texts = (value for value in level if isinstance(value, str))
        if any(map(_LONE_SURROGATE.search, texts)):
            _invalid("half a surrogate pair stands in a text", "send characters as UTF-8")
        level = [inner for value in level for inner in _inner(value)]
    if level:
        _invalid(f"objects are nested deeper than {DEPTH_MAX}", "send flat parameters")


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, list) else ()


class _TwinError(ValueError):
    """A name stands twice in one object."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _TwinError
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("too large")
    return value


def _request_id(message: Mapping[str, Any]) -> RequestId:
    request_id = message.get("id")
    if isinstance(request_id, str) and len(request_id) <= ID_LENGTH_MAX:
        return request_id
    if isinstance(request_id, int) and not isinstance(request_id, bool) and abs(request_id) <= INTEGER_MAX:
        return request_id
    if request_id is None:
        _invalid("the request has no id", 'every request is answered, so add "id": 1')
    return _invalid("the id is neither an integer nor a text", f"a text has up to {ID_LENGTH_MAX} characters")


def _invalid(text: str, hint: str, request_id: RequestId | None = None) -> NoReturn:
    raise RequestError(INVALID_REQUEST, "A-REQUEST", text, hint, request_id)


# --- parameters --------------------------------------------------------------------------------

_TYPE_NAMES: dict[type, str] = {
    str: "a text",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}

Schema = Mapping[str, tuple[Any, ...]]


def take(params: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The parameters by name, checked, defaults filled in. Raises ParameterError naming everything wrong.

    `schema`: name -> (type,) for one that must be given, or (type, default). Types are str, int, bool, dict, list.
    """
    wrong: dict[str, str] = {}
    hints = [_near(name, schema) for name in params if name not in schema]
    for name in params:
        if name not in schema:
            wrong[_quoted(name) or " with an unreadable name"] = f"unknown parameter{_quoted(name)}"
    for name, (kind, *default) in schema.items():
        problem = _objection(params[name], kind) if name in params else "" if default else "is missing"
        if problem:
            wrong[name] = f"{name} {problem}"
            hints.append(f"{name} is {_TYPE_NAMES[kind]}")
    if wrong:
        raise ParameterError(
            "; ".join(wrong.values()), "; ".join(dict.fromkeys(hints)), (name.strip(' "') for name in wrong)
        )
    return {name: params[name] if name in params else default[0] for name, (_, *default) in schema.items()}


def _objection(value: Any, kind: type) -> str:
    """What is wrong with a value, without repeating it; "" if nothing is."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return f"must be {_TYPE_NAMES[kind]}, not {_type_name(value)}"
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return "is too large"
    if _has_bad_characters(value):
        return "holds control characters"
    return ""


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return _TYPE_NAMES.get(type(value), "a number with a fraction")


def _has_bad_characters(value: Any) -> bool:
    if isinstance(value, str):
        return _BAD_CHARACTERS.search(value) is not None
    return any(map(_has_bad_characters, _inner(value)))


def _quoted(name: str) -> str:
    """The name, if it is one: digits, blanks or great length could be card data."""
    return f' "{name}"' if _NAME.fullmatch(name) else ""


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    import difflib  # 1 ms and 0.3 MB, and only for a mistake

    near = difflib.get_close_matches(name[:ID_LENGTH_MAX], names, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"known: {', '.join(names)}" if names else "there are none"


# --- answers -----------------------------------------------------------------------------------


def result_line(request_id: RequestId, result: Any) -> bytes:
    """The answer to a request that was carried out. Raises TypeError, ValueError: `result` is not JSON."""
    return _line({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_line(request_id: RequestId | None, error: AgentError) -> bytes:
    """The answer to a request that was refused; data.code is stable, data.hint says what to do."""
    number = APPLICATION
    if isinstance(error, RequestError):
        number = error.number
    elif isinstance(error, ParameterError) or error.code == ParameterError.code:
        number = INVALID_PARAMETERS
    shown = {"code": number, "message": scrub(error.text), "data": {"code": error.code, "hint": scrub(error.hint)}}
    return _line({"jsonrpc": "2.0", "id": request_id, "error": shown})


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
