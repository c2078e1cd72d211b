"""What may be shown: masks by element, and a second line of defence for free texts.

Rules: a card number shows at most its first six and last four digits (PCI DSS 3.4); tracks, PIN
block, expiry and chip data show only their length. Every `repr` that could hold card data goes through here.
"""

from __future__ import annotations

import re

from protocol.elements import element

# Lengths of card numbers: ISO/IEC 7812-1, at most 19 digits; the shortest in use have 13.
_SHORTEST, _LONGEST = 13, 19

_TRACK = re.compile(r"(?<![0-9])([0-9]{12,19})[=Dd]([0-9]{4,}[0-9Ff=]*)")
_GROUPED = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,}(?![0-9])")
_ASCII_AS_HEX = re.compile(r"(?:3[0-9]){12,}(?:3[Dd](?:3[0-9])*)?")


def mask_pan(pan: str) -> str:
    """Gives first 6 and last 4 digits of a card number: "621234******0003"; short ones are hidden as a whole."""
    if len(pan) < _SHORTEST:
        return "*" * len(pan)
    return pan[:6] + "*" * (len(pan) - 10) + pan[-4:]


def show(field: int, value: str) -> str:
    """Gives what may be shown of one element's value: the value, a mask, or "<hidden n>" (n characters)."""
    secrecy = element(field).secrecy
    if secrecy == "open":
        return value
    if secrecy == "pan":
        return mask_pan(value)
    if secrecy == "hidden":
        return f"<hidden {len(value)}>"
    return scrub(value)


def passes_luhn(digits: str) -> bool:
    """Tells whether the last digit is the check digit of the others. Source: ISO/IEC 7812-1 annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def scrub(text: str) -> str:
    """Gives the text with card numbers and track data masked, whether plain, grouped, in BCD or in ASCII as hex.

    A run of 13 to 19 digits counts as a card number when its check digit is right; in longer runs (dumps) every
    stretch that could be one is masked. This may hide a harmless number; it must not show a harmful one.
    """
    text = _ASCII_AS_HEX.sub(_scrub_hex, text)
    text = _TRACK.sub(lambda match: f"{mask_pan(match[1])}=<hidden {len(match[2])}>", text)
    return _GROUPED.sub(lambda match: _scrub_run(match[0]), text)


def _scrub_hex(match: re.Match[str]) -> str:
    """Masks digits that stand as ASCII in hexadecimal ("3632..."): shown as they are when no card number is in them."""
    digits = match[0][1::2]
    plain = digits.replace("D", "=").replace("d", "=")
    return match[0] if scrub(plain) == plain else f"<hidden {len(match[0])}>"


def _scrub_run(run: str) -> str:
    """Masks the card numbers in one run of digits (with single blanks or dashes between them)."""
    digits = re.sub("[ -]", "", run)
    if len(digits) <= _LONGEST:
        return mask_pan(digits) if passes_luhn(digits) else run
    masked = list(digits)
    found = False
    for start in range(len(digits) - _SHORTEST + 1):
        for length in range(_LONGEST, _SHORTEST - 1, -1):
            candidate = digits[start : start + length]
            if len(candidate) == length and _plausible(candidate):
                masked[start + 6 : start + length - 4] = "*" * (length - 10)
                found = True
    return "".join(masked) if found else run


def _plausible(digits: str) -> bool:
    """Tells whether a stretch of a longer run could be a card number: issuer prefix 2 to 6 or 9, check digit right."""
    return digits[0] in "234569" and passes_luhn(digits)
