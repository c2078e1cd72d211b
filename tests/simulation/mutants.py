"""Planted bugs: each breaks one promise in the simulating process only, and the simulator must find it.

A mutant replaces functions, rows of the decision table or methods of the loop while it is `planted`; no file is
touched. A mutant that no seed finds says that a rule is not watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from agent import answers as answers_module
from agent import engine
from agent.backlog import LaneBacklog
from agent.events import (
    Answered,
    Complete,
    HostChosen,
    Lost,
    Now,
    Restart,
    SendReversal,
    Slip,
    Unsent,
    Wake,
)
from agent.lane import Lane
from agent.loop import Loop
from agent.policy import Policy
from agent.records import State, Transaction
from protocol.errors import AgentError
from protocol.matching import Match, match_reply
from protocol.reversal import FrozenReversal
from tests.simulation import disk as disk_module

Patch = tuple[Any, str, Any]
Decision = engine.Decision


@dataclass(frozen=True)
class Mutant:
    """One planted bug. `plant` gives what to put where: (object, attribute) or (table, key).

    `needs`: kinds of faults without which the bug does no harm; seeds that do not draw all of them need not be run.
    """

    name: str
    what: str
    plant: Callable[[], list[Patch]]
    needs: tuple[str, ...] = ()

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is in the program within this block."""
        undo: list[Callable[[], None]] = []
        for target, name, value in self.plant():
            undo.append(_put(target, name, value))
        try:
            yield
        finally:
            for back in reversed(undo):
                back()


def _put(target: Any, name: Any, value: Any) -> Callable[[], None]:
    """Replace one attribute or row; what undoes it."""
    if isinstance(target, dict):
        before = target[name]
        target[name] = value
        return lambda: target.__setitem__(name, before)
    before = getattr(target, name)
    setattr(target, name, value)
    return lambda: setattr(target, name, before)


def _rows(event: type, states: tuple[State, ...], handler: Any) -> list[Patch]:
    return [(engine.HANDLERS, (state, event), handler) for state in states]


_OWED = (State.REVERSING, State.PARKED)
_attempt, _attempt_answered, _attempt_lost = engine.attempt, engine.attempt_answered, engine.attempt_lost
_request_answered = engine.request_answered
_owed_restart, _park, _end = engine.owed_restart, engine._park, engine._end
_store, _start, _next_stans = Loop._store, Loop.start, Loop._next_stans
_send, _admit, _commit = Loop._send, Loop._admit, Loop._commit
_append, _try_later = disk_module.DiskJournal.append, engine._try_later


# --- recording and sending ---------------------------------------------------------------------


def _send_first(self: Loop) -> None:
    """The effects of a turn are performed, and only then what was decided is stored."""
    turn, self._turn = self._turn, None
    assert turn is not None
    for effect in turn.effects:
        effect()
    if turn.entries:
        self._write(turn.entries, turn.counters)


def _one_of_the_batch_lost(self: Loop) -> None:
    """Of several records of one turn the last is not stored; all effects follow."""
    assert self._turn is not None
    if len(self._turn.entries) > 1:
        self._turn.entries.pop()
    _commit(self)


def _effects_within_the_batch(self: Loop) -> None:
    """Of several records of one turn only the first is stored before the effects of all."""
    turn = self._turn
    assert turn is not None
    late, turn.entries[1:] = turn.entries[1:], []
    _commit(self)
    if late:
        self._write(late, {})


def _effects_in_spite_of_it(self: Loop) -> None:
    """The commit of a turn fails, and its effects are performed before the process ends."""
    turn = self._turn
    assert turn is not None
    try:
        _commit(self)
    except AgentError:
        for effect in turn.effects:
            effect()
        raise


def _counters_follow(self: Any, entries: Any, counters: Any = None) -> int:
    """The counters are stored in a commit of their own, after the records."""
    seq = _append(self, entries, {})
    return _append(self, (), counters) if counters else seq


def _swallowed(self: Any, entries: Any, counters: Any = None) -> int:
    """A failed write is taken for a good one."""
    try:
        return _append(self, entries, counters)
    except AgentError:
        self._doubt = ""
        return int(self._head)


def _unsynced(self: Any, entries: Any, counters: Any = None) -> int:
    """The commit returns before the sync."""
    self._refuse_in_doubt()
    self._disk.write(self._frame(entries, dict(counters or {})))
    self._store(entries, dict(counters or {}))
    self._step("after the commit")
    return int(self._head)


def _without_counters(self: Loop, before: Any, after: Any, event: Any, now: Now, counters: Any) -> None:
    _store(self, before, after, event, now, {})
    self._counters.update(counters)


def _same_number(self: Loop, lane: Lane, count: int) -> list[str]:
    """The number of the last sale once more."""
    number = max(1, self._counters.get(f"stan:{lane.name}", 0))
    return [f"{number:06d}", *_next_stans(self, lane, count)[1:]]


def _admit_all(self: Loop, lane: Lane, order: Any) -> None:
    """Neither gate nor store is asked."""


def _admit_without_store(self: Loop, lane: Lane, order: Any) -> None:
    """The store is not asked."""
    journal, self._journal = self._journal, _Willing(self._journal)  # type: ignore[assignment]
    try:
        _admit(self, lane, order)
    finally:
        self._journal = journal


class _Willing:
    """A store that always has room."""

    def __init__(self, store: Any) -> None:
        self._willing_store = store

    def admit(self) -> None:
        """Always granted."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._willing_store, name)


def _used_again(self: Loop, lane: Lane, order: Any) -> None:
    """A reference that was used before is taken again."""
    journal, self._journal = self._journal, _Forgetful(self._journal)  # type: ignore[assignment]
    try:
        _admit(self, lane, order)
    finally:
        self._journal = journal


class _Forgetful:
    """A store that finds no reference."""

    def __init__(self, store: Any) -> None:
        self._forgetful_store = store

    def find(self, lane: str, reference: str) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._forgetful_store, name)


def _open_gate(self: Loop, lane: Lane) -> str:
    return ""


# --- the original's answer ---------------------------------------------------------------------


def _believing(event: Answered, policy: Policy, *, must: bool) -> bool:
    """No MAC is looked at."""
    return True


def _absent_is_fine(event: Answered, policy: Policy, *, must: bool) -> bool:
    return event.mac != "invalid"


def _unverified_is_fine(event: Answered, policy: Policy, *, must: bool) -> bool:
    return event.mac in ("valid", "unchecked", "unverified") or (event.mac == "absent" and not must)


def _no_code_declines(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    if event.to == "request" and event.match.accepted and not event.code:
        return _end(replace(record, cause="declined"), State.DECLINED, now), ()
    return _request_answered(record, event, now, policy)


def _wrong_mac_declines(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    after, effects = _request_answered(record, event, now, policy)
    if after.cause.startswith("mac-"):
        return _end(replace(record, cause="declined"), State.DECLINED, now), ()
    return after, effects


def _lost_is_unsent(record: Transaction, event: Lost, now: Now, policy: Policy) -> Decision:
    return _end(replace(record, cause=f"not-sent-{event.cause}"), State.DECLINED, now), ()


def _lost_is_forgotten(record: Transaction, event: Lost, now: Now, policy: Policy) -> Decision:
    """Nothing follows from it."""
    return replace(record, last_error=event.text), ()


def _host_forgotten(record: Transaction, event: HostChosen, now: Now, policy: Policy) -> Decision:
    return record, ()


# --- approved ----------------------------------------------------------------------------------


def _time_completes(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    """Nobody confirmed, so it is taken as confirmed."""
    return _end(replace(record, cause="confirmed"), State.COMPLETED, now), ()


def _approval_completes(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    after, effects = _request_answered(record, event, now, policy)
    return (_end(after, State.COMPLETED, now), ()) if after.state is State.APPROVED else (after, effects)


def _due_at_once(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    """The confirmation time is not waited for."""
    after, effects = _request_answered(record, event, now, policy)
    return (replace(after, wake_at=now.mono) if after.state is State.APPROVED else after), effects


def _ignored(record: Transaction, event: Any, now: Now, policy: Policy) -> Decision:
    return record, ()


# --- the reversal's tries ----------------------------------------------------------------------


def _uncounted(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    after, effects = _attempt(record, event, now, policy)
    return replace(after, attempts=record.attempts), effects


def _stamped_anew(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    """Every try is a new reversal: another amount stands for anything that is made anew."""
    return _altered(_attempt(record, event, now, policy), record)


def _altered(decision: Decision, record: Transaction) -> Decision:
    after, effects = decision
    return after, tuple(
        SendReversal(_with_other_digit(effect.body, record), effect.repeat, effect.host)
        if isinstance(effect, SendReversal) and record.attempts
        else effect
        for effect in effects
    )


def _with_other_digit(body: bytes, record: Transaction) -> bytes:
    """Another terminal number, one digit."""
    at = body.find(record.terminal_id.encode("ascii")) + 7
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def _secret_altered(record: Transaction, event: Lost, now: Now, policy: Policy) -> Decision:
    """The stored reversal is made anew between two tries."""
    after, effects = _attempt_lost(record, event, now, policy)
    if after.frozen is None or not after.left:
        return after, effects
    frozen = after.frozen
    body = _with_other_digit(frozen.body, record)
    made = FrozenReversal(body, frozen.slots, frozen.mti, frozen.repeat_mti, frozen.identity)
    return replace(after, frozen=made), effects


def _never_repeats(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    """What left before the restart is forgotten."""
    after, effects = _owed_restart(record, event, now, policy)
    return replace(after, left=False), effects


def _repeat_unmarked(record: Transaction, event: Lost, now: Now, policy: Policy) -> Decision:
    after, effects = _attempt_lost(record, event, now, policy)
    return replace(after, left=False), effects


def _always_repeats(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    return _attempt(replace(record, left=True), event, now, policy)


def _hold_ignored(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    after, effects = _attempt(replace(record, held=False), event, now, policy)
    return replace(after, held=record.held), effects


def _hold_keeps_timer(record: Transaction, event: Any, now: Now, policy: Policy) -> Decision:
    return replace(record, held=True, wake_at=now.mono + 5.0), ()


def _given_up(record: Transaction, now: Now, policy: Policy) -> Decision:
    """Past the limit it is deleted from what is owed."""
    if record.tries_that_left >= policy.retry.park_after_attempts:
        return _end(replace(record, cause="limit"), State.REVERSED, now), ()
    return record, ()


def _parked_for_ever(record: Transaction, cause: str, now: Now, policy: Policy) -> Decision:
    after, effects = _park(record, cause, now, policy)
    return replace(after, wake_at=None), effects


def _lost_for_ever(record: Transaction, event: Unsent, now: Now, policy: Policy) -> Decision:
    """A try that did not leave is never made again."""
    return replace(record, sending=False, wake_at=None, last_error=event.text), ()


def _clock_trusted(record: Transaction, now: Now, policy: Policy) -> Transaction:
    """The next try is planned by the wall clock."""
    later = _try_later(record, now, policy)
    assert later.wake_at is not None or record.held
    wall = now.utc.timestamp() - 1_772_865_000.0
    return later if later.wake_at is None else replace(later, wake_at=later.wake_at + wall - now.mono)


def _settled_by_age(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    """Old reversals are closed by the clock."""
    if record.attempts and record.last_try_utc[:10] != now.at_utc[:10]:
        return _end(record, State.SETTLED, now), ()
    return _attempt(record, event, now, policy)


def _other_host(self: Loop, lane: Lane, txn: Transaction, purpose: str, body: bytes, host: str, *more: Any) -> None:
    """The reversal may go to any host."""
    _send(self, lane, txn, purpose, body, host if purpose == "request" else "", *more)


# --- the acknowledgement -----------------------------------------------------------------------


def _lenient(*fields: str) -> Callable[..., Match]:
    """A match that does not look at these elements."""

    def match(identity: Any, reply: Any, profile: Any) -> Match:
        kept = {name: value for name, value in identity.items() if name not in fields}
        if "11" in fields:
            kept["11"] = reply.get(11) or "000000"
        if "4" in fields or "41" in fields:
            kept.pop("90", None)
            kept.pop("56", None)
        return match_reply(kept, reply, profile)

    return match


def _any_class(identity: Any, reply: Any, profile: Any) -> Match:
    """An answer to the request acknowledges the reversal."""
    found = match_reply(identity, reply, profile)
    if found.accepted or not identity.get("mti"):
        return found
    for mti in ("0200", "0100", "1200", "1100"):
        other = match_reply({**identity, "mti": mti}, reply, profile)
        if other.accepted:
            return other
    return found


def _every_code_is_done(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    done = replace(record, acknowledged_with=event.code, match_grade=event.match.grade)
    return _end(done, State.REVERSED, now), (Slip("confirmed"),)


def _never_overtaken(record: Transaction, *_: Any) -> bool:
    return False


def _late_approval_completes(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    if event.to == "request" and event.match.accepted and policy.profile.responses.request(event.code) == "approved":
        return _end(record, State.COMPLETED, now), ()
    return _attempt_answered(record, event, now, policy)


def _reopened(record: Transaction, event: Any, now: Now, policy: Policy) -> Decision:
    """A doubled acknowledgement opens the item again."""
    return replace(record, state=State.REVERSING, wake_at=now.mono), ()


# --- restart -----------------------------------------------------------------------------------


def _forgetting(state: State) -> Callable[[Loop], None]:
    def start(self: Loop) -> None:
        _start(self)
        for txn in self.pending():
            if txn.state is state:
                del self._book.live[txn.id]

    return start


def _nothing_left(self: Loop, most: int = 25) -> bool:
    """The rest of the journal is not looked at."""
    for share in self._backlog.lanes.values():
        share.unread.clear()
    return False


def _never(self: LaneBacklog) -> bool:
    return False


def _begun_dropped(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    """A sale that was under way at the restart is taken as never begun."""
    return _end(replace(record, cause="restart"), State.DECLINED, now), ()


def _asleep(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    """After a restart the timer is not set."""
    after, effects = _owed_restart(record, event, now, policy)
    return replace(after, wake_at=None), effects


def _approved_asleep(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    return replace(record, wake_at=None), ()


def _unready(self: Loop, lane_name: str, *, wanted: bool) -> None:
    """A refused sale leaves the lane reserved."""
    lane = self.lane(lane_name)
    lane.reserved = lane.reserved or wanted
    self._listener.timers()


def _timer_forgotten(self: Loop, lane_name: str, *, wanted: bool) -> None:
    """A refused sale leaves the lane free and its timer unset."""
    lane = self.lane(lane_name)
    lane.reserved = wanted
    if not wanted:
        self._wake_lane(lane)


def _empty_is_fine(self: Any) -> list[Any]:
    """A journal that cannot be read is taken for an empty one."""
    try:
        return list(_commits(self))
    except AgentError:
        self.mark, self.synced, self.flipped = 0, bytearray(), None
        return []


_commits = disk_module.SimulatedDisk.commits


def _alone(target: Any, name: str, value: Any) -> Callable[[], list[Patch]]:
    return lambda: [(target, name, value)]


def _table(event: type, states: tuple[State, ...], handler: Any) -> Callable[[], list[Patch]]:
    return lambda: _rows(event, states, handler)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("send-before-record", "bytes leave before the record is stored", _alone(Loop, "_commit", _send_first)),
    Mutant(
        "one-of-the-batch-lost",
        "one of several records that are stored together is lost",
        _alone(Loop, "_commit", _one_of_the_batch_lost),
    ),
    Mutant(
        "effects-within-the-batch",
        "bytes leave when the first of several records is stored",
        _alone(Loop, "_commit", _effects_within_the_batch),
    ),
    Mutant(
        "effects-after-a-failed-commit",
        "bytes leave although the commit failed",
        _alone(Loop, "_commit", _effects_in_spite_of_it),
        ("sync-fails",),
    ),
    Mutant(
        "counters-follow-the-records",
        "the counters have a commit of their own",
        _alone(disk_module.DiskJournal, "append", _counters_follow),
        ("process-killed",),
    ),
    Mutant(
        "journal-error-swallowed",
        "a failed write is taken for a good one",
        _alone(disk_module.DiskJournal, "append", _swallowed),
    ),
    Mutant(
        "commit-without-sync",
        "the commit returns before the sync",
        _alone(disk_module.DiskJournal, "append", _unsynced),
    ),
    Mutant(
        "unreadable-is-empty",
        "an unreadable journal is an empty one",
        _alone(disk_module.SimulatedDisk, "commits", _empty_is_fine),
    ),
    Mutant("counters-not-stored", "the counters live in memory only", _alone(Loop, "_store", _without_counters)),
    Mutant("stan-reused", "two sales bear one STAN", _alone(Loop, "_next_stans", _same_number)),
    Mutant("full-disk-ignored", "a sale begins on a full disk", _alone(Loop, "_admit", _admit_without_store)),
    Mutant("gate-ignored", "sales go on while reversals are owed", _alone(Loop, "objection", _open_gate)),
    Mutant("reference-used-twice", "one reference, two sales", _alone(Loop, "_admit", _used_again)),
    Mutant("nothing-admitted", "no question is asked before a sale", _alone(Loop, "_admit", _admit_all)),
    Mutant("mac-not-checked", "any MAC is good", _alone(engine, "_authentic", _believing)),
    Mutant(
        "absent-mac-is-good",
        "an answer without MAC counts",
        _alone(engine, "_authentic", _absent_is_fine),
        ("forged-without-mac",),
    ),
    Mutant(
        "unverified-mac-is-good",
        "an unchecked MAC counts",
        _alone(engine, "_authentic", _unverified_is_fine),
        ("forged-mac", "pin-pad-fails"),
    ),
    Mutant(
        "missing-code-declines",
        "no response code means declined",
        _table(Answered, (State.BEGUN,), _no_code_declines),
        ("host-no-code",),
    ),
    Mutant("wrong-mac-declines", "a wrong MAC means declined", _table(Answered, (State.BEGUN,), _wrong_mac_declines)),
    Mutant("lost-is-unsent", "no answer means nothing was sent", _table(Lost, (State.BEGUN,), _lost_is_unsent)),
    Mutant("lost-is-forgotten", "no answer has no consequence", _table(Lost, (State.BEGUN,), _lost_is_forgotten)),
    Mutant(
        "host-forgotten", "which host saw the original is not kept", _table(HostChosen, (State.BEGUN,), _host_forgotten)
    ),
    Mutant("host-changed", "the reversal goes to any host", _alone(Loop, "_send", _other_host)),
    Mutant(
        "confirm-timeout-completes", "nobody confirmed: completed", _table(Wake, (State.APPROVED,), _time_completes)
    ),
    Mutant(
        "approval-completes", "an approval is taken as the sale", _table(Answered, (State.BEGUN,), _approval_completes)
    ),
    Mutant(
        "no-time-to-confirm", "the confirmation time is not waited for", _table(Answered, (State.BEGUN,), _due_at_once)
    ),
    Mutant(
        "reverse-ignored", "the application's word is not heard", _table(engine.Reverse, (State.APPROVED,), _ignored)
    ),
    Mutant("complete-ignored", "the confirmation is not recorded", _table(Complete, (State.APPROVED,), _ignored)),
    Mutant("attempt-not-counted", "tries are not counted", _table(Wake, _OWED, _uncounted)),
    Mutant("new-identity", "each try is another reversal", _table(Wake, _OWED, _stamped_anew)),
    Mutant("secret-changed", "the stored reversal is made anew", _table(Lost, _OWED, _secret_altered)),
    Mutant(
        "repeat-forgotten-on-restart",
        "after a restart the repeat says that it is the first",
        _table(Restart, _OWED, _never_repeats),
    ),
    Mutant("repeat-never-marked", "a repeat says that it is the first", _table(Lost, _OWED, _repeat_unmarked)),
    Mutant("first-marked-as-repeat", "the first says that it is a repeat", _table(Wake, _OWED, _always_repeats)),
    Mutant(
        "retry-ignores-hold",
        "a timer sends held items",
        lambda: [*_rows(Wake, _OWED, _hold_ignored), *_rows(engine.Hold, _OWED, _hold_keeps_timer)],
    ),
    Mutant("deleted-on-limit", "past the limit the reversal is dropped", _alone(engine, "_limit", _given_up)),
    Mutant("park-stops-tries", "a parked item is never tried again", _alone(engine, "_park", _parked_for_ever)),
    Mutant(
        "unsent-is-lost-for-ever", "a try that did not leave is never made again", _table(Unsent, _OWED, _lost_for_ever)
    ),
    Mutant("clock-trusted", "waits follow the wall clock", _alone(engine, "_try_later", _clock_trusted)),
    Mutant("closed-by-age", "old reversals are closed", _table(Wake, _OWED, _settled_by_age)),
    Mutant(
        "wrong-amount-is-done",
        "the acknowledgement's amount is not compared",
        _alone(answers_module, "match_reply", _lenient("4")),
    ),
    Mutant(
        "wrong-stan-is-done",
        "the acknowledgement's STAN is not compared",
        _alone(answers_module, "match_reply", _lenient("11")),
    ),
    Mutant(
        "wrong-terminal-is-done",
        "the acknowledgement's terminal is not compared",
        _alone(answers_module, "match_reply", _lenient("41")),
    ),
    Mutant(
        "any-class-is-done",
        "an answer to the sale acknowledges its reversal",
        _alone(answers_module, "match_reply", _any_class),
    ),
    Mutant("every-code-is-done", "a refusal acknowledges", _alone(engine, "_verdict", _every_code_is_done)),
    Mutant(
        "overtaken-is-done",
        "unknown original: done at once",
        _alone(engine, "_may_have_overtaken", _never_overtaken),
        ("original-delayed",),
    ),
    Mutant(
        "late-approval-completes",
        "a late approval completes what is reversed",
        _table(Answered, _OWED, _late_approval_completes),
    ),
    Mutant(
        "doubled-acknowledgement-reopens",
        "a second acknowledgement reopens",
        _table(Answered, (State.REVERSED,), _reopened),
    ),
    Mutant(
        "begun-forgotten-on-restart",
        "what was under way is forgotten",
        _alone(Loop, "start", _forgetting(State.REVERSING)),
    ),
    Mutant(
        "approved-forgotten-on-restart",
        "what was approved is forgotten",
        _alone(Loop, "start", _forgetting(State.APPROVED)),
    ),
    Mutant(
        "backlog-not-surveyed",
        "what a start leaves in the journal is never read",
        _alone(Loop, "survey", _nothing_left),
    ),
    Mutant(
        "backlog-never-drawn",
        "what waits in the journal never has its turn",
        _alone(LaneBacklog, "may_draw", property(_never)),
    ),
    Mutant(
        "begun-dropped-on-restart", "what was under way is declined", _table(Restart, (State.BEGUN,), _begun_dropped)
    ),
    Mutant("asleep-after-restart", "owed reversals wait for ever", _table(Restart, _OWED, _asleep)),
    Mutant(
        "approved-asleep-after-restart",
        "nobody is asked again",
        _table(Restart, (State.APPROVED,), _approved_asleep),
        ("application-dies",),
    ),
    Mutant("lane-stays-reserved", "a sale that ended keeps the lane", _alone(Loop, "reserve", _unready)),
    Mutant("timer-forgotten", "a refused sale unsets the lane's timer", _alone(Loop, "reserve", _timer_forgotten)),
)
