"""Batch uploads at work: one message after the other on a free lane, behind every reversal, over restarts.

Rules not to break:
1. A message's number, its details and its exact bytes are stored before it leaves, and its answer before the next one.
2. A reversal waits for one exchange of an upload at most.
3. `Loop` and its clock are the only way to journal, wire and time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from agent.batch_upload import Message48, Upload, begun, detail, dump, element_48, load, objection
from agent.journal_contract import Entry, Store
from agent.loop import Clock, Loop
from agent.orders import session_facts
from agent.outcomes import Lost, Outcome, Replied, Unsent
from agent.records import Transaction
from agent.session_desk import entry_of
from agent.side_desks import UPLOAD, Answered
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.requests import build_network_message
from protocol.reversal import identity_of

log = logging.getLogger("reversald")


@dataclass(slots=True)
class Bench:
    """One lane's upload and the message that waits for its answer. `wake_at` None: nothing to send."""

    upload: Upload
    body: bytes
    wake_at: float | None
    failures: int = 0


class UploadDesk:
    """See the module. `answered` hears a host's code and processing requirement; `changed`: there is news to show."""

    def __init__(
        self, loop: Loop, store: Store, clock: Clock, answered: Answered, changed: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._store = store
        self._clock = clock
        self._answered = answered
        self._changed = changed
        self.benches: dict[str, Bench] = {}

    # --- configuration -------------------------------------------------------------------------

    def configure(self, lane_name: str) -> None:
        """A lane as configured; an upload that a restart has cut short goes on."""
        if lane_name in self.benches:
            return
        stored = self._store.get(_id(lane_name))
        if stored is not None:
            try:
                upload = load(stored.entry.public)
            except (ValueError, KeyError, TypeError):
                log.error("lane %s: the upload of its last batch cannot be read; tell the bank the details", lane_name)
                return
            body = stored.entry.secret if upload.current else b""
            self.benches[lane_name] = Bench(upload, body, self._clock.now().mono if upload.open else None)

    def drop(self, lane_name: str) -> None:
        """Forget a lane that is not configured any more; its record stays in the journal."""
        self.benches.pop(lane_name, None)

    # --- begin and end -------------------------------------------------------------------------

    def wanted(self, lane_name: str) -> bool:
        """Whether this lane's host wants the details when totals differ."""
        return self._loop.lane(lane_name).policy.profile.batch_upload is not None

    def prepared(self, lane_name: str, batch: str, ids: Sequence[str]) -> tuple[Upload, Entry]:
        """The upload of a batch, and its record for the commit that closes the batch."""
        upload = begun(lane_name, batch, ids)
        return upload, self._entry(upload, "Begun")

    def start(self, upload: Upload) -> None:
        """Its record is stored: the first message goes when the lane is free."""
        self.benches[upload.lane] = Bench(upload, b"", self._clock.now().mono)
        self.look(upload.lane)

    def open(self, lane_name: str) -> Upload | None:
        """The upload that is not at its end yet."""
        bench = self.benches.get(lane_name)
        return bench.upload if bench and bench.upload.open else None

    def abandon(self, lane_name: str) -> None:
        """A person goes on without it."""
        bench = self.benches[lane_name]
        self._store_as(bench, bench.upload.abandoned(), "Abandoned")
        bench.wake_at = None

    def at_rest(self, lane_name: str) -> bool:
        """At its end, or waiting after a failure."""
        bench = self.benches.get(lane_name)
        return bench is None or not bench.upload.open or bench.failures > 0

    # --- when it goes --------------------------------------------------------------------------

    def look(self, lane_name: str) -> None:
        """Send what is due, if the lane is free."""
        bench, lane = self.benches.get(lane_name), self._loop.lanes.get(lane_name)
        if bench is None or lane is None or bench.wake_at is None or not self._may_begin(lane_name):
            return
        if bench.wake_at <= self._clock.now().mono and bench.upload.open:
            bench.wake_at = None
            self._send(lane_name, bench)

    def wake(self) -> None:
        """A timer is due."""
        for lane_name in list(self.benches):
            self.look(lane_name)

    def back(self, lane_name: str) -> None:
        """The link is back."""
        bench = self.benches.get(lane_name)
        if bench is not None and bench.upload.open and bench.wake_at is not None:
            bench.wake_at, bench.failures = self._clock.now().mono, 0
            self.look(lane_name)

    def next_wake(self) -> float | None:
        """The monotonic second of the next look that could be taken now."""
        times = [one.wake_at for name, one in self.benches.items() if one.wake_at is not None and self._may_begin(name)]
        return min(times, default=None)

    def _may_begin(self, lane_name: str) -> bool:
        lane = self._loop.lanes.get(lane_name)
        return lane is not None and lane.busy is None and not lane.reserved

    # --- one message ---------------------------------------------------------------------------

    def _send(self, lane_name: str, bench: Bench) -> None:
        try:
            if bench.upload.current is None:
                self._make_next(lane_name, bench)
            message = self._loop.lane(lane_name).policy.profile.codec.unpack(bench.body)
        except MessageError as error:  # the profile is another one now, or the old data key is gone
            self._failed(lane_name, bench, f"its message cannot be made: {error.text}")
            return
        bench.upload = bench.upload.tried()
        self._loop.deliver(
            lane_name,
            (f"upload:{lane_name}", bench.body, identity_of(message), ""),
            partial(self._heard, lane_name),
            [self._entry(bench.upload, "Tried")],
        )

    def _make_next(self, lane_name: str, bench: Bench) -> None:
        """The next message gets its number and its bytes, durably (rule 1)."""
        chosen = self._chosen(lane_name, bench)
        name = "upload" if chosen else "upload-end"

        def entries(stan: str) -> list[Entry]:
            bench.body = self._packed(lane_name, name, bench.upload, stan, chosen)
            bench.upload = replace(bench.upload, current=Message48(stan, tuple(txn.id for txn in chosen)))
            return [self._entry(bench.upload, "Made", bench.body)]

        self._loop.keep_numbered(lane_name, entries)

    def _chosen(self, lane_name: str, bench: Bench) -> list[Transaction]:
        """The next details; those that cannot be made are put aside."""
        profile = self._loop.lane(lane_name).policy.profile
        rules = profile.batch_upload
        chosen: list[Transaction] = []
        for txn_id in bench.upload.waiting:
            if rules is not None and len(chosen) == rules.per_message:
                break
            txn = self._loop.get(txn_id)
            why = objection(txn, profile, rules) if txn else "it is not in the journal any more"
            if txn is None or why:
                bench.upload = bench.upload.without(txn_id, why)
            else:
                chosen.append(txn)
        return chosen

    def _packed(self, lane_name: str, name: str, upload: Upload, stan: str, chosen: Sequence[Transaction]) -> bytes:
        lane = self._loop.lane(lane_name)
        profile = lane.policy.profile
        facts = replace(session_facts(lane, stan, self._clock.now()), batch=upload.batch)
        details = element_48([detail(txn, profile) for txn in chosen])
        message = build_network_message(profile, name, facts, details=details, count=f"{upload.accepted:04d}")
        return profile.codec.pack(message)

    # --- how it ends ---------------------------------------------------------------------------

    def _heard(self, lane_name: str, outcome: Outcome, message: Message | None) -> None:
        bench = self.benches.get(lane_name)
        if bench is None or not bench.upload.open:
            return
        if message is None or not isinstance(outcome, Replied) or outcome.mac == "invalid":
            self._failed(lane_name, bench, outcome.text if isinstance(outcome, (Lost, Unsent)) else "wrong MAC")
            return
        code, profile = message.get(39), self._loop.lane(lane_name).policy.profile
        if code in profile.session.batch_codes | profile.session.key_codes:
            self._failed(lane_name, bench, f"the host wants a sign-on first: code {code}")
        else:
            approved = not code or profile.responses.request(code) == "approved"
            self._taken(lane_name, bench, bench.upload.answered(code, approved=approved))
        self._answered(lane_name, code, outcome.processing_requirement)

    def _taken(self, lane_name: str, bench: Bench, after: Upload) -> None:
        if len(after.refused) > len(bench.upload.refused):
            log.error("lane %s: the host refused details of batch %s: %s", lane_name, after.batch, after.refused[-1][1])
        self._store_as(bench, after, "Answered")
        bench.failures = 0
        bench.wake_at = self._clock.now().mono if after.open else None
        if not after.open:
            lost = len(after.refused) + len(after.left)
            log.info("lane %s: batch %s is uploaded, %d details not", lane_name, after.batch, lost)
        self._changed(lane_name)

    def _failed(self, lane_name: str, bench: Bench, text: str) -> None:
        bench.failures += 1
        self._store_as(bench, bench.upload.failed(text), "Failed")
        policy = self._loop.lane(lane_name).policy
        slow = bench.failures >= policy.retry.park_after_attempts
        bench.wake_at = self._clock.now().mono + policy.delay_s(f"{lane_name}/upload", bench.failures, parked=slow)
        self._changed(lane_name)

    # --- steps ---------------------------------------------------------------------------------

    def _store_as(self, bench: Bench, upload: Upload, event: str) -> None:
        self._loop.keep([self._entry(upload, event)])
        bench.upload = upload

    def _entry(self, upload: Upload, event: str, secret: bytes = b"") -> Entry:
        return entry_of(_id(upload.lane), upload.lane, event, dump(upload), self._clock.now().at_utc, secret)

    def sealed_anew(self) -> list[Entry]:
        """What must be sealed with a new key."""
        return [
            self._entry(bench.upload, "Resealed", bench.body)
            for bench in self.benches.values()
            if bench.upload.open and bench.upload.current
        ]

    def views(self) -> dict[str, dict[str, Any]]:
        """For the status: how far each lane's latest upload got."""
        return {name: upload_view(bench.upload) for name, bench in self.benches.items()}


def upload_view(upload: Upload) -> dict[str, Any]:
    """How far it got, and what the bank must be told by other means."""
    return {
        "batch": upload.batch,
        "step": upload.step,
        "accepted": upload.accepted,
        "waiting": len(upload.waiting),
        "refused": [{"id": one, "why": code} for one, code in upload.refused],
        "left": [{"id": one, "why": why} for one, why in upload.left],
        "end_code": upload.end_code,
        "last_error": upload.last_error,
    }


def _id(lane_name: str) -> str:
    return UPLOAD + lane_name
