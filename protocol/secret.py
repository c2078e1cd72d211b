"""Values that must not be seen: card numbers, track data, PIN blocks, keys. Only `reveal` gives the raw value.

Whatever else is done with one gives a mask: str, repr, format, %, logging, an exception's text. JSON and pickling are
refused by type (`json.dumps(..., default=str)` writes the mask). It is no str, so it cannot slip into a text by joining
or slicing.

Rules not to break:
1. Outside this layer `reveal` is called in the one line that hands the value on, never to keep it.
2. Two secrets compare in constant time, and a secret never equals a plain text.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import NoReturn

from protocol.masking import mask_pan


class Secret:
    """A text that is shown as its kind and length."""

    __slots__ = ("_value",)
    kind = "hidden"

    def __init__(self, value: str | Secret) -> None:
        self._value: str = value.reveal() if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """The raw value."""
        return self._value

    def shown(self) -> str:
        """The mask."""
        return f"<{self.kind} {len(self._value)}>"

    def __str__(self) -> str:
        return self.shown()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown()})"

    def __format__(self, form: str) -> str:
        return format(self.shown(), form)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied: hand it on, or reveal it where it is needed")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


class Pan(Secret):
    """A card number, shown by its first six and last four digits."""

    __slots__ = ()

    def shown(self) -> str:
        """As mask_pan."""
        return mask_pan(self._value)


class Track(Secret):
    """Track 2 (or its chip equivalent), shown by the masks of its number; the rest is only counted."""

    __slots__ = ()
    kind = "track"

    def number(self) -> Pan:
        """The card number in it."""
        return Pan(self._value.split("=")[0])


class Key(Secret):
    """A key in hexadecimal; nothing of it is shown, not even its length."""

    __slots__ = ()

    def __init__(self, value: str | bytes | Secret) -> None:
        super().__init__(value.hex().upper() if isinstance(value, bytes) else value)

    def raw(self) -> bytes:
        """Its bytes."""
        return bytes.fromhex(self._value)

    def shown(self) -> str:
        """Only that it is one."""
        return "<key>"


# Facts of a sale that are never kept raw outside this layer: element's name in `RequestFacts`, and its type.
CARD_FACTS: dict[str, type[Secret]] = {"pan": Pan, "track2": Track, "pin_block": Secret, "chip_data": Secret}


def sealed(facts: Mapping[str, str | Secret]) -> dict[str, str | Secret]:
    """The same facts, card data as secrets."""
    return {name: CARD_FACTS[name](value) if name in CARD_FACTS else value for name, value in facts.items()}


def opened(facts: Mapping[str, str | Secret]) -> dict[str, str]:
    """The same facts, raw: for `RequestFacts`."""
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in facts.items()}


def masked_card(facts: Mapping[str, str | Secret]) -> str:
    """The card's number as it may be kept in clear; "" where the facts have none."""
    pan, track = facts.get("pan"), facts.get("track2")
    if pan:
        return str(pan)
    return str(track.number()) if isinstance(track, Track) and track else ""
