"""UnionPay POS dialect of the simulated host: BCD, TPDU, 6-byte header, 0200/0400/0800/0820/0500/0620.

Sources: the 2002 terminal field description and the published samples (CMBC 0210/0410, sign-on 0800/0810);
element formats as in the facts file, section 2.2. The reply's elements are those of the CMBC pair.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.host.codec import HostCodec, HostMessage, elements
from hwsim.host.dialect import Dialect, HostTime
from hwsim.host.entries import Entry, Key

TABLE = {
    **{2: "n..19", 3: "n6", 4: "n12", 11: "n6", 12: "n6", 13: "n4", 14: "n4", 15: "n4", 22: "n3<", 23: "n3", 24: "n3"},
    **{25: "n2", 26: "n2", 32: "n..11", 35: "z..37", 36: "z...104", 37: "t12", 38: "t6", 39: "t2", 41: "t8", 42: "t15"},
    **{
        44: "t..25",
        48: "n...322",
        49: "t3",
        52: "b8",
        53: "n16",
        54: "t...20",
        55: "b...255",
        56: "t...512",
        57: "t...100",
    },
    **{58: "b...100", 59: "b...600", 60: "n...17", 61: "n...29", 62: "b...512", 63: "t...163", 64: "b8"},
}

UTC_OFFSET_S = 8 * 3600
"""China Standard Time."""

KINDS: Mapping[str, str] = {
    "01": "balance",
    "10": "preauth",
    "11": "preauth-void",
    "20": "completion",
    "21": "completion-void",
    "22": "sale",
    "23": "void",
    "24": "completion",
    "25": "refund",
    "30": "offline",
    "36": "offline",
}
"""By transaction type (element 60, first two digits). A reversal carries its original's."""


class UnionPay(Dialect):
    name = "unionpay"
    title = "UnionPay POS: 0400 with the original's STAN and batch"
    codec = HostCodec("bcd", elements(TABLE))
    tpdu_bytes = 5
    header_bytes = 6
    mac_default = "up-ecb"
    mac_required = True
    changing = frozenset({12, 13, 39, 64})
    echoed = (2, 3, 4, 11, 14, 25, 32, 41, 42, 49, 60)

    def batch(self, message: HostMessage) -> str:
        return message.get(60)[2:8]

    def network_code(self, message: HostMessage) -> str:
        """60.3: 001, 003, 004 sign-on, 002 sign-off, 301 echo, 201 settlement."""
        return message.get(60)[8:11]

    def kind(self, message: HostMessage) -> str:
        transaction_type = message.get(60)[:2]
        return KINDS.get(transaction_type, f"type-{transaction_type or '??'}")

    def key(self, message: HostMessage) -> Key:
        return Key(message.get(41), self.batch(message), message.get(11), message.get(42))

    def mac_element(self, numbers: Mapping[int, str]) -> int:
        return 64

    def reply_elements(self, request: HostMessage, entry: Entry, code: str, host_time: HostTime) -> dict[int, str]:
        elements = super().reply_elements(request, entry, code, host_time)
        original = HostTime.at(entry.at, UTC_OFFSET_S)
        elements |= {12: original.time, 13: original.date, 15: host_time.date, 32: self.acquirer}
        if request.card:
            elements[2] = request.card
        if self.role(request) == "charge":
            return elements | {44: f"{self.acquirer:<11}{self.acquirer:<11}".ljust(25), 63: "CUP".ljust(43)}
        return elements | {44: " " * 25}
