"""Settling a batch: reversals first, then the gate, then 0500 with the totals of the journal, then the next batch.

Rules not to break:
1. From the first look at what is open until the end no sale begins on the lane.
2. A settlement in spite of open items is recorded durably, with person and reason, before a byte of it leaves.
3. What the host answered and the change to the next batch are one commit.
   Where the totals differ and the host wants them, so is the beginning of the upload of details (agent/upload_desk.py).
4. Without an answer nobody knows whether the batch is settled: the batch stays, and a lane that signs on asks the host
   for its batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agent import session as sessions
from agent.journal_contract import Entry, Row, Store
from agent.lane import RefusedError
from agent.loop import Clock, Loop
from agent.outcomes import Lost, Outcome, Replied
from agent.records import State, Transaction
from agent.session_desk import Ended, SessionDesk, Turn, entry_of
from agent.session_texts import SETTLED
from agent.settlement import TOTALS_FIELD, Totals, equal, next_batch, stands, supported, totals_of
from agent.stored_form import is_transaction
from protocol.frozen import dataclass
from protocol.iso8583 import Message

if TYPE_CHECKING:
    from agent.upload_desk import UploadDesk  # loaded with the first settlement (agent/side_desks.py)

# Longest wait for one try of each owed reversal before the gate looks. Assumed: as before a sale.
BEFORE_SETTLEMENT_WAIT_S = 10.0
# With settle_gate = "wait": longest wait until nothing is open. Assumed: a person stands at the till.
GATE_WAIT_S = 60.0
# The details of a batch go on without anybody waiting; the one at the till waits so long for their end. Assumed.
UPLOAD_WAIT_S = 60.0
# Rows asked for first when a batch is summed up; then twice as many, until all of the batch are there.
ROWS_FIRST = 1_000
NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class Override:
    """A person settles in spite of open items."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Settling:
    """One settlement under way."""

    lane: str
    batch: str
    totals: Totals
    open: tuple[Transaction, ...]
    override: Override | None
    ids: tuple[str, ...]


class BatchDesk:
    """See the module."""

    def __init__(
        self, loop: Loop, store: Store, clock: Clock, desk: SessionDesk, turn: Turn, uploads: Callable[[], UploadDesk]
    ) -> None:
        self._loop = loop
        self._uploads = uploads
        self._store = store
        self._clock = clock
        self._desk = desk
        self._turn = turn

    async def settle(self, lane_name: str, override: Override | None) -> dict[str, Any]:
        """Settle the lane's batch; what became of it. Raises RefusedError while nothing was sent."""
        lane = self._loop.lane(lane_name)
        if not supported(lane.policy.profile):
            raise RefusedError("A-NO-SETTLEMENT", "the profile has no settlement with totals", "settle at the host")
        if lane.closed is not None and lane.closed.code == "A-SETTLING":
            raise RefusedError(lane.closed.code, lane.closed.text, lane.closed.hint)
        if self._uploads().open(lane_name) and override is None:
            text = "the details of the batch before are still being uploaded"
            raise RefusedError("A-UPLOADING", text, "see reversalctl status; --override --reason TEXT goes on without")
        self._desk.settling(lane_name, on=True)
        try:
            await self._reversals_first(lane_name)
            await self._gate(lane_name, override)
            settling, ended = await self._turn(lane_name, lambda: self._begin(lane_name, override), owed_first=False)
            answer = self._concluded(settling, *await ended)
            if answer["outcome"] == "unequal" and self._uploads().open(lane_name):
                await self._desk.until(lambda: self._uploads().at_rest(lane_name), UPLOAD_WAIT_S)
            return {**answer, "upload": self._uploads().views().get(lane_name) if self._is_of(settling) else None}
        finally:
            self._desk.settling(lane_name, on=False)

    def _is_of(self, settling: Settling) -> bool:
        bench = self._uploads().benches.get(settling.lane)
        return bench is not None and bench.upload.batch == settling.batch

    def open_items(self, lane_name: str) -> tuple[Transaction, ...]:
        """Everything pending on the lane, of whatever batch."""
        return tuple(self._loop.of_lane(lane_name))

    # --- before it is sent ---------------------------------------------------------------------

    async def _reversals_first(self, lane_name: str) -> None:
        """One try of each owed reversal, if the profile wants it, and the end of what is under way."""
        before = {txn.id: txn.attempts for txn in self.open_items(lane_name)}
        if "before-settlement" in self._loop.lane(lane_name).policy.retry.triggers:
            self._loop.resume(lane_name, "before-settlement")
        await self._desk.until(
            lambda: not any(_still_to_try(txn, before) for txn in self.open_items(lane_name)), BEFORE_SETTLEMENT_WAIT_S
        )

    async def _gate(self, lane_name: str, override: Override | None) -> None:
        gate = self._loop.lane(lane_name).policy.profile.session.settle_gate
        if gate == "wait" and override is None:
            await self._desk.until(lambda: not self.open_items(lane_name), GATE_WAIT_S)
        if gate != "override" and override is None:
            self._refuse_open(lane_name)

    def _refuse_open(self, lane_name: str) -> None:
        found = self.open_items(lane_name)
        if not found:
            return
        named = ", ".join(f"{txn.id} ({txn.outcome}, {txn.amount_minor})" for txn in found[:NAMED_MAX])
        more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        text = f"{len(found)} items of lane {lane_name} are open: {named}{more}"
        hint = "reversalctl wait-clear, or in spite of them: settle-batch --override --reason TEXT (it is recorded)"
        raise RefusedError("A-SETTLE-PENDING", text, hint)

    def _begin(self, lane_name: str, override: Override | None) -> tuple[Settling, Ended]:
        settling = self._prepared(lane_name, override)
        return settling, self._desk.converse(lane_name, "settlement", settling.totals.field_48())

    def _prepared(self, lane_name: str, override: Override | None) -> Settling:
        """Totals and open items at the moment when nothing can change them; an override is recorded here (rule 2)."""
        lane, found = self._loop.lane(lane_name), self.open_items(lane_name)
        automatic = lane.policy.profile.session.settle_gate == "override"
        if found and override is None and not automatic:
            self._refuse_open(lane_name)
        rows = list(self._rows(lane_name))
        totals = totals_of(rows, lane.batch)
        if not totals.fits:
            raise RefusedError("A-SETTLE-TOTALS", "the totals do not fit into element 48", "settle at the host")
        given = override or Override("profile", 'settle_gate = "override"')
        uploading = self._uploads().open(lane_name)
        ids = tuple(stands(rows, lane.batch))
        settling = Settling(lane_name, lane.batch, totals, found, given if found or uploading else None, ids)
        if settling.override is not None:
            self._loop.keep([self._entry(settling, "Override", {})])
        if uploading:
            self._uploads().abandon(lane_name)
        return settling

    def _rows(self, lane_name: str) -> Iterator[Row]:
        """The latest record of each transaction of the lane that has one since the last settlement."""
        limit, since = ROWS_FIRST, self._desk.seats[lane_name].session.batch_from
        rows = self._store.recent(limit)
        while len(rows) == limit and rows[-1].seq > since:
            limit *= 2
            rows = self._store.recent(limit)
        return (row for row in rows if row.seq > since and row.lane == lane_name and is_transaction(row.txn_id))

    # --- how it ended --------------------------------------------------------------------------

    def _concluded(self, settling: Settling, outcome: Outcome, message: Message | None) -> dict[str, Any]:
        if message is None or (isinstance(outcome, Replied) and outcome.mac == "invalid"):
            return self._unanswered(settling, outcome)
        code = message.get(39)
        approved = self._loop.lane(settling.lane).policy.profile.responses.request(code) == "approved"
        if code and not approved:  # a UnionPay 0510 has no response code
            self._desk.event(settling.lane, sessions.Coded(code), [self._entry(settling, "Refused", {"code": code})])
            return self._answer(settling, "refused", code=code)
        same, following = equal(message.get(TOTALS_FIELD)), next_batch(settling.batch)
        told = {True: "equal", False: "unequal", None: "unsaid"}[same]
        record = self._entry(settling, "Settled", {"host": told, "next_batch": following})
        closed = sessions.BatchClosed(following, self._store.health().head_seq)
        if told == "unequal" and self._uploads().wanted(settling.lane):
            upload, begun = self._uploads().prepared(settling.lane, settling.batch, settling.ids)
            self._desk.event(settling.lane, closed, [record, begun])
            self._uploads().start(upload)
        else:
            self._desk.event(settling.lane, closed, [record])
        return self._answer(settling, told, next_batch=following)

    def _unanswered(self, settling: Settling, outcome: Outcome) -> dict[str, Any]:
        """Rule 4."""
        told = "unknown" if isinstance(outcome, (Lost, Replied)) else "not-sent"
        why = "the answer has a wrong MAC" if isinstance(outcome, Replied) else outcome.text
        self._loop.keep([self._entry(settling, "Unanswered", {"host": told, "why": why})])
        if told == "unknown" and self._desk.seats[settling.lane].policy.signs_on:
            self._desk.event(settling.lane, sessions.Asked("settlement"))
        return self._answer(settling, told, why=why)

    def _answer(
        self, settling: Settling, told: str, *, code: str = "", next_batch: str = "", why: str = ""
    ) -> dict[str, Any]:
        text = SETTLED[told].fill({"batch": settling.batch, "code": code})
        return {
            "lane": settling.lane,
            "batch": settling.batch,
            "outcome": told,
            "settled": told in ("equal", "unequal", "unsaid"),
            "next_batch": next_batch or settling.batch,
            "totals": settling.totals.as_dict(),
            "open": [open_item(txn) for txn in settling.open],
            "overridden": settling.override is not None,
            "why": why,
            "text_en": text.en,
            "text_zh": text.zh,
        }

    def _entry(self, settling: Settling, event: str, more: dict[str, Any]) -> Entry:
        public = {
            "lane": settling.lane,
            "batch": settling.batch,
            "totals": settling.totals.as_dict(),
            "open": [txn.id for txn in settling.open],
            "by": settling.override.by if settling.override else "",
            "reason": settling.override.reason if settling.override else "",
            **more,
        }
        line = json.dumps(public, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        entry_id = f"batch:{settling.lane}:{settling.batch}"
        return entry_of(entry_id, settling.lane, event, line, self._clock.now().at_utc)


def open_item(txn: Transaction) -> dict[str, Any]:
    """What a settlement tells of an open item."""
    return {
        "id": txn.id,
        "state": str(txn.state),
        "kind": txn.kind,
        "amount_minor": txn.amount_minor,
        "currency": txn.currency,
        "batch": txn.batch,
        "stan": txn.stan,
    }


def _still_to_try(txn: Transaction, before: dict[str, int]) -> bool:
    """A request under way, or an owed reversal that has not had its try yet."""
    if txn.state is State.BEGUN:
        return txn.driver != "application"
    return txn.state is State.REVERSING and not txn.held and (txn.sending or txn.attempts == before.get(txn.id, 0))
