"""What a PIN entry packet (70, Z60) asks for, and why the pad would refuse it.

    70.[account]<FS>[session key][amount]<FS>[timeout]      Z60.[account]<FS>[session key]<FS>[timeout]

Source: PP791 manual p.202 (70), p.226 (Z60), p.205 (error codes of 71).
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.devices.ipp import FS
from hwsim.devices.pinpad_keys import KeyStore, is_hex

TIMEOUT_UNIT_S = 30.0
DEFAULT_TIMEOUT = "9"
MAX_AMOUNT = 8
NULL_ACCOUNT, KEY_VALUE, ACCOUNT_SHORT, ACCOUNT_LONG, ACCOUNT_DIGITS = "0", "1", "2", "3", "4"
KEY_FORMAT, TIMEOUT_VALUE, AMOUNT_FORMAT, NO_MASTER_KEY = "5", "6", "8", "9"


@dataclass(frozen=True, repr=False)
class PinRequest:
    """`key_hex` is the encrypted session key; secret like the account, so there is no `repr`."""

    account: str
    key_hex: str
    amount: str
    timeout: str

    @property
    def timeout_s(self) -> float:
        return int(self.timeout) * TIMEOUT_UNIT_S


def parse_request(text: str, with_amount: bool) -> PinRequest:
    """Splits the packet; what does not fit stays in the fields for `refusal` to find."""
    parts = [*text.split(FS), "", ""][:3]
    # A key of 32 digits cannot be taken for one of 16 with an amount: amounts have at most 8 characters.
    size = 32 if len(parts[1]) > 16 + MAX_AMOUNT or not with_amount else 16
    key_hex = parts[1][:size] if with_amount else parts[1]
    return PinRequest(parts[0], key_hex, parts[1][size:] if with_amount else "", parts[2] or DEFAULT_TIMEOUT)


def refusal(request: PinRequest, keys: KeyStore, slot: str) -> str:
    """The error code of message 71, or "" when the pad goes on."""
    checks = (
        (not request.account, NULL_ACCOUNT),
        (not request.account.isdecimal() or not request.account.isascii(), ACCOUNT_DIGITS),
        (len(request.account) < 8, ACCOUNT_SHORT),
        (len(request.account) > 19, ACCOUNT_LONG),
        (len(request.key_hex) not in (16, 32) or not is_hex(request.key_hex), KEY_FORMAT),
        (not all(character in "0123456789." for character in request.amount), AMOUNT_FORMAT),
        (len(request.amount) > MAX_AMOUNT, AMOUNT_FORMAT),
        (request.timeout not in tuple("123456789"), TIMEOUT_VALUE),
        (not keys.has(slot), NO_MASTER_KEY),
        (keys.has(slot) and len(request.key_hex) > 2 * keys.length(slot), KEY_VALUE),
    )
    return next((code for wrong, code in checks if wrong), "")
