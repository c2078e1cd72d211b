"""What a journal tells, record by record: one `Story` a transaction, and the symptoms and signs on the way.

A row holds the facts after an event, so what the event did is the difference to the row before (as in
agent/status_timeline.py). A *symptom* is something that went wrong on a lane; a *sign* is an answer of the host, which
says that the way to it works again. Pure: rows in, facts out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import field
from datetime import UTC, datetime
from typing import Literal

from agent.diagnosis import BY_ERROR, BY_MAC_VERDICT, error_code
from agent.journal_contract import Row
from agent.records import OWED, State, Transaction, load
from agent.stored_form import is_transaction
from agent.texts import catalogue
from protocol.frozen import dataclass

Kind = Literal["link", "silent", "host", "mac", "restart", "device", "people", "storage"]
KINDS: tuple[Kind, ...] = ("link", "silent", "host", "mac", "restart", "device", "people", "storage")

# What a sale's own `cause` says about where the trouble was (agent/engine.py); the rest is "people".
_BY_CAUSE: dict[str, Kind] = {
    "timeout": "silent",
    "garbage": "silent",
    "send-timeout": "link",
    "reset": "link",
    "eof": "link",
    "closed": "restart",
    "restart": "restart",
    "mac-invalid": "mac",
    "mac-absent": "mac",
    "mac-unverified": "mac",
    "no-response-code": "host",
    "approved-after-decline": "host",
    "overtaken": "host",
    "card": "device",
    "printer": "device",
    "not-sent-network": "link",
    "not-sent-device": "device",
}
_BY_DIAGNOSIS: dict[str, Kind] = {
    "D-NO-REPLY": "silent",
    "D-GARBAGE": "silent",
    "D-MAC-BAD": "mac",
    "D-MAC-MISSING": "mac",
    "D-PAD-MISSING": "device",
    "D-RESTART": "restart",
    "D-STORE-FULL": "storage",
}
_BY_CLASS: dict[str, Kind] = {"network": "link", "host": "link", "device": "device", "operator": "people"}


@dataclass(frozen=True, slots=True)
class Symptom:
    """Something went wrong. `what`: a diagnosis code or a record's cause; `code`: the host's response code.

    `try_seq`: the record of the try that failed; 0 where it was none.
    """

    seq: int
    at_utc: str
    lane: str
    kind: Kind
    txn_id: str
    what: str
    code: str = ""
    try_seq: int = 0


@dataclass(frozen=True, slots=True)
class Sign:
    """The host of a lane answered. `good`: with what was wanted, not with a refusal."""

    seq: int
    at_utc: str
    lane: str
    good: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a reversal, as it was recorded before it left."""

    seq: int
    at_utc: str
    txn_id: str


@dataclass(slots=True)
class Story:
    """One transaction: how it stands now, and since when its reversal was owed ("" where none ever was)."""

    txn: Transaction
    batch: str
    owed_utc: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Reading:
    """All that was read. `quiet_before`: for each restart record, when the record before it was written."""

    stories: dict[str, Story] = field(default_factory=dict)
    events: list[Symptom | Sign] = field(default_factory=list)
    quiet_before: dict[int, str] = field(default_factory=dict)
    intents: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    records: int = 0
    unreadable: int = 0
    first_utc: str = ""
    last_utc: str = ""


def read(rows: Iterable[Row | None]) -> Reading:
    """The whole journal in the order of its records; None stands for a record that cannot be read."""
    reading = Reading()
    for row in rows:
        reading.records += 1
        if row is not None and not (row.txn_id and is_transaction(row.txn_id)):
            continue  # it only sets counters, or is a session's or a settlement's
        try:
            if row is None:
                raise ValueError
            after = load(row.public, b"")
        except (ValueError, TypeError, KeyError):
            reading.unreadable += 1
            continue
        _take(reading, row, after)
    return reading


def moment(at_utc: str) -> datetime | None:
    """A stamp as a moment; None where it cannot be read."""
    try:
        found = datetime.fromisoformat(at_utc)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds_between(start_utc: str, end_utc: str) -> float | None:
    """Wall time; None where a stamp is missing or the clock went back between them."""
    start, end = moment(start_utc), moment(end_utc)
    if start is None or end is None:
        return None
    span = (end - start).total_seconds()
    return span if span >= 0 else None


def _take(reading: Reading, row: Row, after: Transaction) -> None:
    story = reading.stories.get(row.txn_id)
    before = story.txn if story else None
    if story is None:
        story = reading.stories[row.txn_id] = Story(after, after.batch)
        reading.intents[after.lane, after.batch, after.currency] += 1
    story.txn = after
    if before is not None:
        _note_progress(reading, story, row, before)
        reading.events += _events(row, before, story)
    if row.event == "Restart":
        reading.quiet_before[row.seq] = reading.last_utc
    reading.first_utc = reading.first_utc or row.at_utc
    reading.last_utc = row.at_utc


def _note_progress(reading: Reading, story: Story, row: Row, before: Transaction) -> None:
    after = story.txn
    if after.state in OWED and not story.owed_utc:
        story.owed_utc = row.at_utc
    if after.attempts > before.attempts:
        story.attempts.append(Attempt(row.seq, row.at_utc, row.txn_id))
    if row.event == "Answered" and before.sending and not after.sending:
        story.codes[after.acknowledged_with or after.last_code or "-"] += 1


# --- what a row says about the lane ------------------------------------------------------------


def _events(row: Row, before: Transaction, story: Story) -> list[Symptom | Sign]:
    found: list[Symptom | Sign] = []
    wrong = _wrong(row.event, before, story.txn)
    if wrong is not None:
        kind, what, code = wrong
        try_seq = story.attempts[-1].seq if before.sending and story.attempts else 0
        found.append(Symptom(row.seq, row.at_utc, row.lane, kind, row.txn_id, what, code, try_seq))
    if row.event == "Answered":
        found.append(Sign(row.seq, row.at_utc, row.lane, wrong is None))
    return found


def _wrong(event: str, before: Transaction, after: Transaction) -> tuple[Kind, str, str] | None:
    """Kind, what exactly, and the response code; None where nothing went wrong."""
    if event == "Restart":
        return "restart", "D-RESTART", ""
    if before.sending and not after.sending and after.state in OWED:
        return _failed_try(event, after)
    newly_owed = after.state in OWED and before.state not in OWED
    if newly_owed or (event == "Unsent" and after.state is State.DECLINED):
        storage = after.reason == "storage"
        return "storage" if storage else _BY_CAUSE.get(after.cause, "people"), after.cause, after.response_code
    return None


def _failed_try(event: str, after: Transaction) -> tuple[Kind, str, str] | None:
    if event == "Answered" and after.last_code:
        return "host", f"code-{after.last_code}", after.last_code
    code = BY_MAC_VERDICT.get(after.last_error) or BY_ERROR.get(error_code(after.last_error))
    if code is None:
        return ("link", "D-LINK-DOWN", "") if event == "Unsent" else ("silent", "D-NO-REPLY", "")
    kind = _BY_DIAGNOSIS.get(code) or _BY_CLASS[catalogue().diagnoses[code].cause_class]
    return kind, code, ""
