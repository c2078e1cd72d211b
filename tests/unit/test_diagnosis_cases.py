"""For each fault its one diagnosis: code, who acts, what it means in money."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from agent.diagnosis import DeviceFacts, LinkFacts, age_s, diagnose, error_code
from agent.money_effect import EFFECTS
from agent.records import Closing, State, Transaction
from protocol.masking import scrub
from tests.unit.status_samples import NOW, PANS, around, begun_before, evidence, owed, parked, transaction, utc

TIMEOUT = "E-LINK-TIMEOUT: 192.0.2.1:5000 did not answer in 30 s (the host is connected but silent: ask the acquirer)"
PAD_GONE = DeviceFacts("pad", "pinpad", "gone", "unplugged", 5.0, "E-DEVICE-GONE")
OLD = begun_before(9000)

CASES: list[tuple[str, Transaction, dict[str, Any], str, str]] = [
    ("under way", transaction(state=State.BEGUN), {}, "D-IN-PROGRESS", "nobody"),
    ("no report", transaction(state=State.BEGUN, driver="application"), {}, "D-WAITS-REPORT", "shop"),
    ("unconfirmed", transaction(state=State.APPROVED, response_code="00"), {}, "D-WAITS-CONFIRM", "shop"),
    ("first try", owed(attempts=1, sending=True), {}, "D-TRYING", "nobody"),
    ("restart", owed(attempts=0, cause="restart"), {}, "D-RESTART", "nobody"),
    ("silent, young", owed(last_error=TIMEOUT), {}, "D-NO-REPLY", "nobody"),
    ("silent, old", owed(last_error=TIMEOUT, begun_at_utc=OLD), {}, "D-NO-REPLY", "bank"),
    ("not read", owed(last_error="E-LINK-SEND-TIMEOUT: x", begun_at_utc=OLD), {}, "D-NO-REPLY", "bank"),
    ("no route", owed(last_error="E-LINK-UNREACHABLE: x", begun_at_utc=OLD), {}, "D-LINK-DOWN", "engineer"),
    ("no connect", owed(last_error="E-LINK-CONNECT-TIMEOUT: x", begun_at_utc=OLD), {}, "D-LINK-DOWN", "engineer"),
    ("refused port", owed(last_error="E-LINK-REFUSED: x", begun_at_utc=OLD), {}, "D-CONN-REFUSED", "bank"),
    ("no name", owed(last_error="E-LINK-DNS: x", begun_at_utc=OLD), {}, "D-DNS", "engineer"),
    ("certificate", owed(last_error="E-LINK-TLS: x"), {}, "D-TLS", "engineer"),
    ("cut", owed(last_error="E-LINK-RESET: x", begun_at_utc=OLD), {}, "D-LINE-CUT", "engineer"),
    ("hung up", owed(last_error="E-LINK-EOF: x", begun_at_utc=OLD), {}, "D-LINE-CUT", "engineer"),
    ("garbage", owed(last_error="E-LINK-GARBAGE: x", begun_at_utc=OLD), {}, "D-GARBAGE", "engineer"),
    ("other host", owed(last_error="E-LINK-CONFIGURATION: x"), {}, "D-SETTINGS", "engineer"),
    ("busy, young", owed(last_code="96"), {}, "D-HOST-BUSY", "nobody"),
    ("busy, old", owed(last_code="91", begun_at_utc=OLD), {}, "D-HOST-BUSY", "bank"),
    ("a passing code", owed(last_code="22", begun_at_utc=OLD), {}, "D-HOST-CODE", "bank"),
    ("overtaken", owed(last_code="25"), {}, "D-OVERTAKEN", "nobody"),
    ("our MAC", owed(last_code="A0"), {}, "D-MAC-REFUSED", "engineer"),
    ("keys", owed(last_code="99"), {}, "D-KEYS", "engineer"),
    ("their MAC", owed(last_error="acknowledgement with MAC invalid"), {}, "D-MAC-BAD", "engineer"),
    ("no MAC", owed(last_error="acknowledgement with MAC absent"), {}, "D-MAC-MISSING", "bank"),
    ("merchant", parked(last_code="03", attempts=1), {}, "D-DATA-MERCHANT", "bank"),
    ("terminal", parked(last_code="97", attempts=1), {}, "D-DATA-TERMINAL", "bank"),
    ("card", parked(last_code="14", attempts=1), {}, "D-DATA-CARD", "bank"),
    ("expiry", owed(last_code="54"), {}, "D-DATA-EXPIRY", "bank"),
    ("amount", parked(last_code="64", attempts=1), {}, "D-DATA-AMOUNT", "bank"),
    ("format", owed(last_code="30"), {}, "D-DATA-FORMAT", "engineer"),
    ("batch", owed(last_code="77"), {}, "D-BATCH", "engineer"),
    ("refused for good", parked(last_code="57", attempts=1), {}, "D-HOST-REFUSED", "bank"),
    ("limit", parked(last_error=TIMEOUT), {"park_after_attempts": 30}, "D-LIMIT", "bank"),
    ("pad in the error", owed(last_error="E-MAC-DEVICE: gone"), {"mac_device": "pad"}, "D-PAD-MISSING", "shop"),
    ("pad unplugged", owed(attempts=0), {"mac_device": "pad", "devices": (PAD_GONE,)}, "D-PAD-MISSING", "shop"),
    ("held", owed(held=True, last_error=TIMEOUT), {}, "D-HELD", "engineer"),
    (
        "set aside",
        parked(held=True, evidence=(evidence("held by agent", "its reversal cannot be made: too long"),)),
        {},
        "D-NOT-MADE",
        "engineer",
    ),
    (
        "held by one who is called agent",
        owed(held=True, evidence=(evidence("held by agent", "ask"),)),
        {},
        "D-HELD",
        "engineer",
    ),
    ("parked", parked(evidence=(evidence("parked by anna", "ask"),)), {}, "D-PARKED", "engineer"),
    ("nobody knows", parked(cause="not-confirmed", attempts=0), {}, "D-NOT-CONFIRMED", "shop"),
    ("no reversal", parked(frozen=None, on_unknown="park", kind="refund"), {}, "D-NO-REVERSAL", "bank"),
    ("no lane", owed(), {"responses": None}, "D-NO-LANE", "engineer"),
    ("link down", owed(attempts=0), {"link": LinkFacts("down", 9.0, "E-LINK-DNS", "x")}, "D-DNS", "engineer"),
    ("disk full", owed(attempts=0), {"store_full": True}, "D-STORE-FULL", "engineer"),
    ("reversed", transaction(state=State.REVERSED, acknowledged_with="00"), {}, "D-DONE", "nobody"),
    ("completed", transaction(state=State.COMPLETED), {}, "D-COMPLETED", "nobody"),
    ("declined", transaction(state=State.DECLINED), {}, "D-DECLINED", "nobody"),
    ("void declined", transaction(state=State.DECLINED, kind="void"), {}, "D-NOT-GIVEN-BACK", "shop"),
    ("refund reversed", transaction(state=State.REVERSED, kind="refund"), {}, "D-NOT-GIVEN-BACK", "shop"),
    (
        "hold reversed",
        transaction(state=State.REVERSED, kind="preauth", acknowledged_with="00"),
        {},
        "D-DONE",
        "nobody",
    ),
    (
        "settled",
        transaction(state=State.SETTLED, closing=Closing("anna", "adjusted", "B-77", OLD)),
        {},
        "D-SETTLED",
        "nobody",
    ),
]


@pytest.mark.parametrize(("txn", "changes", "code", "who"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_each_fault_has_its_one_diagnosis(txn: Transaction, changes: dict[str, Any], code: str, who: str) -> None:
    begun_now = txn if txn.state in (State.REVERSING, State.PARKED) else replace(txn, begun_at_utc=begun_before(100))
    found = diagnose(begun_now, around(**changes))
    assert (found.code, found.who) == (code, who)


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_no_diagnosis_leaves_a_gap_in_its_texts(case: Any) -> None:
    """What the texts name is known in the case in which they are used."""
    found = diagnose(case[1], around(**case[2]))
    for text in (found.cause, found.money, found.action, *found.evidence):
        for told in (text.en, text.zh):
            assert "{" not in told
            assert not re.search(r"(?:^|[\s(（：])\?", told), told
            assert all(pan not in told for pan in PANS)
            assert scrub(told) == told


def test_every_diagnosis_of_the_catalogue_has_a_case() -> None:
    from agent.texts import catalogue

    assert {case[3] for case in CASES} == set(catalogue().diagnoses)


def test_a_limit_names_what_lies_beneath() -> None:
    found = diagnose(parked(last_code="96"), around(park_after_attempts=30))
    assert (found.code, found.beneath) == ("D-LIMIT", "D-HOST-BUSY")
    assert any("beneath" in piece.en for piece in found.evidence)


def test_an_approved_sale_that_is_reversed_means_a_charged_customer() -> None:
    charged = diagnose(owed(response_code="00"), around())
    unknown = diagnose(owed(), around())
    assert "is charged until" in charged.money.en
    assert "may have been charged" in unknown.money.en
    assert "CNY 12.50" in unknown.money.zh


@pytest.mark.parametrize("kind", [kind for kind, effect in EFFECTS.items() if effect in ("undoes", "gives")])
@pytest.mark.parametrize("state", [state for state in State if state not in (State.NEW, State.SETTLED)])
def test_of_a_void_or_refund_nobody_reads_that_the_customer_is_charged_for_it(kind: str, state: State) -> None:
    """Nor that nothing is charged: what should have been undone still is."""
    for code in ("", "00"):
        found = diagnose(parked(kind=kind, state=state, response_code=code, attempts=1), around())
        assert "charged" not in found.money.en
        assert "扣款" not in found.money.zh


def test_an_undecided_sale_is_told_with_the_command_that_decides_it() -> None:
    """A retry would be refused, and it is not reversed before somebody speaks."""
    found = diagnose(parked(undecided=True, cause="not-confirmed", response_code="00", attempts=0), around())
    assert found.code == "D-NOT-CONFIRMED"
    assert not any("retry" in text for text in (*found.commands, found.action.en, found.action.zh))
    assert any(command.startswith("reversalctl decide main-1") for command in found.commands)


@pytest.mark.parametrize("limit", [0, 30])
def test_a_code_that_is_not_believed_is_shown_all_the_same(limit: int) -> None:
    """The bank's service desk asks what its host said, whether its MAC was right or not."""
    said = evidence("acknowledgement with MAC absent", "0410 with response code 25")
    txn = parked(last_error=said.what, evidence=(said,)) if limit else owed(last_error=said.what, evidence=(said,))
    found = diagnose(txn, around(park_after_attempts=limit))
    assert any("0410 with response code 25 (original transaction not found)" in piece.en for piece in found.evidence)
    assert any("25" in piece.zh and "不予采信" in piece.zh for piece in found.evidence)


def test_a_limit_shows_what_the_last_try_met() -> None:
    found = diagnose(parked(last_code="96"), around(park_after_attempts=30))
    assert any("response code 96" in piece.en for piece in found.evidence)


def test_a_young_failure_is_nobodys_job_and_an_old_one_is() -> None:
    young = diagnose(owed(last_error=TIMEOUT, begun_at_utc=begun_before(599)), around())
    old = diagnose(owed(last_error=TIMEOUT, begun_at_utc=begun_before(601)), around())
    assert (young.who, old.who) == ("nobody", "bank")
    assert "000123" in old.action.en


def test_words_inside_a_sentence_are_no_codes() -> None:
    found = diagnose(owed(last_error="the text E-LINK-DNS: stands in the middle"), around())
    assert found.code == "D-NO-REPLY"
    assert found.confidence == "possible"


def test_the_error_code_is_read_from_the_beginning_only() -> None:
    assert error_code("E-LINK-DNS: x") == "E-LINK-DNS"
    assert error_code("no E-LINK-DNS: x") == ""
    assert error_code("E-LINK-DNS") == ""


def test_the_answer_of_the_host_counts_more_than_a_link_that_is_down_since() -> None:
    found = diagnose(owed(last_code="A0"), around(link=LinkFacts("down", 5.0, "E-LINK-DNS", "x")))
    assert found.code == "D-MAC-REFUSED"
    assert any("down" in piece.en for piece in found.evidence)


def test_numbers_that_the_configuration_has_changed_are_evidence() -> None:
    found = diagnose(parked(last_code="97", attempts=1), around(terminal_id="20000002"))
    assert any("20000002" in piece.en and "10000001" in piece.en for piece in found.evidence)


def test_a_clock_that_was_set_back_gives_no_age_and_says_so() -> None:
    found = diagnose(owed(last_error=TIMEOUT), around(now_utc=utc(1970, 1, 2)))
    assert any("clock" in piece.en for piece in found.evidence)
    assert age_s(NOW.at_utc, utc(1970, 1, 2)) is None
    assert age_s("no date", NOW.utc) is None


def test_a_card_number_in_an_error_does_not_reach_the_evidence() -> None:
    leaky = owed(last_error=f"E-LINK-TIMEOUT: card {PANS[0]} lost")
    found = diagnose(leaky, around())
    assert all(PANS[0] not in piece.en + piece.zh for piece in found.evidence)


def test_the_commands_name_the_item() -> None:
    found = diagnose(parked(last_code="57", attempts=1), around())
    assert "reversalctl why main-1" in found.commands
