"""One lane's relay: each message of the application is recorded, relayed, answered from the journal, or refused.

    request (0100, 0200, 0220)  recorded, relayed, its answer delivered; reversed when that fails
    reversal (04xx)             of a recorded sale: takes the place of our own; of another: relayed
    anything else (0800, 0500)  relayed, not recorded: it moves no money

Rules not to break:
1. A request goes on to the host only after its intent is on stable storage (`Loop.begin_message`). What cannot
   be recorded is refused.
2. What the application sends and the host answers is handed on byte by byte; an answer whose MAC is wrong is not.
3. One message of the application is at most one message to the host, in its turn on the lane.
4. An approved sale is complete when its answer was delivered (agent/gateway_socket.py says what that proves).
5. No text here holds what a message says, except its type and number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from agent.api import Api
from agent.engine import OWN_REVERSAL
from agent.events import Complete, Reverse
from agent.gateway_answers import Given, answer, refusal
from agent.gateway_socket import Till
from agent.journal_contract import JournalFailed
from agent.lane import Passage, RefusedError
from agent.loop import Loop
from agent.macs import MacProvider, NoMac
from agent.outcomes import Outcome, Replied
from agent.records import State, Transaction
from protocol.envelope import HostFrame, wrap
from protocol.errors import AgentError, MessageError, ProtocolError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.masking import mask_pan
from protocol.matching import match_reply
from protocol.mti import reply_to
from protocol.reversal import identity_of, kind_of
from protocol.rules import Profile
from protocol.templates import Slice

# Answers kept for an application that repeats its reversal; what is older is made anew. Assumed.
ANSWERS_KEPT = 64
BY = "gateway"
# By what a host finds an original, besides its number: amount, terminal, and of the original data elements type, STAN
# and time, up to where the institutions begin (ISO 8583-1: element 56 or 90).
_NAMING: Mapping[int, int | None] = {4: None, 41: None, 56: 22, 90: 20}
# So long an application waits for the try of our own reversal that stands for its. Assumed.
OWN_TRY_S = 10.0
_CALLED_OFF = frozenset({State.BEGUN, State.APPROVED, State.COMPLETED})
_OWED = frozenset({State.REVERSING, State.PARKED})

log = logging.getLogger("reversald")


@dataclass(frozen=True, slots=True)
class Rules:
    """`decline`: a refused request is answered with a decline where one can be made, else the connection is closed.

    `unrecorded`: message types which the profile does not know as a transaction and which go on all the same.
    """

    decline: bool = False
    unrecorded: tuple[str, ...] = ()


class Relay:
    """One lane's messages, whatever connection they come on. `answers` is shared: filled by `replied`."""

    def __init__(self, lane: str, rules: Rules, loop: Loop, api: Api, macs: Callable[[], MacProvider]) -> None:
        self.lane = lane
        self.closing = False
        self._rules = rules
        self._loop = loop
        self._api = api
        self._macs = macs
        self._answers: dict[tuple[str, str], Replied] = {}
        self._latest = ""
        self._given = Given(lambda: asyncio.get_running_loop().time())

    @property
    def profile(self) -> Profile:
        """Of the lane, as it is configured now."""
        return self._loop.lane(self.lane).policy.profile

    def replied(self, txn_id: str, purpose: str, reply: Replied) -> None:
        """The loop tells what the host answered; the newest are kept in memory."""
        self._answers[txn_id, purpose] = reply
        while len(self._answers) > ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]

    async def handle(self, frame: HostFrame, till: Till) -> bool:
        """Deal with one message; whether the connection stays open."""
        try:
            passage = self._passage(frame)
            return await self._route(passage, frame, till)
        except JournalFailed:
            raise
        except AgentError as error:
            log.warning("gateway %s: a message of %s is refused: %s", self.lane, till.name, error)
            return False

    async def _route(self, passage: Passage, frame: HostFrame, till: Till) -> bool:
        mti = passage.message.mti
        if mti[2] not in "024":
            raise RefusedError("A-GATEWAY", f"an application does not send {mti}", "look at what is connected here")
        if mti[1] == "4":  # every type of the class, also those that this dialect does not use: a host may know them
            return await self._reversal(passage, frame, till)
        if mti[1] not in "12" or self._goes_unrecorded(passage.message):
            return await self._unrecorded(passage, till)
        return await self._request(passage, frame, till)

    # --- requests ------------------------------------------------------------------------------

    async def _request(self, passage: Passage, frame: HostFrame, till: Till) -> bool:
        try:
            mark = self._given.mark(self.profile, passage.message)
            self._reverse_what_is_asked_again(passage.message)
            begun = await self._api.in_turn(self.lane, lambda: self._begin(passage, till, mark))
        except JournalFailed:
            raise
        except AgentError as error:
            return await self._refuse(passage.message, frame, till, error)
        if isinstance(begun, Replied):
            log.info("gateway %s: %s is a repetition, answered once more", self.lane, _named(passage.message))
            return await till.deliver(self._frame_of(begun))
        txn = await self._api.settled_answer(begun)
        reply = self._answers.pop((txn.id, "request"), None)
        if txn.state is State.APPROVED and reply is not None:
            delivered = await till.deliver(self._frame_of(reply))
            if delivered:
                self._given.keep(mark, txn.id, reply)
            return self._conclude(txn, delivered=delivered)
        if txn.state is State.DECLINED and reply is not None and txn.response_code:
            return await till.deliver(self._frame_of(reply))
        if txn.state is State.DECLINED and txn.cause.startswith("not-sent"):
            text = RefusedError("A-NOT-SENT", f"{txn.id} was not sent: {txn.last_error}", "nobody was charged")
            return await self._refuse(passage.message, frame, till, text)
        log.warning("gateway %s: no answer for %s: %s is %s", self.lane, till.name, txn.id, txn.state)
        return False

    def _begin(self, passage: Passage, till: Till, mark: bytes) -> Transaction | Replied:
        """In its turn: recorded, and on its way; or the answer that a repetition gets again."""
        told = self._given.answer(mark)
        if told is not None and (before := self._loop.get(told[0])) and before.state is State.COMPLETED:
            return told[1]
        if self.closing:
            raise RefusedError("A-ENDING", "the daemon ends", "try again when it runs")
        if till.gone():  # while its message waited for its turn: a charge that nobody waits for would be reversed
            raise RefusedError("A-GONE", "the application has gone", "nobody was charged")
        self._api.refuse_by_plan()
        txn = self._loop.begin_message(self.lane, passage)
        self._latest = txn.id
        return txn

    def _conclude(self, txn: Transaction, *, delivered: bool) -> bool:
        """Delivered: the sale stands. Not delivered: the application does not know of it, so it is undone."""
        if delivered or txn.on_unknown == "none":
            self._tell(txn, Complete(BY))
        else:
            log.error("gateway %s: the answer to %s could not be delivered", self.lane, txn.id)
            self._tell(txn, Reverse(BY, "other", "application-gone"))
        return delivered

    def _reverse_what_is_asked_again(self, request: Message) -> None:
        """The same request once more: the answer to the first never came through, not even across a restart."""
        txn = self._loop.by_stan(self.lane, request.get(11))
        if txn is not None and txn.driver == BY and txn.state is State.APPROVED:
            self._tell(txn, Reverse(BY, "other", "asked-again"))

    async def _refuse(self, request: Message, frame: HostFrame, till: Till, error: AgentError) -> bool:
        what = f"{request.mti} STAN {request.get(11)} of {till.name}"
        log.warning("gateway %s: %s is refused, nothing was sent: %s", self.lane, what, error)
        if not self._rules.decline:
            return False
        try:
            return await till.deliver(await refusal(self.profile, request, frame, self._macs()))
        except AgentError as failure:
            log.warning("gateway %s: a decline cannot be made: %s", self.lane, failure)
            return False

    # --- the application's own reversals -------------------------------------------------------

    async def _reversal(self, passage: Passage, frame: HostFrame, till: Till) -> bool:
        txn = self._original(passage.message)
        if txn is None:  # the sale may still wait for its turn on another connection: after that it is recorded
            await self._api.in_turn(self.lane, _nothing, owed_first=False)
            txn = self._original(passage.message)
        if txn is None or txn.state is State.DECLINED or txn.frozen is None:
            log.warning("gateway %s: %s of no open item is relayed", self.lane, _named(passage.message))
            return await self._unrecorded(passage, till)
        log.info("gateway %s: %s of the application for %s", self.lane, _named(passage.message), txn.id)
        if txn.state in _CALLED_OFF:  # from here on it is owed; no wake: the application's message may be the first try
            txn = self._tell(txn, Reverse(BY, self._reason(passage.message), OWN_REVERSAL), wake=False)
        if self._names_as_ours(txn, passage.message) or self._cannot_sign():
            sent = await self._api.in_turn(self.lane, lambda: self._stand_in(txn.id, passage), owed_first=False)
            latest = await self._api.attempt_over(sent)
        else:
            latest = await self._own_try(txn, passage.message)
        return await self._acknowledge(latest, passage.message, frame, till)

    async def _own_try(self, txn: Transaction, message: Message) -> Transaction:
        """The agent's exact reversal goes, not the application's: what the host says to that would prove nothing."""
        text = "gateway %s: %s names the original otherwise than %s does, whose own reversal goes"
        log.warning(text, self.lane, _named(message), txn.id)
        _refuse_closed(txn)
        self._loop.wake()
        return await self._api.next_try_over(txn, OWN_TRY_S)

    def _cannot_sign(self) -> bool:
        """The host wants a MAC and the application alone has the key: it would refuse ours."""
        return isinstance(self._macs(), NoMac) and self.profile.mac.algorithm != "none"

    def _names_as_ours(self, txn: Transaction, message: Message) -> bool:
        """Whether the host finds the same original by the application's reversal as by ours."""
        assert txn.frozen is not None
        rules, at = self.profile.reversal, self.profile.session.batch_at
        ours, theirs = txn.frozen.identity, identity_of(message)
        places = [Slice(field, 0, end) for field, end in _NAMING.items()]
        if rules.stan != "own" and not rules.stan_each_try:
            places.append(Slice(11, 0, None))
        if at:
            places.append(at)
        named = [(one, str(one.field)) for one in places if str(one.field) in ours]
        same = (one.of(ours[field]) == one.of(theirs.get(field, "")) for one, field in named)
        return message.mti in (txn.frozen.mti, txn.frozen.repeat_mti) and all(same)

    def _stand_in(self, txn_id: str, passage: Passage) -> Transaction:
        """Our turn: unless it was acknowledged meanwhile, the application's message goes out in place of ours."""
        txn = self._loop.get(txn_id)
        assert txn is not None
        if txn.state in _OWED:
            self._answers.pop((txn_id, "reversal"), None)  # of an earlier attempt
            if not self._loop.stand_in(txn_id, passage):
                raise _held(txn_id)
        _refuse_closed(txn)
        latest = self._loop.get(txn_id)
        assert latest is not None
        return latest

    async def _acknowledge(self, txn: Transaction, message: Message, frame: HostFrame, till: Till) -> bool:
        """The host's own words where they fit the application's message, else the journal's."""
        reply = self._answers.get((txn.id, "reversal"))
        if reply is not None and reply.mac != "invalid" and self._fits(message, reply):
            return await till.deliver(self._frame_of(reply))
        if txn.state is State.REVERSED:
            made = await answer(self.profile, message, frame, txn.acknowledged_with, self._macs())
            return await till.deliver(made)
        log.warning("gateway %s: %s is not acknowledged yet; the agent goes on with it", self.lane, txn.id)
        return False

    def _fits(self, message: Message, reply: Replied) -> bool:
        try:
            return match_reply(identity_of(message), self.profile.codec.unpack(reply.body), self.profile).accepted
        except MessageError:
            return False

    def _original(self, message: Message) -> Transaction | None:
        """The recorded sale that a reversal means, if amount, terminal and card are the sale's."""
        named = _stan_named(message)
        own = self.profile.reversal.stan == "own"
        if named:
            found = self._loop.by_stan(self.lane, named)
        elif own:  # a dialect that names no original: terminals reverse their last transaction before the next one
            found = self._last()
        else:
            found = self._loop.by_stan(self.lane, message.get(11))
        fits = found is not None and found.frozen is not None and not _partial(message) and _same(found, message)
        return found if fits else None

    def _last(self) -> Transaction | None:
        """The latest recorded sale of this lane; after a restart of those that are still open."""
        ids = [self._latest] if self._latest else [txn.id for txn in self._loop.of_lane(self.lane)]
        latest = max(ids, key=lambda txn_id: int(txn_id.rpartition("-")[2]), default="")
        return self._loop.get(latest) if latest else None

    def _reason(self, message: Message) -> str:
        rules = self.profile.reversal
        code = message.get(rules.reason_field)
        return next((name for name, known in rules.reasons.items() if known == code), "other")

    # --- what moves no money -------------------------------------------------------------------

    async def _unrecorded(self, passage: Passage, till: Till) -> bool:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def relayed(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        def accept(body: bytes) -> bool:
            return _is_answer(self.profile, passage.message, body)

        def send() -> None:
            self._loop.relay(self.lane, passage.frame, accept, relayed)

        await self._api.in_turn(self.lane, send, owed_first=passage.message.mti[1] == "5")
        outcome = await done
        if isinstance(outcome, Replied):
            return await till.deliver(self._frame_of(outcome))
        log.warning("gateway %s: no answer to %s: %s", self.lane, _named(passage.message), outcome.text)
        return False

    def _goes_unrecorded(self, message: Message) -> bool:
        """Whether the shop lets a message through that the profile does not know as a transaction."""
        if message.mti not in self._rules.unrecorded:
            return False
        try:
            kind_of(message, self.profile)
        except MessageError:
            log.warning("gateway %s: %s is relayed and not recorded, as configured", self.lane, _named(message))
            return True
        return False

    # --- steps ---------------------------------------------------------------------------------

    def _passage(self, frame: HostFrame) -> Passage:
        """What the message says. Of one that moves no money only the type need be readable. Raises MessageError."""
        raw = wrap(self.profile, frame.body, frame.tpdu, frame.header)
        try:
            return Passage(self.profile.codec.unpack(frame.body), raw)
        except MessageError:
            mti = _type_of(self.profile, frame.body)
            if mti[1:2] in "124":
                raise
            return Passage(Message(mti, {}), raw)

    def _frame_of(self, reply: Replied) -> bytes:
        return wrap(self.profile, reply.body, reply.tpdu, reply.header)

    def _tell(self, txn: Transaction, event: Complete | Reverse, *, wake: bool = True) -> Transaction:
        """Give the event; an item that moved on meanwhile stays as it is."""
        try:
            after = self._loop.handle(txn.id, event)
        except RefusedError as error:
            log.warning("gateway %s: %s stays as it is: %s", self.lane, txn.id, error.text)
            latest = self._loop.get(txn.id)
            assert latest is not None
            return latest
        if wake:
            self._loop.wake()
        return after


def _refuse_closed(txn: Transaction) -> None:
    """What a person has taken into their hands is not reversed behind their back. Raises RefusedError."""
    if txn.held:
        raise _held(txn.id)
    if txn.state is State.SETTLED:
        raise RefusedError("A-SETTLED", f"{txn.id} was closed by a person", "the bank has adjusted it")


def _held(txn_id: str) -> RefusedError:
    return RefusedError("A-HELD", f"{txn_id} is held", f"reversalctl release {txn_id}")


def _nothing() -> None:
    """To be done in turn."""


def _stan_named(message: Message) -> str:
    """The number in the original data elements (ISO 8583-1: type 1-4, STAN 5-10); "" where they name none."""
    named = message.get(90) or message.get(56)
    stan = named[4:10] if named[:10].isdigit() else ""
    return stan if stan.strip("0") else ""


def _partial(message: Message) -> bool:
    """Whether an amount is left after it: replacement amounts (95) that are not all zero; C and D are signs of fees."""
    return bool(message.get(95).strip("0CD "))


def _same(txn: Transaction, message: Message) -> bool:
    amount, pan = message.get(4), message.get(2)
    if pan and txn.masked_pan and mask_pan(pan) != txn.masked_pan:
        return False
    return (not amount or int(amount) == txn.amount_minor) and message.get(41).rstrip() == txn.terminal_id


def _named(message: Message) -> str:
    return f"{message.mti} STAN {message.get(11) or 'unknown'}"


def _type_of(profile: Profile, body: bytes) -> str:
    """The message type alone. Raises MessageError."""
    size = profile.codec.mti_bytes
    text = body[:size].hex() if size == 2 else body[:size].decode(profile.codec.mti_charset, "replace")
    if len(text) != 4 or not text.isdigit() or not text.isascii():
        raise MessageError("this is no message", field=0)
    return text


def _is_answer(profile: Profile, request: Message, body: bytes) -> bool:
    """Whether a frame answers an unrecorded message: its type fits, and its number where both can be read."""
    try:
        if _type_of(profile, body) != reply_to(request.mti):
            return False
        reply = profile.codec.unpack(body)
    except ProtocolError:
        return not request.get(11)
    return reply.get(11, request.get(11)) == request.get(11)
