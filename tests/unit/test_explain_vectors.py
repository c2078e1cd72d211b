"""`explain` on every published message: the stated values, the envelope, the profile that `auto` finds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.currency import money
from agent.examples import TEST_CARD, examples
from agent.explain import explained, json_of, profiles_for, text_of
from protocol import masking
from protocol.explain import explain
from protocol.profile import load_profile
from tests.unit.protocol_samples import TEST_PROFILES, vector
from tests.unit.test_protocol_vectors import READERS

# Messages of which `auto` names another profile first, and why.
ALSO_FITS = {"up_0410_cmbc": "nothing in an 0410 tells this dialect", "up_0210_cmbc_sale": "the same"}
# Only the test's own profile reads this one.
NOT_SHIPPED = {"1993_1420_fluidpay"}


def _stated(entry: dict[str, Any]) -> dict[str, str]:
    """The values that the vector states, as far as they may be shown."""
    return {number: masking.show(int(number), field["value"]) for number, field in entry["fields"].items()}


@pytest.mark.parametrize("name", READERS)
def test_every_published_message_is_explained_with_its_stated_values(name: str) -> None:
    entry = vector(name)
    found = explain(load_profile(READERS[name], [TEST_PROFILES]), bytes.fromhex(entry["hex"]), money)
    assert found.mti == entry["mti"]
    assert found.fields == _stated(entry)
    assert found.fits == (name != "nac_like_0800_zoukankan")


@pytest.mark.parametrize("name", READERS)
def test_every_byte_of_a_published_message_is_in_exactly_one_part(name: str) -> None:
    entry = vector(name)
    found = explain(load_profile(READERS[name], [TEST_PROFILES]), bytes.fromhex(entry["hex"]), money)
    covered = [place for part in found.parts for place in range(part.offset, part.offset + len(part.hex))]
    assert covered == list(range(len(bytes.fromhex(entry["hex"]))))


@pytest.mark.parametrize("name", READERS)
def test_shown_bytes_are_the_bytes_and_hidden_ones_are_stars(name: str) -> None:
    raw = bytes.fromhex(vector(name)["hex"])
    found = explain(load_profile(READERS[name], [TEST_PROFILES]), raw, money)
    for shown, byte in zip(found.shown, raw, strict=True):
        assert all(mark in ("*", digit) for mark, digit in zip(shown, f"{byte:02X}", strict=True))


@pytest.mark.parametrize("name", sorted(set(READERS) - NOT_SHIPPED - set(ALSO_FITS)))
def test_auto_names_the_right_profile_first(name: str) -> None:
    found = explained(bytes.fromhex(vector(name)["hex"]), profiles_for("auto"))
    assert found[0].profile.name == READERS[name]


@pytest.mark.parametrize("name", sorted(ALSO_FITS))
def test_auto_lists_the_right_profile_among_those_that_fit(name: str) -> None:
    found = explained(bytes.fromhex(vector(name)["hex"]), profiles_for("auto"))
    assert READERS[name] in [one.profile.name for one in found if one.fits]


def test_a_length_that_counts_characters_is_pointed_at_and_the_message_is_shown_all_the_same() -> None:
    found = explain(load_profile("nac-edc"), bytes.fromhex(vector("nac_like_0800_zoukankan")["hex"]), money)
    assert found.layout == "unknown envelope"
    assert found.trouble is not None
    assert (found.trouble.offset, found.trouble.size) == (0, 9)


def test_envelope_and_codes_are_said_in_words() -> None:
    text = text_of([explain(load_profile("cmbc-like"), bytes.fromhex(vector("up_0210_cmbc_sale")["hex"]), money)], "en")
    for words in (
        "226 bytes follow",
        "destination 8381",
        "requirement 7: download the card list",
        "financial response",
        "CNY 1.00",
        "60.1 type 22: sale",
        "60.2 batch 000126",
        "44.1 issuer 03050001",
        "the request is approved",
        "620000******0005",
    ):
        assert words in text


def test_chinese_words_are_chinese() -> None:
    text = text_of([explain(load_profile("unionpay-x919"), _raw("up_0400_sale_ajsgn_x919"), money)], "zh")
    for words in ("冲正请求", "未在规定时间内收到应答", "原交易时间 233415", "本交易流水号 681186", "原交易日期 0529"):
        assert words in text


def test_original_data_elements_are_taken_apart() -> None:
    text = text_of([explain(load_profile("iso87-ascii"), _raw("ascii_0420_mcn"), money)], "en")
    for words in ("original message 0200: financial request", "original STAN 000124", "acquirer 00000970499"):
        assert words in text


def test_json_is_one_object_with_profile_type_and_masked_elements() -> None:
    told = json_of([explain(load_profile("cmbc-like"), _raw("up_0400_cmbc_mocredit"), money)])
    assert (told["profile"], told["mti"], told["kind"]) == ("cmbc-like", "0400", "")
    assert told["fields"]["3"] == "000000"
    assert told["fields"]["2"] == "620000******0005"
    assert told["fields"]["14"] == "<hidden 4>"


def _raw(name: str) -> bytes:
    return bytes.fromhex(vector(name)["hex"])


def test_an_upload_shows_its_details_with_masked_cards_and_a_settlement_its_totals() -> None:
    kit = {case.name: case for case in examples(load_profile("unionpay-pos"))}
    upload = text_of([kit["upload"].explanation], "en")
    assert "STAN 000123  CNY 12.50  card 620000******0005" in upload
    assert TEST_CARD not in upload.replace(" ", "")
    assert TEST_CARD not in json.dumps(json_of([kit["upload"].explanation])).replace(" ", "")
    assert "共上送 1 笔" in text_of([kit["upload-end"].explanation], "zh")
    told = text_of([kit["settlement-reply"].explanation], "en")
    assert "1 debits CNY 12.50, 0 credits CNY 0.00, NOT equal" in told


def test_nothing_is_said_twice_of_a_reason() -> None:
    kit = {case.name: case for case in examples(load_profile("unionpay-pos"))}
    for language, words in (("en", "no reply in time"), ("zh", "收到应答")):
        assert text_of([kit["reversal-timeout"].explanation], language).count(words) == 1
    assert "in this profile: another reason" in text_of([kit["reversal-other"].explanation], "en")
