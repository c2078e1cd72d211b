"""Amounts: the decimal point stands where ISO 4217 puts it."""

from __future__ import annotations

import pytest

from agent.currency import exponent, letters, money


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (1250, "156", "CNY 12.50"),
        (5, "156", "CNY 0.05"),
        (0, "840", "USD 0.00"),
        (123_456_789, "978", "EUR 1,234,567.89"),
        (500, "392", "JPY 500"),
        (1_234_567, "410", "KRW 1,234,567"),
        (1500, "048", "BHD 1.500"),
        (-1250, "156", "CNY -12.50"),
        (1250, "000", "000 1250 (minor units)"),
    ],
)
def test_an_amount_reads_as_its_currency_is_written(amount_minor: int, currency: str, text: str) -> None:
    assert money(amount_minor, currency) == text


def test_an_unknown_code_has_no_decimals_and_stands_for_itself() -> None:
    assert exponent("999") is None
    assert letters("999") == "999"
    assert (exponent("156"), letters("156")) == (2, "CNY")
