"""The certification kit: every case, exact bytes that never change, MACs that verify, card data masked beside them.

The golden files are written anew with: python -m tests.unit.test_profile_tools_kit (then read the difference).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from agent.examples import NOTE, TEST_CARD, TEST_KEY, Case, examples, kit_json, kit_text, write_kit
from protocol.envelope import EnvelopeReader
from protocol.errors import MacError
from protocol.iso8583 import Message
from protocol.mac import carries_mac, compute, split
from protocol.matching import match_reply
from protocol.profile import load_profile, profile_names
from protocol.reversal import identity_of

_GOLDEN = Path(__file__).with_name("profile_kits")
PROFILES = profile_names()
ALWAYS = {
    *("sign-on", "echo", "sale", "sale-reply", "reversal-timeout", "reversal-repeat", "reversal-mac-error"),
    *("void-reversal", "completion-reversal", "preauth-reversal", "acknowledgement"),
}


@cache
def _cases(name: str) -> tuple[Case, ...]:
    return tuple(examples(load_profile(name)))


def _kit(name: str) -> dict[str, Case]:
    return {case.name: case for case in _cases(name)}


def _message(name: str, case: Case) -> Message:
    profile = load_profile(name)
    (frame,) = EnvelopeReader(profile).feed(case.frame)
    return profile.codec.unpack(frame.body)


def _lines(name: str) -> str:
    return "".join(f"{case.name} {case.direction} {case.frame.hex().upper()}\n" for case in _cases(name))


@pytest.mark.parametrize("name", PROFILES)
def test_a_kit_is_byte_for_byte_the_golden_one(name: str) -> None:
    assert _lines(name) == (_GOLDEN / f"{name}.txt").read_text("utf-8")


@pytest.mark.parametrize("name", PROFILES)
def test_every_case_that_a_certification_wants_is_there(name: str) -> None:
    profile = load_profile(name)
    wanted = ALWAYS | ({"reversal-partial"} if profile.reversal.partial_field else set())
    wanted |= {"script-result", "script-result-reply"} if profile.script_result else set()
    wanted |= {"settlement", "settlement-reply", "upload", "upload-end"} if profile.batch_upload else set()
    assert wanted <= set(_kit(name))


@pytest.mark.parametrize("name", PROFILES)
def test_every_case_is_a_sound_frame_of_its_profile(name: str) -> None:
    assert all(case.explanation.fits and case.explanation.layout == "frame" for case in _cases(name))


@pytest.mark.parametrize("name", PROFILES)
def test_every_mac_verifies_with_the_test_key(name: str) -> None:
    profile = load_profile(name)
    for case in _cases(name):
        if carries_mac(profile.mac, case.mti):
            (frame,) = EnvelopeReader(profile).feed(case.frame)
            parts = split(profile, frame.body)
            assert parts is not None
            assert parts[1] in _macs(name, parts[0])


def _macs(name: str, data: bytes) -> list[bytes]:
    rules, found = load_profile(name).mac, []
    for key in (TEST_KEY, TEST_KEY[:8]):
        try:
            found.append(compute(rules, key, data))
        except MacError:
            continue
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_the_acknowledgement_of_the_kit_acknowledges_its_reversal(name: str) -> None:
    kit = _kit(name)
    reversal, answer = (_message(name, kit[case]) for case in ("reversal-timeout", "acknowledgement"))
    profile = load_profile(name)
    assert match_reply(identity_of(reversal), answer, profile).accepted
    assert profile.responses.reversal(answer.get(39)) == "done"


@pytest.mark.parametrize("name", PROFILES)
def test_a_repeat_says_it_is_one_where_the_profile_has_repeats(name: str) -> None:
    kit = _kit(name)
    assert (kit["reversal-repeat"].mti != kit["reversal-timeout"].mti) == load_profile(name).reversal.repeats


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_explanations_of_a_kit_mask_the_test_card(name: str, language: str) -> None:
    profile = load_profile(name)
    text = kit_text(profile, list(_cases(name)), language)
    without_note = text.replace(NOTE.of(language), "")
    explained = [line for line in without_note.splitlines() if " " in line]  # not the lines of exact bytes
    assert TEST_CARD not in "\n".join(explained)
    assert "620000******0005" in text


def test_a_partial_reversal_states_the_amount_that_stands() -> None:
    text = kit_text(load_profile("iso87-ascii"), list(_kit("iso87-ascii").values()), "en")
    assert "amount that stands CNY 10.00" in text


def test_a_kit_says_that_card_and_key_are_for_tests() -> None:
    told = kit_json(load_profile("unionpay-pos"), [])
    assert TEST_CARD in told["note_en"]
    assert TEST_KEY.hex().upper() in told["note_zh"]


def test_a_written_kit_holds_bytes_and_explanation_of_each_case(tmp_path: Path) -> None:
    profile = load_profile("nac-edc")
    cases = examples(profile)
    names = write_kit(profile, cases, tmp_path / "kit", "zh")
    assert sorted(path.name for path in (tmp_path / "kit").iterdir()) == sorted(names)
    assert (tmp_path / "kit" / "05-sale.bin").read_bytes() == cases[4].frame
    assert "消费" in (tmp_path / "kit" / "05-sale.txt").read_text("utf-8")
    told = json.loads((tmp_path / "kit" / "kit.json").read_text("utf-8"))
    assert [case["case"] for case in told["cases"]] == [case.name for case in cases]


if __name__ == "__main__":
    for each in PROFILES:
        (_GOLDEN / f"{each}.txt").write_text(_lines(each), "utf-8")
