"""The decision table, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.engine import HANDLERS, OWN_REVERSAL, decide
from agent.events import (
    EVENTS,
    Alarm,
    Begin,
    Complete,
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
    Settle,
    Slip,
    Unsent,
    Wake,
)
from agent.policy import Policy
from agent.records import EVIDENCE_MAX, State, dump, load
from tests.dialogue import PAN, STARTED, Dialogue, answered, policy, transaction

TIMEOUT = Lost("timeout", "no answer in 30 s", "h1")
NO_ROUTE = Unsent("network", "connection refused")


def reversing() -> Dialogue:
    """A sale whose answer never came."""
    return Dialogue().begun().feed(TIMEOUT)


def tried() -> Dialogue:
    """The same, its first reversal on the wire."""
    return reversing().feed(Wake())


def parked() -> Dialogue:
    """The same, refused by the host in a way that needs a person."""
    return reversing().feed(Park("anna", "asked the bank"))


# --- the table ---


def test_every_state_has_a_row_for_every_event() -> None:
    assert set(HANDLERS) == {(state, event) for state in State for event in EVENTS}


def test_an_event_that_cannot_happen_is_our_own_fault_and_names_both() -> None:
    with pytest.raises(AssertionError, match=r"Wake cannot happen to main-1 in state new"):
        Dialogue().feed(Wake())


def test_an_event_without_a_row_is_our_own_fault_and_names_both() -> None:
    with pytest.raises(AssertionError, match="no row for state new and event Event"):
        Dialogue().feed(Event())


@pytest.mark.parametrize("state", [s for s in State if s is not State.NEW])
@pytest.mark.parametrize("event", [e for e in EVENTS if e is not Begin], ids=lambda e: e.__name__)
def test_no_event_takes_a_charged_sale_out_of_sight(state: State, event: type) -> None:
    """From any state, an event leads to another pending state, or to an end that the rules allow."""
    example = {
        HostChosen: HostChosen("h2"),
        Unsent: NO_ROUTE,
        Lost: TIMEOUT,
        Noticed: Noticed("0210 that does not match", "amount"),
        Complete: Complete("till"),
        Reverse: Reverse("till"),
        Wake: Wake(),
        Restart: Restart(),
        Resume: Resume("link-up"),
        Retry: Retry("anna"),
        Hold: Hold("anna", "why"),
        Release: Release("anna"),
        Park: Park("anna", "why"),
        Settle: Settle("anna", "adjusted by hand", "B-1"),
    }.get(event, answered("00", "reversal", accepted=False))
    owed = state in (State.REVERSING, State.PARKED)
    record = replace(transaction(), state=state, reason="timeout" if owed else "", sending=owed, attempts=int(owed))
    after = Dialogue(record).feed(example).state
    if owed and not isinstance(example, Settle):
        assert after in (State.REVERSING, State.PARKED)
    if state is State.BEGUN and not isinstance(example, Unsent):
        assert after in (State.BEGUN, State.REVERSING, State.PARKED)
    if state is State.APPROVED and not isinstance(example, Complete):
        assert after in (State.APPROVED, State.REVERSING, State.PARKED)


# --- begun ---


def test_the_request_is_sent_once_the_intent_is_recorded() -> None:
    dialogue = Dialogue().begun()
    assert dialogue.state is State.BEGUN
    assert dialogue.has(SendRequest)


def test_a_request_that_never_left_charges_nobody() -> None:
    dialogue = Dialogue().begun().feed(NO_ROUTE)
    assert dialogue.state is State.DECLINED
    assert dialogue.record.cause == "not-sent-network"


def test_silence_after_the_first_byte_is_reversed_at_once() -> None:
    dialogue = reversing()
    assert (dialogue.state, dialogue.record.reason, dialogue.due_in_s) == (State.REVERSING, "timeout", 0)


def test_an_answer_with_a_wrong_mac_is_reversed_with_that_reason() -> None:
    dialogue = Dialogue().begun().feed(answered("00", mac="invalid"))
    assert (dialogue.state, dialogue.record.reason) == (State.REVERSING, "mac")


@pytest.mark.parametrize("mac", ["absent", "unverified"])
def test_an_approval_that_nobody_can_authenticate_is_reversed(mac: str) -> None:
    dialogue = Dialogue().begun().feed(answered("00", mac=mac))  # type: ignore[arg-type]
    assert (dialogue.state, dialogue.record.reason) == (State.REVERSING, "other")


def test_an_answer_without_response_code_says_nothing_and_is_reversed() -> None:
    assert Dialogue().begun().feed(answered("")).state is State.REVERSING


def test_a_valid_decline_ends_it() -> None:
    dialogue = Dialogue().begun().feed(answered("51", mac="absent"))
    assert (dialogue.state, dialogue.record.response_code) == (State.DECLINED, "51")


def test_a_valid_approval_waits_for_the_one_that_acts() -> None:
    dialogue = Dialogue().begun().feed(answered("00"))
    assert (dialogue.state, dialogue.due_in_s) == (State.APPROVED, 120)
    assert dialogue.feed(Complete("till")).state is State.COMPLETED


def test_an_approval_completes_at_once_where_the_shop_says_so() -> None:
    assert Dialogue(transaction(confirm="on-approval")).begun().feed(answered("00")).state is State.COMPLETED


def test_a_sale_without_approval_cannot_be_completed() -> None:
    dialogue = Dialogue().begun().feed(Complete("till"))
    assert dialogue.state is State.BEGUN
    assert dialogue.has(Refuse)


def test_an_application_that_talks_to_the_host_itself_may_complete_without_our_hearing_of_an_approval() -> None:
    assert Dialogue(transaction(driver="application")).begun().feed(Complete("till")).state is State.COMPLETED


def test_a_sale_called_off_while_its_answer_is_open_is_reversed_and_a_late_approval_is_evidence() -> None:
    dialogue = Dialogue().begun().feed(Reverse("till", "customer")).feed(answered("00"))
    assert dialogue.state is State.REVERSING
    assert [item.what for item in dialogue.record.evidence] == ["late answer to the request"]
    assert dialogue.due_in_s == 0


def test_a_sale_called_off_before_its_first_byte_left_is_not_reversed() -> None:
    assert Dialogue().begun().feed(Reverse("till")).feed(NO_ROUTE).state is State.DECLINED


def test_a_restart_in_mid_sale_reverses_it() -> None:
    dialogue = Dialogue().begun().feed(Restart())
    assert (dialogue.state, dialogue.record.cause) == (State.REVERSING, "restart")


def test_a_balance_inquiry_moves_no_money_and_is_never_reversed() -> None:
    dialogue = Dialogue(transaction(kind="balance")).begun().feed(TIMEOUT)
    assert dialogue.state is State.DECLINED


def test_a_refund_of_unknown_outcome_calls_a_person() -> None:
    dialogue = Dialogue(transaction(kind="refund")).begun().feed(TIMEOUT)
    assert dialogue.state is State.PARKED
    assert dialogue.has(Alarm)
    assert dialogue.feed(Retry("anna")).has(Refuse)


def test_an_application_that_talks_to_the_host_itself_has_time_to_report() -> None:
    dialogue = Dialogue(transaction(driver="application")).begun()
    assert (dialogue.state, dialogue.due_in_s) == (State.BEGUN, 90)
    assert dialogue.feed(Restart()).state is State.BEGUN
    assert dialogue.feed(Wake(), after_s=90).state is State.REVERSING


# --- approved ---


@pytest.mark.parametrize(
    ("rule", "state"), [("reverse", State.REVERSING), ("complete", State.COMPLETED), ("park", State.PARKED)]
)
def test_what_nobody_knows_is_decided_by_the_configuration(rule: str, state: State) -> None:
    dialogue = Dialogue(rules=policy(nobody_knows=rule)).begun().feed(answered("00")).feed(Wake(), after_s=120)
    assert dialogue.state is state


def test_what_is_parked_because_nobody_knows_is_never_sent_before_a_person_says() -> None:
    rules = policy(nobody_knows="park")
    dialogue = Dialogue(rules=rules).begun().feed(answered("00")).feed(Wake(), after_s=120)
    assert dialogue.due_in_s is None
    assert dialogue.feed(Retry("anna")).has(Refuse)
    assert dialogue.feed(Restart()).due_in_s is None
    assert not dialogue.feed(Wake()).effects
    decided = Dialogue(dialogue.record, rules)
    assert decided.feed(Complete("anna")).state is State.COMPLETED
    decided = Dialogue(dialogue.record, rules)
    assert decided.feed(Reverse("anna", "customer")).state is State.REVERSING


def test_after_a_restart_the_one_that_acted_is_asked_and_has_its_time_again() -> None:
    dialogue = Dialogue().begun().feed(answered("00")).feed(Restart(), after_s=100)
    assert (dialogue.state, dialogue.due_in_s) == (State.APPROVED, 120)


def test_an_approved_sale_that_did_not_happen_is_reversed_with_the_approval_in_it() -> None:
    dialogue = Dialogue().begun().feed(answered("00")).feed(Reverse("printer")).feed(Wake())
    reversal = dialogue.policy.profile.codec.unpack(dialogue.sent().body)
    assert (reversal.get(38), reversal.get(39)) == ("123456", "06")


def test_a_completed_sale_is_not_reversed() -> None:
    dialogue = Dialogue().begun().feed(answered("00")).feed(Complete("till")).feed(Reverse("till"))
    assert dialogue.state is State.COMPLETED
    assert dialogue.has(Refuse)


def test_a_completed_sale_is_reversed_when_the_application_behind_a_gateway_reverses_it_itself() -> None:
    dialogue = Dialogue(transaction(driver="gateway")).begun().feed(answered("00")).feed(Complete("gateway"))
    dialogue.feed(Reverse("gateway", "other", OWN_REVERSAL))
    assert (dialogue.state, dialogue.record.ended_at_utc, dialogue.due_in_s) == (State.REVERSING, "", 0)


def test_what_has_no_reversal_goes_to_a_person_when_it_is_called_off() -> None:
    refund = transaction(kind="refund")
    assert refund.frozen is None
    dialogue = Dialogue(refund).begun().feed(answered("00")).feed(Reverse("till"))
    assert (dialogue.state, dialogue.has(Alarm)) == (State.PARKED, True)


# --- reversing ---


def test_a_try_is_counted_before_it_leaves() -> None:
    dialogue = tried()
    assert (dialogue.record.attempts, dialogue.record.sending) == (1, True)


def test_a_reversal_keeps_its_identity_over_all_tries() -> None:
    dialogue = tried()
    first = dialogue.sent().body
    dialogue.feed(TIMEOUT).feed(Restart()).feed(Wake())
    assert dialogue.sent().body == first


def test_a_repeat_says_it_is_one_once_a_byte_has_left() -> None:
    dialogue = Dialogue(transaction("iso87-ascii"), policy("iso87-ascii")).begun().feed(TIMEOUT).feed(Wake())
    assert dialogue.policy.profile.codec.unpack(dialogue.sent().body).mti == "0420"
    dialogue.feed(NO_ROUTE).feed(Wake())
    assert dialogue.policy.profile.codec.unpack(dialogue.sent().body).mti == "0420"
    dialogue.feed(TIMEOUT).feed(Wake())
    assert dialogue.policy.profile.codec.unpack(dialogue.sent().body).mti == "0421"


def test_a_repeat_says_it_is_one_also_when_the_process_died_in_the_first_try() -> None:
    dialogue = Dialogue(transaction("iso87-ascii"), policy("iso87-ascii")).begun().feed(TIMEOUT).feed(Wake())
    restored = load(dump(dialogue.record), dialogue.record.secret())
    again = Dialogue(restored, dialogue.policy).feed(Restart()).feed(Wake())
    assert again.policy.profile.codec.unpack(again.sent().body).mti == "0421"


def test_a_matching_authentic_acknowledgement_ends_it() -> None:
    dialogue = tried().feed(answered("00", "reversal"))
    assert (dialogue.state, dialogue.record.match_grade) == (State.REVERSED, "full")
    assert dialogue.effects == (Slip("confirmed"),)


@pytest.mark.parametrize("mac", ["invalid", "absent", "unverified"])
def test_an_acknowledgement_clears_nothing_unless_its_mac_verifies(mac: str) -> None:
    dialogue = tried().feed(answered("00", "reversal", mac=mac))  # type: ignore[arg-type]
    assert dialogue.state is State.REVERSING
    assert dialogue.record.evidence
    assert not dialogue.record.sending


@pytest.mark.parametrize(("codes", "state"), [((), State.DECLINED), (("68",), State.REVERSING)])
def test_a_host_that_does_not_know_the_outcome_has_its_sale_reversed(codes: tuple[str, ...], state: State) -> None:
    """Where the profile says which codes mean that; a decline is a decline everywhere else."""
    strict = policy()
    responses = replace(strict.profile.responses, unsure=frozenset(codes))
    rules = replace(strict, profile=replace(strict.profile, responses=responses))
    dialogue = Dialogue(transaction(), rules).begun().feed(answered("68", mac="absent"))
    assert dialogue.state is state
    assert dialogue.record.response_code == "68"


def test_a_card_that_refused_after_the_approval_has_its_last_word_in_the_reversal() -> None:
    """Tags 95, 9F10, 9F1E, 9F36 and DF31 of the second cryptogram, and only those."""
    last = "9505008004E000" + "9F100403A04800" + "9F3602004D" + "9F26081122334455667788"
    dialogue = Dialogue(transaction()).begun().feed(answered("00"))
    dialogue.feed(Reverse("card", "other", "card-refused", last)).feed(Wake())
    message = dialogue.policy.profile.codec.unpack(dialogue.sent().body)
    assert message.get(55) == "9505008004E000" + "9F100403A04800" + "9F3602004D"
    assert (message.get(38), message.get(39)) == ("123456", "06")


@pytest.mark.parametrize("chip_data", ["95", "9505", "FF"])
def test_chip_data_that_cannot_be_read_keeps_no_reversal_back(chip_data: str) -> None:
    dialogue = Dialogue(transaction()).begun().feed(answered("00"))
    before = dialogue.record.frozen
    dialogue.feed(Reverse("till", "other", chip_data=chip_data))
    assert dialogue.state is State.REVERSING
    assert before is not None
    assert dialogue.record.frozen is not None
    assert dialogue.record.frozen.body == before.body


def test_after_the_first_byte_nothing_changes_the_reversal_any_more() -> None:
    dialogue = tried()
    before = dialogue.record.frozen
    dialogue.feed(Reverse("card", "other", chip_data="9F3602004D"))
    assert dialogue.record.frozen is before


def _reason(dialogue: Dialogue) -> str:
    return dialogue.policy.profile.codec.unpack(dialogue.sent().body).get(39)


@pytest.mark.parametrize(("event", "date"), [(TIMEOUT, "0000"), (answered("00", mac="invalid"), "0102")])
def test_a_reversed_void_names_the_date_of_the_answer_that_was_not_believed(event: Event, date: str) -> None:
    """UnionPay's element 61: own batch, own STAN, MMDD of the reply; "0000" where there was none."""
    dialogue = Dialogue(transaction(kind="preauth-void")).begun().feed(event).feed(Wake())
    message = dialogue.policy.profile.codec.unpack(dialogue.sent().body)
    assert message.get(61) == f"000017000123{date}"
    asked = dialogue.policy.profile.codec.unpack(transaction(kind="preauth-void").secret()).get(38)
    assert message.get(38) == asked  # the original's; what nobody authenticated is not told as the approval
    assert asked


def test_a_reversal_bears_its_own_local_time_where_the_dialect_wants_that_and_names_the_originals() -> None:
    """Published 0400 of an X9.19 bank: 12 is 233521, and 233415 stands in element 61."""
    name = "unionpay-x919"
    dialogue = Dialogue(transaction(name), policy(name)).begun().feed(TIMEOUT)
    dialogue.feed(Wake(local="0829233521"), after_s=61)
    codec = dialogue.policy.profile.codec
    message, frozen = codec.unpack(dialogue.sent().body), codec.unpack(transaction(name).secret())
    assert (message.get(12), message.get(13)) == ("233521", "0829")
    assert message.get(61) == frozen.get(61)
    assert message.get(61)[:6] == frozen.get(12) != message.get(12)
    usual = Dialogue().begun().feed(TIMEOUT).feed(Wake())
    assert usual.policy.profile.codec.unpack(usual.sent().body).get(12) == ""


def test_the_try_after_a_refusal_says_so_and_the_one_after_silence_gives_the_first_reason() -> None:
    dialogue = tried()
    assert _reason(dialogue) == "98"
    assert _reason(dialogue.feed(answered("96", "reversal")).feed(Wake())) == "06"
    assert _reason(dialogue.feed(TIMEOUT).feed(Wake())) == "98"


def test_a_profile_that_was_changed_to_a_reason_that_does_not_fit_stops_no_reversal() -> None:
    strict = policy()
    reversal = replace(strict.profile.reversal, reasons={"timeout": "098"})
    changed = replace(strict, profile=replace(strict.profile, reversal=reversal))
    owed = Dialogue(transaction(), policy()).begun().feed(TIMEOUT).record
    assert _reason(Dialogue(owed, changed).feed(Wake())) == "98"


def test_a_code_that_calls_people_does_so_once_and_the_tries_go_on() -> None:
    dialogue = tried().feed(answered("87", "reversal"))
    assert dialogue.has(Alarm)
    assert dialogue.state is State.REVERSING
    again = dialogue.feed(Wake()).feed(answered("87", "reversal"))
    assert not again.has(Alarm)
    assert not tried().feed(answered("96", "reversal")).has(Alarm)


def _without_mac(*codes: str) -> Policy:
    """UnionPay's rules where these codes count without a MAC."""
    strict = policy()
    mac = replace(strict.profile.mac, optional_on=frozenset(codes))
    return replace(strict, profile=replace(strict.profile, mac=mac))


@pytest.mark.parametrize(("codes", "state"), [((), State.REVERSING), (("12",), State.REVERSED)])
def test_a_code_counts_without_a_mac_only_where_the_profile_says_so(codes: tuple[str, ...], state: State) -> None:
    dialogue = Dialogue(transaction(), _without_mac(*codes)).begun().feed(TIMEOUT)
    dialogue.feed(Wake(), after_s=dialogue.policy.retry.overtake_window_s + 1)
    dialogue.feed(answered("12", "reversal", mac="absent"))
    assert dialogue.state is state
    assert dialogue.record.match_grade == ("full, no MAC" if codes else "")


def test_a_wrong_mac_never_counts_whatever_the_profile_says_of_absent_ones() -> None:
    dialogue = Dialogue(transaction(), _without_mac("12")).begun().feed(TIMEOUT).feed(Wake())
    assert dialogue.feed(answered("12", "reversal", mac="invalid")).state is State.REVERSING
    assert dialogue.feed(Wake()).feed(answered("12", "reversal", mac="unverified")).state is State.REVERSING


def test_an_approval_without_a_mac_is_reversed_also_where_other_codes_count() -> None:
    dialogue = Dialogue(transaction(), _without_mac("12", "25")).begun()
    assert dialogue.feed(answered("00", mac="absent")).state is State.REVERSING


def test_an_answer_that_does_not_match_clears_nothing() -> None:
    dialogue = tried().feed(answered("00", "reversal", accepted=False, awaited=False))
    assert dialogue.state is State.REVERSING
    assert dialogue.record.sending


def test_a_late_approval_never_completes_what_is_being_reversed() -> None:
    dialogue = tried().feed(answered("00", "request", awaited=False))
    assert dialogue.state is State.REVERSING
    assert dialogue.feed(Complete("till")).has(Refuse)


def test_a_late_acknowledgement_of_an_earlier_try_counts() -> None:
    dialogue = tried().feed(TIMEOUT).feed(answered("00", "reversal", awaited=False))
    assert dialogue.state is State.REVERSED


def test_a_late_refusal_of_an_earlier_try_does_not_disturb_the_one_on_the_wire() -> None:
    dialogue = tried().feed(TIMEOUT).feed(Wake()).feed(answered("96", "reversal", awaited=False))
    assert dialogue.record.sending


def test_a_second_acknowledgement_changes_nothing() -> None:
    dialogue = tried().feed(answered("00", "reversal")).feed(answered("00", "reversal", awaited=False))
    assert dialogue.state is State.REVERSED


def test_waits_grow_to_a_cap_and_differ_from_terminal_to_terminal() -> None:
    dialogue, waits = tried(), []
    for _ in range(12):
        dialogue.feed(TIMEOUT)
        waits.append(dialogue.due_in_s or 0)
        dialogue.feed(Wake())
    retry = dialogue.policy.retry
    assert waits[0] <= retry.base_s * (1 + retry.jitter)
    assert waits[3] > waits[0]
    assert max(waits) <= retry.cap_s * (1 + retry.jitter)
    other = replace(dialogue.policy, terminal_id="10000002")
    assert other.delay_s("main-1", 1, parked=False) != dialogue.policy.delay_s("main-1", 1, parked=False)


def test_a_link_that_comes_up_starts_the_waits_anew() -> None:
    dialogue = tried()
    for _ in range(6):
        dialogue.feed(NO_ROUTE).feed(Wake())
    dialogue.feed(NO_ROUTE)
    long_wait = dialogue.due_in_s or 0
    dialogue.feed(Resume("link-up"))
    assert (dialogue.due_in_s or 0) < long_wait
    assert dialogue.record.failures_in_a_row == 0


@pytest.mark.parametrize("code", ["12", "25"])
def test_original_not_found_means_try_again_while_the_original_may_still_arrive(code: str) -> None:
    dialogue = tried().feed(answered(code, "reversal"))
    assert dialogue.state is State.REVERSING
    window_s = dialogue.policy.retry.overtake_window_s
    assert dialogue.feed(Wake(), after_s=window_s + 1).feed(answered(code, "reversal")).state is State.REVERSED


def test_not_found_is_judged_by_when_the_try_left_not_by_when_its_answer_came() -> None:
    dialogue = tried()
    window_s = dialogue.policy.retry.overtake_window_s
    assert dialogue.feed(answered("25", "reversal"), after_s=window_s + 1).state is State.REVERSING


def test_a_doubled_not_found_of_an_earlier_try_decides_nothing() -> None:
    dialogue = tried().feed(answered("25", "reversal"))
    window_s = dialogue.policy.retry.overtake_window_s
    dialogue.feed(Wake(), after_s=window_s + 1).feed(answered("25", "reversal", awaited=False))
    assert dialogue.state is State.REVERSING
    assert dialogue.feed(answered("25", "reversal")).state is State.REVERSED


def test_an_acknowledgement_before_anything_left_is_evidence() -> None:
    dialogue = reversing().feed(answered("00", "reversal", awaited=False))
    assert dialogue.state is State.REVERSING
    assert dialogue.record.evidence


def test_the_host_of_an_original_that_was_called_off_while_connecting_is_kept() -> None:
    dialogue = Dialogue().begun().feed(Reverse("till")).feed(HostChosen("beta")).feed(TIMEOUT)
    assert dialogue.record.host == "h1"  # the last word on where its bytes went
    called_off = Dialogue().begun().feed(Reverse("till")).feed(HostChosen("beta"))
    assert called_off.feed(Wake()).sent().host == "beta"


def test_an_approved_advice_is_recognised_by_the_stamp_of_its_try() -> None:
    """What the approval adds to a reversal does not bring the changing elements into its identity."""
    dialogue = Dialogue(transaction("iso87-ascii"), policy("iso87-ascii")).begun().feed(answered("00"))
    assert dialogue.record.frozen
    assert "7" not in dialogue.record.frozen.identity


@pytest.mark.parametrize("code", ["12", "25"])
def test_an_original_that_is_approved_after_the_host_said_not_found_is_reversed_again(code: str) -> None:
    dialogue = tried().feed(TIMEOUT).feed(Wake(), after_s=9999).feed(answered(code, "reversal"))
    assert dialogue.state is State.REVERSED
    dialogue.feed(answered("00", "request", awaited=False))
    assert dialogue.state is State.REVERSING
    assert dialogue.has(Alarm)


def test_an_original_that_is_approved_after_its_card_data_was_destroyed_calls_a_person() -> None:
    dialogue = tried().feed(TIMEOUT).feed(Wake(), after_s=9999).feed(answered("25", "reversal"))
    dialogue.record = replace(dialogue.record, frozen=None)
    dialogue.feed(answered("00", "request", awaited=False))
    assert (dialogue.state, dialogue.has(Alarm)) == (State.PARKED, True)


def test_not_found_is_not_believed_while_nobody_knows_when_the_original_left() -> None:
    dialogue = reversing()
    dialogue.record = replace(dialogue.record, request_left_at=None)
    assert dialogue.feed(Wake(), after_s=9999).feed(answered("25", "reversal")).state is State.REVERSING


def test_an_original_that_answers_late_after_a_plain_acknowledgement_is_evidence() -> None:
    dialogue = tried().feed(answered("00", "reversal")).feed(answered("00", "request", awaited=False))
    assert dialogue.state is State.REVERSED


def test_an_approval_after_a_decline_is_reversed() -> None:
    dialogue = Dialogue().begun().feed(answered("51")).feed(answered("00", awaited=False))
    assert dialogue.state is State.REVERSING
    assert dialogue.has(Alarm)


def test_an_unknown_code_is_never_done() -> None:
    assert tried().feed(answered("ZZ", "reversal")).state is State.REVERSING


# --- limits and people ---


def test_past_the_limit_a_person_is_called_and_the_tries_go_on_slowly() -> None:
    dialogue = tried()
    for _ in range(dialogue.policy.retry.park_after_attempts):
        dialogue.feed(TIMEOUT)
        if dialogue.state is State.PARKED:
            break
        dialogue.feed(Wake())
    assert dialogue.state is State.PARKED
    assert (dialogue.due_in_s or 0) > dialogue.policy.retry.cap_s
    assert dialogue.feed(Wake()).feed(answered("00", "reversal")).state is State.REVERSED


def test_failures_of_the_link_are_not_tries_of_the_host() -> None:
    dialogue = tried()
    for _ in range(dialogue.policy.retry.park_after_attempts * 2):
        dialogue.feed(NO_ROUTE).feed(Wake())
    assert dialogue.state is State.REVERSING
    assert dialogue.record.tries_that_left <= 1


def test_a_held_item_is_not_sent_until_released() -> None:
    dialogue = reversing().feed(Hold("anna", "bank asks to wait")).feed(Resume("link-up"))
    assert dialogue.due_in_s is None
    assert dialogue.feed(Retry("anna")).has(Refuse)
    assert dialogue.feed(Release("anna")).due_in_s == 0


def test_a_held_item_stays_held_over_a_restart_and_a_failed_try() -> None:
    dialogue = tried().feed(Hold("anna", "wait")).feed(TIMEOUT)
    assert dialogue.due_in_s is None
    restored = Dialogue(load(dump(dialogue.record), dialogue.record.secret())).feed(Restart()).feed(Wake())
    assert restored.record.held
    assert not restored.effects


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (Retry("anna"), "retried by anna"),
        (Hold("anna", "bank"), "held by anna"),
        (Release("anna"), "released by anna"),
        (Park("anna", "bank"), "parked by anna"),
        (Settle("anna", "bank", "B-1"), "settled by anna"),
    ],
)
def test_every_act_of_a_person_is_part_of_the_record(event: Event, word: str) -> None:
    before = reversing().record
    dialogue = Dialogue(before).feed(event)
    assert dialogue.record.last_act.startswith(word)
    assert dialogue.record != before  # so the loop stores it


def test_settling_needs_an_owed_item_and_keeps_who_why_and_the_reference() -> None:
    settle = Settle("anna", "adjusted by the bank", "B-77")
    assert Dialogue().begun().feed(settle).has(Refuse)
    dialogue = parked().feed(settle)
    assert dialogue.state is State.SETTLED
    assert dialogue.record.closing
    assert (dialogue.record.closing.by, dialogue.record.closing.bank_reference) == ("anna", "B-77")


def test_an_acknowledgement_that_comes_after_closing_is_evidence() -> None:
    dialogue = tried().feed(Settle("anna", "by hand", "B-1")).feed(answered("00", "reversal"))
    assert dialogue.state is State.SETTLED
    assert dialogue.record.evidence


def test_evidence_is_capped_and_the_rest_is_counted() -> None:
    dialogue = tried()
    for number in range(EVIDENCE_MAX + 5):
        dialogue.feed(Noticed("0410 that does not match", f"STAN {number:06d}"))
    assert (len(dialogue.record.evidence), dialogue.record.evidence_dropped) == (EVIDENCE_MAX, 5)


def test_a_repeated_refusal_does_not_push_out_the_evidence_that_matters() -> None:
    dialogue = tried()
    for _ in range(EVIDENCE_MAX + 5):
        dialogue.feed(answered("96", "reversal")).feed(Wake())
    dialogue.feed(answered("00", "request", awaited=False))
    assert [piece.what for piece in dialogue.record.evidence] == [
        "reversal refused with 96",
        "late answer to the request",
    ]


# --- storage of the record ---


def test_the_stored_record_comes_back_as_it_was_and_shows_no_card_number() -> None:
    record = tried().feed(answered("96", "reversal")).feed(Hold("anna", "why")).record
    assert load(dump(record), record.secret()) == record
    assert PAN not in dump(record)
    assert PAN not in repr(record)
    assert PAN.encode().hex() not in dump(record)


def test_a_record_of_a_later_release_is_still_read() -> None:
    record = tried().record
    text = dump(record).replace('"amount_minor"', '"a_later_fact":1,"amount_minor"', 1)
    assert load(text, record.secret()) == record


def test_a_decision_is_the_same_whatever_the_wall_clock_says() -> None:
    first, second = tried(), tried()
    for dialogue, year in ((first, 1970), (second, 2036)):
        now = Now(2000.0, STARTED.replace(year=year))
        dialogue.record, _ = decide(dialogue.record, TIMEOUT, now, dialogue.policy)
    assert first.record == second.record
    assert first.record.wake_at == second.record.wake_at
