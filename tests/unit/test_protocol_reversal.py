"""Reversals: frozen once as exact bytes; only slots change; no track, PIN block or card verification value inside."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from protocol.errors import MessageError
from protocol.iso8583 import Codec, Message
from protocol.reversal import FrozenReversal, Learnt, Slot, freeze, kind_of, reason_code, reason_of_try, render
from protocol.templates import parse_template
from protocol.tlv import pick_tags, read_tags
from tests.unit.protocol_samples import CHIP, PAN, PIN_BLOCK, PROFILES, TRACK2, request_of, reversible, shipped


class _Forgetful(Codec):
    """A codec that loses the amount when it reads."""

    def unpack_and_locate(self, body: bytes) -> tuple[Message, dict[int, tuple[int, int]]]:
        message, places = super().unpack_and_locate(body)
        return message.with_fields({4: None}), places


NOTHING = Learnt()
Frozen = tuple[FrozenReversal, Message]


def _frozen(name: str, kind: str = "sale", learnt: Learnt = NOTHING, **changes: Any) -> Frozen:
    profile, request = request_of(name, kind, **changes)
    frozen = freeze(request, profile, "timeout", learnt, own_stan="000008")
    return frozen, profile.codec.unpack(frozen.body)


@pytest.mark.parametrize(("name", "kind"), reversible())
def test_no_track_pin_block_or_secret_tag_is_ever_in_a_reversal(name: str, kind: str) -> None:
    for pan in (PAN, ""):
        frozen, message = _frozen(name, kind, pan=pan)
        assert not {26, 34, 35, 36, 45, 52, 53} & set(message.fields)
        tags = {tag for tag, _ in read_tags(message.get(55))}
        assert not tags & {"56", "57", "5A", "9F6B"}
        hexed = frozen.body.hex().upper()
        for secret in (TRACK2.replace("=", "D"), TRACK2[20:], PIN_BLOCK):
            assert secret not in hexed
            assert secret.encode().hex().upper() not in hexed


@pytest.mark.parametrize(("name", "kind"), reversible())
def test_a_reversal_names_card_amount_terminal_and_original(name: str, kind: str) -> None:
    profile, request = request_of(name, kind)
    frozen, message = _frozen(name, kind)
    assert message.mti == frozen.mti == profile.reversal.types[request.mti]
    assert message.get(2) == PAN
    for field in (3, 4, 41, 42):
        assert message.get(field) == request.get(field)
    own = profile.reversal.stan == "own"
    assert message.get(11) == ("000008" if own else request.get(11))


@pytest.mark.parametrize(("name", "kind"), reversible())
def test_a_reversal_comes_back_from_its_description(name: str, kind: str) -> None:
    frozen, _ = _frozen(name, kind)
    text = json.dumps(frozen.describe())
    assert FrozenReversal.restore(json.loads(text), frozen.body) == frozen
    for secret in (PAN, PAN[6:-4], TRACK2[20:], PIN_BLOCK):
        assert secret not in text
        assert secret not in repr(frozen)


def test_a_description_of_another_reversal_or_version_is_refused() -> None:
    frozen, _ = _frozen("unionpay-pos")
    with pytest.raises(MessageError, match="fit"):
        FrozenReversal.restore(frozen.describe(), frozen.body[:-1])
    with pytest.raises(MessageError, match="version"):
        FrozenReversal.restore({**frozen.describe(), "version": 2}, frozen.body)


@pytest.mark.parametrize(("name", "kind"), reversible())
def test_an_attempt_differs_from_the_frozen_bytes_in_its_slots_only(name: str, kind: str) -> None:
    frozen, _ = _frozen(name, kind)
    profile = shipped(name)
    other = profile.reversal.reasons["customer"]
    body = render(frozen, repeat=True, reason_code=other, stamp="1122235959", local="1122235959", stan="000009")
    places = {index for slot in frozen.slots for index in range(slot.offset, slot.offset + slot.length)}
    assert len(body) == len(frozen.body)
    assert {index for index, (a, b) in enumerate(zip(frozen.body, body, strict=True)) if a != b} <= places
    message = profile.codec.unpack(body)
    assert message.mti == frozen.repeat_mti
    if profile.reversal.reason_field:
        assert message.get(profile.reversal.reason_field) == other
    if profile.reversal.stamp_field:
        assert message.get(7) == "1122235959"
    if profile.reversal.local_time_field:
        assert (message.get(13), message.get(12)) == ("1122", "235959")
    else:
        assert message.get(12) == profile.codec.unpack(frozen.body).get(12)


def test_the_first_attempt_as_it_is_gives_the_frozen_bytes() -> None:
    for name in PROFILES:
        frozen, _ = _frozen(name)
        assert render(frozen, repeat=False) == frozen.body


def test_only_profiles_with_repeats_say_that_they_repeat() -> None:
    assert _frozen("unionpay-pos")[0].repeat_mti == "0400"
    assert _frozen("iso87-ascii")[0].repeat_mti == "0421"
    assert _frozen("as2805-like")[0].repeat_mti == "0421"
    assert _frozen("iso93")[0].repeat_mti == "1421"


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"reason_code": "9"}, "unionpay-pos"), ({"reason_code": "é8"}, "unionpay-pos"), ({"stamp": "11"}, "iso87-ascii")],
)
def test_a_value_that_does_not_fit_its_slot_is_refused(changes: dict[str, Any], name: str) -> None:
    frozen, _ = _frozen(name)
    with pytest.raises(MessageError, match="slot"):
        render(frozen, repeat=False, **changes)


def test_a_bcd_slot_takes_digits_only() -> None:
    frozen, _ = _frozen("unionpay-x919")
    with pytest.raises(MessageError, match="slot '12'"):
        render(frozen, repeat=False, local="1122xx5959")
    with pytest.raises(MessageError, match="slot '13'"):
        render(frozen, repeat=False, local="1A22101010")


@pytest.mark.parametrize(
    ("kind", "learnt", "expected"),
    [
        ("sale", Learnt(), ""),
        ("preauth", Learnt(date="1122"), ""),
        ("void", Learnt(date="1122"), "000042000007"),
        ("preauth-void", Learnt(), "0000420000070000"),
        ("preauth-void", Learnt(date="1122"), "0000420000071122"),
        ("completion", Learnt(), "0000420000070000"),
        ("completion-void", Learnt(date="0101"), "0000420000070101"),
    ],
)
def test_element_61_of_a_unionpay_reversal_follows_the_kind(kind: str, learnt: Learnt, expected: str) -> None:
    # The void's own batch 000042 and STAN 000007, not the sale's 000041 000003 that its request named.
    _, message = _frozen("unionpay-pos", kind, learnt)
    assert message.get(61) == expected
    assert message.get(60)[2:] == "000042"


def test_what_the_reply_told_goes_into_the_reversal() -> None:
    learnt = Learnt(approval_code="654321", rrn="210987654321", chip_data="95051122334455" + "9F2601FF")
    _, message = _frozen("iso87-ascii", "sale", learnt)
    assert message.get(38) == "654321"
    assert message.get(37) == "210987654321"
    assert message.get(55) == "95051122334455"
    assert "chip" not in repr(learnt)


def test_chip_data_is_reduced_to_the_listed_tags() -> None:
    _, message = _frozen("unionpay-pos")
    assert message.get(55) == "95050000000000" + "9F1002AABB" + "9F36020001"
    _, message = _frozen("unionpay-pos", chip_data="5A0A6212345678900000003F")
    assert 55 not in message.fields


def test_a_request_with_the_account_in_track_2_only_gives_it_to_the_reversal() -> None:
    profile, request = request_of("unionpay-pos", pan="", expiry="")
    assert 2 not in request.fields
    frozen = freeze(request, profile, "timeout")
    assert profile.codec.unpack(frozen.body).get(2) == PAN
    assert frozen.identity["2"] == "621234*********0003"


def test_a_number_of_its_own_must_be_given_where_the_profile_wants_one() -> None:
    profile, request = request_of("cmbc-like")
    with pytest.raises(MessageError, match="number of its own"):
        freeze(request, profile, "timeout")
    frozen = freeze(request, profile, "timeout", own_stan="000162")
    assert frozen.identity["11"] == "000162"


def test_a_new_number_with_each_try_is_a_slot() -> None:
    profile, request = request_of("unionpay-pos")
    profile = replace(profile, reversal=replace(profile.reversal, stan_each_try=True))
    frozen = freeze(request, profile, "timeout")
    assert profile.codec.unpack(render(frozen, repeat=False, stan="000099")).get(11) == "000099"
    assert frozen.identity["11"] == "000007"


@pytest.mark.parametrize(
    ("reason", "code"), [("timeout", "98"), ("mac", "A0"), ("other", "06"), ("storage", "96"), ("customer", "06")]
)
def test_the_reason_is_told_in_the_hosts_code(reason: str, code: str) -> None:
    profile, request = request_of("unionpay-pos")
    assert reason_code(profile, reason) == code
    assert profile.codec.unpack(freeze(request, profile, reason).body).get(39) == code


@pytest.mark.parametrize(
    ("name", "refused", "code"),
    [
        ("unionpay-pos", False, "98"),
        ("unionpay-pos", True, "06"),
        ("unionpay-x919", True, "06"),
        ("iso87-ascii", True, "68"),
        ("iso93", True, "4021"),
    ],
)
def test_after_a_refusal_the_reason_is_the_one_that_the_profile_wants_then(name: str, refused: bool, code: str) -> None:
    frozen, profile = _frozen(name), shipped(name)
    assert reason_of_try(frozen[0], profile, "timeout", refused=refused) == code


@pytest.mark.parametrize("wrong", ["9", "123", "é8", "9 8"])
def test_a_reason_that_does_not_fit_leaves_the_stored_one(wrong: str) -> None:
    """The profile may have changed since: the reversal leaves all the same."""
    frozen, _ = _frozen("unionpay-pos")
    profile = shipped("unionpay-pos")
    changed = replace(profile, reversal=replace(profile.reversal, reasons={"customer": wrong}))
    assert reason_of_try(frozen, changed, "customer", refused=False) == ""
    body = render(frozen, repeat=False, reason_code="")
    assert profile.codec.unpack(body).get(39) == profile.codec.unpack(frozen.body).get(39)


def test_an_unknown_reason_is_refused() -> None:
    profile, request = request_of("unionpay-pos")
    with pytest.raises(MessageError, match="whim"):
        freeze(request, profile, "whim")


@pytest.mark.parametrize("kind", ["balance", "refund"])
def test_what_the_profile_does_not_reverse_is_refused(kind: str) -> None:
    profile, request = request_of("unionpay-pos", kind)
    with pytest.raises(MessageError):
        freeze(request, profile, "timeout")


def test_a_request_of_no_known_kind_is_refused() -> None:
    profile, request = request_of("unionpay-pos")
    for changes in ({3: "990000"}, {60: "99000042"}):
        with pytest.raises(MessageError, match="kind"):
            freeze(request.with_fields(changes), profile, "timeout")


@pytest.mark.parametrize("name", PROFILES)
def test_every_kind_is_recognised_from_its_request(name: str) -> None:
    for kind in shipped(name).kinds:
        profile, request = request_of(name, kind)
        assert kind_of(request, profile).name == kind


def test_without_the_type_element_the_condition_code_decides() -> None:
    profile, request = request_of("unionpay-pos", "completion")
    assert kind_of(request.with_fields({60: None}), profile).name == "completion"


def test_a_partial_reversal_names_the_amount_that_stands() -> None:
    profile, request = request_of("iso87-ascii")
    frozen = freeze(request, profile, "other", stands_minor=2345)
    message = profile.codec.unpack(frozen.body)
    assert message.get(4) == "000000012345"
    assert message.get(95) == "000000002345" + "0" * 12 + "D00000000" * 2
    for amount in (0, 12345, 20000):
        with pytest.raises(MessageError, match="amount that stands"):
            freeze(request, profile, "other", stands_minor=amount)
    profile, request = request_of("unionpay-pos")
    with pytest.raises(MessageError, match="partial"):
        freeze(request, profile, "other", stands_minor=1)


def test_track_data_that_slips_in_through_another_element_is_refused() -> None:
    profile, request = request_of("cmbc-like")
    for track in (TRACK2, TRACK2.replace("=", "D")):
        template = parse_template(track + "{f11}")
        assert template is not None
        rules = replace(profile.reversal, templates={**profile.reversal.templates, 63: template})
        with pytest.raises(MessageError, match="track data"):
            freeze(request, replace(profile, reversal=rules), "timeout", own_stan="000008")


def test_a_reversal_that_would_not_read_back_is_never_frozen() -> None:
    profile, request = request_of("unionpay-pos")
    rules = replace(profile.reversal, types={"0200": "0499"})
    with pytest.raises(MessageError):
        freeze(request, replace(profile, reversal=rules), "timeout")
    forgetful = _Forgetful(profile.codec.packings.values())
    with pytest.raises(MessageError, match="unpack to itself"):
        freeze(request, replace(profile, codec=forgetful), "timeout")
    with pytest.raises(MessageError, match="reverses no message"):
        freeze(request, replace(profile, reversal=replace(profile.reversal, types={})), "timeout")


def test_slots_tell_where_and_what() -> None:
    frozen, _ = _frozen("unionpay-pos", chip_data="")
    # 0400 | bitmap 8 | LL + 10 bytes F2 | F3 | F4 | F11 | F14 | F22 | F25 | F39 ...
    assert frozen.slots[0] == Slot("mti", 0, 2, "bcd")
    assert frozen.slots[1] == Slot("reason", 2 + 8 + 11 + 3 + 6 + 3 + 2 + 2 + 1, 2, "ascii")
    assert frozen.slots[2] == Slot("mac", len(frozen.body) - 8, 8, "binary")
    assert frozen.body.endswith(bytes(8))


@pytest.mark.parametrize("chip", ["95", "9505", "9581", "95840000000101", "9F", "950511"])
def test_chip_data_that_is_cut_is_refused(chip: str) -> None:
    with pytest.raises(MessageError):
        pick_tags(chip, ("95",))


def test_tags_of_every_length_form_are_read_and_written() -> None:
    long, longer = "AB" * 130, "CD" * 300
    chip = f"00FF9F81100101{'9F10'}8182{long}72820{300:03X}{longer}"
    assert dict(read_tags(chip)) == {"9F8110": "01", "9F10": long, "72": longer}
    assert pick_tags(chip, ("72", "9F10", "95")) == f"72820{300:03X}{longer}9F108182{long}"
    assert pick_tags("", ("95",)) == ""
    assert CHIP.startswith(pick_tags(CHIP, ("95",)))
