"""The sale that the agent itself drives: card, PIN, host, the card's last word, paper.

Not a certified EMV kernel: it shows, on test cards, what becomes of each failure.

    card read, PIN entered      nothing sent yet: any failure is a refusal, nobody is charged
    request sent                the loop's business: approved, declined or reversed
    approved                    card pulled or refusing, slip not printed: reversed
                                nobody knows whether the slip was printed: the configuration decides
    slip printed                completed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from agent.events import Complete, Event, Now, Reverse
from agent.lane import Order, RefusedError
from agent.letterhead import Letterhead
from agent.loop import Loop
from agent.records import State, Transaction
from protocol.errors import AgentError, ProtocolError
from protocol.frozen import dataclass
from protocol.rules import Profile
from protocol.tlv import read_tags

log = logging.getLogger("reversald")

# One step with card or pad (read, cryptogram): drivers end it earlier by themselves. Assumed.
STEP_S = 20.0
# EMV book 3, annex A: application transaction counter.
TRANSACTION_COUNTER = "9F36"
# DE 22: chip with and without PIN (UnionPay terminal field description: 05 chip; 1 PIN, 2 none).
ENTRY_CHIP_PIN, ENTRY_CHIP = "051", "052"


class Desk(Protocol):
    """The devices' steps, each in its own thread (drivers/desk.py)."""

    def present(self, reader: str, sale: Mapping[str, Any], card_timeout_s: float, step_s: float) -> Future[Any]: ...
    def conclude(self, reader: str, *, approved: bool, code: str, chip_data: str, step_s: float) -> Future[Any]: ...
    def enter_pin(self, pinpad: str, pan: str, working_key: str, timeout_s: float) -> Future[str]: ...
    def show(self, pinpad: str, text: str, timeout_s: float = ...) -> Future[None]: ...
    def print_slip(self, printer: str, slip: Any, reference: str, timeout_s: float) -> Future[Any]: ...
    def last_printed(self, printer: str, reference: str, timeout_s: float = ...) -> Future[Any]: ...
    def last_of_card(self, reader: str, counter: str, timeout_s: float = ...) -> Future[Any]: ...


@dataclass(frozen=True, slots=True)
class CheckoutRules:
    """As configured: device names ("" none), waits in seconds, what is printed on each slip."""

    reader: str
    pinpad: str
    printer: str
    letterhead: Letterhead
    card_timeout_s: float
    pin_timeout_s: float
    print_timeout_s: float
    pin_keys: Mapping[str, str]


class Checkout:
    """See the module. `send` and `answer` wait for the lane and for the outcome (agent/api.py);
    `keep_script_result` stores what the host must hear before anything else of the lane (agent/notice_desk.py)."""

    def __init__(
        self,
        rules: CheckoutRules,
        desk: Desk,
        loop: Loop,
        send: Callable[[str, Order], Awaitable[Transaction]],
        answer: Callable[[Transaction], Awaitable[Transaction]],
        keep_script_result: Callable[[Transaction, str], object],
        now: Callable[[], Now],
    ) -> None:
        self._rules = rules
        self._desk = desk
        self._loop = loop
        self._send = send
        self._answer = answer
        self._keep_script_result = keep_script_result
        self._now = now

    async def run(self, lane_name: str, order: Order) -> Transaction:
        """One sale to its outcome. Raises RefusedError while nothing was sent."""
        with_card = await self._take_card(lane_name, order)
        txn = await self._answer(await self._send(lane_name, with_card))
        self._show("已批准 APPROVED" if txn.state is State.APPROVED else "未成功 NOT APPROVED")
        if txn.state is not State.APPROVED:
            await self._dismiss_card(txn)
            return txn
        objection, chip_data = await self._card_objection(txn)
        if objection:
            return self._tell(txn, Reverse("card", "other", objection, chip_data))
        return await self._hand_over(txn)

    async def resume(self, txn: Transaction) -> None:
        """After a restart: ask the printer whether the slip of an approved sale came out; if it cannot tell, the card
        whether it agreed. What neither knows is left to the confirmation time-out and `nobody_knows`."""
        printed = await self._known_by_printer(txn)
        if printed == "done":
            self._tell(txn, Complete("printer"))
        elif printed == "not done":
            self._tell(txn, Reverse("printer", "other", "not-printed"))
        elif await self._known_by_card(txn) == "not done":  # nothing is printed before the card has agreed
            self._tell(txn, Reverse("card", "other", "card-unfinished"))

    async def _known_by_printer(self, txn: Transaction) -> str:
        """ "done", "not done" or "unknown"."""
        if not self._rules.printer:
            return "unknown"
        try:
            known = await asyncio.wrap_future(self._desk.last_printed(self._rules.printer, _receipt(txn)))
        except AgentError:
            return "unknown"
        return str(known.known)

    async def _known_by_card(self, txn: Transaction) -> str:
        """The same of the card that is in the reader: by the transaction counter of this sale's chip data."""
        counter = _chip_counter(txn, self._loop.lane(txn.lane).policy.profile)
        if not counter:
            return "unknown"
        try:
            known = await asyncio.wrap_future(self._desk.last_of_card(self._rules.reader, counter))
        except AgentError:
            return "unknown"
        return str(known.known)

    # --- before anything is sent ---------------------------------------------------------------

    async def _take_card(self, lane_name: str, order: Order) -> Order:
        """The order with the card's data. Every failure here is harmless."""
        lane = self._loop.lane(lane_name)
        self._show("请插卡 INSERT CARD")
        local = self._now().utc.astimezone()
        sale = {
            "amount_minor": order.amount_minor,
            "currency": lane.currency,
            "date": local.strftime("%y%m%d"),
            "time": local.strftime("%H%M%S"),
        }
        try:
            card = await asyncio.wrap_future(
                self._desk.present(self._rules.reader, sale, self._rules.card_timeout_s, STEP_S)
            )
            if card.cryptogram == "AAC":
                raise RefusedError("A-CARD-DECLINED", "the card declined the sale", "ask for another card")
            pin_block = await self._pin(lane_name, card.pan)
        except RefusedError:
            raise
        except AgentError as error:
            raise RefusedError("A-CARD", f"no sale was sent: {error.text}", error.hint) from error
        facts = {
            "pan": card.pan,
            "expiry": card.expiry,
            "track2": card.track2,
            "card_sequence": card.sequence,
            "chip_data": card.chip_data,
            "pos_entry_mode": ENTRY_CHIP_PIN if pin_block else ENTRY_CHIP,
            "pin_block": pin_block,
        }
        return replace(order, driver="checkout", facts={name: value for name, value in facts.items() if value})

    async def _pin(self, lane_name: str, pan: str) -> str:
        working_key = self._rules.pin_keys.get(lane_name, "")
        if not self._rules.pinpad or not working_key:
            return ""
        timeout_s = self._rules.pin_timeout_s
        return await asyncio.wrap_future(self._desk.enter_pin(self._rules.pinpad, pan, working_key, timeout_s))

    # --- after the answer ----------------------------------------------------------------------

    async def _card_objection(self, txn: Transaction) -> tuple[str, str]:
        """Why the card does not let the approved sale stand ("" if it does), and what it said last."""
        chip_data = self._chip_answer(txn)
        try:
            last = await asyncio.wrap_future(
                self._desk.conclude(
                    self._rules.reader, approved=True, code=txn.response_code, chip_data=chip_data, step_s=STEP_S
                )
            )
        except AgentError as error:
            return error.code.removeprefix("E-").lower(), ""
        self._tell_of_scripts(txn, last.script_chip_data)
        if last.objection:
            return str(last.objection).removeprefix("E-").lower(), ""
        return "" if last.verdict == "TC" else "card-refused", last.reversal_chip_data

    def _tell_of_scripts(self, txn: Transaction, chip_data: str) -> None:
        """Kept before the sale is completed or reversed, so that the host hears of it first."""
        if not chip_data or self._loop.lane(txn.lane).policy.profile.script_result is None:
            return
        try:
            self._keep_script_result(txn, chip_data)
        except RefusedError as error:
            log.error("%s: the script result cannot be kept: %s", txn.id, error)

    async def _dismiss_card(self, txn: Transaction) -> None:
        """Let the card end its session; what it says changes nothing any more, what scripts did on it is told."""
        chip_data, code = self._chip_answer(txn), txn.response_code or "Z3"
        try:
            last = await asyncio.wrap_future(
                self._desk.conclude(self._rules.reader, approved=False, code=code, chip_data=chip_data, step_s=STEP_S)
            )
        except AgentError:
            return
        self._tell_of_scripts(txn, last.script_chip_data)

    def _chip_answer(self, txn: Transaction) -> str:
        """The host's element 55, once; "" where it sent none."""
        return self._loop.lane(txn.lane).chip_answers.pop(txn.id, "")

    async def _hand_over(self, txn: Transaction) -> Transaction:
        """Print the receipt: on the printer's word the sale is completed."""
        if not self._rules.printer:
            return self._tell(txn, Complete("checkout"))
        from agent.slips import slip  # construct costs 30 ms and 10 MB: loaded with the first slip

        paper = slip("receipt", txn, self._rules.letterhead)
        try:
            printed = await asyncio.wrap_future(
                self._desk.print_slip(self._rules.printer, paper, _receipt(txn), self._rules.print_timeout_s)
            )
            outcome = printed.outcome
        except AgentError:
            outcome = "unknown"
        if outcome == "printed":
            return self._tell(txn, Complete("printer"))
        if outcome == "not printed":
            return self._tell(txn, Reverse("printer", "other", "not-printed"))
        return self._nobody_knows(txn)

    def _nobody_knows(self, txn: Transaction) -> Transaction:
        rule = self._loop.lane(txn.lane).policy.nobody_knows
        if rule == "complete":
            return self._tell(txn, Complete("nobody-knows"))
        if rule == "reverse":
            return self._tell(txn, Reverse("printer", "other", "print-unknown"))
        latest = self._loop.get(txn.id)  # "park": the confirmation time-out parks it
        return latest or txn

    # --- steps ---------------------------------------------------------------------------------

    def _tell(self, txn: Transaction, event: Event) -> Transaction:
        """Give the event; an item that moved on meanwhile (an operator, a time-out) stays as it is."""
        try:
            after = self._loop.handle(txn.id, event)
        except RefusedError:
            latest = self._loop.get(txn.id)
            assert latest is not None
            return latest
        self._loop.wake()
        return after

    def _show(self, text: str) -> None:
        if self._rules.pinpad:
            self._desk.show(self._rules.pinpad, text)


def _chip_counter(txn: Transaction, profile: Profile) -> str:
    """The card's transaction counter (9F36) as the stored reversal has it; "" where it has none."""
    if txn.frozen is None:
        return ""
    try:
        chip_data = profile.codec.unpack(txn.frozen.body).get(profile.reversal.chip_field)
        return dict(read_tags(chip_data)).get(TRANSACTION_COUNTER, "")
    except ProtocolError:
        return ""


def _receipt(txn: Transaction) -> str:
    """The printer's name for the receipt of this sale."""
    return f"{txn.id}/receipt"
