"""NAC (Hypercom-style) EDC dialect of the simulated host: BCD, TPDU, no header, F22/F24 padded on the left.

Source: published NAC 0400 sample (TPDU 6000030000, invoice in element 62); 0400 with the original's STAN. The
sample has no variable element with an odd count: its pad nibble in front, as in fixed elements, is assumed.
"""

from __future__ import annotations

from hwsim.host.codec import HostCodec, HostMessage, elements
from hwsim.host.dialect import Dialect, HostTime
from hwsim.host.dialect_iso87 import kind_of
from hwsim.host.entries import Entry, Key

TABLE = {
    **{2: "n..19>", 3: "n6", 4: "n12", 7: "n10", 11: "n6", 12: "n6", 13: "n4", 14: "n4", 22: "n3", 23: "n3", 24: "n3"},
    **{25: "n2", 26: "n2", 32: "n..11>", 35: "z..37", 37: "t12", 38: "t6", 39: "t2", 41: "t8", 42: "t15", 45: "t..76"},
    **{48: "t...999", 49: "t3", 52: "b8", 53: "n16", 54: "t...120", 55: "b...255", 60: "t...999", 61: "t...999"},
    **{62: "t...999", 63: "t...999", 64: "b8"},
}


class NacEdc(Dialect):
    name = "nac-edc"
    title = "NAC/EDC: TPDU, no header, 0400 with the original's STAN and invoice"
    codec = HostCodec("bcd", elements(TABLE))
    tpdu_bytes = 5
    changing = frozenset({12, 13, 38, 39, 55, 64})
    echoed = (3, 4, 11, 24, 25, 41, 42, 49)

    def kind(self, message: HostMessage) -> str:
        """A reversal does not say which message class it undoes; the ledger keeps the original's kind."""
        return kind_of(message.get(3), message.mti[1], message.get(25) == "06")

    def key(self, message: HostMessage) -> Key:
        """The invoice number (element 62) stands where others have a batch."""
        return Key(message.get(41), message.get(62), message.get(11), message.get(42))

    def reply_elements(self, request: HostMessage, entry: Entry, code: str, host_time: HostTime) -> dict[int, str]:
        replies = super().reply_elements(request, entry, code, host_time)
        return replies | {12: host_time.time, 13: host_time.date}
