"""The methods of the local API: what a POS application and an operator can ask for.

Transport and peer credentials are `agent/rpc.py`'s; here stand the meanings. docs/api.md is the page
for application programmers. A method checks its parameters, gives the event to the loop and tells
what became of it: it decides nothing about money itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from agent.answers import learnt_from
from agent.events import Answered, Complete, Event, Hold, Park, Release, Retry, Reverse
from agent.lane import Order, RefusedError
from agent.loop import Loop, unconfirmed
from agent.outcome_texts import describe
from agent.outcomes import MacVerdict
from agent.records import State, Transaction
from agent.rpc import Peer, take
from protocol.errors import AgentError
from protocol.masking import mask_pan, scrub
from protocol.matching import Match, match_reply
from protocol.reversal import Learnt
from protocol.rules import Profile

# Longest wait of a sale for the reversals that go before it ("before the next sale"); then the
# gate decides. Assumed: a cashier waits that long without calling anybody.
BEFORE_SALE_WAIT_S = 10.0
# A device's test, the slip of a slow printer included. Assumed; reversalctl waits 15 s for an answer.
DEVICE_TEST_S = 10.0
REFERENCE_LENGTH_MAX = 64
AMOUNT_MAX = 10**12 - 1  # DE 4 is n 12.
ARCHIVE_DAYS_MAX = 3650

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


class Devices(Protocol):
    """What a technician does with a device (agent/room.py). Each raises an AgentError where it cannot be done."""

    def inhibit(self, name: str, reason: str) -> None:
        """Take it out of service."""

    def release(self, name: str) -> None:
        """Put it back."""

    async def test(self, name: str, timeout_s: float) -> str:
        """Exercise it; what was seen."""

    def attached(self) -> list[dict[str, str]]:
        """What is plugged in and not configured."""


class Settling(Protocol):
    """How an item is closed by hand (agent/settling.py)."""

    def settle(self, peer: Peer, txn: Transaction, reason: str, bank_reference: str) -> dict[str, Any]:
        """Ask for it, or where one person may, do it."""

    def confirm(self, peer: Peer, txn: Transaction, code: str, bank_code: str) -> dict[str, Any]:
        """Do it with the second word."""


class Api:
    """All methods, by name in `methods`. `devices` None: an agent that has no devices has no methods for them."""

    def __init__(
        self,
        loop: Loop,
        confirm: str,
        checkout: Checkout | None,
        views: Mapping[str, Callable[..., Any]],
        reload: Callable[[Peer], Awaitable[dict[str, Any]]],
        devices: Devices | None = None,
        settling: Settling | None = None,
    ) -> None:
        self._loop = loop
        self._confirm = confirm
        self._checkout = checkout
        self._views = views
        self._devices = devices
        self._settling = settling
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
            "reversal.list": self.list,
            "reversal.show": self.show,
            "reversal.why": self.why,
            "reversal.retry": self.retry,
            "reversal.hold": self.hold,
            "reversal.release": self.release,
            "reversal.park": self.park,
            "reversal.settle": self.settle,
            "reversal.confirm": self.confirm_settle,
            "agent.status": self.agent_status,
            "journal.export": self.export,
            "journal.archive": self.archive,
            "agent.reload": lambda peer, params: reload(peer),
        }
        if devices is not None:
            self.methods |= {
                "device.list": self.device_list,
                "device.test": self.device_test,
                "device.inhibit": self.device_inhibit,
                "device.release": self.device_release,
            }

    def furnish(self, views: Mapping[str, Callable[..., Any]], settling: Settling) -> None:
        """What shows and what closes by hand, where they are made later than the sale."""
        self._views, self._settling = views, settling

    def configure(self, confirm: str, checkout: Checkout | None) -> None:
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
        given = take(params, {**WHICH_SCHEMA, "reason": (str, "other")})
        txn = self._which(given)
        reasons = self._loop.lane(txn.lane).policy.profile.reversal.reasons
        if given["reason"] not in reasons:
            known = ", ".join(sorted(reasons))
            raise RefusedError("A-PARAMETER", "reason is not one of this host's", f"one of: {known}")
        return self._handled(txn, Reverse(peer.name, given["reason"]))

    def status(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """How a sale stands, by the application's reference, also days later."""
        return self._described(self._which(take(params, WHICH_SCHEMA)))

    def unconfirmed(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        """What the application must answer: did it hand over the goods, yes (complete) or no (reverse)?"""
        given = take(params, {"lane": (str, "")})
        items = [txn for txn in unconfirmed(self._loop.pending()) if given["lane"] in ("", txn.lane)]
        return {"transactions": [self._described(txn) for txn in items]}

    # --- the operator's item -------------------------------------------------------------------

    def list(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Pending items, worst first; with `all` also the last finished ones."""
        return self._views["list"](**take(params, {"all": (bool, False), "limit": (int, 200)}))

    def show(self, peer: Peer, params: dict[str, Any]) -> Any:
        """One item with its diagnosis."""
        return self._views["show"](self._item(params))

    def why(self, peer: Peer, params: dict[str, Any]) -> Any:
        """One item's whole story, from the journal."""
        return self._views["why"](self._item(params))

    def retry(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Try one item now, or all of them."""
        given = take(params, {"id": (str, ""), "all": (bool, False)})
        if given["all"] == bool(given["id"]):
            raise RefusedError("A-PARAMETER", "give either id or all", 'for example {"id": "main-1"}')
        ids = self._loop.to_retry() if given["all"] else [given["id"]]
        with self._loop.together():
            done = [self._loop.handle(txn_id, Retry(peer.name)).id for txn_id in ids]
        self._loop.wake()
        return {"retried": done}

    def hold(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Stop the tries of one item for the time being."""
        given = take(params, {"id": (str,), "why": (str,)})
        return self._acted(given["id"], Hold(peer.name, _said(given["why"], "why")))

    def release(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Let a held item go on."""
        return self._acted(take(params, {"id": (str,)})["id"], Release(peer.name))

    def park(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Say that a person must act on this item."""
        given = take(params, {"id": (str,), "why": (str,)})
        return self._acted(given["id"], Park(peer.name, _said(given["why"], "why")))

    def settle(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Ask to close one item with the bank's evidence: a challenge, or where one person may close it, the item."""
        assert self._settling is not None
        given = take(params, {"id": (str,), "reason": (str,), "bank_reference": (str,)})
        reason, bank_reference = _said(given["reason"], "reason"), _said(given["bank_reference"], "bank_reference")
        return self._settling.settle(peer, self._item({"id": given["id"]}), reason, bank_reference)

    def confirm_settle(self, peer: Peer, params: dict[str, Any]) -> Any:
        """The second word: the challenge's code from another person, or the bank's answer to it."""
        assert self._settling is not None
        given = take(params, {"id": (str,), "code": (str, ""), "bank_code": (str, "")})
        if bool(given["code"]) == bool(given["bank_code"]):
            raise RefusedError("A-PARAMETER", "give either code or bank_code", "the challenge's code, or the bank's")
        return self._settling.confirm(peer, self._item({"id": given["id"]}), given["code"], given["bank_code"])

    def export(self, peer: Peer, params: dict[str, Any]) -> Any:
        """A whole, consistent copy of the journal into a new file; card data stays sealed."""
        return self._views["export"](take(params, {"target": (str,)})["target"])

    def archive(self, peer: Peer, params: dict[str, Any]) -> Any:
        """One step of moving what ended long ago into the archive; `more` says whether to call again."""
        days = take(params, {"older_than_days": (int,)})["older_than_days"]
        if not 0 <= days <= ARCHIVE_DAYS_MAX:
            raise RefusedError("A-PARAMETER", f"older_than_days must be 0..{ARCHIVE_DAYS_MAX}", "e.g. 90")
        return self._views["archive"](days)

    def agent_status(self, peer: Peer, params: dict[str, Any]) -> Any:
        """The status file's content, fresh."""
        take(params, {})
        return self._views["status"]()

    # --- the technician's device ---------------------------------------------------------------

    def device_list(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Every device: state, firmware, counters, last error; and what is plugged in without being configured."""
        assert self._devices is not None
        take(params, {})
        return {"devices": self._views["devices"](), "attached": self._devices.attached()}

    async def device_test(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Exercise one device without a customer: passed and what was seen, or what to do."""
        assert self._devices is not None
        name = self._device(take(params, {"name": (str,)})["name"])
        try:
            seen, error = await self._devices.test(name, DEVICE_TEST_S), None
        except AgentError as failure:
            seen, error = "", {"code": failure.code, "text": failure.text, "hint": failure.hint}
        return {"device": self._device_view(name), "passed": error is None, "seen": seen, "error": error}

    def device_inhibit(self, peer: Peer, params: dict[str, Any]) -> Any:
        """A technician takes one device out of service; nothing is asked of it until its release."""
        assert self._devices is not None
        given = take(params, {"name": (str,), "why": (str,)})
        name = self._device(given["name"])
        self._devices.inhibit(name, f"{_said(given['why'], 'why')} ({peer.name})")
        return self._device_view(name)

    def device_release(self, peer: Peer, params: dict[str, Any]) -> Any:
        """The technician gives it back."""
        assert self._devices is not None
        name = self._device(take(params, {"name": (str,)})["name"])
        self._devices.release(name)
        return self._device_view(name)

    # --- steps ---------------------------------------------------------------------------------

    def _device(self, wanted: str) -> str:
        """The name of the device that is meant: by its name, or by its kind where there is one of that kind."""
        devices = self._views["devices"]()
        names = [device["name"] for device in devices]
        of_kind = [device["name"] for device in devices if device["kind"] == wanted]
        if wanted in names:
            return wanted
        if len(of_kind) == 1:
            return str(of_kind[0])
        known = f"devices: {', '.join(names)}" if names else "no devices are configured"
        raise RefusedError("A-NO-DEVICE", f"there is no device {wanted!r}", known)

    def _device_view(self, name: str) -> Any:
        return next(device for device in self._views["devices"]() if device["name"] == name)

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

    def _order(self, given: Mapping[str, Any], driver: str) -> Order:
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
            shape, words = CARD_SHAPES[name]
            if not re.fullmatch(shape, value):
                raise RefusedError("A-PARAMETER", f"{name} is not {words}", "its value is not repeated here")
        original = {str(name): str(value) for name, value in given["original"].items()}
        confirm = "by-application" if driver == "checkout" else self._confirm
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

    def _item(self, params: dict[str, Any]) -> Transaction:
        txn_id = take(params, {"id": (str,)})["id"]
        txn = self._loop.get(txn_id)
        if txn is None:
            raise RefusedError("A-NO-ITEM", f"there is no item {txn_id!r}", "see reversalctl list --all")
        return txn

    def _acted(self, txn_id: str, event: Event) -> Any:
        txn = self._loop.handle(txn_id, event)
        self._loop.wake()
        return self._views["show"](txn)

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


def _tried_before(txn: Transaction) -> bool:
    return txn.state is State.REVERSING and not txn.held


def _card_numbers(facts: Mapping[str, str]) -> tuple[str, str]:
    return facts.get("pan", ""), facts.get("track2", "").split("=")[0]


def _said(text: str, name: str) -> str:
    """A person's words: not empty, one line, not endless."""
    if not text.strip() or len(text) > 500 or not text.isprintable():
        raise RefusedError("A-PARAMETER", f"{name} must be 1 to 500 printable characters", "say it in one line")
    return text.strip() if name == "bank_reference" else scrub(text.strip())  # somebody may type a card number


WHICH_SCHEMA: dict[str, tuple[Any, ...]] = {"reference": (str,), "lane": (str, "")}

ORDER_SCHEMA: dict[str, tuple[Any, ...]] = {
    "reference": (str,),
    "lane": (str, ""),
    "kind": (str, "sale"),
    "amount_minor": (int,),
    **dict.fromkeys(CARD_SHAPES, (str, "")),
    "original": (dict, {}),
}
