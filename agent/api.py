"""The methods of the local API that a POS application calls, and whose turn it is on a lane.

Transport and peer credentials are `agent/rpc.py`'s; here stand the meanings. docs/api.md is the page
for application programmers. A method checks its parameters, gives the event to the loop and tells
what became of it: it decides nothing about money itself. What operators and technicians call is in
files of its own (agent/operator_desk.py, agent/device_desk.py, ...); the daemon puts all together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from agent.answers import learnt_from
from agent.events import Answered, Complete, Event, Reverse
from agent.lane import Order, RefusedError
from agent.loop import Loop, unconfirmed
from agent.outcome_texts import describe
from agent.outcomes import MacVerdict
from agent.records import OWED, Confirm, Driver, State, Transaction
from agent.rpc import Peer, take
from protocol.masking import mask_pan
from protocol.matching import Match, match_reply
from protocol.reversal import Learnt
from protocol.rules import Profile

# Longest wait of a sale for the reversals that go before it ("before the next sale"); then the
# gate decides. Assumed: a cashier waits that long without calling anybody.
BEFORE_SALE_WAIT_S = 10.0
REFERENCE_LENGTH_MAX = 64
AMOUNT_MAX = 10**12 - 1  # DE 4 is n 12.

# What a sale may say of the card: shape and words. Lengths: ISO 8583 elements 2, 14, 35, 22, 23, 52, 55.
CARD_SHAPES = {
    "pan": (r"[0-9]{12,19}", "12 to 19 digits"),
    "expiry": (r"[0-9]{2}(0[1-9]|1[0-2])", "a year and a month, YYMM"),
    "track2": (r"[0-9]{12,19}=[0-9]{4,20}", "track 2 without sentinels, '=' as separator"),
    "pos_entry_mode": (r"[0-9]{3}|[0-9A-Z]{12}", "3 digits, or 12 characters in ISO 8583:1993"),
    "card_sequence": (r"[0-9]{3}", "3 digits"),
    "pin_block": (r"[0-9A-Fa-f]{16}", "16 hexadecimal digits"),
    "chip_data": (r"([0-9A-Fa-f]{2}){1,255}", "1 to 255 bytes in hexadecimal"),
    "operator": (r"[0-9A-Za-z]{1,3}", "1 to 3 letters or digits"),
}

T = TypeVar("T")


class Checkout(Protocol):
    """The agent's own sale through reader, PIN pad, host and printer."""

    async def run(self, lane: str, order: Order) -> Transaction:
        """Drive it to an outcome."""


class Api:
    """The application's methods, by name in `methods`; the other desks add theirs. `confirm`: the policy's."""

    def __init__(self, loop: Loop, confirm: Confirm) -> None:
        self._loop = loop
        self._confirm = confirm
        self._checkout: Checkout | None = None
        self.session_ready: Callable[[str], Awaitable[None]] | None = None  # waits for a sign-on under way
        self.keep_script_result: Callable[[Transaction, str], object] = _no_script_results
        self.plan_objection: Callable[[], str] = str  # why an emergency plan lets no sale start; "" if it may
        self.sales = 0  # under way: somebody stands at the till, also before anything is recorded
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {
            "transaction.run": self.run,
            "transaction.begin": self.begin,
            "transaction.reply": self.reply,
            "transaction.complete": self.complete,
            "transaction.reverse": self.reverse,
            "transaction.status": self.status,
            "transaction.unconfirmed": self.unconfirmed,
        }

    def configure(self, confirm: Confirm, checkout: Checkout | None) -> None:
        """Take over a reloaded configuration."""
        self._confirm, self._checkout = confirm, checkout

    def changed(self, txn: Transaction) -> None:
        """The loop tells that a transaction has a new record."""
        self._wake(txn.id)

    def lane_free(self, lane_name: str) -> None:
        """The loop tells that a lane's exchange has ended."""
        self._wake(f"lane:{lane_name}")

    # --- the application's sale ----------------------------------------------------------------

    async def run(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """A whole sale: recorded, sent, answered. Asking again under the same reference tells how it stands."""
        given = take(params, {**ORDER_SCHEMA, "wait": (bool, True), "checkout": (bool, False)})
        self.sales += 1
        try:
            return await self._run(given)
        finally:
            self.sales -= 1

    async def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        lane = self._loop.lane(self._lane_name(given["lane"]))
        before = self._repeated(lane.name, given)
        if before is not None:
            return self._described(before, repeated=True)
        order = self._order(given, "checkout" if given["checkout"] else "agent")
        if given["checkout"]:
            if self._checkout is None:
                raise RefusedError("A-NO-CHECKOUT", "the agent has no checkout", "configure [checkout] and its devices")
            return self._described(await self._checkout.run(lane.name, order))
        txn = await self.send(lane.name, order)
        if given["wait"]:
            txn = await self.settled_answer(txn)
        return self._described(txn)

    async def send(self, lane_name: str, order: Order) -> Transaction:
        """Wait for sign-on and lane, give pending reversals their turn, record the intent and let it leave."""
        self.refuse_by_plan()
        if self.session_ready is not None:
            await self.session_ready(lane_name)
        return await self.in_turn(lane_name, lambda: self._loop.begin(lane_name, order))

    async def in_turn(self, lane_name: str, act: Callable[[], T], *, owed_first: bool = True) -> T:
        """Do what needs a free lane, when its turn has come. `owed_first`: pending reversals go before it."""
        async with self._turns.setdefault(lane_name, asyncio.Lock()):
            if owed_first:
                await self._before_sale(lane_name)
            self._loop.reserve(lane_name, wanted=True)
            try:
                await self._until_free(lane_name)
                return act()
            finally:
                self._loop.reserve(lane_name, wanted=False)

    async def settled_answer(self, txn: Transaction) -> Transaction:
        """Wait until the outcome is known. Every exchange has an end, so this has one."""
        while txn.state in (State.NEW, State.BEGUN):
            txn = await self._moved(txn)
        return txn

    async def attempt_over(self, txn: Transaction) -> Transaction:
        """Wait until no attempt of its reversal is under way."""
        while txn.sending:
            txn = await self._moved(txn)
        return txn

    async def next_try_over(self, txn: Transaction, within_s: float) -> Transaction:
        """Wait until the attempt that is under way, or else the next one, has ended, at most so long."""
        deadline = asyncio.get_running_loop().time() + within_s
        before = txn.attempts - 1 if txn.sending else txn.attempts
        latest = self._loop.get(txn.id) or txn
        while latest.state in OWED and (latest.attempts == before or latest.sending):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0 or not await self._changed_within(txn.id, left_s):
                break
            latest = self._loop.get(txn.id) or latest
        return latest

    async def _moved(self, txn: Transaction) -> Transaction:
        await self._change(txn.id)
        latest = self._loop.get(txn.id)
        assert latest is not None
        return latest

    def begin(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """Record the intent of an application that talks to the host itself."""
        given = take(params, ORDER_SCHEMA)
        lane = self._loop.lane(self._lane_name(given["lane"]))
        before = self._repeated(lane.name, given)
        if before is not None:
            return self._described(before, repeated=True)
        self.refuse_by_plan()
        return self._described(self._loop.begin(lane.name, self._order(given, "application")))

    def reply(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The host's answer, as an application received and verified it."""
        schema = {
            **WHICH_SCHEMA,
            "message_hex": (str, ""),
            "response_code": (str, ""),
            "approval_code": (str, ""),
            "rrn": (str, ""),
            "mac": (str, "unchecked"),
        }
        given = take(params, schema)
        txn = self._which(given)
        if txn.driver != "application":
            raise RefusedError("A-NOT-YOURS", f"{txn.reference} is sent by the agent itself", "use transaction.status")
        if given["mac"] not in ("valid", "invalid", "unchecked"):
            raise RefusedError("A-PARAMETER", "mac is none of valid, invalid, unchecked", "say what your check gave")
        return self._handled(txn, self._reported(txn, given))

    def complete(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The sale stands: goods handed over."""
        given = take(params, WHICH_SCHEMA)
        return self._handled(self._which(given), Complete(peer.name))

    def reverse(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """The sale did not happen: give the money back."""
        given = take(params, {**WHICH_SCHEMA, "reason": (str, "other"), "chip_data": (str, "")})
        if given["chip_data"]:
            _shaped("chip_data", given["chip_data"])
        txn = self._which(given)
        reasons = self._loop.lane(txn.lane).policy.profile.reversal.reasons
        if given["reason"] not in reasons:
            known = ", ".join(sorted(reasons))
            raise RefusedError("A-PARAMETER", "reason is not one of this host's", f"one of: {known}")
        return self._handled(txn, Reverse(peer.name, given["reason"], chip_data=given["chip_data"]))

    def status(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """How a sale stands, by the application's reference, also days later."""
        return self._described(self._which(take(params, WHICH_SCHEMA)))

    def unconfirmed(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """What the application must answer: did it hand over the goods, yes (complete) or no (reverse)?"""
        given = take(params, {"lane": (str, "")})
        items = [txn for txn in unconfirmed(self._loop.pending()) if given["lane"] in ("", txn.lane)]
        return {"transactions": [self._described(txn) for txn in items]}

    # --- steps ---------------------------------------------------------------------------------

    def refuse_by_plan(self) -> None:
        """An emergency plan may let no sale start. Raises RefusedError."""
        if objection := self.plan_objection():
            raise RefusedError("A-PLAN", objection, "see reversalctl plan; take cash until it is over")

    async def _before_sale(self, lane_name: str) -> None:
        """The profile may want what is owed to go out before a new sale: one try each, for a while."""
        lane = self._loop.lane(lane_name)
        if "before-sale" not in lane.policy.retry.triggers:
            return
        tries = {txn.id: txn.attempts for txn in self._loop.of_lane(lane_name) if _tried_before(txn)}
        if not tries:
            return
        self._loop.resume(lane_name, "before-sale")
        deadline = asyncio.get_running_loop().time() + BEFORE_SALE_WAIT_S
        for txn_id, attempts in tries.items():
            while (txn := self._loop.get(txn_id)) and _tried_before(txn) and (txn.attempts == attempts or txn.sending):
                left_s = deadline - asyncio.get_running_loop().time()
                if left_s <= 0 or not await self._changed_within(txn_id, left_s):
                    return

    async def _until_free(self, lane_name: str) -> None:
        lane = self._loop.lane(lane_name)
        while lane.busy is not None:
            await self._change(f"lane:{lane_name}")

    def _wake(self, key: str) -> None:
        for waiter in self._waiters.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self, key: str) -> None:
        """Wait for news of a transaction (its id) or of a lane ("lane:" and its name)."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append(waiter)
        await waiter

    async def _changed_within(self, key: str, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._change(key), seconds)
        except TimeoutError:
            return False
        return True

    def _lane_name(self, given: str) -> str:
        if given or len(self._loop.lanes) != 1:
            return given
        return next(iter(self._loop.lanes))

    def _repeated(self, lane_name: str, given: Mapping[str, Any]) -> Transaction | None:
        """The transaction of a request that is asked again, if it is the same in kind and amount."""
        before = self._loop.find(lane_name, given["reference"])
        if before is None:
            return None
        pan = given["pan"] or given["track2"].partition("=")[0]
        card = mask_pan(pan) if pan and before.masked_pan else before.masked_pan
        if (before.amount_minor, before.kind, before.masked_pan) != (given["amount_minor"], given["kind"], card):
            text = f"the reference {given['reference']!r} belongs to another {before.kind}"
            raise RefusedError("A-REFERENCE-USED", text, "use a new reference for a new sale")
        return before

    def _order(self, given: Mapping[str, Any], driver: Driver) -> Order:
        if not 1 <= len(given["reference"]) <= REFERENCE_LENGTH_MAX or not given["reference"].isprintable():
            text = f"reference must be 1 to {REFERENCE_LENGTH_MAX} printable characters"
            raise RefusedError("A-PARAMETER", text, "give the application's own number of the sale")
        if not 0 <= given["amount_minor"] <= AMOUNT_MAX:
            raise RefusedError("A-PARAMETER", f"amount_minor must be 0 to {AMOUNT_MAX}", "e.g. 1250 for 12.50")
        facts = {name: given[name] for name in CARD_SHAPES if given[name]}
        if any(len(part) >= 12 and part in given["reference"] for part in _card_numbers(facts)):
            text = "the reference holds the card number, and references are shown to anyone"
            raise RefusedError("A-PARAMETER", text, "give the application's own number of the sale")
        for name, value in facts.items():
            _shaped(name, value)
        original = {str(name): str(value) for name, value in given["original"].items()}
        confirm: Confirm = "by-application" if driver == "checkout" else self._confirm
        return Order(given["reference"], given["kind"], given["amount_minor"], facts, original, driver, confirm)

    def _which(self, given: Mapping[str, Any]) -> Transaction:
        lanes = (
            [self._lane_name(given["lane"])] if given["lane"] or len(self._loop.lanes) == 1 else list(self._loop.lanes)
        )
        for name in lanes:
            txn = self._loop.find(name, given["reference"])
            if txn is not None:
                return txn
        text = f"no sale with the reference {given['reference']!r} is recorded"
        raise RefusedError("A-NO-REFERENCE", text, "nothing was sent for it; it is safe to start it")

    def _handled(self, txn: Transaction, event: Event) -> dict[str, Any]:
        after = self._loop.handle(txn.id, event)
        self._loop.wake()
        return self._described(after)

    def _described(self, txn: Transaction, *, repeated: bool = False) -> dict[str, Any]:
        latest = self._loop.get(txn.id) or txn
        lane = self._loop.lanes.get(txn.lane)
        described = describe(latest, lane.policy.profile if lane else None)
        if repeated:
            described["repeated"] = True
        if lane is not None and lane.warn_only and (objection := self._loop.objection(lane)):
            described |= _warning(objection)
        return described

    def _reported(self, txn: Transaction, given: Mapping[str, Any]) -> Answered:
        """The event of an application's report: a whole message is matched, single facts are believed."""
        profile = self._loop.lane(txn.lane).policy.profile
        if not given["message_hex"]:
            if not given["response_code"]:
                raise RefusedError("A-PARAMETER", "neither message_hex nor response_code is given", "give one of them")
            match = Match(True, "reported", ())
            learnt = Learnt(approval_code=given["approval_code"], rrn=given["rrn"])
            code = given["response_code"]
            mac = _mac_as_reported(given["mac"], code, profile)
            return Answered("request", True, code, mac, match, learnt, f"reported code {code}")
        try:
            body = bytes.fromhex(given["message_hex"])
        except ValueError:
            raise RefusedError(
                "A-PARAMETER", "message_hex is not hexadecimal", "two digits a byte, from the MTI on"
            ) from None
        message = profile.codec.unpack(body)
        match = match_reply(txn.request_identity, message, profile)
        learnt = learnt_from(message)
        what = f"reported {message.mti} with response code {message.get(39) or 'none'}"
        mac = _mac_as_reported(given["mac"], message.get(39), profile)
        return Answered("request", True, message.get(39), mac, match, learnt, what)


def _mac_as_reported(mac: MacVerdict, code: str, profile: Profile) -> MacVerdict:
    """An approval that nobody checked is not believed where the host has a MAC; a refusal may come without one."""
    unproved = mac == "unchecked" and profile.mac.algorithm != "none"
    return "unverified" if unproved and profile.responses.request(code) == "approved" else mac


def _warning(objection: str) -> dict[str, str]:
    """What a lane that only warns says of what it owes (`Gate.objection`), in both languages."""
    found = re.match(r"reversals owed: ([0-9]+)", objection)
    if found is None:
        return {"warning": objection, "warning_zh": objection}
    return {
        "warning": f"reversals owed: {found[1]}; new sales go on",
        "warning_zh": f"未完成冲正 {found[1]} 笔，可继续交易",
    }


def _no_script_results(txn: Transaction, chip_data: str) -> None:
    raise RefusedError("A-NO-SCRIPT-RESULT", "this agent keeps no script results", "tell the acquirer")


def _shaped(name: str, value: str) -> None:
    """Raises RefusedError for what cannot be this fact of a card."""
    shape, words = CARD_SHAPES[name]
    if not re.fullmatch(shape, value):
        raise RefusedError("A-PARAMETER", f"{name} is not {words}", "its value is not repeated here")


def _tried_before(txn: Transaction) -> bool:
    return txn.state is State.REVERSING and not txn.held


def _card_numbers(facts: Mapping[str, str]) -> tuple[str, str]:
    return facts.get("pan", ""), facts.get("track2", "").split("=")[0]


WHICH_SCHEMA: dict[str, tuple[Any, ...]] = {"reference": (str,), "lane": (str, "")}

ORDER_SCHEMA: dict[str, tuple[Any, ...]] = {
    "reference": (str,),
    "lane": (str, ""),
    "kind": (str, "sale"),
    "amount_minor": (int,),
    **dict.fromkeys(CARD_SHAPES, (str, "")),
    "original": (dict, {}),
}
