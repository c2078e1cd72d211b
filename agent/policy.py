"""What `decide` may know besides the record and the event: one lane's rules, all of them data."""

from __future__ import annotations

import hashlib
from typing import Literal

from protocol.frozen import dataclass
from protocol.rules import Profile, RetryRules

NobodyKnows = Literal["reverse", "complete", "park"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one lane.

    `confirm_timeout_s`: how long an approved sale waits for the one that acted; then
    `nobody_knows` decides. `reply_deadline_s`: how long an application that talks to the host
    itself may take to report the answer (the host's own reply time-out and some slack).
    """

    profile: Profile
    retry: RetryRules
    terminal_id: str
    confirm_timeout_s: float
    nobody_knows: NobodyKnows
    reply_deadline_s: float

    @property
    def mac_required(self) -> bool:
        """Whether a reply must bear a MAC that verifies before it moves money."""
        return self.profile.mac.algorithm != "none"

    def delay_s(self, txn_id: str, failures: int, *, parked: bool) -> float:
        """Seconds until the next try after `failures` in a row: exponential, capped, jittered.

        The jitter is drawn from terminal, item and count, so that a fleet does not ring the host
        at the same second and a run can be replayed.
        """
        if parked:
            base = self.retry.parked_every_s
        else:
            exponent = min(max(failures, 1) - 1, 62)
            base = min(self.retry.cap_s, self.retry.base_s * self.retry.factor**exponent)
        return base * (1 + self.retry.jitter * (2 * self._fraction(f"{txn_id}/{failures}") - 1))

    def spread_s(self, txn_id: str) -> float:
        """A small first delay, different for each terminal and item, for the same reason."""
        return self.retry.first_delay_s + self.retry.base_s * self.retry.jitter * self._fraction(txn_id)

    def _fraction(self, salt: str) -> float:
        digest = hashlib.blake2b(f"{self.terminal_id}/{salt}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") / 0xFFFFFFFF
