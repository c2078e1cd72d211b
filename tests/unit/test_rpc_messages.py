"""Requests are read strictly, parameters are checked by name, and nothing of a client is repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rpc_messages import ParameterError, RequestError, error_line, parse, result_line, take
from protocol.errors import AgentError

METHODS = ("transaction.run", "transaction.status", "agent.status")
PAN = "6200000000000005"


def line(**changes: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": 7, "method": "agent.status", **changes}
    return json.dumps({name: value for name, value in message.items() if value is not ...}).encode()


def refused(raw: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(raw, METHODS)
    return caught.value


def test_a_good_line_is_a_request() -> None:
    request = parse(line(params={"reference": "4711"}), METHODS)
    assert (request.id, request.method, request.params) == (7, "agent.status", {"reference": "4711"})


def test_params_may_be_left_out() -> None:
    assert parse(line(), METHODS).params == {}


def test_a_request_does_not_print_its_parameters() -> None:
    assert PAN not in repr(parse(line(params={"pan": PAN}), METHODS))


@pytest.mark.parametrize(
    ("raw", "number", "code", "words"),
    [
        (b"{", -32700, "A-JSON", "not JSON"),
        (b"\xff", -32700, "A-JSON", "not JSON"),
        (b'{"a": NaN}', -32700, "A-JSON", "not JSON"),
        (b'{"a": 1e999}', -32700, "A-JSON", "not JSON"),
        (b"[" * 60_000, -32700, "A-JSON", "not JSON"),
        (b"1" * 5000, -32700, "A-JSON", "not JSON"),
        (b"[]", -32600, "A-REQUEST", "batch"),
        (b"[" + line() + b"]", -32600, "A-REQUEST", "send one object a line"),
        (b"7", -32600, "A-REQUEST", "no JSON object"),
        (line(id=...), -32600, "A-REQUEST", "no id"),
        (line(id=None), -32600, "A-REQUEST", "no id"),
        (line(id=1.5), -32600, "A-REQUEST", "neither an integer nor a text"),
        (line(id=True), -32600, "A-REQUEST", "neither an integer nor a text"),
        (line(id="x" * 65), -32600, "A-REQUEST", "up to 64 characters"),
        (line(id=2**63), -32600, "A-REQUEST", "neither an integer nor a text"),
        (line(jsonrpc="1.0"), -32600, "A-REQUEST", 'add "jsonrpc": "2.0"'),
        (line(jsonrpc=...), -32600, "A-REQUEST", 'add "jsonrpc": "2.0"'),
        (line(method=5), -32600, "A-REQUEST", "method is no text"),
        (line(param={}), -32600, "A-REQUEST", 'did you mean "params"?'),
        (line(method="transaction.runn"), -32601, "A-METHOD", 'did you mean "transaction.run"?'),
        (line(method=PAN), -32601, "A-METHOD", "known: transaction.run"),
        (line(params=[PAN]), -32602, "A-PARAMETER", "given by name"),
        (line(params=None), -32602, "A-PARAMETER", "given by name"),
        (b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "agent.status"}', -32600, "A-REQUEST", "twice"),
        (line(params={"reference": "\ud800"}), -32600, "A-REQUEST", "surrogate"),
        (line(params={"\udfff": 1}), -32600, "A-REQUEST", "surrogate"),
        (line(params={"a": [[[[[[[[1]]]]]]]]}), -32600, "A-REQUEST", "nested deeper than 8"),
    ],
)
def test_each_wrong_line_is_refused_with_its_code(raw: bytes, number: int, code: str, words: str) -> None:
    error = refused(raw)
    assert (error.number, error.code) == (number, code)
    assert words in f"{error.text} {error.hint}"
    assert PAN not in str(error)


def test_a_refused_request_is_answered_under_its_id() -> None:
    assert refused(line(id="till-7", method="none")).request_id == "till-7"
    assert refused(b"{").request_id is None


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    with pytest.raises(RequestError):
        parse(raw, METHODS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(JSON, JSON, JSON)
def test_any_json_is_a_request_or_a_refusal(request_id: Any, method: Any, params: Any) -> None:
    raw = json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()
    with pytest.raises(RequestError):
        parse(raw, METHODS)


SCHEMA: dict[str, tuple[Any, ...]] = {
    "reference": (str,),
    "amount_minor": (int,),
    "wait": (bool, True),
    "pan": (str, ""),
    "original": (dict, {}),
}
GIVEN = {"reference": "4711", "amount_minor": 1250}


def objection(**changes: Any) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        take({**GIVEN, **changes}, SCHEMA)
    return caught.value


def test_defaults_fill_what_is_not_given() -> None:
    assert take(GIVEN, SCHEMA) == {**GIVEN, "wait": True, "pan": "", "original": {}}


def test_what_is_given_is_taken() -> None:
    given = {**GIVEN, "wait": False, "pan": PAN, "original": {"rrn": "1"}}
    assert take(given, SCHEMA) == given


def test_a_missing_parameter_is_named_with_its_type() -> None:
    with pytest.raises(ParameterError, match=r"reference is missing; amount_minor is missing") as caught:
        take({}, SCHEMA)
    assert caught.value.parameters == ("reference", "amount_minor")
    assert "amount_minor is an integer" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount_minor": "1250"}, "amount_minor must be an integer, not a text"),
        ({"amount_minor": 12.5}, "amount_minor must be an integer, not a number with a fraction"),
        ({"amount_minor": True}, "amount_minor must be an integer, not true or false"),
        ({"amount_minor": None}, "amount_minor must be an integer, not null"),
        ({"amount_minor": 2**63}, "amount_minor is too large"),
        ({"wait": 1}, "wait must be true or false, not an integer"),
        ({"original": []}, "original must be an object, not a list"),
        ({"reference": "a\nb"}, "reference holds control characters"),
        ({"original": {"rrn": "\x00"}}, "original holds control characters"),
        ({"original": {"\x9f": [1]}}, "original holds control characters"),
        ({"amout_minor": 1}, 'did you mean "amount_minor"?'),
        ({"x": 1}, "known: reference, amount_minor, wait, pan, original"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_it_should_be(changes: dict[str, Any], words: str) -> None:
    error = objection(**changes)
    assert words in f"{error.text} {error.hint}"


def test_all_wrong_parameters_come_at_once() -> None:
    assert objection(wait=1, pan=2, amout=3).parameters == ("amout", "wait", "pan")


@pytest.mark.parametrize("changes", [{"amount_minor": PAN}, {PAN: 1}, {"pan": int(PAN)}, {f"pan {PAN}": "x"}])
def test_no_value_and_no_odd_name_is_repeated(changes: dict[str, Any]) -> None:
    error = objection(**changes)
    assert PAN not in str(error)
    assert PAN not in "".join(error.parameters)


@given(st.dictionaries(st.sampled_from([*SCHEMA, "other", "ä b"]), JSON))
def test_any_parameters_are_taken_with_the_right_types_or_refused(params: dict[str, Any]) -> None:
    try:
        taken = take(params, SCHEMA)
    except ParameterError as error:
        wrong = error.parameters
    else:
        wrong = tuple(name for name, (kind, *_) in SCHEMA.items() if type(taken[name]) is not kind)
        assert not wrong
        return
    assert wrong


class TillClosedError(AgentError):
    code = "A-TILL"


def test_an_application_error_has_its_code_and_hint() -> None:
    answer = json.loads(error_line(7, TillClosedError("the till is closed", "open it")))
    shown = {"code": -32000, "message": "the till is closed", "data": {"code": "A-TILL", "hint": "open it"}}
    assert answer == {"jsonrpc": "2.0", "id": 7, "error": shown}


def test_a_parameter_error_has_the_code_of_the_specification() -> None:
    assert json.loads(error_line(7, ParameterError("x is missing")))["error"]["code"] == -32602


def test_an_answer_is_one_line_whatever_it_holds() -> None:
    raw = result_line("a\nb", {"text_zh": "冲正\n成功"})
    assert raw.count(b"\n") == 1
    assert json.loads(raw)["result"] == {"text_zh": "冲正\n成功"}


def test_a_result_that_is_not_json_is_our_own_fault() -> None:
    with pytest.raises(TypeError):
        result_line(1, object())
    with pytest.raises(ValueError, match="JSON"):
        result_line(1, float("nan"))
