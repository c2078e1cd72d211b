"""`why`: the story of an item as its rows tell it."""

from __future__ import annotations

from typing import Any

from agent.events import Event, Hold, Lost, Noticed, Park, Release, Restart, Retry, Settle, Unsent, Wake
from agent.folded_story import folded
from agent.journal_contract import Row
from agent.records import dump
from agent.status_timeline import timeline
from tests.dialogue import Dialogue, answered
from tests.unit.status_samples import PANS, rules, transaction

RESPONSES = rules().profile.responses
TIMEOUT = Lost("timeout", "E-LINK-TIMEOUT: h1 did not answer in 30 s (ask the acquirer)", "h1")


class Story:
    """A dialogue whose records are kept as the journal keeps them."""

    def __init__(self) -> None:
        self._dialogue = Dialogue(transaction(), rules()).begun()
        self.rows = [self._row("Begin")]

    def feed(self, *events: Event) -> Story:
        for event in events:
            before = self._dialogue.record
            if self._dialogue.feed(event, 1.0).record != before:
                self.rows.append(self._row(type(event).__name__))
        return self

    def _row(self, event: str) -> Row:
        txn = self._dialogue.record
        seq = len(getattr(self, "rows", ())) + 1
        public, at_utc = dump(txn), "2026-01-02T03:04:05.000Z"
        return Row(seq, seq - 1, txn.id, txn.lane, txn.reference, str(txn.state), txn.pending, event, public, at_utc)

    def told(self, language: str = "en") -> list[str]:
        return [entry[f"text_{language}"] for entry in timeline(self.rows, RESPONSES)]


def test_the_story_of_a_lost_reply_is_told_from_sale_to_confirmation() -> None:
    told = (
        Story()
        .feed(TIMEOUT, Wake(), TIMEOUT, Wake(), answered("96", "reversal"), Wake())
        .feed(answered("00", "reversal"))
        .told()
    )
    begins = [
        "Begun: sale of CNY 12.50 on card 620000******0005 under reference R1; STAN 000123",
        "The request left and no usable answer came: E-LINK-TIMEOUT: h1 did not answer",
        "Try 1 of the reversal leaves",
        "Try 1 was not answered",
        "Try 2 of the reversal leaves",
        "The host answered the reversal with 96 (system malfunction)",
        "Try 3 of the reversal leaves",
        "The bank confirmed the reversal: response code 00, match full",
    ]
    assert len(told) == len(begins)
    for sentence, begin in zip(told, begins, strict=True):
        assert sentence.startswith(begin)
    assert told[1].endswith("From here on a reversal is owed.")


def test_it_is_told_in_chinese_too() -> None:
    told = Story().feed(TIMEOUT, Wake(), answered("00", "reversal")).told("zh")
    assert told[0].startswith("消费开始：金额 CNY 12.50")
    assert "此后需要冲正" in told[1]
    assert "主机超时无应答" in told[1]
    assert told[-1].startswith("银行确认冲正：应答码 00")


def test_a_try_that_never_left_is_told_as_such() -> None:
    told = Story().feed(TIMEOUT, Wake(), Unsent("network", "E-LINK-REFUSED: h1 refused the connection")).told()
    assert told[-1].startswith("Try 1 never left: E-LINK-REFUSED")


def test_what_people_did_bears_their_name_and_reason() -> None:
    told = (
        Story()
        .feed(TIMEOUT, Park("anna", "asked the bank"), Wake(), TIMEOUT, Retry("bo"))
        .feed(Settle("anna", "adjusted by hand", "B-77", "wei"))
        .told()
    )
    assert "parked by anna: asked the bank" in told[2]
    assert "a person must act" in told[2]
    assert told[5] == "A person ordered a try now."
    assert told[-1] == "Closed by anna (confirmed by wei): adjusted by hand; the bank's reference is B-77."


def test_what_the_agent_set_aside_is_not_told_as_a_persons_act() -> None:
    why = "its reversal cannot be made: this value does not fit"
    told = Story().feed(TIMEOUT, Park("agent", why), Hold("agent", why)).told()
    assert all(sentence.startswith("The agent sets it aside") for sentence in told[2:])


def test_a_late_approval_is_kept_as_evidence_and_said() -> None:
    told = (
        Story()
        .feed(TIMEOUT, answered("00", "request", awaited=False), Noticed("0410 that does not match", "STAN"))
        .told()
    )
    assert told[2].startswith("Kept as evidence: late answer to the request")
    assert told[3] == "Kept as evidence: 0410 that does not match: STAN."


def test_a_restart_and_an_answer_with_a_wrong_mac_are_told() -> None:
    told = Story().feed(answered("00", "request", mac="invalid"), Wake(), Restart(), Release("anna")).told()
    assert "is not believed" in told[1]
    assert told[3].startswith("The agent was restarted")


def test_an_event_of_a_later_release_is_named() -> None:
    story = Story().feed(TIMEOUT)
    first, second = story.rows
    changed = Row(
        second.seq, 1, second.txn_id, "main", "R1", second.state, True, "Blessed", second.public, second.at_utc
    )
    assert timeline([first, changed], None)[1]["text_en"].startswith("Blessed.")


def test_no_card_number_is_in_a_story() -> None:
    leaky = Lost("timeout", f"E-LINK-TIMEOUT: {PANS[1]}", "h1")
    told = Story().feed(leaky, Noticed("0410", f"card {PANS[2]}")).told()
    assert [pan for pan in PANS if pan in " ".join(told)] == []


def test_an_answer_without_mac_is_told_with_its_code_also_the_second_time() -> None:
    """What the host said is what the bank's service desk asks for."""
    unproved = answered("25", "reversal", mac="absent")
    told = Story().feed(TIMEOUT, Wake(), unproved, Wake(), unproved).told()
    assert told[3] == told[5]
    assert "answer 25" in told[5]


# --- folded ---


def folded_story(*events: Event) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    whole = timeline(Story().feed(TIMEOUT, *events).rows, RESPONSES)
    return whole, folded(whole)


def test_tries_that_ended_alike_are_told_once_between_the_first_and_the_last() -> None:
    whole, short = folded_story(*(Wake(), TIMEOUT) * 20)
    assert len(whole) == 42
    assert [entry["text_en"].split(":")[0] for entry in short[2:]] == [
        "Try 1 of the reversal leaves (counted before sending).",
        "Try 1 was not answered",
        "Tries 2 to 19 ended as try 1 did.",
        "Try 20 of the reversal leaves (counted before sending).",
        "Try 20 was not answered",
    ]
    assert (short[4]["seq"], short[4]["until_seq"]) == (5, 40)


def test_a_try_that_ended_otherwise_is_never_folded_away() -> None:
    other = answered("96", "reversal")
    _, short = folded_story(*(Wake(), TIMEOUT) * 9, Wake(), other, *(Wake(), TIMEOUT) * 9)
    told = " ".join(entry["text_en"] for entry in short)
    assert "answered the reversal with 96" in told
    assert "Tries 2 to 8 ended" in told
    assert "Tries 12 to 18 ended" in told


def test_people_evidence_and_changes_of_state_are_never_folded_away() -> None:
    between = (Noticed("0410 that does not match", "STAN"), Park("anna", "asked the bank"), Release("bo"))
    events: list[Event] = []
    for event in between:
        events += [*(Wake(), TIMEOUT) * 6, event]
    whole, short = folded_story(*events)
    kept = [entry for entry in whole if entry["event"] in ("Noticed", "Park", "Release")]
    assert len(kept) == 3
    assert [entry for entry in short if entry["event"] in ("Noticed", "Park", "Release")] == kept


def test_a_story_without_a_long_run_stays_as_it_is() -> None:
    whole, short = folded_story(*(Wake(), TIMEOUT) * 3)
    assert short == whole


def test_a_story_of_an_older_agent_is_told_in_full() -> None:
    whole, _ = folded_story(*(Wake(), TIMEOUT) * 9)
    bare = [{key: value for key, value in entry.items() if key not in ("tries", "ended")} for entry in whole]
    assert folded(bare) == bare
