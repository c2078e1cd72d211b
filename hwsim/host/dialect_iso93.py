"""ISO 8583:1993 ASCII dialect of the simulated host: 1200/1210, 1420/1421/1430, DE 56, three-digit action codes.

Sources: a published 1420/1430 pair (DE 24 = 400, DE 39 = 400, DE 56 = MTI 4, STAN 6, YYMMDDhhmmss 12, LL,
acquirer); action codes of the 1993 edition where the pair says nothing (assumed).
"""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.host.codec import HostCodec, HostMessage, elements
from hwsim.host.dialect import Dialect
from hwsim.host.dialect_iso87 import TABLE as TABLE_1987
from hwsim.host.dialect_iso87 import kind_of
from hwsim.host.entries import Key

TABLE = {
    **TABLE_1987,
    **{12: "n12", 15: "n6", 17: "n4", 22: "t12", 23: "n3", 24: "n3", 25: "n4", 26: "n4", 27: "n1", 28: "n6", 29: "n3"},
    **{30: "n24", 38: "t6", 39: "n3", 43: "t..99", 44: "t..99", 46: "t...204", 48: "t...999", 56: "n..35", 95: "t..99"},
}

ACTION_CODES: Mapping[str, str] = {
    "00": "000",
    "12": "902",
    "14": "111",
    "25": "914",
    "30": "904",
    "51": "116",
    "64": "110",
    "91": "907",
    "94": "913",
    "96": "909",
    "A0": "916",
}
"""1987 response code -> 1993 action code; codes not named are sent as 909 (system malfunction)."""

ROLE_CODES: Mapping[tuple[str, str], str] = {
    ("reversal", "00"): "400",
    ("reversal", "25"): "480",
    ("network", "00"): "800",
}
"""400: reversal accepted; 480: accepted, nothing to reverse (PayEx)."""


class Iso93(Dialect):
    name = "iso93"
    title = "ISO 8583:1993 ASCII: 1420, 1421 and DE 56"
    codec = HostCodec("ascii", elements(TABLE))
    repeats_are_marked = True
    mac_required = True
    changing = frozenset({7, 11, 12, 25, 39, 64, 128})
    echoed = (2, 3, 4, 7, 11, 12, 24, 32, 41, 42, 49, 56, 70)

    def kind(self, message: HostMessage) -> str:
        """Function code 201 (element 24) completes an authorisation."""
        original_mti = self._named(message)[:4] or message.mti
        return kind_of(message.get(3), original_mti[1:2], message.get(24) == "201")

    def key(self, message: HostMessage) -> Key:
        """A reversal names its original in DE 56 (MTI, STAN, local time); a request is named by its DE 11 and 12."""
        named = self._named(message)
        stan, moment = (named[4:10], named[10:22]) if named else (message.get(11), message.get(12))
        return Key(message.get(41), moment, stan, message.get(42))

    def code(self, code: str, message: HostMessage) -> str:
        """Codes of three digits pass as they are: a setting may name them directly."""
        if len(code) == 3:
            return code
        own = ROLE_CODES.get((self.role(message), code))
        return own or ACTION_CODES.get(code, "909")

    def is_approval(self, code: str) -> bool:
        return code in ("000", "400", "800")

    def _named(self, message: HostMessage) -> str:
        return message.get(56) if self.role(message) == "reversal" else ""
