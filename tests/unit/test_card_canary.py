"""The canary sings: each form in which card data could leak is found where it is planted."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.card_canary import Canary, Secret

PAN = "6212345678900000003"
TRACK = f"{PAN}=30122010000012345678"
CANARY = Canary([Secret("card number", PAN), Secret("track", TRACK)])
PADDED = bytes.fromhex(PAN + "F")

PLANTED = {
    "clear": PAN.encode(),
    "in JSON": f'{{"pan":"{PAN}"}}'.encode(),
    "BCD, left": PADDED,
    "BCD, right": bytes.fromhex("0" + PAN),
    "track in BCD": bytes.fromhex(TRACK.replace("=", "D") + ("0" if len(TRACK) % 2 else "")),
    "hex dump": PADDED.hex().encode(),
    "hex of text": PAN.encode().hex().upper().encode(),
    "UTF-16": PAN.encode("utf-16-le"),
    "swapped nibbles": bytes(byte >> 4 | (byte & 15) << 4 for byte in PADDED),
    **{f"base64 at {n}": base64.b64encode(b"abc"[:n] + PAN.encode() + b"tail") for n in range(3)},
    **{f"base64 of BCD at {n}": base64.b64encode(b"abc"[:n] + PADDED + b"tail") for n in range(3)},
}


@pytest.mark.parametrize("name", PLANTED)
def test_every_form_is_found(name: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\x00noise" + PLANTED[name] + b"noise\xff")
    assert CANARY.found_below(tmp_path)


def test_a_masked_number_is_no_finding() -> None:
    assert CANARY.found("x", b"621234*********0003, expiry <hidden 4>, 6212345678900000004") == []
