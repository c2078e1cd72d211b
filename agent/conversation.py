"""What the agent would have decided at each step of a recorded conversation, by the shipped `decide`.

Each request of the capture becomes a transaction as the loop would make it; each message, silence and closed connection
becomes the event that the loop would give. What a terminal sent is compared with what the agent would have sent.

Rules:
1. Nothing here decides about money: it calls `decide` and says what came out.
2. Nothing a step holds is secret: card numbers only as masks, no raw bytes.
3. Foreign and damaged bytes are findings, never failures.

Assumed, for want of a till in the capture: an approved sale counts as confirmed when its terminal goes on to another
request. MACs are not checked (the key is not in a capture); a missing one is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Literal

from agent.conversation_aside import aside, asides
from agent.conversation_reading import Reading
from agent.conversation_step import NOTHING, Finding, Step
from agent.conversation_texts import decision, finding
from agent.currency import money
from agent.engine import decide
from agent.events import (
    Answered,
    Begin,
    Complete,
    Event,
    Lost,
    Noticed,
    Now,
    Refuse,
    Reverse,
    SendReversal,
    Wake,
)
from agent.outcomes import MacVerdict
from agent.policy import Policy
from agent.records import OWED, State, Transaction
from agent.streams import Chunk
from protocol.errors import MessageError
from protocol.explain import explain
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.mac import carries_mac, split
from protocol.masking import mask_pan, show
from protocol.matching import match_reply
from protocol.meanings import Both
from protocol.mti import is_reply, is_reversal
from protocol.reversal import Learnt, freeze, identity_of
from protocol.rules import Profile
from protocol.wordings import kind_name, mti_meaning

# Elements that differ between what the agent would send and what a terminal sent, without a fault: times and MAC.
_OWN_TIMES = frozenset({7, 12, 13, 64, 128})
_ORIGINAL_AT = {90: (4, 10), 56: (4, 10)}  # where the original's STAN stands in the original data elements


@dataclass(slots=True)
class _Item:
    """One transaction of the capture and what is awaited for it."""

    record: Transaction
    request: Message
    connection: str
    due: float | None = None
    sent: dict[str, str] = field(default_factory=dict)  # identity of the reversal that really left


@dataclass(slots=True)
class _Notes:
    """What one message led to, while it is looked at."""

    decisions: list[Both] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    item: _Item | None = None

    def find(self, code: str, **values: str) -> None:
        self.findings.append(Finding(code, finding(code, **values)))


def replay(chunks: Iterable[Chunk], profile: Profile) -> list[Step]:
    """The ladder of a conversation, to its end."""
    player = _Player(profile)
    for chunk in chunks:
        player.take(chunk)
    player.end()
    return player.steps


class _Player:
    """All transactions of one capture."""

    def __init__(self, profile: Profile) -> None:
        self.steps: list[Step] = []
        self._profile = profile
        self._items: dict[tuple[str, str], _Item] = {}
        self._reading = Reading(profile)
        self._aside = asides(profile)
        self._turns = 0
        self._last: float | None = None

    # --- bytes to messages ---

    def take(self, chunk: Chunk) -> None:
        """One piece of one side's stream."""
        self._turns += 1
        if chunk.at is not None:
            self._last = chunk.at if self._last is None else max(self._last, chunk.at)
            self._time_outs(self._last)
        if chunk.event == "closed":
            self._closed(chunk)
        elif chunk.event == "lost":
            self._reading.lost(chunk)
            self._remark(chunk, "bytes-lost")
        else:
            for found in self._reading.read(chunk):
                if isinstance(found, bytes):
                    self._unreadable(chunk, found)
                else:
                    self._said(chunk, found)

    def _unreadable(self, chunk: Chunk, data: bytes) -> None:
        trouble = explain(self._profile, data, money).trouble
        values = {"size": str(len(data)), "offset": "0", "expected": "-", "found": "-"}
        if trouble is not None:
            values |= {"offset": str(trouble.offset), "expected": trouble.expected.en, "found": trouble.found.en}
            values |= {"expected_zh": trouble.expected.zh, "found_zh": trouble.found.zh}
        self._remark(chunk, "unreadable", **values)

    def _remark(self, chunk: Chunk, code: str, **values: str) -> None:
        found = (Finding(code, finding(code, **values)),)
        self.steps.append(Step(chunk.at, chunk.connection, chunk.direction, findings=found))

    def _said(self, chunk: Chunk, message: Message) -> None:
        """One message, from one of the two."""
        notes = _Notes()
        if message.mti[1] == "8" or message.mti in self._aside:
            notes.decisions += aside(message.mti, self._profile)
        elif chunk.direction == "from-host":
            self._answer(chunk, message, notes)
        elif is_reversal(message.mti) and not is_reply(message.mti):
            self._reversal(chunk, message, notes)
        else:
            self._request(chunk, message, notes)
        self.steps.append(self._step(chunk, message, notes))

    def _step(self, chunk: Chunk, message: Message, notes: _Notes) -> Step:
        code, rules = message.get(39), self._profile.responses
        is_verdict = code and is_reply(message.mti)
        amount = message.get(4)
        return Step(
            at=chunk.at,
            connection=chunk.connection,
            direction=chunk.direction,
            mti=message.mti,
            what=mti_meaning(message.mti),
            kind=kind_name(message, self._profile) or (notes.item.record.kind if notes.item else ""),
            stan=message.get(11),
            amount=money(int(amount), message.get(49)) if amount.isdigit() and message.get(49) else amount,
            code=code,
            code_text=Both(rules.text(code, "en"), rules.text(code, "zh")) if is_verdict else NOTHING,
            card=mask_pan(message.get(2) or message.get(35).split("=")[0]),
            state=str(notes.item.record.state) if notes.item else "",
            decisions=tuple(notes.decisions),
            findings=tuple(notes.findings),
        )

    # --- messages to events ---

    def _request(self, chunk: Chunk, message: Message, notes: _Notes) -> None:
        kind = kind_name(message, self._profile)
        if not kind:
            notes.find("unknown-kind")
            return
        key = (message.get(41), message.get(11))
        known = self._items.get(key)
        if known is not None and known.record.pending:
            code = "duplicate-request" if dict(known.request.fields) == dict(message.fields) else "stan-in-use"
            notes.find(code, stan=message.get(11))
            notes.item = known
            return
        self._went_on(message.get(41))
        item = _Item(self._transaction(message, kind, notes), message, chunk.connection)
        self._items[key] = notes.item = item
        item.due = self._due()
        self._feed(item, Begin(), notes)

    def _went_on(self, terminal_id: str) -> None:
        """The terminal does its next sale: what was approved before is confirmed."""
        for item in self._items.values():
            if item.record.terminal_id == terminal_id and item.record.state is State.APPROVED:
                self._feed(item, Complete("replay"), _Notes())

    def _reversal(self, chunk: Chunk, message: Message, notes: _Notes) -> None:
        item = self._original(message)
        if item is None:
            notes.find("reversal-without-original", stan=message.get(11))
            return
        notes.item = item
        item.connection = chunk.connection
        self._give_up(item, message, notes)
        if item.record.state not in OWED:
            notes.find("reversal-not-owed", state=str(item.record.state))
        elif item.record.frozen is not None:
            self._compare(item, message, notes)
        item.sent = _compared(item.record, identity_of(message))
        item.due = self._due()
        self._items[message.get(41), message.get(11)] = item

    def _original(self, message: Message) -> _Item | None:
        terminal_id = message.get(41)
        for number, (start, end) in _ORIGINAL_AT.items():
            if (stan := message.get(number)[start:end]) and (terminal_id, stan) in self._items:
                return self._items[terminal_id, stan]
        same = self._items.get((terminal_id, message.get(11)))
        if same is not None or self._profile.reversal.stan != "own":
            return same
        alike = [
            item
            for item in self._items.values()
            if (item.record.terminal_id, item.request.get(4)) == (terminal_id, message.get(4)) and item.record.pending
        ]
        return alike[-1] if alike else None

    def _give_up(self, item: _Item, message: Message, notes: _Notes) -> None:
        """The terminal reverses: the event by which the agent would have come to that."""
        record = item.record
        if record.state is State.BEGUN:
            if item.due is not None and self._last is not None and self._last < item.due:
                notes.find("reversed-early", seconds=f"{item.due - self._last:.0f}")
            self._feed(item, Lost("timeout", "the terminal gave up"), notes)
        elif record.state is State.APPROVED:
            self._feed(item, Reverse("replay", self._reason(message)), notes)
        elif record.state in OWED and record.sending:
            self._feed(item, Lost("timeout", "no acknowledgement before the next try"), notes)

    def _reason(self, message: Message) -> str:
        rules = self._profile.reversal
        sent = message.get(rules.reason_field) if rules.reason_field else ""
        return next((name for name, code in rules.reasons.items() if code == sent), "other")

    def _compare(self, item: _Item, message: Message, notes: _Notes) -> None:
        """What the agent would have sent now, beside what the terminal sent."""
        assert item.record.frozen is not None
        if self._profile.reversal.stan == "own":
            self._adopt_stan(item, message)
        sent = [effect for effect in self._feed(item, Wake(), notes) if isinstance(effect, SendReversal)]
        if not sent:
            return
        wanted = self._profile.codec.unpack(sent[0].body)
        if wanted.mti != message.mti:
            unmarked = sent[0].repeat and wanted.mti[:3] == message.mti[:3]
            notes.find("repeat-unmarked" if unmarked else "other-type", sent=message.mti, wanted=wanted.mti)
        for number in sorted({*wanted.fields, *message.fields} - _OWN_TIMES):
            self._compare_one(number, wanted, message, notes)

    def _compare_one(self, number: int, wanted: Message, message: Message, notes: _Notes) -> None:
        expected, found = wanted.get(number), message.get(number)
        if expected == found:
            return
        code = "element-missing" if not found else "element-extra" if not expected else "element-differs"
        notes.find(code, field=str(number), found=show(number, found), wanted=show(number, expected))

    def _adopt_stan(self, item: _Item, message: Message) -> None:
        """The profile gives reversals a number of their own: take the one that the terminal chose."""
        frozen = freeze(item.request, self._profile, item.record.reason or "timeout", own_stan=message.get(11))
        item.record = replace(item.record, frozen=frozen)

    def _answer(self, chunk: Chunk, message: Message, notes: _Notes) -> None:
        item = self._items.get((message.get(41), message.get(11))) or self._by_stan(message.get(11))
        if item is None:
            notes.find("unmatched-answer", stan=message.get(11))
            return
        notes.item = item
        to: Literal["request", "reversal"] = "reversal" if is_reversal(message.mti) else "request"
        identity = (item.sent or _frozen_identity(item.record)) if to == "reversal" else item.record.request_identity
        match = match_reply(identity, message, self._profile)
        what = f"{message.mti} with response code {message.get(39) or 'none'}"
        if not match.accepted:
            notes.find("no-match", differences="; ".join(match.differences))
            self._feed(item, Noticed(f"{message.mti} that does not match", "; ".join(match.differences)), notes)
            return
        self._judge(item, message, to, notes)
        awaited = item.record.sending if to == "reversal" else item.record.state is State.BEGUN
        learnt = Learnt(message.get(38), message.get(37), message.get(13), message.get(12))
        mac = self._mac(message, notes)
        self._feed(item, Answered(to, awaited, message.get(39), mac, match, learnt, what), notes)

    def _by_stan(self, stan: str) -> _Item | None:
        """For hosts that do not echo the terminal id: the latest item with this number."""
        return next((item for (_, number), item in reversed(self._items.items()) if number == stan), None)

    def _judge(self, item: _Item, message: Message, to: str, notes: _Notes) -> None:
        """Answers that come too late or twice."""
        state = item.record.state
        approved = self._profile.responses.request(message.get(39)) == "approved"
        if to == "request" and state in (*OWED, State.REVERSED):
            notes.find("late-approval" if approved else "late-answer")
        elif to == "request" and state is not State.BEGUN:
            notes.find("duplicate-answer")
        elif to == "reversal" and state not in OWED:
            notes.find("duplicate-acknowledgement" if state is State.REVERSED else "acknowledgement-not-owed")

    def _mac(self, message: Message, notes: _Notes) -> MacVerdict:
        rules = self._profile.mac
        if not carries_mac(rules, message.mti):
            return "unchecked"
        if split(self._profile, self._profile.codec.pack(message)) is None:
            notes.find("no-mac")
            return "absent"
        return "unchecked"

    # --- silence ---

    def _due(self) -> float | None:
        return None if self._last is None else self._last + self._profile.retry.reply_timeout_s

    def _time_outs(self, at: float) -> None:
        """Everything whose answer is overdue before this moment, oldest first."""
        due = [item for item in self._unique() if item.due is not None and item.due <= at and _waits(item.record)]
        for item in sorted(due, key=lambda one: one.due or 0.0):
            moment, item.due = item.due, None
            self._silence(item, moment, "timeout", "no answer in time")

    def _closed(self, chunk: Chunk) -> None:
        for item in self._unique():
            if item.connection == chunk.connection and _waits(item.record):
                self._silence(item, chunk.at, "eof", "the connection was closed")

    def _silence(self, item: _Item, at: float | None, cause: str, text: str) -> None:
        notes = _Notes(item=item)
        notes.find("closed" if cause == "eof" else "time-out")
        self._feed(item, Lost(cause, text), notes, at)
        self.steps.append(self._quiet_step(item, at, notes))

    def _quiet_step(self, item: _Item, at: float | None, notes: _Notes) -> Step:
        record = item.record
        return Step(
            at=at,
            connection=item.connection,
            direction="none",
            kind=record.kind,
            stan=record.stan,
            amount=money(record.amount_minor, record.currency),
            card=record.masked_pan,
            state=str(record.state),
            decisions=tuple(notes.decisions),
            findings=tuple(notes.findings),
        )

    def end(self) -> None:
        """What the capture leaves open, and frames that it cuts off."""
        for connection, direction in self._reading.unfinished():
            self._remark(Chunk(self._last, connection, direction, "data"), "unfinished-frame")
        for item in self._unique():
            if item.record.state in (State.BEGUN, *OWED):
                notes = _Notes(item=item)
                notes.find("open-at-end", state=str(item.record.state))
                self.steps.append(self._quiet_step(item, self._last, notes))

    def _unique(self) -> list[_Item]:
        """Every item once, in the order of their requests."""
        return list({id(item): item for item in self._items.values()}.values())

    # --- the engine ---

    def _feed(self, item: _Item, event: Event, notes: _Notes, at: float | None = None) -> tuple[object, ...]:
        """One event through the shipped `decide`; gives its effects."""
        before = item.record
        moment = at if at is not None else self._last
        mono = moment if moment is not None else self._turns / 1000
        now = Now(mono, datetime.fromtimestamp(_within(mono), UTC))
        policy = self._policy(before.terminal_id)
        try:
            item.record, effects = decide(before, event, now, policy)
        except MessageError as error:  # what the answer told does not fit into the reversal
            notes.find("no-reversal", why=error.text)
            return ()
        if not any(isinstance(effect, Refuse) for effect in effects):
            notes.decisions += decision(before, item.record, event, effects, now, policy)
        return effects

    def _policy(self, terminal_id: str) -> Policy:
        profile = self._profile
        return Policy(
            profile=profile,
            retry=profile.retry,
            terminal_id=terminal_id,
            confirm_timeout_s=profile.confirm_timeout_s,
            nobody_knows="reverse",
            reply_deadline_s=profile.retry.reply_timeout_s,
        )

    def _transaction(self, request: Message, kind: str, notes: _Notes) -> Transaction:
        rules = self._profile.kinds[kind]
        at = self._profile.session.batch_at
        amount = request.get(4)
        new = Transaction(
            id=f"{request.get(41) or '-'}/{request.get(11)}",
            lane="replay",
            reference=request.get(11),
            kind=kind,
            amount_minor=int(amount) if amount.isdigit() else 0,
            currency=request.get(49),
            stan=request.get(11),
            batch=at.of(request.get(at.field)) if at else "",
            terminal_id=request.get(41),
            merchant_id=request.get(42),
            profile=self._profile.name,
            masked_pan=mask_pan(request.get(2) or request.get(35).split("=")[0]),
            begun_at_utc="",
            on_unknown=rules.on_unknown,
            confirm="by-application",
            driver="agent",
            request_identity=identity_of(request),
        )
        if rules.on_unknown != "reverse":
            return new
        try:
            return replace(new, frozen=freeze(request, self._profile, "timeout", own_stan=request.get(11)))
        except MessageError as error:
            notes.find("no-reversal", why=error.text)
            return new


def _compared(record: Transaction, sent: dict[str, str]) -> dict[str, str]:
    """Of a reversal that left, what its acknowledgement is compared with: not what changes with each attempt."""
    frozen = _frozen_identity(record)
    return {key: value for key, value in sent.items() if key in frozen} if frozen else sent


def _frozen_identity(record: Transaction) -> dict[str, str]:
    return dict(record.frozen.identity) if record.frozen else {}


def _waits(record: Transaction) -> bool:
    """Whether an answer is awaited."""
    return record.state is State.BEGUN or record.sending


def _within(seconds: float) -> float:
    """A moment that a calendar can hold: captures may bear any number."""
    return min(max(seconds, 0.0), 4e9)
