"""Closing by hand takes a second word, and only for the item, the amount and the words it was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.closing import (
    ALPHABET,
    EXPIRES_S,
    WRONG_MAX,
    Challenge,
    Closings,
    Person,
    alone,
    bank_answer,
    bank_text,
    person,
    shown,
)
from agent.lane import RefusedError
from agent.records import State
from agent.rpc_socket import Peer
from tests.unit.status_samples import owed, parked, transaction

ROOT = Path(__file__).parents[2]
ANNA, WEI = Person("anna", 1000), Person("wei", 1001)
KEY = bytes(range(16))
ITEM = parked()


class Ticking:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(work: Callable[[], object]) -> str:
    """The code of the refusal."""
    with pytest.raises(RefusedError) as caught:
        work()
    return caught.value.code


def asked(clock: Ticking | None = None) -> tuple[Closings, Challenge]:
    closings = Closings(clock or Ticking())
    return closings, closings.ask(ITEM, ANNA, "adjusted", "B-77")


def test_another_person_with_the_code_closes_it() -> None:
    closings, challenge = asked()
    event = closings.confirm(ITEM, WEI, shown(challenge.code).lower())
    assert (event.by, event.confirmed_by) == ("anna (uid 1000)", "wei (uid 1001)")
    assert (event.reason, event.bank_reference) == ("adjusted", "B-77")


def test_the_one_who_asked_cannot_confirm() -> None:
    closings, challenge = asked()
    assert refused(lambda: closings.confirm(ITEM, ANNA, challenge.code)) == "A-SAME-PERSON"
    assert closings.confirm(ITEM, WEI, challenge.code)  # the challenge still stands


def test_sudo_makes_no_second_person() -> None:
    closings = Closings(Ticking())
    challenge = closings.ask(ITEM, Person("anna", 1000, login=1000), "adjusted", "B-77")
    root = Person("root", 0, login=1000)
    assert refused(lambda: closings.confirm(ITEM, root, challenge.code)) == "A-SAME-PERSON"
    assert closings.confirm(ITEM, Person("root", 0, login=1001), challenge.code)


def test_a_code_is_used_once() -> None:
    closings, challenge = asked()
    closings.confirm(ITEM, WEI, challenge.code)
    assert refused(lambda: closings.confirm(ITEM, WEI, challenge.code)) == "A-NO-CHALLENGE"


def test_a_code_of_one_item_closes_no_other() -> None:
    closings, challenge = asked()
    other = replace(ITEM, id="main-2")
    assert refused(lambda: closings.confirm(other, WEI, challenge.code)) == "A-NO-CHALLENGE"
    closings.ask(other, ANNA, "adjusted", "B-78")
    assert refused(lambda: closings.confirm(other, WEI, challenge.code)) == "A-WRONG-CODE"


@pytest.mark.parametrize("change", [{"amount_minor": 1251}, {"stan": "000124"}, {"batch": "000018"}])
def test_a_code_does_not_close_an_item_that_is_not_what_was_asked_for(change: dict[str, object]) -> None:
    closings, challenge = asked()
    changed = replace(ITEM, **change)  # type: ignore[arg-type]
    assert refused(lambda: closings.confirm(changed, WEI, challenge.code)) == "A-NO-CHALLENGE"


def test_a_code_ends_with_its_time() -> None:
    clock = Ticking()
    closings, challenge = asked(clock)
    clock.now += EXPIRES_S + 1
    assert refused(lambda: closings.confirm(ITEM, WEI, challenge.code)) == "A-NO-CHALLENGE"


def test_guessing_ends_the_challenge() -> None:
    closings, challenge = asked()
    for _ in range(WRONG_MAX):
        assert refused(lambda: closings.confirm(ITEM, WEI, "00000000")) == "A-WRONG-CODE"
    assert refused(lambda: closings.confirm(ITEM, WEI, challenge.code)) == "A-NO-CHALLENGE"


def test_a_new_request_ends_the_old_one() -> None:
    closings, old = asked()
    new = closings.ask(ITEM, ANNA, "adjusted", "B-77")
    assert new.code != old.code
    assert refused(lambda: closings.confirm(ITEM, WEI, old.code)) == "A-WRONG-CODE"


@pytest.mark.parametrize("state", [State.COMPLETED, State.DECLINED, State.REVERSED, State.SETTLED, State.APPROVED])
def test_only_what_is_owed_can_be_closed(state: State) -> None:
    ended = transaction(state=state)
    assert refused(lambda: Closings(Ticking()).ask(ended, ANNA, "adjusted", "B-77")) == "A-NOTHING-OWED"


def test_an_acknowledgement_meanwhile_leaves_nothing_to_close() -> None:
    closings, challenge = asked()
    done = replace(ITEM, state=State.REVERSED)
    assert refused(lambda: closings.confirm(done, WEI, challenge.code)) == "A-NOTHING-OWED"


def test_the_banks_code_is_a_second_word_for_anybody() -> None:
    closings, challenge = asked()
    answer = bank_answer(KEY, ITEM, challenge)
    event = closings.confirm_with_bank(ITEM, ANNA, f"{answer[:5]} {answer[5:]}".lower(), KEY)
    assert event.confirmed_by == "the bank's code, typed by anna (uid 1000)"


def test_the_banks_code_needs_the_banks_key() -> None:
    closings, challenge = asked()
    forged = bank_answer(b"another key of 16", ITEM, challenge)
    assert refused(lambda: closings.confirm_with_bank(ITEM, ANNA, forged, KEY)) == "A-WRONG-CODE"


def test_letters_that_look_like_digits_read_as_those() -> None:
    closings, challenge = asked()
    misread = challenge.code.replace("0", "O").replace("1", "L")
    assert closings.confirm(ITEM, WEI, misread)


@pytest.mark.parametrize("typed", ["", "键盘键盘", "é" * 8, "\u0660\u0661"])
def test_what_is_no_code_is_a_wrong_code(typed: str) -> None:
    closings, _ = asked()
    assert refused(lambda: closings.confirm(ITEM, WEI, typed)) == "A-WRONG-CODE"


def test_one_person_alone_leaves_the_second_word_empty() -> None:
    assert alone(ANNA, "adjusted", "B-77").confirmed_by == ""


def test_the_page_shows_an_example_that_the_program_computes() -> None:
    page = (ROOT / "docs/closing.md").read_text(encoding="utf-8")
    challenge = Challenge("main-1", "K7Q2M9XD", "adjusted", "B-77", ANNA, 0.0)
    assert f"`{bank_text(owed(), challenge)}` gives `{bank_answer(KEY, owed(), challenge)}`" in page
    assert ALPHABET in page


def test_who_is_at_the_socket_is_the_kernels_word(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77/loginuid").write_text("1000")
    (tmp_path / "78").mkdir()
    (tmp_path / "78/loginuid").write_text("4294967295")
    assert person(Peer(77, 0, 0, "root"), tmp_path) == Person("root", 0, 1000)
    assert person(Peer(78, 0, 0, "root"), tmp_path).login is None
    assert person(Peer(79, 0, 0, "root"), tmp_path).login is None


def test_nothing_else_in_the_program_closes_an_item() -> None:
    makers = [
        path.name
        for path in sorted((ROOT / "agent").glob("*.py"))
        if re.search(r"\bSettle\(", path.read_text(encoding="utf-8").replace("class Settle(", ""))
    ]
    assert makers == ["closing.py"]
