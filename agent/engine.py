"""The whole behaviour, in one sitting: `decide(record, event, now, policy) -> record, effects`.

Rules not to break:
1. Pure: no input, output, clock or randomness. `now` and the policy are arguments.
2. Nothing else in the program decides anything about money.
3. A transaction that may have charged the customer leaves `begun` and `approved` only by a valid
   answer of the host or a word of the one that acted; else it is reversed or a person is called.
4. `reversing` and `parked` end by a matching, authentic acknowledgement or by a person's closing.
   No timer and no count ends them.
5. A late approval never completes what is being reversed.
6. The record is stored before its effects are performed, so an attempt is counted before it leaves.

`HANDLERS` stands below the handlers in the order a transaction lives, one row for every state and
event; `docs/states.md` is printed from it.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.events import (
    Alarm,
    Answered,
    Begin,
    Complete,
    Effect,
    Event,
    Hold,
    HostChosen,
    Lost,
    Noticed,
    Now,
    Park,
    Refuse,
    Release,
    Restart,
    Resume,
    Retry,
    Reverse,
    SendRequest,
    SendReversal,
    Settle,
    Slip,
    Unsent,
    Wake,
)
from agent.policy import Policy
from agent.records import Closing, State, Transaction
from protocol.errors import MessageError
from protocol.frozen import replace
from protocol.reversal import Learnt, learn, reason_of_try, render

Decision = tuple[Transaction, tuple[Effect, ...]]

# The moments at which also what the host refused before is tried; a link or a device that is back only helps the rest.
TRY_ALL = frozenset({"before-sale", "sign-on", "before-settlement"})
# The cause of a `Reverse` that stands for the application's own 0400 or 0420 (agent/gateway_lane.py).
OWN_REVERSAL = "own-reversal"


def decide(record: Transaction, event: Event, now: Now, policy: Policy) -> Decision:
    """The next record and what follows from it."""
    try:
        handler = HANDLERS[record.state, type(event)]
    except KeyError:
        raise AssertionError(f"no row for state {record.state} and event {type(event).__name__}") from None
    return handler(record, event, now, policy)


# --- new, begun: the intent is stored, the answer is not there yet -----------------------------


def begin(record: Transaction, event: Begin, now: Now, policy: Policy) -> Decision:
    """The intent. From here on the customer may be charged."""
    begun = replace(record, state=State.BEGUN, request_left_at=now.mono)
    if record.driver == "application":
        return replace(begun, wake_at=now.mono + policy.reply_deadline_s), ()
    return begun, (SendRequest(),)


def host_chosen(record: Transaction, event: HostChosen, now: Now, policy: Policy) -> Decision:
    """Which host sees the original: its reversal belongs there, also when the sale was called off meanwhile."""
    return replace(record, host=event.host, request_left_at=now.mono), ()


def request_unsent(record: Transaction, event: Unsent, now: Now, policy: Policy) -> Decision:
    """Certainly no byte left: nobody was charged."""
    ended = _end(replace(record, cause=f"not-sent-{event.cause}", last_error=event.text), State.DECLINED, now)
    return ended, ()


def request_lost(record: Transaction, event: Lost, now: Now, policy: Policy) -> Decision:
    """The request may have arrived and nobody knows its outcome."""
    record = replace(record, host=event.host or record.host, last_error=event.text, request_left_at=now.mono)
    return _outcome_unknown(record, "timeout", event.cause, now, policy)


def request_answered(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    """The first valid answer decides; an answer whose MAC is wrong makes the outcome unknown."""
    if event.to != "request" or not event.match.accepted:
        return note(record, event, now, policy)
    record = replace(record, host=event.host or record.host, response_code=event.code)
    if not event.code:
        record = record.with_evidence(now.at_utc, "answer without response code", event.what)
        return _outcome_unknown(record, "other", "no-response-code", now, policy)
    approved = policy.profile.responses.request(event.code) == "approved"
    if not _authentic(event, policy, must=approved):
        record = record.with_evidence(now.at_utc, f"answer with MAC {event.mac}", event.what)
        if event.mac == "invalid" and record.frozen:  # of such an answer UnionPay wants its date back, and nothing else
            dated = Learnt(date=event.learnt.date, time=event.learnt.time)
            record = replace(record, frozen=learn(record.frozen, policy.profile, record.kind, dated))
        return _outcome_unknown(record, "mac" if event.mac == "invalid" else "other", f"mac-{event.mac}", now, policy)
    if policy.profile.responses.request(event.code) == "unsure":
        record = record.with_evidence(now.at_utc, "the host does not know the outcome", event.what)
        return _outcome_unknown(record, "other", "unsure", now, policy)
    learnt = event.learnt
    record = replace(record, rrn=learnt.rrn, approval_code=learnt.approval_code)
    record = replace(record, host_date=learnt.date, host_acquirer=learnt.acquirer)
    if not approved:
        return _end(replace(record, cause="declined"), State.DECLINED, now), ()
    if record.confirm == "on-approval":  # nothing will ever be reversed: what a reversal would have to know is not made
        return _end(record, State.COMPLETED, now), ()
    record = replace(record, frozen=record.frozen and learn(record.frozen, policy.profile, record.kind, event.learnt))
    return replace(record, state=State.APPROVED, wake_at=now.mono + policy.confirm_timeout_s), ()


def begun_completed(record: Transaction, event: Complete, now: Now, policy: Policy) -> Decision:
    """Only an application that talked to the host itself can know of an approval that we do not."""
    if record.driver == "application":
        return _end(_acted(record, "completed", event.by, now), State.COMPLETED, now), ()
    return _refuse(record, "A-NOT-APPROVED", "no approval of the host is recorded", "ask transaction.status again")


def begun_reversed(record: Transaction, event: Reverse, now: Now, policy: Policy) -> Decision:
    """The sale is called off while its outcome is open: what comes later is evidence."""
    record = _acted(_with_card(record, event.chip_data, policy), "reversed", event.by, now)
    return _outcome_unknown(record, event.reason, event.cause, now, policy)


def begun_due(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    """The application that talks to the host itself never reported the answer."""
    return _outcome_unknown(record, "timeout", "no-report", now, policy)


def begun_restart(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    """Power or process failed in mid-sale. An application in mid-exchange may still report."""
    record = replace(record, request_left_at=now.mono)
    if record.driver == "application":
        return replace(record, wake_at=now.mono + policy.reply_deadline_s), ()
    return _outcome_unknown(record, "timeout", "restart", now, policy)


# --- approved: the one that acts has not confirmed yet -----------------------------------------


def approved_completed(record: Transaction, event: Complete, now: Now, policy: Policy) -> Decision:
    """Confirmed: the sale stands."""
    return _end(_acted(record, "completed", event.by, now), State.COMPLETED, now), ()


def approved_reversed(record: Transaction, event: Reverse, now: Now, policy: Policy) -> Decision:
    """Approved, but the sale did not happen."""
    record = _acted(_with_card(record, event.chip_data, policy), "reversed", event.by, now)
    return _owe(record, event.reason, event.cause, now, policy)


def approved_due(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    """Nobody confirmed in time: the configuration says what that means."""
    if policy.nobody_knows == "complete":
        return _end(replace(record, cause="not-confirmed"), State.COMPLETED, now), ()
    if policy.nobody_knows == "park":
        return _park(replace(record, undecided=True), "not-confirmed", now, policy)
    return _owe(record, "other", "not-confirmed", now, policy)


def approved_restart(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    """The one that acted must be asked; it has the confirmation time once more."""
    return replace(record, request_left_at=now.mono, wake_at=now.mono + policy.confirm_timeout_s), ()


# --- reversing, parked: the reversal is owed ---------------------------------------------------


def attempt(record: Transaction, event: Wake, now: Now, policy: Policy) -> Decision:
    """One try. It is counted here, before its bytes leave."""
    if record.held or record.undecided or record.frozen is None or record.sending:
        return replace(record, wake_at=None), ()
    body = render(
        record.frozen,
        repeat=record.left,
        reason_code=reason_of_try(record.frozen, policy.profile, record.reason, refused=bool(record.last_code)),
        stamp=now.stamp,
        local=event.local,
        stan=event.stan,
    )
    tried = replace(
        record,
        attempts=record.attempts + 1,
        sending=True,
        wake_at=None,
        last_try_utc=now.at_utc,
        try_stan=event.stan or record.try_stan,
        tried_at=now.mono,
    )
    return tried, (SendReversal(body, record.left, record.host),)


def attempt_unsent(record: Transaction, event: Unsent, now: Now, policy: Policy) -> Decision:
    """Certainly no byte left: a link failure, not a try of the host."""
    if not record.sending:  # the request's own exchange, called off before its first byte
        return (record if record.attempts else _end(record, State.DECLINED, now)), ()
    failed = replace(record, link_failures=record.link_failures + 1, last_error=event.text, last_code="")
    return _try_later(failed, now, policy), ()


def attempt_lost(record: Transaction, event: Lost, now: Now, policy: Policy) -> Decision:
    """A byte left and no acknowledgement came. While the request's exchange is open, it ends that."""
    if not record.sending:
        idle = record.held or record.undecided or record.frozen is None
        ended = replace(record, host=event.host or record.host, request_left_at=now.mono)
        return replace(ended, wake_at=None if idle else now.mono), ()
    failed = replace(record, left=True, last_error=event.text, last_code="")
    return _limit(_try_later(failed, now, policy), now, policy)


def attempt_answered(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    """Only a matching, authentic acknowledgement of the reversal clears it."""
    never_sent = not (record.left or record.sending)  # what answers it cannot be its acknowledgement
    if event.to == "request" or not event.match.accepted or never_sent:
        return _late_answer(record, event, now)
    if not _authentic(event, policy, must=True):
        text = f"acknowledgement with MAC {event.mac}"
        record = record.with_evidence(now.at_utc, text, event.what)
        failed = replace(record, left=True, last_error=text, last_code="")
        return _limit(_try_later(failed, now, policy), now, policy) if event.awaited else (record, ())
    after, effects = _verdict(replace(record, left=True, last_code=event.code, last_error=""), event, now, policy)
    if event.code not in policy.profile.responses.alarms or any(
        event.code in seen.what.split() for seen in record.evidence
    ):
        return after, effects
    return after, (*effects, Alarm("host-code", f"{record.id}: the host refuses its reversal with code {event.code}"))


def owed_restart(record: Transaction, event: Restart, now: Now, policy: Policy) -> Decision:
    """First try at once. An attempt that was open may have left: from now on say that it is a repeat."""
    resumed = replace(
        record,
        left=record.left or record.sending,
        sending=False,
        failures_in_a_row=0,
        request_left_at=now.mono,
        wake_at=None if record.undecided else now.mono + policy.spread_s(record.id),
    )
    return resumed, ()


def owed_resume(record: Transaction, event: Resume, now: Now, policy: Policy) -> Decision:
    """The obstacle is gone: try soon, and start the waiting times anew."""
    if record.sending or record.held or (event.cause not in TRY_ALL and not record.last_error):
        return record, ()
    return replace(record, failures_in_a_row=0, wake_at=now.mono + policy.spread_s(record.id)), ()


def owed_retry(record: Transaction, event: Retry, now: Now, policy: Policy) -> Decision:
    """A person wants a try now."""
    if record.frozen is None:
        return _refuse(record, "A-NO-REVERSAL", f"a {record.kind} has no reversal to send", "settle it by hand")
    if record.undecided:
        hint = "ask the shop, then transaction.complete or transaction.reverse"
        return _refuse(record, "A-UNDECIDED", "nobody said yet whether the goods were handed over", hint)
    if record.held:
        return _refuse(record, "A-HELD", "the item is held", f"release it first: reversalctl release {record.id}")
    record = _acted(record, "retried", event.by, now)
    return replace(record, failures_in_a_row=0, wake_at=now.mono), ()


def owed_hold(record: Transaction, event: Hold, now: Now, policy: Policy) -> Decision:
    """No tries until released; still listed and counted."""
    held = _acted(record, "held", event.by, now, event.why).with_evidence(now.at_utc, f"held by {event.by}", event.why)
    return replace(held, held=True, wake_at=None), ()


def owed_release(record: Transaction, event: Release, now: Now, policy: Policy) -> Decision:
    """The tries go on."""
    released = _acted(record, "released", event.by, now).with_evidence(now.at_utc, f"released by {event.by}", "")
    return replace(released, held=False, wake_at=None if record.undecided else now.mono), ()


def owed_parked(record: Transaction, event: Park, now: Now, policy: Policy) -> Decision:
    """A person says that a person must act."""
    noted = _acted(record, "parked", event.by, now, event.why)
    return _park(noted.with_evidence(now.at_utc, f"parked by {event.by}", event.why), "operator", now, policy)


def parked_completed(record: Transaction, event: Complete, now: Now, policy: Policy) -> Decision:
    """A person or the application says at last that the goods were handed over, before anything was sent."""
    if record.undecided:
        return _end(_acted(replace(record, undecided=False), "completed", event.by, now), State.COMPLETED, now), ()
    return refuse_complete(record, event, now, policy)


def parked_reversed(record: Transaction, event: Reverse, now: Now, policy: Policy) -> Decision:
    """A person or the application says at last that they were not."""
    if record.undecided:
        decided = _acted(replace(record, undecided=False), "reversed", event.by, now)
        return _owe(decided, event.reason, event.cause, now, policy)
    return record, ()


def owed_settled(record: Transaction, event: Settle, now: Now, policy: Policy) -> Decision:
    """A person closes it with the bank's evidence: the only end without an acknowledgement."""
    closing = Closing(event.by, event.reason, event.bank_reference, now.at_utc, event.confirmed_by)
    both = f"{event.by} and {event.confirmed_by}" if event.confirmed_by else event.by
    settled = replace(_acted(record, "settled", both, now, event.reason), closing=closing)
    return _end(settled, State.SETTLED, now), (Slip("settled"),)


# --- any state: evidence, idempotent answers, refusals -----------------------------------------


def ignore(record: Transaction, event: Event, now: Now, policy: Policy) -> Decision:
    """Nothing to do: the event says nothing new in this state."""
    return record, ()


def note(record: Transaction, event: Event, now: Now, policy: Policy) -> Decision:
    """Keep what came as evidence; it decides nothing."""
    if isinstance(event, Noticed):
        return record.with_evidence(now.at_utc, event.what, event.detail), ()
    assert isinstance(event, Answered)
    detail = "; ".join((event.what, *event.match.differences))
    return record.with_evidence(now.at_utc, f"unexpected answer to the {event.to}", detail), ()


def declined_answered(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    """An authentic approval after a decline means that the customer may be charged: reverse it."""
    noted, _ = note(record, event, now, policy)
    if record.frozen and _is_late_approval(event, policy):
        noted = replace(noted, host=event.host or record.host, ended_at_utc="")
        owed, effects = _owe(noted, "other", "approved-after-decline", now, policy)
        return owed, (*effects, Alarm("approved-after-decline", f"{record.id} was approved after a decline"))
    return noted, ()


def reversed_answered(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    """The host said that it never saw the original, and now approves it: reverse it again."""
    noted, _ = note(record, event, now, policy)
    unseen = policy.profile.responses.reversal(record.acknowledged_with) == "overtaken"
    if unseen and _is_late_approval(event, policy):
        noted = replace(noted, acknowledged_with="", match_grade="", ended_at_utc="", failures_in_a_row=0)
        if noted.frozen is None:  # its card data was destroyed with the old key
            return _park(noted, "overtaken", now, policy)
        owed = replace(noted, state=State.REVERSING, cause="overtaken", wake_at=now.mono)
        return owed, (Alarm("overtaken", f"{record.id} was approved after its reversal; it is reversed again"),)
    return noted, ()


def refuse_complete(record: Transaction, event: Complete, now: Now, policy: Policy) -> Decision:
    """What is reversed, declined or closed cannot be completed any more."""
    hint = "do not hand over the goods; start a new sale under a new reference"
    return _refuse(record, "A-NOT-COMPLETED", f"the sale is {record.outcome}, it cannot be completed", hint)


def completed_reversed(record: Transaction, event: Reverse, now: Now, policy: Policy) -> Decision:
    """A completed sale is undone by a void or a refund; behind a gateway the application may call it off itself."""
    if record.driver == "gateway" and event.cause == OWN_REVERSAL:
        reopened = replace(_acted(record, "reversed", event.by, now), ended_at_utc="")
        return _owe(reopened, event.reason, event.cause, now, policy)
    return _refuse(record, "A-COMPLETED", "the sale is completed", "use a void or a refund")


def refuse_act(record: Transaction, event: Event, now: Now, policy: Policy) -> Decision:
    """Only an owed reversal can be retried, held, parked or settled."""
    return _refuse(record, "A-NOTHING-OWED", f"no reversal is owed: the item is {record.outcome}", "nothing to do")


# --- steps shared by the handlers --------------------------------------------------------------


def _authentic(event: Answered, policy: Policy, *, must: bool) -> bool:
    """Whether the MAC lets the answer count. `must`: without MAC it does not count either, save by the profile's word."""
    if event.mac == "absent":
        return not (must and policy.mac_required) or event.code in policy.profile.mac.optional_on
    return event.mac in ("valid", "unchecked")


def _is_late_approval(event: Answered, policy: Policy) -> bool:
    approved = event.to == "request" and policy.profile.responses.request(event.code) == "approved"
    return approved and event.match.accepted and _authentic(event, policy, must=True)


def _outcome_unknown(record: Transaction, reason: str, cause: str, now: Now, policy: Policy) -> Decision:
    """Reverse, or what the profile says of a kind that is never reversed."""
    if record.on_unknown == "none":
        return _end(replace(record, cause=cause), State.DECLINED, now), ()
    if record.on_unknown == "park" or record.frozen is None:
        return _park(record, cause, now, policy)
    return _owe(record, reason, cause, now, policy)


def _owe(record: Transaction, reason: str, cause: str, now: Now, policy: Policy) -> Decision:
    """The reversal is owed from here on; the first try goes out at once."""
    if record.frozen is None:
        return _park(record, cause, now, policy)
    owed = replace(record, state=State.REVERSING, reason=reason, cause=cause, wake_at=now.mono)
    return owed, (Slip("cancelled"),)


def _with_card(record: Transaction, chip_data: str, policy: Policy) -> Transaction:
    """Before anything of it left, a reversal takes up what the card said last; what cannot be read changes nothing."""
    if not chip_data or record.frozen is None:
        return record
    known = Learnt(record.approval_code, record.rrn, record.host_date, chip_data=chip_data)
    try:
        return replace(record, frozen=learn(record.frozen, policy.profile, record.kind, known))
    except MessageError:
        return record


def _acted(record: Transaction, what: str, by: str, now: Now, why: str = "") -> Transaction:
    """Who said what, and when: part of the record of that act, and so of the history that cannot be altered."""
    return replace(record, last_act=f"{what} by {by} at {now.at_utc}" + (f": {why}" if why else ""))


def _park(record: Transaction, cause: str, now: Now, policy: Policy) -> Decision:
    """A person must act; the slow schedule goes on."""
    idle = record.frozen is None or record.held or record.undecided
    wake_at = None if idle else now.mono + policy.delay_s(record.id, 0, parked=True)
    reason = record.reason or "other"
    parked = replace(record, state=State.PARKED, reason=reason, cause=record.cause or cause, wake_at=wake_at)
    return parked, (Alarm("parked", f"{record.id} needs a person: {cause}"), Slip("parked"))


def _end(record: Transaction, state: State, now: Now) -> Transaction:
    return replace(record, state=state, ended_at_utc=now.at_utc, wake_at=None, sending=False)


def _refuse(record: Transaction, code: str, text: str, hint: str) -> Decision:
    return record, (Refuse(code, text, hint),)


def _try_later(record: Transaction, now: Now, policy: Policy) -> Transaction:
    failures = record.failures_in_a_row + 1
    delay_s = policy.delay_s(record.id, failures, parked=record.state is State.PARKED)
    wake_at = None if record.held else now.mono + delay_s
    return replace(record, sending=False, failures_in_a_row=failures, wake_at=wake_at)


def _limit(record: Transaction, now: Now, policy: Policy) -> Decision:
    """Past the profile's limit a person is called; nothing is deleted."""
    if record.state is State.REVERSING and record.tries_that_left >= policy.retry.park_after_attempts:
        return _park(record, "limit", now, policy)
    return record, ()


def _late_answer(record: Transaction, event: Answered, now: Now) -> Decision:
    """An answer to the original, or one that does not match: evidence; then go on with the reversal."""
    detail = "; ".join((event.what, *event.match.differences))
    noted = record.with_evidence(now.at_utc, f"late answer to the {event.to}", detail)
    if event.awaited and not record.sending:
        noted = replace(noted, wake_at=None if record.held or record.undecided or not record.frozen else now.mono)
    return noted, ()


def _verdict(record: Transaction, event: Answered, now: Now, policy: Policy) -> Decision:
    """What the host's code means, by the profile's table."""
    verdict = policy.profile.responses.reversal(event.code)
    if verdict == "overtaken":
        verdict = "done" if event.awaited and not _may_have_overtaken(record, policy) else "retry"
    if verdict == "done":
        unproved = event.mac == "absent" and policy.mac_required
        grade = f"{event.match.grade}, no MAC" if unproved else event.match.grade
        done = replace(record, acknowledged_with=event.code, match_grade=grade)
        return _end(done, State.REVERSED, now), (Slip("confirmed"),)
    record = record.with_evidence(now.at_utc, f"reversal refused with {event.code}", event.what)
    if not event.awaited:
        return record, ()
    if verdict == "park" and record.state is State.REVERSING:
        return _park(replace(record, sending=False), f"refused-{event.code}", now, policy)
    if verdict == "later":
        wake_at = None if record.held else now.mono + policy.retry.cap_s
        later = replace(record, sending=False, failures_in_a_row=record.failures_in_a_row + 1, wake_at=wake_at)
        return _limit(later, now, policy)
    return _limit(_try_later(record, now, policy), now, policy)


def _may_have_overtaken(record: Transaction, policy: Policy) -> bool:
    """Whether, when this try left, the original was so young that it could still arrive after it."""
    if record.request_left_at is None or record.tried_at is None:
        return True
    return record.tried_at - record.request_left_at < policy.retry.overtake_window_s


Handler = Callable[..., Decision]

# For each event, in the order of these states:
_STATES = (
    State.NEW,
    State.BEGUN,
    State.APPROVED,
    State.COMPLETED,
    State.DECLINED,
    State.REVERSING,
    State.REVERSED,
    State.PARKED,
    State.SETTLED,
)


def _impossible(record: Transaction, event: Event, now: Now, policy: Policy) -> Decision:
    """Our own fault: the process ends, the journal resumes."""
    raise AssertionError(f"{type(event).__name__} cannot happen to {record.id} in state {record.state}")


_ROWS: dict[type[Event], tuple[Handler, ...]] = {
    #             new,          begun,            approved,           completed,       declined,          reversing,        reversed,          parked,           settled
    Begin:       (begin,        _impossible,      _impossible,        _impossible,     _impossible,       _impossible,      _impossible,       _impossible,      _impossible),
    HostChosen:  (_impossible,  host_chosen,      ignore,             ignore,          ignore,            host_chosen,      ignore,            host_chosen,      ignore),
    Unsent:      (_impossible,  request_unsent,   ignore,             ignore,          ignore,            attempt_unsent,   ignore,            attempt_unsent,   ignore),
    Lost:        (_impossible,  request_lost,     ignore,             ignore,          ignore,            attempt_lost,     ignore,            attempt_lost,     ignore),
    Answered:    (_impossible,  request_answered, note,               note,            declined_answered, attempt_answered, reversed_answered, attempt_answered, note),
    Noticed:     (_impossible,  note,             note,               note,            note,              note,             note,              note,             note),
    Complete:    (_impossible,  begun_completed,  approved_completed, ignore,          refuse_complete,   refuse_complete,  refuse_complete,   parked_completed, refuse_complete),
    Reverse:     (_impossible,  begun_reversed,   approved_reversed,  completed_reversed, ignore,            ignore,           ignore,            parked_reversed,  ignore),
    Wake:        (_impossible,  begun_due,        approved_due,       ignore,          ignore,            attempt,          ignore,            attempt,          ignore),
    Restart:     (_impossible,  begun_restart,    approved_restart,   ignore,          ignore,            owed_restart,     ignore,            owed_restart,     ignore),
    Resume:      (_impossible,  ignore,           ignore,             ignore,          ignore,            owed_resume,      ignore,            ignore,           ignore),
    Retry:       (_impossible,  refuse_act,       refuse_act,         refuse_act,      refuse_act,        owed_retry,       refuse_act,        owed_retry,       refuse_act),
    Hold:        (_impossible,  refuse_act,       refuse_act,         refuse_act,      refuse_act,        owed_hold,        refuse_act,        owed_hold,        refuse_act),
    Release:     (_impossible,  refuse_act,       refuse_act,         refuse_act,      refuse_act,        owed_release,     refuse_act,        owed_release,     refuse_act),
    Park:        (_impossible,  refuse_act,       refuse_act,         refuse_act,      refuse_act,        owed_parked,      refuse_act,        ignore,           refuse_act),
    Settle:      (_impossible,  refuse_act,       refuse_act,         refuse_act,      refuse_act,        owed_settled,     refuse_act,        owed_settled,     refuse_act),
}  # fmt: skip

HANDLERS: dict[tuple[State, type[Event]], Handler] = {
    (state, event): handler for event, row in _ROWS.items() for state, handler in zip(_STATES, row, strict=True)
}
