"""Settings of one simulated host, with the defaults of its dialect filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hwsim.host import keys
from hwsim.host.dialects import dialect
from hwsim.host.entries import LedgerRules
from hwsim.host.macs import ALGORITHMS
from hwsim.host.signon import KeyRules
from protocol.errors import MacError

DECLINES: Mapping[str, str] = {"51": "51"}
"""Last two digits of the amount -> response code: 12.51 is declined with 51, everything else approved."""


@dataclass(frozen=True, slots=True, repr=False)
class HostSettings:
    """`mac` '' takes the dialect's own algorithm, `mac_key` b'' the bench key that fits it."""

    dialect: str = "unionpay"
    mac: str = ""
    mac_key: bytes = b""
    mac_on_all_replies: bool = False
    rotate_keys: bool = False
    duplicate: Literal["same", "94"] = "same"
    unknown_reversal: str = "25"
    block_late_original: bool = True
    late_original: str = "12"
    check_batch: bool = False
    require_sign_on: bool = False
    processing_requirement: int = 0
    decline_amounts: Mapping[str, str] = field(default_factory=lambda: dict(DECLINES))

    @property
    def mac_algorithm(self) -> str:
        """The algorithm in force. Raises MacError for an unknown name."""
        name = self.mac or dialect(self.dialect).mac_default
        if name != "none" and name not in ALGORITHMS:
            raise MacError(f"unknown MAC algorithm {name!r}", f"use none, {', '.join(ALGORITHMS)}")
        return name

    @property
    def key_rules(self) -> KeyRules:
        default = keys.UNIONPAY_MAK_DOUBLE if self.dialect in ("unionpay", "nac-edc") else keys.ISO87_X919_KEY
        return KeyRules(self.mac_key or default, rotate=self.rotate_keys)

    @property
    def ledger_rules(self) -> LedgerRules:
        return LedgerRules(
            duplicate=self.duplicate,
            unknown_reversal=self.unknown_reversal,
            block_late_original=self.block_late_original,
            late_original=self.late_original,
            repeats_are_marked=dialect(self.dialect).repeats_are_marked,
        )
