"""Amounts for people: minor units and a numeric currency code become "CNY 12.50".

Source: ISO 4217, list one (numeric code, letters, minor unit), as of 2024. What the list does not know is shown
as it is, in minor units: a wrong decimal point would be a wrong amount.
"""

from __future__ import annotations

# Numeric code and letters of the currencies in use, without funds, metals and test codes.
_LETTERS = (
    "008ALL 012DZD 032ARS 036AUD 044BSD 048BHD 050BDT 051AMD 052BBD 060BMD 064BTN 068BOB 072BWP 084BZD "
    "090SBD 096BND 104MMK 108BIF 116KHR 124CAD 132CVE 136KYD 144LKR 152CLP 156CNY 170COP 174KMF 188CRC "
    "192CUP 203CZK 208DKK 214DOP 222SVC 230ETB 232ERN 238FKP 242FJD 262DJF 270GMD 292GIP 320GTQ 324GNF "
    "328GYD 332HTG 340HNL 344HKD 348HUF 352ISK 356INR 360IDR 364IRR 368IQD 376ILS 388JMD 392JPY 398KZT "
    "400JOD 404KES 408KPW 410KRW 414KWD 417KGS 418LAK 422LBP 426LSL 430LRD 434LYD 446MOP 454MWK 458MYR "
    "462MVR 480MUR 484MXN 496MNT 498MDL 504MAD 512OMR 516NAD 524NPR 532ANG 533AWG 548VUV 554NZD 558NIO "
    "566NGN 578NOK 586PKR 590PAB 598PGK 600PYG 604PEN 608PHP 634QAR 643RUB 646RWF 654SHP 682SAR 690SCR "
    "694SLL 702SGD 704VND 706SOS 710ZAR 728SSP 748SZL 752SEK 756CHF 760SYP 764THB 776TOP 780TTD 784AED "
    "788TND 800UGX 807MKD 818EGP 826GBP 834TZS 840USD 858UYU 860UZS 882WST 886YER 901TWD 925SLE 926VED "
    "928VES 929MRU 930STN 933BYN 934TMT 936GHS 938SDG 941RSD 943MZN 944AZN 946RON 949TRY 950XAF 951XCD "
    "952XOF 953XPF 967ZMW 968SRD 969MGA 971AFN 972TJS 973AOA 975BGN 976CDF 977BAM 978EUR 980UAH 981GEL "
    "985PLN 986BRL "
)
_BY_NUMBER = {pair[:3]: pair[3:] for pair in _LETTERS.split()}

# Minor units where they are not two. Source: ISO 4217, column "Minor unit".
_EXPONENTS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_EXPONENT = {letters: exponent for exponent, group in _EXPONENTS.items() for letters in group.split()}


def letters(currency: str) -> str:
    """The three letters of a numeric code ("156" gives "CNY"); an unknown code is given back."""
    return _BY_NUMBER.get(currency, currency)


def exponent(currency: str) -> int | None:
    """Digits after the decimal point (156: 2, 392: 0, 048: 3); None where the list does not know the code."""
    known = _BY_NUMBER.get(currency)
    return None if known is None else _EXPONENT.get(known, 2)


def money(amount_minor: int, currency: str) -> str:
    """An amount to read: "CNY 1,234.50", "JPY 500"; "999 1250 (minor units)" where the code is unknown."""
    digits = exponent(currency)
    if digits is None:
        return f"{currency} {amount_minor} (minor units)"
    sign, rest = ("-", -amount_minor) if amount_minor < 0 else ("", amount_minor)
    whole, part = divmod(rest, 10**digits)
    fraction = f".{part:0{digits}d}" if digits else ""
    return f"{letters(currency)} {sign}{whole:,}{fraction}"
