"""Facts, messages and published vectors that the tests of `protocol/` share. Card numbers are test numbers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocol.iso8583 import Message
from protocol.mti import reply_to
from protocol.profile import Profile, load_profile, profile_names
from protocol.requests import RequestFacts, build_request

PAN = "6212345678900000003"
TRACK2 = "6212345678900000003=30122010000012300"
PIN_BLOCK = "1122334455667788"
# 95 (5 bytes), 5A (the card number), 9F10, 9F36: 5A must never reach a reversal.
CHIP = "95050000000000" + "5A0A6212345678900000003F" + "9F1002AABB" + "9F36020001"
MAC_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")

PROFILES = profile_names()
TEST_PROFILES = Path(__file__).with_name("protocol_profiles")
_VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "published.json"


def vectors() -> list[dict[str, Any]]:
    """The published messages and MACs; an empty list where the folder is absent (the tests then skip)."""
    return json.loads(_VECTORS.read_text("utf-8")) if _VECTORS.is_file() else []


def vector(name: str) -> dict[str, Any]:
    """One published vector; skips the test where the folder is absent."""
    found = [entry for entry in vectors() if entry["name"] == name]
    if not found:
        pytest.skip("the published vectors (../shared/vectors/published.json) are not on this machine")
    return found[0]


def facts(profile: Profile, kind: str, **changes: Any) -> RequestFacts:
    """Everything that a request of this kind could need."""
    iso93 = profile.name == "iso93"
    known: dict[str, Any] = {
        "kind": kind,
        "amount_minor": 12345,
        "stan": "000007",
        "batch": "000042",
        "terminal_id": "12345678",
        "merchant_id": "123456789012345",
        "pan": PAN,
        "expiry": "3012",
        "track2": TRACK2,
        "pin_block": PIN_BLOCK,
        "chip_data": CHIP,
        "pos_entry_mode": "210101213144" if iso93 else "051",
        "local_date": "1122",
        "local_time": "101010",
        "year": "26",
        "transmission": "1122021010",
        "operator": "001",
        "acquirer": "12345678",
        "original": {
            "rrn": "123456789012",
            "approval_code": "123456",
            "batch": "000041",
            "stan": "000003",
            "date": "261121" if iso93 else "1121",
            "time": "101010",
            "transmission": "1121021010",
            "mti": "1200" if iso93 else "0200",
        },
    }
    return RequestFacts(**(known | changes))


@cache
def shipped(name: str) -> Profile:
    """A profile that comes with the program, loaded once."""
    return load_profile(name)


def request_of(name: str, kind: str = "sale", **changes: Any) -> tuple[Profile, Message]:
    """A profile and a request of a kind in it."""
    profile = shipped(name)
    return profile, build_request(profile, facts(profile, kind, **changes))


def reversible() -> list[tuple[str, str]]:
    """Every (profile, kind) that is reversed."""
    return [
        (name, kind.name) for name in PROFILES for kind in shipped(name).kinds.values() if kind.on_unknown == "reverse"
    ]


def answer(profile: Profile, request: Message, code: str = "00", **changes: str) -> Message:
    """The host's answer to a request: everything echoed but secrets, element 39 added."""
    kept = {field: value for field, value in request.fields.items() if field not in (2, 14, 35, 52, 53, 55)}
    return Message(reply_to(request.mti), {**kept, 39: code})
