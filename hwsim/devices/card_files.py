"""The files of a test card, as the application file locator 08010100 10010200 says."""

from __future__ import annotations

from typing import Protocol

from hwsim.devices.tlv import tlv


class Values(Protocol):
    """A card file (hwsim/devices/card.py)."""

    def text(self, key: str) -> str: ...
    def data(self, key: str) -> bytes: ...


def build_files(spec: Values) -> dict[tuple[str, int, int], bytes]:
    """(directory, short file id, record) → record."""
    pan, expiry = spec.text("pan"), spec.text("expiry")
    track = f"{pan}D{expiry}{spec.text('service_code')}{spec.text('discretionary')}"
    label = spec.text("label").encode("ascii")
    entry = tlv("61", tlv("4F", spec.data("aid")) + tlv("50", label) + tlv("87", b"\x01"))
    person = tlv("57", packed(track)) + tlv("5F20", spec.text("holder").encode("ascii"))
    account = (
        tlv("5A", packed(pan))
        + tlv("5F24", bytes.fromhex(f"{expiry}30"))
        + tlv("5F34", bytes.fromhex(spec.text("sequence")))
        + tlv("5F28", bytes.fromhex(spec.text("country")))
        + tlv("8E", spec.data("cvm_list"))
        + tlv("9F07", b"\xff\x00")
    )
    lists = tlv("8C", spec.data("cdol1")) + tlv("8D", spec.data("cdol2"))
    lists += tlv("9F42", bytes.fromhex(spec.text("currency"))) + tlv("9F08", b"\x00\x30")
    return {
        ("pse", 1, 1): tlv("70", entry),
        ("application", 1, 1): tlv("70", person),
        ("application", 2, 1): tlv("70", account),
        ("application", 2, 2): tlv("70", lists),
    }


def packed(digits: str) -> bytes:
    """Digits (and the separator D) two to a byte, the last half filled with F."""
    return bytes.fromhex(digits + "F" * (len(digits) % 2))
