"""Is this message the answer to that one? Graded, and every difference said in words that may be shown.

Rules:
1. Another class, another STAN, or any compared element that is there and differs: not accepted.
2. An element that must be there and is not: not accepted, unless the profile's rule allows it (grade "weak").
3. "full": everything that the profile compares was there; "good": all of the core was.
The response code is no part of the match; the MAC is checked by the caller, who knows the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol import masking
from protocol.elements import element
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.mti import reply_to
from protocol.rules import Profile
from protocol.templates import Slice

_NETWORK = "8"  # class digit of sign-on, sign-off and echo


@dataclass(frozen=True)
class Match:
    """The verdict: accepted or not, how sure ("full", "good", "weak", "none"), and what differs or lacks, masked."""

    accepted: bool
    grade: str
    differences: tuple[str, ...]


def match_reply(identity: Mapping[str, str], reply: Message, profile: Profile) -> Match:
    """Gives whether `reply` answers the message whose identity was stored, and how surely."""
    rules = profile.matching
    sent = identity.get("mti", "")
    wrong = _class_difference(sent, reply.mti, rules.accept_repeat_reply)
    if not identity.get("11"):
        wrong.append("the STAN that was sent is not known")
    lacking: list[str] = []
    for item in rules.core:
        found = _compare(item, identity, reply)
        if found is None:
            (lacking if item in rules.may_be_absent else wrong).append(f"{_name(item)} is missing")
        else:
            wrong.extend(found)
    full = not lacking
    # The host's answer to a sign-on may name another batch: only the core counts there.
    for item in () if sent[1:2] == _NETWORK else rules.echoed:
        found = _compare(item, identity, reply)
        full = full and found is not None
        wrong.extend(found or ())
    if wrong:
        return Match(False, "none", tuple(wrong + lacking))
    return Match(True, "weak" if lacking else "full" if full else "good", tuple(lacking))


def _class_difference(sent: str, received: str, accept_repeat: bool) -> list[str]:
    """Gives a difference when the message type is not the one that answers `sent`."""
    try:
        expected = reply_to(sent)
    except MessageError:
        return [f"message type {sent or 'unknown'} has no answer"]
    allowed = {expected, expected[:3] + str(int(expected[3]) + 1)} if accept_repeat else {expected}
    return [] if received in allowed else [f"message type {received}, expected {expected}"]


def _compare(item: Slice, identity: Mapping[str, str], reply: Message) -> list[str] | None:
    """Gives the difference in one element, [] when there is none, None when the reply lacks what was sent."""
    expected = item.of(identity.get(str(item.field), ""))
    if not expected:
        return []
    received = item.of(shown_in_identity(item.field, reply.get(item.field)))
    if not received:
        return None
    if expected == received:
        return []
    return [f"{_name(item)} {_safe(item, received)}, expected {_safe(item, expected)}"]


def _safe(item: Slice, value: str) -> str:
    """Gives a value for a text; card numbers in it are masked already."""
    return value if item.field == 2 else masking.show(item.field, value)


def shown_in_identity(field: int, value: str) -> str:
    """Gives an element as it stands in an identity, which is no secret: a card number masked."""
    return masking.mask_pan(value) if field == 2 else value.rstrip()


def _name(item: Slice) -> str:
    return f"{element(item.field).name} ({item})"
