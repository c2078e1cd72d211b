"""Answers that the gateway makes itself: the refusal of a request, and the acknowledgement that the journal knows; and
those of the host that it gives once more to an application that repeats its request.

They bear a MAC where the lane has a key; where the application alone holds the key, they bear none, and an
application that checks every answer will not believe them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from agent.macs import MacProvider, NoMac
from agent.outcomes import Replied
from protocol.envelope import HostFrame, wrap
from protocol.iso8583 import Message
from protocol.mac import place, reserve, split
from protocol.mti import reply_to
from protocol.rules import Profile

# Echoed where the request has them: what names the transaction. ISO 8583-1 elements; no track, PIN or chip data.
ECHOED = (2, 3, 4, 7, 11, 12, 13, 25, 32, 37, 41, 42, 49, 60, 90)
# "System malfunction" in every dialect with two-character codes; ISO 8583:1993 has 9xx, where 909 says the same.
MALFUNCTION, MALFUNCTION_1993 = "96", "909"

# A request that comes again within this is the same one: an application waits at most a minute or two, and its counter
# does not come round so soon. Assumed.
REPEATED_S = 300.0
GIVEN_KEPT = 64
# What differs in a repetition: times, PIN block and its key's number, MAC.
_VARIES = frozenset({7, 12, 13, 52, 53, 64, 128})


class Given:
    """Approvals that were delivered: the same request gets them again, and the host hears nothing.

    In memory, for a while: after a restart a repetition is a request like any other. `now`: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: dict[bytes, tuple[str, Replied, float]] = {}

    def mark(self, profile: Profile, request: Message) -> bytes:
        """By what a request is known again: a digest, so that no card data stays. Raises MessageError."""
        fields = {number: value for number, value in request.fields.items() if number not in _VARIES}
        return hashlib.sha256(profile.codec.pack(Message(request.mti, fields))).digest()

    def keep(self, mark: bytes, txn_id: str, reply: Replied) -> None:
        """This answer has arrived."""
        self._kept[mark] = (txn_id, reply, self._now())
        while len(self._kept) > GIVEN_KEPT:
            del self._kept[next(iter(self._kept))]

    def answer(self, mark: bytes) -> tuple[str, Replied] | None:
        """The item and its answer, if this request was answered a short while ago."""
        txn_id, reply, at = self._kept.get(mark, ("", None, 0.0))
        return (txn_id, reply) if reply is not None and self._now() - at < REPEATED_S else None


async def refusal(profile: Profile, request: Message, frame: HostFrame, macs: MacProvider) -> bytes:
    """The request's decline as the host itself would say it is out of order. Raises ProtocolError, MacUnavailable."""
    code = MALFUNCTION_1993 if request.mti.startswith("1") else MALFUNCTION
    return await answer(profile, request, frame, code, macs)


async def answer(profile: Profile, request: Message, frame: HostFrame, code: str, macs: MacProvider) -> bytes:
    """An answer with this response code, enveloped as the reply to `frame`. Raises ProtocolError, MacUnavailable."""
    echoed = {number: request.fields[number] for number in ECHOED if number in request.fields}
    message = Message(reply_to(request.mti), {**echoed, 39: code})
    if isinstance(macs, NoMac):
        return wrap(profile, profile.codec.pack(message), swapped(frame.tpdu), frame.header)
    body = profile.codec.pack(reserve(profile, message))
    if parts := split(profile, body):
        body = place(profile, body, await macs.mac(parts[0]))
    return wrap(profile, body, swapped(frame.tpdu), frame.header)


def swapped(tpdu: bytes) -> bytes:
    """Source and destination exchanged, as a host does: id 1, destination 2, source 2."""
    return tpdu[:1] + tpdu[3:5] + tpdu[1:3]
