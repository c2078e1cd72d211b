"""Sign-on of UnionPay terminals: working keys under the terminal master key, batch numbers, settlement totals.

Element 62 of 0810 (published samples): 24 bytes = PIN key 8 + check 4 + MAC key 8 + check 4 (network code 001);
40 = PIN key 16 + check 4 + MAC key 16 + check 4 (003), a single-length MAC key being followed by eight zero
bytes; 60 adds the track key 16 + check 4 (004). Keys are encrypted 3DES-ECB under the master key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from hwsim.host import macs
from hwsim.host.keys import UNIONPAY_MASTER_KEY, UNIONPAY_PIK, UNIONPAY_TDK
from hwsim.host.ledger import Ledger

SIGN_ON_CODES = ("001", "003", "004")
BATCH_MAX = 999_999


@dataclass(frozen=True, slots=True)
class KeyRules:
    """`rotate`: each sign-on brings new working keys, made from the terminal id and the count of sign-ons."""

    mac_key: bytes
    master_key: bytes = UNIONPAY_MASTER_KEY
    pin_key: bytes = UNIONPAY_PIK
    track_key: bytes = UNIONPAY_TDK
    rotate: bool = False


class SignOn:
    """The host's book of terminals; its state lives in the ledger so that a restart keeps it."""

    def __init__(self, ledger: Ledger, rules: KeyRules) -> None:
        self._ledger = ledger
        self._rules = rules

    def mac_key(self, terminal: str) -> bytes:
        """The MAC key in force for a terminal: the configured one until rotated keys were handed out."""
        count = self._ledger.terminal(terminal).sign_ons
        if not self._rules.rotate or not count:
            return self._rules.mac_key
        return _derived("mak", terminal, count, len(self._rules.mac_key))

    def batch(self, terminal: str) -> str:
        return f"{self._ledger.terminal(terminal).batch:06d}"

    def sign_on(self, terminal: str, network_code: str) -> str:
        """Count a sign-on; element 62 as hex."""
        state = self._ledger.terminal(terminal)
        self._ledger.keep_terminal(terminal, replace(state, sign_ons=state.sign_ons + 1))
        keys = self._blocks(terminal, network_code)
        return b"".join(keys).hex().upper()

    def settle(self, terminal: str) -> None:
        """A settled batch is closed; the next sign-on hands out the next number."""
        state = self._ledger.terminal(terminal)
        self._ledger.keep_terminal(terminal, replace(state, batch=state.batch % BATCH_MAX + 1))

    def totals_flag(self, terminal: str, batch: str, element_48: str) -> str:
        """1 when the terminal's RMB totals are the ledger's, else 2 (element 48: amount 12, count 3, twice)."""
        debit, debits, credit, credits_ = self._ledger.totals(terminal, batch)
        return "1" if element_48[:30] == f"{debit:012d}{debits:03d}{credit:012d}{credits_:03d}" else "2"

    def _blocks(self, terminal: str, network_code: str) -> list[bytes]:
        pin, mac, track = self._working_keys(terminal)
        if network_code == "001":
            return [self._wrapped(pin[:8], 8), self._wrapped(mac[:8], 8)]
        blocks = [self._wrapped(pin, 16), self._wrapped(mac, 16)]
        return [*blocks, self._wrapped(track, 16)] if network_code == "004" else blocks

    def _working_keys(self, terminal: str) -> tuple[bytes, bytes, bytes]:
        count = self._ledger.terminal(terminal).sign_ons
        if not self._rules.rotate:
            return self._rules.pin_key, self._rules.mac_key, self._rules.track_key
        return _derived("pik", terminal, count, 16), self.mac_key(terminal), _derived("tdk", terminal, count, 16)

    def _wrapped(self, key: bytes, field_bytes: int) -> bytes:
        return macs.encrypt(self._rules.master_key, key).ljust(field_bytes, b"\x00") + macs.check_value(key)


def _derived(name: str, terminal: str, count: int, length: int) -> bytes:
    """A bench key that anyone can compute: never more than a stand-in for a key from an HSM."""
    return hashlib.sha256(f"bench {name} {terminal} {count}".encode()).digest()[:length]
