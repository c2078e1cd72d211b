"""Answers that come when nobody waits any more: evidence, and never an acknowledgement of what was not sent."""

from __future__ import annotations

from agent.lane import Order
from agent.outcomes import Stray
from agent.records import State
from tests.unit.test_loop import CARD, World

ORIGINAL = {
    "rrn": "000000000042",
    "approval_code": "424242",
    "batch": "000016",
    "stan": "000042",
    "date": "0306",
    "time": "101010",
}


def approval(world: World) -> Stray:
    """The host's approval of the last request, with its right MAC, after the exchange has ended."""
    codec = world.lane.policy.profile.codec
    request = codec.unpack(world.wire.sent[-1][0].body)
    reply = request.with_fields({39: "00", 38: "123456", 37: "000000000099", 2: None, 14: None, 22: None, 35: None})
    mti = f"{request.mti[:2]}{int(request.mti[2]) + 1}{request.mti[3]}"
    return Stray(codec.pack(type(reply)(mti, dict(reply.fields))), "valid", "h1")


def test_a_parked_refund_is_not_cleared_by_its_own_approval() -> None:
    """A refund has no reversal: what approves it late acknowledges nothing, and a person still decides.

    Found by the simulator: the approval was compared with the request in place of a reversal, and ended the item.
    """
    world = World()
    txn = world.loop.begin("main", Order("R1", "refund", 1250, CARD, ORIGINAL))
    late = approval(world)
    world.lose()
    world.loop.stray("main", late)
    after = world.loop.get(txn.id)
    assert after is not None
    assert after.state is State.PARKED
    assert after in world.loop.pending()
    assert [piece.what for piece in after.evidence] == ["late answer to the request"]


def test_a_late_approval_of_a_sale_does_not_end_its_reversal() -> None:
    world = World()
    txn = world.begin()
    late = approval(world)
    world.lose()
    world.loop.stray("main", late)
    after = world.loop.get(txn.id)
    assert after is not None
    assert after.state is State.REVERSING
    assert "late answer to the request" in [piece.what for piece in after.evidence]
