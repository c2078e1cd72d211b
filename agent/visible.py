"""Texts of hosts, devices and applications before they reach a terminal or a page: nothing in them may steer it."""

from __future__ import annotations

import re

# C0 and C1 controls (but line feed), bidirectional controls, lone surrogates: Unicode, chapter 23.
_UNSHOWN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, instead: str = "\ufffd") -> str:
    """The text with every controlling character replaced; line feeds stay."""
    return _UNSHOWN.sub(instead, text)
