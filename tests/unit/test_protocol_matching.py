"""Acknowledgements: only the answer to this very message is accepted, and the grade says how sure that is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.iso8583 import Message
from protocol.matching import match_reply
from protocol.requests import build_network_message
from protocol.reversal import freeze, identity_of
from tests.unit.protocol_samples import PAN, answer, facts, request_of, reversible, shipped


@pytest.mark.parametrize(("name", "kind"), reversible())
def test_an_answer_that_echoes_everything_is_a_full_match(name: str, kind: str) -> None:
    profile, request = request_of(name, kind)
    frozen = freeze(request, profile, "timeout", own_stan="000008")
    sent = profile.codec.unpack(frozen.body)
    reply = answer(profile, sent).with_fields({2: PAN})
    match = match_reply(frozen.identity, reply, profile)
    assert (match.accepted, match.grade, match.differences) == (True, "full", ())


@pytest.mark.parametrize(("name", "kind"), reversible())
@pytest.mark.parametrize("field", [4, 11, 41])
def test_another_stan_terminal_or_amount_is_never_accepted(name: str, kind: str, field: int) -> None:
    profile, request = request_of(name, kind)
    frozen = freeze(request, profile, "timeout", own_stan="000008")
    reply = answer(profile, profile.codec.unpack(frozen.body))
    value = reply.get(field)
    match = match_reply(frozen.identity, reply.with_fields({field: value[:-1] + "9"}), profile)
    assert not match.accepted
    assert match.grade == "none"
    assert f"({field})" in match.differences[0]


@pytest.mark.parametrize("mti", ["0400", "0200", "0210", "0420", "0430", "0510", "0411", "1410"])
def test_another_class_is_never_accepted(mti: str) -> None:
    profile, request = request_of("unionpay-pos")
    frozen = freeze(request, profile, "timeout")
    reply = answer(profile, profile.codec.unpack(frozen.body))
    match = match_reply(frozen.identity, Message(mti, reply.fields), profile)
    assert match.differences == (f"message type {mti}, expected 0410",)


def test_the_answer_to_a_repeat_may_say_that_it_is_one_where_the_profile_says_so() -> None:
    profile, request = request_of("iso87-ascii")
    frozen = freeze(request, profile, "timeout")
    reply = answer(profile, profile.codec.unpack(frozen.body))
    again = Message("0431", reply.fields)
    assert match_reply(frozen.identity, again, profile).accepted
    strict = replace(profile, matching=replace(profile.matching, accept_repeat_reply=False))
    assert not match_reply(frozen.identity, again, strict).accepted


def test_a_missing_echo_lowers_the_grade_only_where_it_is_allowed() -> None:
    profile, request = request_of("iso87-ascii")
    frozen = freeze(request, profile, "timeout")
    reply = answer(profile, profile.codec.unpack(frozen.body)).with_fields({2: PAN})
    assert match_reply(frozen.identity, reply.with_fields({90: None}), profile).grade == "good"
    weak = match_reply(frozen.identity, reply.with_fields({41: None}), profile)
    assert (weak.accepted, weak.grade, weak.differences) == (True, "weak", ("terminal id (41) is missing",))
    none = match_reply(frozen.identity, reply.with_fields({11: None}), profile)
    assert (none.accepted, none.grade) == (False, "none")
    unionpay, request = request_of("unionpay-pos")
    frozen = freeze(request, unionpay, "timeout")
    reply = answer(unionpay, unionpay.codec.unpack(frozen.body))
    assert not match_reply(frozen.identity, reply.with_fields({41: None}), unionpay).accepted


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("unionpay-pos", 42, "999999999999999"),
        ("unionpay-pos", 60, "22000043"),
        ("unionpay-pos", 3, "200000"),
        ("iso87-ascii", 90, "0200" + "000006" + "0" * 32),
        ("iso93", 56, "1200000006261122101010" + "11" + "00012345678"),
        ("nac-edc", 24, "004"),
    ],
)
def test_an_echo_that_differs_is_never_accepted(name: str, field: int, value: str) -> None:
    profile, request = request_of(name)
    frozen = freeze(request, profile, "timeout", own_stan="000008")
    reply = answer(profile, profile.codec.unpack(frozen.body))
    match = match_reply(frozen.identity, reply.with_fields({field: value}), profile)
    assert not match.accepted
    assert len(match.differences) == 1


def test_the_batch_is_compared_and_what_the_host_adds_behind_it_is_not() -> None:
    profile, request = request_of("unionpay-pos")
    frozen = freeze(request, profile, "timeout")
    reply = answer(profile, profile.codec.unpack(frozen.body))
    assert match_reply(frozen.identity, reply.with_fields({60: reply.get(60) + "00060"}), profile).accepted


def test_another_card_is_not_accepted_and_neither_card_is_shown() -> None:
    profile, request = request_of("unionpay-pos")
    frozen = freeze(request, profile, "timeout")
    reply = answer(profile, profile.codec.unpack(frozen.body)).with_fields({2: "6200000000000005"})
    match = match_reply(frozen.identity, reply, profile)
    assert not match.accepted
    assert match.differences == ("primary account number (2) 620000******0005, expected 621234*********0003",)


def test_differences_say_what_was_expected() -> None:
    profile, request = request_of("unionpay-pos")
    reply = answer(profile, request).with_fields({4: "000000000100"})
    match = match_reply(identity_of(request), reply, profile)
    assert match.differences == ("transaction amount (4) 000000000100, expected 000000012345",)


def test_the_answer_to_a_sign_on_may_name_another_batch() -> None:
    profile = shipped("unionpay-pos")
    request = build_network_message(profile, "sign-on", facts(profile, "sale"))
    reply = answer(profile, request).with_fields({60: "00000099003"})
    match = match_reply(identity_of(request), reply, profile)
    assert (match.accepted, match.grade) == (True, "full")


def test_an_identity_without_type_or_stan_matches_nothing() -> None:
    profile, request = request_of("unionpay-pos")
    reply = answer(profile, request)
    identity = identity_of(request)
    for lost in ("mti", "11"):
        rest = {key: value for key, value in identity.items() if key != lost}
        assert not match_reply(rest, reply, profile).accepted
    assert not match_reply({}, reply, profile).accepted
