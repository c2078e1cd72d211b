"""Script results at work: kept durably, sent before the reversals and sales of their lane, told again until answered.

Rules not to break:
1. A result is on stable storage, with its exact message and number, before anybody is told that it is kept.
2. While the one whose turn it is has tries left, a reversal that is due lets it go first (`goes_first`). Where no byte
   of it can leave, or the host wants a sign-on before, the reversal goes on at once: it is not held up by a dead link.
   After `tries` exchanges in a row without an answer none goes first any more, however many wait: until the host
   answers one, or the link comes back.
3. `Loop` and its clock are the only way to journal, wire and time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

from agent.journal_contract import Entry, Store
from agent.lane import Lane, RefusedError
from agent.loop import Clock, Loop
from agent.notices import WAITING_MAX, How, Notice, Outbox
from agent.outcomes import Lost, Outcome, Replied, Unsent
from agent.records import Transaction
from agent.session_desk import READY_WAIT_S, entry_of
from agent.side_desks import OUTBOX, Answered, Until
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.notices import build_script_result, script_results
from protocol.reversal import identity_of
from protocol.rules import ScriptResultRules

log = logging.getLogger("reversald")


@dataclass(slots=True)
class Tray:
    """One lane's outbox. `wake_at`: when it looks again by itself; `passes`: the next reversal need not wait for it;
    `unanswered`: exchanges in a row without an answer."""

    outbox: Outbox
    wake_at: float | None = None
    failures: int = 0
    passes: bool = False
    unanswered: int = 0


class NoticeDesk:
    """See the module. `answered` hears a host's code and processing requirement; `changed`: there is news to show."""

    def __init__(
        self, loop: Loop, store: Store, clock: Clock, until: Until, answered: Answered, changed: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._store = store
        self._clock = clock
        self._until = until
        self._answered = answered
        self._changed = changed
        self.trays: dict[str, Tray] = {}

    # --- configuration -------------------------------------------------------------------------

    def configure(self, lane_name: str) -> None:
        """A lane as configured; what waits for its host stays."""
        lane = self._loop.lane(lane_name)
        if lane_name not in self.trays:
            self.trays[lane_name] = Tray(self._restored(lane_name), self._clock.now().mono)
        tray = self.trays[lane_name]
        lane.stans |= {notice.stan for notice in tray.outbox.waiting}
        lane.goes_first = partial(self.goes_first, lane_name)

    def drop(self, lane_name: str) -> None:
        """Forget a lane that is not configured any more; its outbox stays in the journal."""
        self.trays.pop(lane_name, None)

    def _restored(self, lane_name: str) -> Outbox:
        stored = self._store.get(_id(lane_name))
        if stored is None:
            return Outbox(lane_name)
        try:
            return Outbox.load(lane_name, stored.entry.public, stored.entry.secret)
        except (ValueError, KeyError, TypeError):  # its old records stay in the journal; reversals must go on
            log.error("lane %s: its script results cannot be read and are not sent: tell the acquirer", lane_name)
            return Outbox(lane_name)

    # --- what is kept --------------------------------------------------------------------------

    def keep(self, txn: Transaction, chip_data: str) -> Notice:
        """Store the result of a sale's scripts; asked again, the one that is kept. Raises RefusedError."""
        lane = self._loop.lane(txn.lane)
        tray = self.trays[lane.name]
        rules = _rules(lane)
        found = _results(chip_data, rules)
        kept = tray.outbox.of(txn.id)
        if kept is not None and kept.result == found:
            return kept
        if tray.outbox.knows(txn.id):
            hint = "one result for each sale: collect those of all its scripts first"
            raise RefusedError("A-SCRIPT-RESULT-KEPT", "another script result of this sale is kept", hint)
        if len(tray.outbox.waiting) >= WAITING_MAX:
            text = f"{WAITING_MAX} script results of lane {lane.name} wait for the host"
            raise RefusedError("A-SCRIPT-RESULTS-FULL", text, "see reversalctl script-results")
        made: list[Notice] = []

        def entries(stan: str) -> list[Entry]:
            made.append(self._notice(lane, txn, stan, chip_data, found))
            return [self._entry(tray.outbox.with_notice(made[0]), "Kept", with_secret=True)]

        self._loop.keep_numbered(lane.name, entries)
        tray.outbox = tray.outbox.with_notice(made[0])
        tray.wake_at = self._clock.now().mono
        log.info("%s: the script result is kept, STAN %s", txn.id, made[0].stan)
        self._changed(lane.name)
        return made[0]

    def _notice(self, lane: Lane, txn: Transaction, stan: str, chip_data: str, result: str) -> Notice:
        facts = {
            "stan": stan,
            "batch": lane.batch,
            "terminal_id": txn.terminal_id,
            "merchant_id": txn.merchant_id,
            "operator": lane.operator,
            "acquirer": lane.acquirer,
            "original_batch": txn.batch,
            "original_stan": txn.stan,
            "original_date": txn.host_date,
            "learnt_approval_code": txn.approval_code,
            "learnt_rrn": txn.rrn,
            "learnt_acquirer": txn.host_acquirer or lane.acquirer,
        }
        if txn.frozen is None:
            raise RefusedError("A-NO-SCRIPT-RESULT", f"nothing of a {txn.kind}'s card is kept", "tell the acquirer")
        profile = lane.policy.profile
        try:
            message = build_script_result(profile, txn.frozen.body, chip_data, facts)
        except MessageError as error:
            raise RefusedError("A-NO-SCRIPT-RESULT", f"no message can be made: {error.text}", error.hint) from None
        at_utc, body = self._clock.now().at_utc, profile.codec.pack(message)
        return Notice(txn.id, stan, message.mti, at_utc, txn.host, identity_of(message), result, body)

    def close(self, txn_id: str, by: str, why: str) -> Outbox:
        """A person ends one that no host answers. Raises RefusedError."""
        for lane_name, tray in self.trays.items():
            if tray.outbox.of(txn_id) is not None and not self._under_way(lane_name):
                self._ended(lane_name, tray.outbox.without(txn_id, "closed", self._at_utc(), by=by, why=why), "Closed")
                return tray.outbox
        text = f"no script result of {txn_id} waits, or it is just being sent"
        raise RefusedError("A-NO-ITEM", text, "see reversalctl script-results")

    def sealed_anew(self) -> Iterator[Entry]:
        """What must be sealed with a new key."""
        return (
            self._entry(tray.outbox, "Resealed", with_secret=True)
            for tray in self.trays.values()
            if tray.outbox.waiting
        )

    def views(self) -> dict[str, dict[str, int]]:
        """For the status: how many wait on each lane, and how many of them the host left unanswered too often."""
        return {
            name: {"waiting": len(tray.outbox.waiting), "unanswered": len(tray.outbox.late(self._tries(name)))}
            for name, tray in self.trays.items()
        }

    # --- when one goes -------------------------------------------------------------------------

    def goes_first(self, lane_name: str) -> bool:
        """A reversal is due: whether a script result has taken the lane before it (rule 2)."""
        tray = self.trays.get(lane_name)
        if tray is None:
            return False
        if tray.passes:
            tray.passes = False
            return False
        notice = self._first(lane_name, tray)
        if notice is None:
            return False
        self._send(lane_name, tray, notice)
        return True

    def _first(self, lane_name: str, tray: Tray) -> Notice | None:
        """The one that goes before anything else; None: nothing waits for a notice now (rule 2)."""
        tries = self._tries(lane_name)
        return tray.outbox.first(tries) if tray.unanswered < tries else None

    def look(self, lane_name: str) -> None:
        """Send what is due, if the lane is free."""
        tray = self.trays.get(lane_name)
        if tray is None or tray.wake_at is None or not self._may_begin(lane_name):
            return
        if tray.wake_at <= self._clock.now().mono:
            tries = self._tries(lane_name)
            notice = tray.outbox.first(tries) or next(iter(_least_tried(tray.outbox.late(tries))), None)
            tray.wake_at = None
            if notice is not None:
                self._send(lane_name, tray, notice)

    def wake(self) -> None:
        """A timer is due."""
        for lane_name in list(self.trays):
            self.look(lane_name)

    def back(self, lane_name: str) -> None:
        """The link or the PIN pad is back."""
        tray = self.trays.get(lane_name)
        if tray is not None and tray.outbox.waiting:
            tray.wake_at, tray.failures, tray.unanswered = self._clock.now().mono, 0, 0
            self.look(lane_name)

    def next_wake(self) -> float | None:
        """The monotonic second of the next look that could be taken now."""
        times = [
            tray.wake_at for name, tray in self.trays.items() if tray.wake_at is not None and self._may_begin(name)
        ]
        return min(times, default=None)

    async def before_sale(self, lane_name: str) -> None:
        """A sale waits for the tries of those that go first, for a while; not for a link that is down."""
        tray = self.trays.get(lane_name)
        if tray is None or self._first(lane_name, tray) is None:
            return
        tray.wake_at = self._clock.now().mono
        self.look(lane_name)
        await self._until(lambda: not self._goes_soon(lane_name), READY_WAIT_S)

    # --- how it ends ---------------------------------------------------------------------------

    def _send(self, lane_name: str, tray: Tray, notice: Notice) -> None:
        tray.outbox = tray.outbox.counted(notice.id, self._at_utc())
        self._loop.deliver(
            lane_name,
            (f"script:{notice.id}", notice.body, notice.identity, notice.host),
            partial(self._heard, lane_name, notice.id),
            [self._entry(tray.outbox, "Tried")],
        )

    def _heard(self, lane_name: str, txn_id: str, outcome: Outcome, message: Message | None) -> None:
        tray = self.trays.get(lane_name)
        if tray is None or tray.outbox.of(txn_id) is None:
            return
        if isinstance(outcome, Unsent):
            self._failed(lane_name, tray, txn_id, outcome.text, left=False)
        elif isinstance(outcome, Lost) or message is None:
            self._failed(lane_name, tray, txn_id, outcome.text if isinstance(outcome, Lost) else "no answer", left=True)
        elif outcome.mac not in ("valid", "absent", "unchecked"):
            self._failed(lane_name, tray, txn_id, f"the answer has a MAC that is {outcome.mac}", left=True)
        else:
            self._answered_with(lane_name, tray, txn_id, outcome, message.get(39))

    def _answered_with(self, lane_name: str, tray: Tray, txn_id: str, outcome: Replied, code: str) -> None:
        """Any code ends it, save those that only a sign-on mends."""
        profile = self._loop.lane(lane_name).policy.profile
        if code in profile.session.batch_codes | profile.session.key_codes:
            self._failed(lane_name, tray, txn_id, f"the host wants a sign-on first: code {code}", left=True)
            tray.passes = True
            tray.wake_at = self._later(lane_name, tray)
        else:
            refused = bool(code) and profile.responses.request(code) != "approved"
            if refused:
                log.error("%s: the host refused its script result with code %s", txn_id, code)
            how: How = "refused" if refused else "answered"
            self._ended(lane_name, tray.outbox.without(txn_id, how, self._at_utc(), code), "Answered")
        self._answered(lane_name, code, outcome.processing_requirement)

    def _failed(self, lane_name: str, tray: Tray, txn_id: str, text: str, *, left: bool) -> None:
        tray.outbox = tray.outbox.failed(txn_id, text, left=left)
        self._loop.keep([self._entry(tray.outbox, "Failed")])
        tray.failures += 1
        tray.unanswered += left
        tray.passes = not left
        soon = left and self._first(lane_name, tray) is not None
        tray.wake_at = self._clock.now().mono if soon else self._later(lane_name, tray)
        failed = tray.outbox.of(txn_id)
        if left and failed is not None and failed.tries == self._tries(lane_name):
            log.error("%s: the host does not answer its script result; it is kept and holds nothing up", txn_id)
        self._changed(lane_name)

    def _ended(self, lane_name: str, after: Outbox, event: str) -> None:
        tray = self.trays[lane_name]
        gone = {notice.stan for notice in tray.outbox.waiting} - {notice.stan for notice in after.waiting}
        self._loop.keep([self._entry(after, event, with_secret=True)])
        self._loop.lane(lane_name).stans -= gone
        tray.outbox, tray.failures, tray.unanswered, tray.passes = after, 0, 0, False
        tray.wake_at = self._clock.now().mono if after.waiting else None
        if after.waiting and after.first(self._tries(lane_name)) is None:
            tray.wake_at = self._later(lane_name, tray)
        self._changed(lane_name)

    # --- steps ---------------------------------------------------------------------------------

    def _later(self, lane_name: str, tray: Tray) -> float:
        """The lane's backoff; the slow schedule where only those are left that the host does not answer."""
        policy = self._loop.lane(lane_name).policy
        slow = tray.outbox.first(self._tries(lane_name)) is None
        return self._clock.now().mono + policy.delay_s(f"{lane_name}/script", tray.failures, parked=slow)

    def _tries(self, lane_name: str) -> int:
        rules = self._loop.lane(lane_name).policy.profile.script_result
        return rules.tries if rules else 0  # a profile that lost its section still sends what is kept, last

    def _goes_soon(self, lane_name: str) -> bool:
        """A try of one that goes first is under way or due."""
        tray = self.trays.get(lane_name)
        if tray is None or self._first(lane_name, tray) is None:
            return False
        due = tray.wake_at is not None and tray.wake_at <= self._clock.now().mono
        return due or self._under_way(lane_name)

    def _under_way(self, lane_name: str) -> bool:
        busy = self._loop.lane(lane_name).busy
        return busy is not None and busy.txn_id.startswith("script:")

    def _may_begin(self, lane_name: str) -> bool:
        lane = self._loop.lanes.get(lane_name)
        return lane is not None and lane.busy is None and not lane.reserved

    def _at_utc(self) -> str:
        return self._clock.now().at_utc

    def _entry(self, outbox: Outbox, event: str, *, with_secret: bool = False) -> Entry:
        secret = outbox.secret() if with_secret else b""
        return entry_of(_id(outbox.lane), outbox.lane, event, outbox.public(), self._at_utc(), secret)


def _id(lane_name: str) -> str:
    return OUTBOX + lane_name


def _rules(lane: Lane) -> ScriptResultRules:
    rules = lane.policy.profile.script_result
    if rules is None:
        text = f"profile {lane.policy.profile.name} has no message for script results"
        raise RefusedError("A-NO-SCRIPT-RESULT", text, "this host wants none; or add [script_result] to the profile")
    return rules


def _results(chip_data: str, rules: ScriptResultRules) -> str:
    try:
        found = script_results(chip_data, rules.result_tag)
    except (MessageError, ValueError):
        found = ""
    if not found:
        text = f"chip_data holds no script results in tag {rules.result_tag}"
        raise RefusedError("A-PARAMETER", text, "chip data as after the second GENERATE AC; it is not repeated here")
    return found


def _least_tried(late: tuple[Notice, ...]) -> list[Notice]:
    """So that one which is never answered does not keep the others from their turn."""
    return sorted(late, key=lambda notice: notice.tries)
