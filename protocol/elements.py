"""Data elements: what each number means, how secret it is, and how a profile writes its format.

A format is written as in the standard: a class of characters and a length, with one dot for each digit
of a length indicator: `n6`, `n..19`, `ans...999`, `z..37`, `b8`, `b...255` (for `b` the length counts bytes).
Names follow ISO 8583:1987 section 4.3 and, in Chinese, the UnionPay POS field description (2002,
https://m.31ppt.com/p-2398641.html).
"""

from __future__ import annotations

import re

from protocol.frozen import dataclass

# Characters of each class. `t` is host text in any character set: bytes are kept one to one (Latin-1), so that a
# Chinese text cut in the middle of a character by a host never makes a reply unreadable.
CLASSES = {
    "n": "0-9",
    "a": "A-Za-z ",
    "an": "A-Za-z0-9 ",
    "ans": "\x20-\x7e",
    "xn": "0-9",  # "C" or "D" (credit, debit) before the digits
    "z": "0-9=",
    "b": "0-9A-F",
    "t": "\x00-\xff",
}
_FORMAT = re.compile(r"(n|an|ans|a|xn|z|b|t)(\.{0,4})([1-9][0-9]{0,3})")


# The EBCDIC of hosts: code page 500, whose digits, letters and most signs are those of every other one.
EBCDIC = "cp500"


@dataclass(frozen=True, slots=True)
class Format:
    """A format as in the standard: class of characters, greatest length, digits of the length indicator (0: fixed)."""

    kind: str
    length: int
    indicator: int


def parse_format(text: str) -> Format | None:
    """Gives the format that a text like "n..19" means; None when it means none."""
    match = _FORMAT.fullmatch(text)
    if match is None or (match[2] and len(match[3]) > len(match[2])):
        return None
    return Format(match[1], int(match[3]), len(match[2]))


@dataclass(frozen=True, slots=True)
class Packing:
    """How one element of one profile stands on the wire.

    `coding`: "bcd" (two digits a byte), "ascii", "ebcdic", "hex" (binary as hexadecimal text), "binary".
    `indicator_coding`: "bcd", "ascii", "ebcdic", "binary". `pad_side` and `pad` say where the odd nibble of a BCD
    element goes and what it is; `pad_accept` lists further nibbles that are accepted when received.
    """

    field: int
    format: Format
    coding: str
    indicator_coding: str
    pad_side: str = "right"
    pad: str = "0"
    pad_accept: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """The meaning of one data element.

    `secrecy`: "open" may be shown, "pan" only masked, "hidden" never, "text" after scrubbing.
    """

    number: int
    name: str
    name_zh: str
    secrecy: str = "open"


_ROWS = (
    (2, "primary account number", "主账号", "pan"),
    (3, "processing code", "交易处理码", "open"),
    (4, "transaction amount", "交易金额", "open"),
    (5, "settlement amount", "清算金额", "open"),
    (6, "cardholder billing amount", "持卡人扣账金额", "open"),
    (7, "transmission date and time", "传输日期时间", "open"),
    (8, "cardholder billing fee", "持卡人费用", "open"),
    (9, "settlement conversion rate", "清算汇率", "open"),
    (10, "cardholder billing conversion rate", "持卡人扣账汇率", "open"),
    (11, "system trace audit number (STAN)", "流水号", "open"),
    (12, "local transaction time", "受卡方所在地时间", "open"),
    (13, "local transaction date", "受卡方所在地日期", "open"),
    (14, "card expiry date", "卡有效期", "hidden"),
    (15, "settlement date", "清算日期", "open"),
    (16, "conversion date", "兑换日期", "open"),
    (17, "capture date", "受理日期", "open"),
    (18, "merchant type", "商户类型", "open"),
    (19, "acquiring country", "受理机构国家代码", "open"),
    (20, "account number country", "主账号国家代码", "open"),
    (21, "forwarding country", "转发机构国家代码", "open"),
    (22, "point of service entry mode", "服务点输入方式码", "open"),
    (23, "card sequence number", "卡序列号", "open"),
    (24, "network international identifier or function code", "网络国际标识（NII）／功能码", "open"),
    (25, "point of service condition or message reason", "服务点条件码／原因码", "open"),
    (26, "PIN capture code", "服务点PIN获取码", "open"),
    (27, "approval code length", "授权码长度", "open"),
    (28, "transaction fee", "交易费", "open"),
    (29, "settlement fee or date", "清算费", "open"),
    (30, "original amounts", "原始金额", "open"),
    (31, "acquirer reference data", "收单参考数据", "text"),
    (32, "acquiring institution", "受理机构标识码", "open"),
    (33, "forwarding institution", "发送机构标识码", "open"),
    (34, "extended account number", "扩展主账号", "hidden"),
    (35, "track 2 data", "二磁道数据", "hidden"),
    (36, "track 3 data", "三磁道数据", "hidden"),
    (37, "retrieval reference number (RRN)", "检索参考号", "open"),
    (38, "approval code", "授权标识应答码", "open"),
    (39, "response code", "应答码", "open"),
    (40, "service restriction code", "服务限制代码", "open"),
    (41, "terminal id", "终端号", "open"),
    (42, "merchant id", "商户号", "open"),
    (43, "card acceptor name and location", "商户名称地址", "text"),
    (44, "additional response data", "附加响应数据", "text"),
    (45, "track 1 data", "一磁道数据", "hidden"),
    (46, "additional data, ISO", "附加数据（ISO）", "text"),
    (47, "additional data, national", "附加数据（国家）", "text"),
    (48, "additional data, private", "附加数据（私有）", "text"),
    (49, "transaction currency", "交易货币代码", "open"),
    (50, "settlement currency", "清算货币代码", "open"),
    (51, "cardholder billing currency", "持卡人货币代码", "open"),
    (52, "PIN block", "个人标识码数据", "hidden"),
    (53, "security control information", "安全控制信息", "open"),
    (54, "additional amounts", "附加金额", "open"),
    (55, "chip data", "IC卡数据域", "hidden"),
    (56, "original data elements (1993) or private", "原始数据元／私有", "text"),
    (57, "private use 57", "自定义域57", "text"),
    (58, "private use 58", "自定义域58", "hidden"),
    (59, "private use 59", "自定义域59", "hidden"),
    (60, "private use 60 (type, batch)", "自定义域60（类型、批次号）", "open"),
    (61, "private use 61 (original transaction)", "自定义域61（原始交易信息）", "open"),
    (62, "private use 62", "自定义域62", "hidden"),
    (63, "private use 63", "自定义域63", "text"),
    (64, "message authentication code (MAC)", "报文鉴别码（MAC）", "open"),
    (66, "settlement code", "清算代码", "open"),
    (67, "extended payment code", "扩展付款代码", "open"),
    (70, "network management code", "网络管理信息码", "open"),
    (73, "action date", "动作日期", "open"),
    (74, "credits, number", "贷记笔数", "open"),
    (75, "credits reversal, number", "贷记冲正笔数", "open"),
    (76, "debits, number", "借记笔数", "open"),
    (77, "debits reversal, number", "借记冲正笔数", "open"),
    (86, "credits, amount", "贷记金额", "open"),
    (87, "credits reversal, amount", "贷记冲正金额", "open"),
    (88, "debits, amount", "借记金额", "open"),
    (89, "debits reversal, amount", "借记冲正金额", "open"),
    (90, "original data elements", "原始数据元", "open"),
    (95, "replacement amounts", "替换金额", "open"),
    (97, "net settlement amount", "净清算金额", "open"),
    (100, "receiving institution", "接收机构标识码", "open"),
    (102, "account identification 1", "账户标识1", "hidden"),
    (103, "account identification 2", "账户标识2", "hidden"),
    (127, "private use 127", "自定义域127", "text"),
    (128, "message authentication code (MAC)", "报文鉴别码（MAC）", "open"),
)
# Elements that may stand in an identity (what an answer is compared with, stored unsealed): none of them is secret.
IDENTITY_FIELDS = (3, 4, 7, 11, 12, 13, 24, 25, 32, 37, 41, 42, 49, 56, 60, 90, 95)

ELEMENTS = {number: Element(number, name, name_zh, secrecy) for number, name, name_zh, secrecy in _ROWS}


def element(number: int) -> Element:
    """Gives the meaning of a data element; one without a row counts as private and is shown only scrubbed."""
    return ELEMENTS.get(number) or Element(number, f"element {number}", f"域{number}", "text")
