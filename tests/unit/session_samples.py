"""Samples for the tests of a session: the UnionPay lane's rules, a fresh session, moments, a key block."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.events import Now
from agent.policy import Policy
from agent.session import Session, SessionEffect, SessionEvent, SessionPolicy, decide
from protocol.ciphers import des_encrypt
from protocol.mac import key_check_value
from protocol.profile import load_profile

START = datetime(2026, 3, 7, 8, 0, tzinfo=UTC)
MASTER = bytes.fromhex("31323334353637383837363534333231")
PIK = bytes.fromhex("1C3D5E7F9BABCDEF0123456789ABCDE0")
MAK = bytes.fromhex("0E329232EA6D0D73A2B5C8D3E6F10426")
TDK = bytes.fromhex("2A4B6C8DAECF1032547698BADCFE1325")


def at(seconds: float) -> Now:
    """A moment of the test's own time."""
    return Now(seconds, START + timedelta(seconds=seconds))


def lane_policy(**session: Any) -> Policy:
    """The UnionPay lane, with changes of its session rules."""
    profile = load_profile("unionpay-pos")
    profile = replace(profile, session=replace(profile.session, **session))
    return Policy(profile, profile.retry, "10000001", 120.0, "reverse", 90.0)


def policy(*, signs_on: bool = True, takes_keys: bool = True, **session: Any) -> SessionPolicy:
    """The rules of a lane that signs on."""
    return SessionPolicy(lane_policy(**session), signs_on, takes_keys)


def session(**changes: Any) -> Session:
    """A session that knows nothing of its host, with changes."""
    return replace(Session("main", "10000001", "000017", "000017"), **changes)


def play(
    first: Session, rules: SessionPolicy, *events: tuple[float, SessionEvent]
) -> tuple[Session, list[SessionEffect]]:
    """The session after these events, and all effects in order."""
    now, effects = first, list[SessionEffect]()
    for moment, event in events:
        now, new = decide(now, event, at(moment), rules)
        effects.extend(new)
    return now, effects


def block(*keys: bytes, master: bytes = MASTER, width: int = 16) -> str:
    """A key block as the host sends it: each key under the master key, filled up with zeros, then its check value."""
    wrapped = (des_encrypt(master, key).ljust(width, b"\0") + bytes.fromhex(key_check_value(key)) for key in keys)
    return b"".join(wrapped).hex().upper()
