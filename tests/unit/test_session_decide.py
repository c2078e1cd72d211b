"""The session of a lane, decided without clock and wire."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent import session as s
from agent.session import Session, SessionEvent, decide
from tests.unit.session_samples import MAK, PIK, at, block, play, policy, session

KEYS = block(PIK, MAK)
GOOD = s.Answered("00", approved=True, keys=KEYS, batch="000042")
PROVED = s.Proved("B2A5C8D3")


def signed_on() -> Session:
    """A session that signed on at second 0."""
    return play(session(), policy(), (0, s.Start()), (0, s.Due()), (0, GOOD), (0, PROVED))[0]


# --- a sign-on and its end ---


def test_a_start_signs_on_takes_proved_keys_and_the_hosts_batch_and_tries_what_is_owed() -> None:
    after, effects = play(session(), policy(), (0, s.Start()), (0, s.Due()), (1, GOOD), (1, PROVED))
    assert effects == [s.SignOn(), s.Prove(KEYS), s.UseKeys(KEYS), s.TryReversals()]
    assert (after.valid, after.batch, after.keys, after.key_check) == (True, "000042", KEYS, "right")
    assert after.wake_at == 1 + 86400


def test_a_lane_that_does_not_sign_on_asks_for_nothing() -> None:
    after, effects = play(session(), policy(signs_on=False), (0, s.Start()), (9e9, s.Due()))
    assert (effects, after.wake_at) == ([], None)


def test_keys_take_no_effect_before_their_check_values_are_proved() -> None:
    after, effects = play(session(), policy(), (0, s.Start()), (0, s.Due()), (1, GOOD))
    assert not any(isinstance(effect, s.UseKeys) for effect in effects)
    assert (after.step, after.keys, after.batch, after.valid) == ("proving", "", "000017", False)


def test_wrong_check_values_end_trading_and_keep_the_keys_before() -> None:
    old = replace(signed_on(), wanted="daily", wake_at=5.0)
    wrong = s.Unproved("the check value of the MAC key is wrong", wrong=True)
    after, effects = play(old, policy(), (5, s.Due()), (6, replace(GOOD, keys="00")), (6, wrong))
    assert (after.valid, after.key_check, after.keys) == (False, "wrong", KEYS)
    assert s.Warn("sign-on-failed", wrong.text) in effects
    assert after.wake_at is not None
    assert after.wake_at > 6


def test_a_pad_that_does_not_answer_is_no_wrong_key() -> None:
    after, _ = play(session(), policy(), (0, s.Start()), (0, s.Due()), (1, GOOD), (2, s.Unproved("pad", wrong=False)))
    assert (after.key_check, after.valid, after.failures) == ("none", False, 1)
    assert play(after, policy(), (3, s.Back()))[0].wake_at == 3


def test_an_approval_without_keys_is_no_sign_on_where_keys_are_taken() -> None:
    after, _ = play(session(), policy(), (0, s.Start()), (0, s.Due()), (1, replace(GOOD, keys="")))
    assert (after.valid, after.failures) == (False, 1)


def test_without_anybody_who_takes_keys_an_approval_is_enough() -> None:
    rules = policy(takes_keys=False)
    after, effects = play(session(), rules, (0, s.Start()), (0, s.Due()), (1, GOOD))
    assert (after.valid, after.batch, after.keys) == (True, "000042", "")
    assert effects == [s.SignOn(), s.TryReversals()]


def test_a_batch_that_the_profile_does_not_follow_is_not_adopted() -> None:
    rules = policy(batch_follows_host=False)
    after, _ = play(session(), rules, (0, s.Start()), (0, s.Due()), (1, GOOD), (1, PROVED))
    assert after.batch == "000017"


def test_a_refused_sign_on_is_tried_again_after_the_lanes_backoff_and_past_the_limit_slowly() -> None:
    rules, now = policy(), session()
    now, _ = play(now, rules, (0, s.Start()))
    waits = []
    for _ in range(70):
        moment = now.wake_at or 0.0
        now, _ = play(now, rules, (moment, s.Due()), (moment, s.Answered("96", approved=False)))
        assert now.wake_at is not None
        waits.append(now.wake_at - moment)
    retry = rules.lane.retry
    assert waits[0] < waits[1] < waits[2]
    assert max(waits[:59]) <= retry.cap_s * (1 + retry.jitter)
    assert min(waits[60:]) >= retry.parked_every_s * (1 - retry.jitter)


def test_a_sign_on_of_which_a_byte_left_without_answer_leaves_no_valid_session() -> None:
    old = replace(signed_on(), wanted="daily", wake_at=5.0)
    lost, _ = play(old, policy(), (5, s.Due()), (6, s.Failed("silence", left=True)))
    unsent, _ = play(old, policy(), (5, s.Due()), (6, s.Failed("no way", left=False)))
    assert (lost.valid, unsent.valid) == (False, True)


# --- why a sign-on is due ---


def test_the_day_is_over_and_the_session_holds_until_the_new_one_stands() -> None:
    after, effects = play(signed_on(), policy(), (86399, s.Due()), (86400, s.Due()))
    assert effects == [s.SignOn()]
    assert (after.wanted, after.valid, after.step) == ("daily", True, "asking")


@pytest.mark.parametrize(("code", "cause"), [("77", "batch-mismatch"), ("A0", "stale-key"), ("99", "stale-key")])
def test_codes_that_mean_another_batch_or_key_end_the_session_and_sign_on_at_once(code: str, cause: str) -> None:
    after, effects = play(signed_on(), policy(), (10, s.Coded(code)), (10, s.Due()))
    assert effects == [s.SignOn()]
    assert (after.wanted, after.valid) == (cause, False)


@pytest.mark.parametrize("code", ["00", "51", "96", ""])
def test_other_codes_leave_the_session_alone(code: str) -> None:
    assert play(signed_on(), policy(), (10, s.Coded(code)))[0] == signed_on()


def test_codes_mean_nothing_to_a_lane_without_keys_or_batches_of_the_host() -> None:
    rules = policy(takes_keys=False, batch_follows_host=False)
    before = replace(session(), valid=True)
    assert play(before, rules, (1, s.Coded("A0")), (1, s.Coded("77")))[0] == before


def test_a_host_that_says_stale_key_again_and_again_is_asked_no_faster_than_the_backoff() -> None:
    now, waits, moment = signed_on(), [], 10.0
    for _ in range(5):
        now, _ = play(now, policy(), (moment, s.Coded("A0")))
        assert now.wake_at is not None
        waits.append(now.wake_at - moment)
        moment = now.wake_at
        now, _ = play(now, policy(), (moment, s.Due()), (moment, GOOD), (moment, PROVED))
    assert waits[0] == 0
    assert all(wait >= 8 for wait in waits[1:])
    assert waits[4] > waits[1]


def test_a_good_answer_ends_the_suspicion() -> None:
    now, _ = play(signed_on(), policy(), (10, s.Coded("A0")), (10, s.Due()), (10, GOOD), (10, PROVED))
    now, _ = play(now, policy(), (20, s.Coded("00")), (30, s.Coded("A0")))
    assert now.wake_at == 30


def test_the_header_asks_for_a_sign_on_and_the_session_still_holds() -> None:
    after, effects = play(signed_on(), policy(), (10, s.HostAsks("sign-on")), (10, s.Due()))
    assert effects == [s.SignOn()]
    assert (after.wanted, after.valid) == ("host-asks", True)


def test_a_wish_to_sign_on_is_shown_where_the_lane_does_not_sign_on() -> None:
    after, effects = play(session(), policy(signs_on=False), (1, s.HostAsks("sign-on")))
    assert after.host_asks == "sign-on"
    assert effects == [s.Warn("host-asks", "sign-on")]


def test_every_other_wish_is_shown_until_the_host_wishes_nothing_more() -> None:
    asked, effects = play(signed_on(), policy(), (1, s.HostAsks("download-capk")), (2, s.HostAsks("download-capk")))
    assert (asked.host_asks, len(effects)) == ("download-capk", 1)
    assert play(asked, policy(), (3, s.HostAsks("none")))[0].host_asks == ""


def test_a_person_signs_on_at_once_whatever_the_backoff_says() -> None:
    failed, _ = play(session(), policy(), (0, s.Start()), (0, s.Due()), (1, s.Failed("no way", left=False)))
    after, effects = play(failed, policy(), (2, s.Asked("root")), (2, s.Due()))
    assert effects == [s.SignOn()]
    assert after.attempts == 2


# --- the rest ---


def test_the_echo_test_comes_by_its_interval_and_after_the_sign_on() -> None:
    rules = policy(echo_every_s=60)
    now, effects = play(session(), rules, (0, s.Start()), (61, s.Due()), (61, GOOD), (61, PROVED), (61, s.Due()))
    assert effects[0] == s.SignOn()
    assert effects[-1] == s.Echo()
    assert now.echo_at == 121


def test_a_settled_batch_makes_room_for_the_next() -> None:
    after, _ = play(signed_on(), policy(), (5, s.BatchClosed("000043", 900)))
    assert (after.batch, after.batch_from, after.valid) == ("000043", 900, True)


def test_what_is_stored_comes_back_without_what_belongs_to_the_process() -> None:
    before = replace(signed_on(), host_asks="update", batch_from=7)
    after = s.load(s.dump(before), bytes.fromhex(before.keys))
    assert after.durable() == before.durable()
    assert (after.valid, after.wake_at, after.failures) == (False, None, 0)


def test_no_key_is_stored_in_clear_or_shown_in_a_repr() -> None:
    shown = [s.dump(signed_on()), repr(signed_on()), repr(GOOD), repr(s.Prove(KEYS)), repr(s.UseKeys(KEYS))]
    assert not any(KEYS[:16] in text for text in shown)
    assert "keys" not in json.loads(s.dump(signed_on()))


def test_every_event_has_its_handler() -> None:
    assert set(s.HANDLERS) == set(SessionEvent.__subclasses__())


@pytest.mark.parametrize("event", [GOOD, s.Failed("x", left=True), PROVED, s.Unproved("x", wrong=True)])
def test_an_answer_that_nobody_waits_for_changes_nothing(event: SessionEvent) -> None:
    before = signed_on()
    assert decide(before, event, at(5), policy()) == (before, ())
    assert decide(before, s.Back(), at(5), policy()) == (before, ())


@pytest.mark.parametrize("event", [s.Due(), s.Asked("root"), s.Back(), s.HostAsks("sign-on")])
def test_while_a_sign_on_is_under_way_no_other_begins(event: SessionEvent) -> None:
    asking, _ = play(session(), policy(), (0, s.Start()), (0, s.Due()))
    assert decide(asking, event, at(9e9), policy()) == (asking, ())


@pytest.mark.parametrize(("code", "wanted"), [("78", "batch-mismatch"), ("A1", "stale-key"), ("77", ""), ("A0", "")])
def test_which_codes_ask_for_a_sign_on_stands_in_the_profile(code: str, wanted: str) -> None:
    rules = policy()
    ours = replace(rules.lane.profile.session, batch_codes=frozenset({"78"}), key_codes=frozenset({"A1"}))
    lane = replace(rules.lane, profile=replace(rules.lane.profile, session=ours))
    after, _ = play(signed_on(), replace(rules, lane=lane), (1, s.Coded(code)))
    assert (after.wanted, after.valid) == (wanted, not wanted)
