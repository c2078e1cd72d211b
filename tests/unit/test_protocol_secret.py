"""Card numbers and keys print masked in every way in which Python prints."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable

import pytest

from agent.lane import Order
from agent.macs import SoftwareMac
from protocol.profile import load_profile
from protocol.secret import CARD_FACTS, Key, Pan, Secret, Track, masked_card, opened, sealed
from tests.card_canary import Canary
from tests.card_canary import Secret as Wanted

PAN = "6212345678900000003"
TRACK = f"{PAN}=30122010000098765"
KEY = "0E329232EA6D0D73A2B5C8D3E6F10426"
ALL: list[tuple[Secret, str]] = [(Pan(PAN), PAN), (Track(TRACK), TRACK), (Key(KEY), KEY), (Secret(PAN), PAN)]

WAYS: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "format": lambda secret: f"{secret}",
    "wide format": lambda secret: f"{secret:>40}",
    "conversion": lambda secret: f"{secret!r} {secret!s} {secret!a}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - that is what is tried
    "in a list": lambda secret: str([secret, (secret,), {"a": secret}, {secret}]),
    "json": lambda secret: json.dumps({"a": secret}, default=str),
    "log": lambda secret: logged(secret),
    "exception": lambda secret: raised(secret),
    "order": lambda secret: repr(vars_of(Order("R", "sale", 1, {"pan": secret, "track2": secret}))),
}


def logged(secret: Secret) -> str:
    stream = io.StringIO()
    log = logging.Logger("canary")
    log.addHandler(logging.StreamHandler(stream))
    log.error("the card %s of %r", secret, {"card": secret})
    return stream.getvalue()


def raised(secret: Secret) -> str:
    try:
        raise ValueError(secret, "was refused")
    except ValueError:
        return traceback.format_exc()


def vars_of(order: Order) -> dict[str, object]:
    return {name: getattr(order, name) for name in ("reference", "facts", "original")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("secret", "raw"), ALL, ids=lambda one: type(one).__name__)
def test_no_way_of_printing_shows_it(secret: Secret, raw: str, way: str) -> None:
    text = WAYS[way](secret)
    wanted = [Wanted("raw", raw), Wanted("middle", raw[6:-4])]
    assert Canary(wanted).found(way, text.encode()) == []
    assert secret.reveal() == raw


@pytest.mark.parametrize("misuse", [json.dumps, pickle.dumps, "".join, len, list, int, bytes, lambda one: one + "x"])
@pytest.mark.parametrize(("secret", "raw"), ALL, ids=lambda one: type(one).__name__)
def test_what_would_take_the_raw_value_is_refused(secret: Secret, raw: str, misuse: Callable[[object], object]) -> None:
    with pytest.raises(TypeError) as refused:
        misuse([secret] if misuse == "".join else secret)
    assert raw[6:-4] not in str(refused.value)


def test_a_card_number_shows_what_a_slip_may_show() -> None:
    assert str(Pan("6200000000000005")) == "620000******0005"
    assert str(Track("6200000000000005=3012").number()) == "620000******0005"
    assert str(Key(KEY)) == "<key>"


def test_secrets_compare_among_themselves_only() -> None:
    assert Pan(PAN) == Pan(PAN) != Pan("6200000000000005")
    assert Pan(PAN) != PAN
    assert Key(bytes.fromhex(KEY)) == Key(KEY.upper())
    assert copy.deepcopy({"a": Pan(PAN)}) == {"a": Pan(PAN)}


def test_an_order_holds_no_raw_card_data_whoever_made_it() -> None:
    order = Order(
        "R", "sale", 1, {"pan": PAN, "track2": TRACK, "pin_block": "A1" * 8, "chip_data": "57", "expiry": "1"}
    )
    assert {type(order.facts[name]) for name in CARD_FACTS} == {Pan, Track, Secret}
    assert opened(order.facts)["pan"] == PAN
    assert masked_card(order.facts) == masked_card(sealed({"track2": TRACK})) == "621234*********0003"
    assert masked_card({}) == ""


def test_a_software_mac_never_shows_its_key() -> None:
    mac = SoftwareMac(load_profile("unionpay-pos").mac, bytes.fromhex(KEY))
    shown = repr(mac) + mac.describe() + repr(dict(vars(mac)))
    assert Canary([Wanted("key", KEY)]).found("mac", shown.encode()) == []
