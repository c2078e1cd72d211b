"""What stands on every slip of a shop."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Texts; the merchant's name comes first, the header lines below it, the footer lines at the end."""

    merchant_name: str = ""
    header: Sequence[str] = ()
    footer: Sequence[str] = ()
