"""Message types: the four digits that say which version, class, function and origin a message has.

Digit 1 is the version of ISO 8583 (0: 1987, 1: 1993, 2: 2003), digit 2 the class (1 authorisation,
2 financial, 4 reversal, 5 reconciliation, 8 network management ...), digit 3 the function (0 request,
1 request response, 2 advice, 3 advice response ...), digit 4 the origin (0 acquirer, 1 acquirer
repeat ...). Source: ISO 8583:1987 section 4.1; facts/iso8583.md section 3.1.
"""

from __future__ import annotations

import re

from protocol.errors import MessageError

_VALID = re.compile(r"[0129][1-8][0-9][0-5]")

CLASSES = {
    "1": ("authorisation", "授权"),
    "2": ("financial", "金融"),
    "3": ("file action", "文件更新"),
    "4": ("reversal", "冲正"),
    "5": ("reconciliation", "对账"),
    "6": ("administrative", "管理"),
    "7": ("fee collection", "费用"),
    "8": ("network management", "网络管理"),
}
FUNCTIONS = {
    "0": ("request", "请求"),
    "1": ("response", "应答"),
    "2": ("advice", "通知"),
    "3": ("advice response", "通知应答"),
    "4": ("notification", "告知"),
    "5": ("notification acknowledgement", "告知确认"),
    "6": ("instruction", "指令"),
    "7": ("instruction acknowledgement", "指令确认"),
    "8": ("reserved", "保留"),
    "9": ("reserved", "保留"),
}


def is_valid(mti: str) -> bool:
    """Tells whether these are four digits that a message type can have."""
    return _VALID.fullmatch(mti) is not None


def is_reply(mti: str) -> bool:
    """Tells whether a message of this type answers another one (function digit odd)."""
    return mti[2] in "1357"


def is_reversal(mti: str) -> bool:
    """Tells whether this type belongs to the reversal class (04xx, 14xx)."""
    return mti[1] == "4"


def reply_to(mti: str) -> str:
    """Gives the type that answers `mti`: 0200 → 0210, 0401 → 0410, 0421 → 0430.

    The origin digit of the answer is that of the first sending: a repeat is answered like the original.
    Raises MessageError when `mti` is itself an answer or no type at all.
    """
    if not is_valid(mti) or mti[2] not in "0246":
        raise MessageError("this message type has no answer", field=0)
    origin = str(int(mti[3]) // 2 * 2)
    return f"{mti[:2]}{int(mti[2]) + 1}{origin}"


def repeat_of(mti: str) -> str:
    """Gives the type of the repeat: 0400 → 0401, 0420 → 0421; a repeat stays as it is."""
    return mti[:3] + str(int(mti[3]) | 1)


def describe(mti: str, language: str = "en") -> str:
    """Gives the type in words, "en" or "zh": "reversal advice, repeat"."""
    column = 1 if language == "zh" else 0
    group = CLASSES.get(mti[1], ("unknown", "未知"))[column]
    function = FUNCTIONS[mti[2]][column]
    repeat = ("", "")[column] if int(mti[3]) % 2 == 0 else (", repeat", "（重发）")[column]
    return f"{group}{'' if column else ' '}{function}{repeat}"
