"""Recorded conversations: what the shipped decisions say to each step, and what a person should look at."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.conversation import replay
from agent.conversation_step import Step
from agent.conversation_texts import FINDINGS, finding
from agent.examples import TEST_CARD, examples
from agent.ladder import ladder_json, ladder_text
from agent.streams import Chunk
from agent.transcript import CaptureError, read_transcript
from protocol.profile import load_profile, profile_names

WITH_REPEATS = "iso87-ascii"


@cache
def _kit(profile: str) -> dict[str, str]:
    return {case.name: case.frame.hex() for case in examples(load_profile(profile))}


def _replay(profile: str, *lines: str) -> list[Step]:
    """A conversation of cases of the kit: "10:00:00 > sale"."""
    text = ""
    for line in lines:
        *head, name = line.split(" ")
        text += f"{' '.join(head)} {_kit(profile).get(name, name)}\n"
    return replay(read_transcript(text), load_profile(profile))


def _codes(steps: list[Step]) -> list[str]:
    return [found.code for step in steps for found in step.findings]


def _decisions(step: Step) -> str:
    return "; ".join(text.en for text in step.decisions)


@pytest.mark.parametrize("profile", profile_names())
def test_a_sale_that_is_approved_in_time_owes_nothing(profile: str) -> None:
    steps = _replay(profile, "10:00:00 > sale", "10:00:02 < sale-reply")
    assert _codes(steps) == []
    assert "stores the intent before the first byte leaves" in _decisions(steps[0])
    assert _decisions(steps[1]) == "records the approval and waits for the application's word"


@pytest.mark.parametrize("profile", profile_names())
def test_a_decline_owes_nothing(profile: str) -> None:
    steps = _replay(profile, "10:00:00 > sale", "10:00:02 < sale-declined")
    assert steps[1].state == "declined"


@pytest.mark.parametrize("profile", profile_names())
def test_silence_owes_a_reversal_until_its_acknowledgement(profile: str) -> None:
    lines = ("10:00:00 > sale", "10:02:00 > reversal-timeout", "10:02:01 < acknowledgement")
    steps = _replay(profile, *lines)
    assert [step.state for step in steps] == ["begun", "reversing", "reversing", "reversed"]
    assert _codes(steps) == ["time-out"]
    assert steps[1].direction == "none"
    assert _decisions(steps[2]) == "sends the reversal, try 1"
    assert "the reversal is done" in _decisions(steps[3])


def test_a_repeat_that_does_not_say_so_is_found() -> None:
    talk = ("10:00:00 > sale", "10:02:00 > reversal-timeout", "10:04:00 > reversal-timeout")
    assert "repeat-unmarked" in _codes(_replay(WITH_REPEATS, *talk))
    talk = (*talk[:2], "10:04:00 > reversal-repeat", "10:04:01 < acknowledgement")
    steps = _replay(WITH_REPEATS, *talk)
    assert _codes(steps) == ["time-out", "time-out"]
    assert steps[-1].state == "reversed"


def test_a_late_approval_does_not_complete_the_sale() -> None:
    steps = _replay("unionpay-pos", "10:00:00 > sale", "10:02:00 > reversal-timeout", "10:02:01 < sale-reply")
    assert _codes(steps) == ["time-out", "late-approval", "open-at-end"]
    assert steps[3].state == "reversing"


def test_a_refused_reversal_is_tried_again() -> None:
    talk = ("10:00:00 > sale", "10:02:00 > reversal-timeout", "10:02:01 < reversal-answer-retry")
    assert "not done: tries again in" in _decisions(_replay("unionpay-pos", *talk)[3])


def test_a_refusal_that_needs_a_person_parks() -> None:
    talk = ("10:00:00 > sale", "10:02:00 > reversal-timeout", "10:02:01 < reversal-answer-park")
    steps = _replay("unionpay-pos", *talk)
    assert steps[3].state == "parked"
    assert "raises an alarm: parked" in _decisions(steps[3])


def test_an_acknowledgement_with_another_amount_clears_nothing_and_says_why() -> None:
    wrong = _kit("unionpay-pos")["acknowledgement"].replace("000000001250", "000000009950")
    steps = _replay("unionpay-pos", "10:00:00 > sale", "10:02:00 > reversal-timeout", f"10:02:01 < {wrong}")
    (found,) = [found for found in steps[3].findings if found.code == "no-match"]
    assert "amount" in found.text.en
    assert "000000009950, expected 000000001250" in found.text.en
    assert steps[3].state == "reversing"


def test_a_second_acknowledgement_changes_nothing() -> None:
    talk = (
        "10:00:00 > sale",
        "10:02:00 > reversal-timeout",
        "10:02:01 < acknowledgement",
        "10:02:02 < acknowledgement",
    )
    steps = _replay("unionpay-pos", *talk)
    assert [found.code for found in steps[-1].findings] == ["duplicate-acknowledgement"]
    assert steps[-1].state == "reversed"


def test_a_request_that_is_sent_twice_is_found() -> None:
    steps = _replay("unionpay-pos", "10:00:00 > sale", "10:00:05 > sale")
    assert "duplicate-request" in _codes(steps)


def test_a_reversal_before_the_time_out_is_found() -> None:
    steps = _replay("unionpay-pos", "10:00:00 > sale", "10:00:20 > reversal-timeout")
    (found,) = [found for found in steps[1].findings if found.code == "reversed-early"]
    assert "40 s before" in found.text.en


def test_another_reason_than_the_agents_is_found() -> None:
    steps = _replay("unionpay-pos", "10:00:00 > sale", "10:02:00 > reversal-mac-error")
    (found,) = [found for found in steps[2].findings if found.code == "element-differs"]
    assert found.text.en == "element 39 is A0; the agent sends 98"


def test_a_reversal_without_its_original_is_found() -> None:
    assert _codes(_replay("unionpay-pos", "> reversal-timeout")) == ["reversal-without-original"]


def test_without_times_only_the_order_counts() -> None:
    steps = _replay("unionpay-pos", "> sale", "> reversal-timeout", "< acknowledgement")
    assert [step.state for step in steps] == ["begun", "reversing", "reversed"]
    assert _codes(steps) == []


def test_what_a_capture_leaves_open_is_said() -> None:
    steps = _replay("unionpay-pos", "10:00:00 > sale")
    assert _codes(steps) == ["open-at-end"]


def test_a_closed_connection_makes_the_outcome_unknown() -> None:
    frame = bytes.fromhex(_kit("unionpay-pos")["sale"])
    chunks = [Chunk(1.0, "c", "to-host", "data", frame), Chunk(2.0, "c", "from-host", "closed")]
    steps = replay(chunks, load_profile("unionpay-pos"))
    assert _codes(steps)[0] == "closed"
    assert steps[1].state == "reversing"


def test_frames_that_come_in_pieces_are_put_together() -> None:
    frame = bytes.fromhex(_kit("unionpay-pos")["sale"])
    chunks = [Chunk(1.0, "c", "to-host", "data", frame[at : at + 7]) for at in range(0, len(frame), 7)]
    assert next(step.mti for step in replay(chunks, load_profile("unionpay-pos"))) == "0200"


def test_damaged_and_foreign_bytes_are_findings() -> None:
    steps = _replay("unionpay-pos", "> FFFF0102030405", "> 0003010203", "> sale")
    assert _codes(steps)[:2] == ["unreadable", "open-at-end"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_card_number_stands_on_a_ladder(language: str) -> None:
    steps = _replay("unionpay-pos", "10:00:00 > sale", "10:02:00 > reversal-timeout", "10:02:01 < acknowledgement")
    text = ladder_text(steps, language) + ladder_json(steps)
    assert TEST_CARD not in text
    assert "620000******0005" in text


def test_a_ladder_shows_who_when_what_and_the_decision() -> None:
    text = ladder_text(_replay("unionpay-pos", "10:00:00 > sale", "10:00:02.5 < sale-reply"), "en")
    assert "10:00:00.000  terminal --0200--> host  sale  STAN 000123  CNY 12.50" in text
    assert "10:00:02.500  terminal <--0210-- host" in text
    assert text.endswith("2 steps, 0 findings")
    chinese = ladder_text(_replay("unionpay-pos", "> sale"), "zh")
    assert "流水号 000123" in chinese


def test_json_has_one_object_a_line_in_both_languages() -> None:
    rows = [json.loads(line) for line in ladder_json(_replay("unionpay-pos", "> sale", "< sale-reply")).splitlines()]
    assert [row["mti"] for row in rows] == ["0200", "0210"]
    assert rows[1]["code_text_zh"] == "交易成功"


@pytest.mark.parametrize("code", FINDINGS)
def test_every_finding_reads_in_both_languages_with_the_same_values(code: str) -> None:
    text = finding(code, **dict.fromkeys(("stan", "state", "field", "found", "wanted", "sent", "why"), "VALUE"))
    assert "{" not in text.en + text.zh
    assert ("VALUE" in text.en) == ("VALUE" in text.zh)


@given(st.lists(st.tuples(st.sampled_from("><"), st.binary(min_size=1, max_size=60)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_bytes_in_both_directions_give_a_ladder(said: list[tuple[str, bytes]]) -> None:
    chunks = read_transcript("\n".join(f"{way} {data.hex()}" for way, data in said))
    for name in ("unionpay-pos", "iso93"):
        assert ladder_text(replay(chunks, load_profile(name)), "zh")


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_messages_of_a_kit_in_any_order_give_a_ladder(order: list[int]) -> None:
    frames = list(_kit("cmbc-like").values())
    lines = [f"{number * 40} {'><'[choice % 2]} {frames[choice % len(frames)]}" for number, choice in enumerate(order)]
    steps = replay(read_transcript("\n".join(lines)), load_profile("cmbc-like"))
    assert len(steps) >= len(order)


@pytest.mark.parametrize("text", ["", "# nothing", "0200", "> zz", "yesterday > 00", "> "])
def test_a_text_that_is_no_conversation_is_refused(text: str) -> None:
    with pytest.raises(CaptureError) as caught:
        read_transcript(text)
    assert caught.value.text_zh


def test_a_clock_that_passes_midnight_goes_on() -> None:
    chunks = read_transcript("23:59:59 > 00\n00:00:01 < 00\n")
    assert [chunk.at for chunk in chunks] == [86399.0, 86401.0]
    assert read_transcript("2026-01-02T03:04:05Z > 00")[0].at == 1767323045.0


def test_the_pages_example_is_the_one_that_is_tested() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "explain.md"
    example = page.read_text("utf-8").split("```text\n# replay\n")[1].split("```")[0]
    said, ladder = example.split("\n---\n")
    assert ladder_text(replay(read_transcript(said), load_profile("unionpay-pos")), "en") == ladder.strip("\n")


def test_what_is_no_transaction_is_named_and_is_no_finding() -> None:
    steps = _replay(
        "unionpay-pos",
        *("10:00:01 > sale", "10:00:02 < sale-reply", "10:00:03 > script-result", "10:00:04 < script-result-reply"),
        *("10:00:05 > settlement", "10:00:06 < settlement-reply", "10:00:07 > upload", "10:00:08 > upload-end"),
    )
    assert [code for code in _codes(steps) if code != "open-at-end"] == []
    assert "before the reversal" in _decisions(steps[2])
    assert "uploads each detail once" in _decisions(steps[6])
    assert TEST_CARD not in ladder_text(steps, "en").replace(" ", "")
