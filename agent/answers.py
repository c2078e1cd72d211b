"""What a body from the host says to an exchange: does it answer it, how surely, and what did it tell.

A body is unpacked once: what `accept` found out for the awaited answer is used again when it is decided about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from agent import outcomes
from agent.events import Answered
from agent.lane import Lane
from agent.records import Transaction
from protocol.errors import MessageError
from protocol.iso8583 import Message
from protocol.matching import Match, match_reply
from protocol.reversal import Learnt, identity_of
from protocol.rules import Profile


class Awaited:
    """The answer that one exchange waits for. `taken`: the body that was accepted, and what it says."""

    __slots__ = ("_identity", "_profile", "taken")

    def __init__(self, profile: Profile, identity: Mapping[str, str]) -> None:
        self._profile = profile
        self._identity = identity
        self.taken: tuple[bytes, Message, Match] | None = None

    def __call__(self, body: bytes) -> bool:
        """Whether this body is it."""
        try:
            message, match = self.read(body)
        except MessageError:
            return False
        if match.accepted:
            self.taken = (body, message, match)
        return match.accepted

    def read(self, body: bytes) -> tuple[Message, Match]:
        """The message and how it matches. Raises MessageError."""
        if self.taken is not None and self.taken[0] is body:
            return self.taken[1:]
        message = self._profile.codec.unpack(body)
        return message, match_reply(self._identity, message, self._profile)


def identity_sent(txn: Transaction, purpose: str) -> Mapping[str, str]:
    """What an answer to the request, or to the latest reversal, is compared with."""
    if purpose != "reversal" or txn.frozen is None:
        return txn.request_identity
    return {**txn.frozen.identity, "11": txn.try_stan} if txn.try_stan else txn.frozen.identity


def awaited_identity(lane: Lane, txn: Transaction, purpose: str) -> Mapping[str, str]:
    """The same for an exchange that begins: what an application sent in place of ours is answered as sent."""
    if purpose == "reversal" and lane.stand_in:
        return identity_of(lane.stand_in.message)
    return identity_sent(txn, purpose)


def answered(
    awaited: Awaited, purpose: str, reply: outcomes.Replied | outcomes.Stray, *, is_awaited: bool
) -> tuple[Answered, Message]:
    """The event, and the message for what is never stored. Raises MessageError."""
    message, match = awaited.read(reply.body)
    learnt = learnt_from(message)
    what = f"{message.mti} with response code {message.get(39) or 'none'}"
    to: Literal["request", "reversal"] = "reversal" if purpose == "reversal" else "request"
    return Answered(to, is_awaited, message.get(39), reply.mac, match, learnt, what, reply.host), message


def learnt_from(message: Message) -> Learnt:
    """What an answer tells of its original."""
    return Learnt(
        approval_code=message.get(38),
        rrn=message.get(37),
        date=message.get(13),
        time=message.get(12),
        acquirer=message.get(32),
    )


def stray_answer(lane: Lane, txn: Transaction, message: Message, stray: outcomes.Stray) -> Answered | str:
    """What a frame that nobody awaited says of this item; where it answers nothing of it, how it differs."""
    profile = lane.policy.profile
    for to in ("reversal", "request") if txn.frozen else ("request",):
        awaited = Awaited(profile, identity_sent(txn, to))
        awaited.taken = (stray.body, message, match_reply(identity_sent(txn, to), message, profile))
        event, _ = answered(awaited, to, stray, is_awaited=False)
        if event.match.accepted:
            return event
    return "; ".join(match_reply(txn.request_identity, message, profile).differences)
