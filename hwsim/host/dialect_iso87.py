"""ISO 8583:1987 ASCII dialect of the simulated host: 0420 advice, 0421 repeat, 0430, DE 90 and DE 7.

Everything is text: bitmap as 16 hex characters each, binary elements as hex characters (a length counts
characters). Sources: the standard's element list; DE 90 layout as published by NIBSS and seen in a sample.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.host.codec import HostCodec, HostMessage, elements
from hwsim.host.dialect import Dialect, HostTime
from hwsim.host.entries import Entry, Key

TABLE = {
    **{2: "n..19", 3: "n6", 4: "n12", 5: "n12", 6: "n12", 7: "n10", 8: "n8", 9: "n8", 10: "n8", 11: "n6", 12: "n6"},
    **{13: "n4", 14: "n4", 15: "n4", 16: "n4", 17: "n4", 18: "n4", 19: "n3", 20: "n3", 21: "n3", 22: "n3", 23: "n3"},
    **{24: "n3", 25: "n2", 26: "n2", 27: "n1", 28: "x9", 29: "x9", 30: "x9", 31: "x9", 32: "n..11", 33: "n..11"},
    **{
        34: "t..28",
        35: "z..37",
        36: "t...104",
        37: "t12",
        38: "t6",
        39: "t2",
        40: "t3",
        41: "t8",
        42: "t15",
        43: "t40",
    },
    **{44: "t..25", 45: "t..76", **dict.fromkeys((46, 47, 48), "t...999"), 49: "t3", 50: "t3", 51: "t3", 52: "b8"},
    **{53: "n16", 54: "t...120", **dict.fromkeys(range(55, 64), "t...999"), 64: "b8", 66: "n1", 67: "n2", 68: "n3"},
    **{69: "n3", 70: "n3", 71: "n4", 72: "n4", 73: "n6", **dict.fromkeys((74, 75, 76, 77, 78, 79, 80, 81), "n10")},
    **{**dict.fromkeys((82, 83, 84, 85), "n12"), **dict.fromkeys((86, 87, 88, 89), "n16"), 90: "n42", 91: "t1"},
    **{
        92: "t2",
        93: "t5",
        94: "t7",
        95: "t42",
        96: "b8",
        97: "x17",
        98: "t25",
        99: "n..11",
        100: "n..11",
        101: "t..17",
    },
    **{102: "t..28", 103: "t..28", 104: "t...100", **dict.fromkeys(range(105, 128), "t...999"), 128: "b8"},
}

KINDS: Mapping[str, str] = {
    "00": "sale",
    "01": "sale",
    "09": "sale",
    "02": "void",
    "03": "preauth",
    "20": "refund",
    "22": "void",
    "30": "balance",
    "31": "balance",
}
"""By transaction type (element 3, first two digits) of a financial message."""
AUTHORISATION: Mapping[str, str] = {"sale": "preauth", "void": "preauth-void"}
COMPLETION: Mapping[str, str] = {"sale": "completion", "void": "completion-void"}

NO_TIME = "0000000000"


def kind_of(processing_code: str, message_class: str, completes: bool) -> str:
    """Kind by element 3 and message class (second digit of the MTI); `completes`: a pre-authorisation is completed."""
    kind = KINDS.get(processing_code[:2], f"type-{processing_code[:2] or '??'}")
    if message_class == "1":
        return AUTHORISATION.get(kind, kind)
    return COMPLETION.get(kind, kind) if completes else kind


class Iso87(Dialect):
    name = "iso87"
    title = "ISO 8583:1987 ASCII: 0420, 0421 and DE 90"
    codec = HostCodec("ascii", elements(TABLE))
    repeats_are_marked = True
    mac_required = True
    changing = frozenset({7, 11, 12, 13, 15, 25, 39, 64, 128})
    echoed = (2, 3, 4, 7, 11, 12, 13, 32, 41, 42, 49, 70, 90)

    def kind(self, message: HostMessage) -> str:
        """Condition 06 (element 25) marks the completion of a pre-authorisation in a financial message."""
        original_mti = self._named(message)[:4] or message.mti
        return kind_of(message.get(3), original_mti[1:2], message.get(25) == "06")

    def key(self, message: HostMessage) -> Key:
        """The original of a reversal is the one DE 90 names: its STAN and its DE 7, not the reversal's own."""
        named = self._named(message)
        stan, sent = (named[4:10], named[10:20]) if named else (message.get(11), message.get(7) or NO_TIME)
        return Key(message.get(41), sent, stan, message.get(42))

    def code(self, code: str, message: HostMessage) -> str:
        """A wrong MAC is 63 (security violation) here; A0 is UnionPay's."""
        return {"A0": "63"}.get(code, code)

    def reply_elements(self, request: HostMessage, entry: Entry, code: str, host_time: HostTime) -> dict[int, str]:
        return super().reply_elements(request, entry, code, host_time) | {15: host_time.date}

    def _named(self, message: HostMessage) -> str:
        """DE 90 of a reversal. In a void or completion it names another transaction, which is not this one's key."""
        return message.get(90) if self.role(message) == "reversal" else ""
