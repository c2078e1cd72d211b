"""Answers that the gateway makes itself: the refusal of a request, and the acknowledgement that the journal knows.

They bear a MAC where the lane has a key; where the application alone holds the key, they bear none, and an
application that checks every answer will not believe them.
"""

from __future__ import annotations

from agent.macs import MacProvider, NoMac
from protocol.envelope import HostFrame, wrap
from protocol.iso8583 import Message
from protocol.mac import place, reserve, split
from protocol.mti import reply_to
from protocol.rules import Profile

# Echoed where the request has them: what names the transaction. ISO 8583-1 elements; no track, PIN or chip data.
ECHOED = (2, 3, 4, 7, 11, 12, 13, 25, 32, 37, 41, 42, 49, 60, 90)
# "System malfunction" in every dialect with two-character codes; ISO 8583:1993 has 9xx, where 909 says the same.
MALFUNCTION, MALFUNCTION_1993 = "96", "909"


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
