"""No card number, track or secret is shown, in whatever form it stands in a text."""

from __future__ import annotations

import pytest

from protocol.masking import mask_pan, passes_luhn, scrub, show
from tests.unit.protocol_samples import PAN, TRACK2

VISA = "4111111111111111"


def test_a_card_number_shows_six_and_four() -> None:
    assert mask_pan(PAN) == "621234*********0003"
    assert mask_pan(VISA) == "411111******1111"
    assert mask_pan("123456789012") == "************"


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        (2, PAN, "621234*********0003"),
        (4, "000000000100", "000000000100"),
        (14, "3012", "<hidden 4>"),
        (35, TRACK2, "<hidden 37>"),
        (52, "1122334455667788", "<hidden 16>"),
        (55, "5A08", "<hidden 4>"),
        (63, f"card {VISA}", "card 411111******1111"),
        (104, VISA, "411111******1111"),
        (90, "0" * 42, "0" * 42),
    ],
)
def test_each_element_is_shown_as_its_row_says(field: int, value: str, shown: str) -> None:
    assert show(field, value) == shown


@pytest.mark.parametrize(
    "text",
    [
        PAN,
        "6212 3456 7890 0000 003",
        "6212-3456-7890-0000-003",
        f"pan={PAN},",
        f"{PAN}=30122010000012300",
        f"{PAN}D30122010000012300F",
        f"{PAN}=3012",
        PAN.encode().hex(),  # ASCII as hexadecimal
        f"{PAN}=30122010000012300".encode().hex(),
        "020070240000" + "19" + PAN + "0" + "000000" + "000000012345",  # a dump in BCD
        f"{PAN}0000",
    ],
)
def test_no_form_of_a_card_number_passes(text: str) -> None:
    cleaned = scrub(f"before {text} after")
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    digits = "".join(character for character in cleaned if character.isdigit())
    for secret in (PAN, PAN[6:15], PAN.encode().hex(), "20100000123"):
        assert secret not in digits


@pytest.mark.parametrize(
    "text",
    [
        "amount 000000012345",
        "rrn 123456789012",
        "4111111111111112",
        "2026-11-22T20:05:28Z",
        "no digits",
        "313233343536",
    ],
)
def test_what_is_no_card_number_stays(text: str) -> None:
    assert scrub(text) == text


def test_a_long_run_without_a_card_number_stays() -> None:
    assert scrub("1" * 40) == "1" * 40


def test_the_check_digit_is_that_of_the_standard() -> None:
    assert passes_luhn(VISA)
    assert passes_luhn("6200000000000005")
    assert not passes_luhn("6200000000000006")
