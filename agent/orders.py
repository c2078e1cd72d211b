"""From an order to its request and its new record, and what may pass of an application's own messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.events import Now
from agent.lane import Lane, Order, RefusedError
from agent.records import Transaction
from protocol.errors import MessageError
from protocol.iso8583 import Message
from protocol.requests import RequestFacts, build_request
from protocol.reversal import freeze, identity_of
from protocol.secret import masked_card, opened

STAN_MAX = 999_999  # DE 11 is n 6 (ISO 8583); 000000 is not used.
STAN_DIGITS = 6


def make_request(lane: Lane, order: Order, stan: str, now: Now) -> Message:
    """The request's message. Raises RefusedError naming the element that cannot be made."""
    profile = lane.policy.profile
    if order.kind not in profile.kinds:
        known = ", ".join(sorted(profile.kinds))
        raise RefusedError("A-KIND", f"profile {profile.name} knows no {order.kind!r}", f"one of: {known}")
    try:
        return build_request(profile, _facts(lane, order, stan, now))
    except MessageError as error:
        element = f"element {error.field}: " if error.field is not None else ""
        hint = error.hint or f"see the elements of profile {profile.name} in docs/profiles.md"
        raise RefusedError("A-MESSAGE", f"no request can be made: {element}{error.text}", hint) from None


def new_transaction(
    lane: Lane, order: Order, request: Message, txn_id: str, stans: Sequence[str], now: Now
) -> Transaction:
    profile = lane.policy.profile
    kind = profile.kinds[order.kind]
    reversible = kind.on_unknown == "reverse"
    return Transaction(
        id=txn_id,
        lane=lane.name,
        reference=order.reference,
        kind=order.kind,
        amount_minor=order.amount_minor,
        currency=lane.currency,
        stan=stans[0],
        batch=lane.batch,
        terminal_id=lane.terminal_id,
        merchant_id=lane.merchant_id,
        profile=profile.name,
        masked_pan=masked_card(order.facts),
        begun_at_utc=now.at_utc,
        on_unknown=kind.on_unknown,
        confirm=order.confirm,
        driver=order.driver,
        request_identity=identity_of(request),
        own_stan=stans[1] if len(stans) > 1 else "",
        frozen=freeze(request, profile, "timeout", own_stan=stans[-1]) if reversible else None,
    )


def _facts(lane: Lane, order: Order, stan: str, now: Now) -> RequestFacts:
    """What the lane says of every message, and what this order adds."""
    return replace(
        session_facts(lane, stan, now),
        kind=order.kind,
        amount_minor=order.amount_minor,
        original=order.original,
        **{"operator": lane.operator, **opened(order.facts)},
    )


def session_facts(lane: Lane, stan: str, now: Now) -> RequestFacts:
    local = now.utc.astimezone()
    return RequestFacts(
        kind="",
        currency=lane.currency,
        stan=stan,
        batch=lane.batch,
        terminal_id=lane.terminal_id,
        merchant_id=lane.merchant_id,
        acquirer=lane.acquirer,
        operator=f"{lane.operator:<3}" if lane.operator else "",
        year=local.strftime("%y"),
        local_date=local.strftime("%m%d"),
        local_time=local.strftime("%H%M%S"),
        transmission=now.stamp,
    )


def refuse_foreign(lane: Lane, message: Message, bears: Callable[[Lane, str], bool]) -> None:
    """A request of another terminal, or under a number that a pending item bears, does not begin."""
    stan = message.get(11)
    if message.get(41).rstrip() != lane.terminal_id:
        text = f"the message is of another terminal than lane {lane.name}'s {lane.terminal_id}"
        raise RefusedError("A-TERMINAL", text, "one lane and one gateway for each terminal id")
    if len(stan) != STAN_DIGITS:
        raise RefusedError("A-STAN", "the message has no STAN", "it could not be reversed")
    if bears(lane, stan):
        text = f"STAN {stan} belongs to a pending item"
        raise RefusedError("A-STAN-PENDING", text, "the application must use a new number for a new request")


def far_from(stan: str) -> str:
    """A number for our own use that the application's counter reaches last."""
    return f"{(int(stan) + STAN_MAX // 2) % STAN_MAX + 1:06d}"
