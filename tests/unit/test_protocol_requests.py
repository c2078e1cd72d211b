"""Requests are built from facts by the profile's templates, and what is missing is named."""

from __future__ import annotations

import pytest

from protocol.errors import MessageError
from protocol.requests import RequestFacts, build_network_message, build_request
from tests.unit.protocol_samples import PAN, PIN_BLOCK, PROFILES, TRACK2, facts, request_of, shipped


@pytest.mark.parametrize("name", PROFILES)
def test_every_kind_can_be_built_and_packed(name: str) -> None:
    for kind in shipped(name).kinds:
        profile, request = request_of(name, kind)
        assert profile.codec.unpack(profile.codec.pack(request)) == request


@pytest.mark.parametrize("name", PROFILES)
def test_every_message_of_the_session_can_be_built(name: str) -> None:
    profile = shipped(name)
    for message in profile.session.messages:
        built = build_network_message(
            profile, message, facts(profile, "sale"), totals="0" * 62, details="01" + "0" * 40, count="0001"
        )
        assert built.get(11) == "000007"
        assert built.mti == profile.session.messages[message].mti


def test_a_unionpay_sale_with_pin_has_the_elements_of_the_field_description() -> None:
    _, request = request_of("unionpay-pos", "sale", chip_data="", card_sequence="1")
    assert dict(request.fields) == {
        2: PAN,
        3: "000000",
        4: "000000012345",
        11: "000007",
        14: "3012",
        22: "051",
        23: "001",
        25: "00",
        26: "12",
        35: TRACK2,
        41: "12345678",
        42: "123456789012345",
        49: "156",
        52: PIN_BLOCK,
        53: "2600000000000000",
        60: "22000042",
        64: "0" * 16,
    }


def test_a_sale_without_pin_has_no_pin_elements() -> None:
    _, request = request_of("unionpay-pos", "sale", pin_block="")
    assert not {26, 52, 53} & set(request.fields)


def test_a_balance_inquiry_has_no_amount() -> None:
    _, request = request_of("unionpay-pos", "balance")
    assert 4 not in request.fields


def test_a_void_names_the_sale_in_its_request() -> None:
    _, request = request_of("unionpay-pos", "void")
    assert (request.get(61), request.get(37), request.get(38)) == ("000041000003", "123456789012", "123456")
    _, request = request_of("iso87-ascii", "void")
    assert request.get(90) == "0200" + "000003" + "1121021010" + "00012345678" + "0" * 11


@pytest.mark.parametrize(
    ("name", "kind", "changes", "reason", "field"),
    [
        ("unionpay-pos", "sale", {"stan": ""}, "stan is missing", 11),
        ("unionpay-pos", "sale", {"batch": ""}, "batch is missing", 60),
        ("unionpay-pos", "sale", {"terminal_id": "1"}, "must be 8 characters", 41),
        ("unionpay-pos", "sale", {"amount_minor": -1}, "amount", 4),
        ("unionpay-pos", "sale", {"amount_minor": 10**12}, "amount", 4),
        ("unionpay-pos", "void", {"original": {"rrn": "123456789012"}}, "original_batch", 61),
        ("unionpay-pos", "loan", {}, "no transaction of kind 'loan'", None),
        ("iso93", "sale", {"year": ""}, "year is missing", 12),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    name: str, kind: str, changes: dict[str, object], reason: str, field: int | None
) -> None:
    profile = shipped(name)
    with pytest.raises(MessageError, match=reason) as caught:
        build_request(profile, facts(profile, kind, **changes))
    assert caught.value.field == field


def test_an_unknown_session_message_is_refused() -> None:
    with pytest.raises(MessageError, match="dance"):
        build_network_message(shipped("unionpay-pos"), "dance", RequestFacts(kind=""))


def test_facts_show_no_card_data() -> None:
    shown = repr(facts(shipped("unionpay-pos"), "sale"))
    for secret in (PAN, TRACK2[20:], PIN_BLOCK, "9505"):
        assert secret not in shown
    assert "amount_minor=12345" in shown
    assert "621234*********0003" in shown
