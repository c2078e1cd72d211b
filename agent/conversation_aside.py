"""What in a recorded conversation is no transaction: settlement, uploads, script results; and what the agent does."""

from __future__ import annotations

from protocol.meanings import Both
from protocol.mti import reply_to
from protocol.rules import Profile

_SCRIPT = Both(
    "keeps the script result durably and sends it before the reversal and the next sale, until it is answered",
    "先保存脚本处理结果，再于冲正和下一笔交易之前发送，直至应答",
)
_SETTLES = Both(
    "settles when nothing is owed; the next batch begins with the answer", "无未完成冲正时结算，应答后进入下一批次"
)
_UPLOADS = Both("uploads each detail once, behind every reversal", "逐批上送明细，不重复，冲正优先")


def asides(profile: Profile) -> frozenset[str]:
    """The types, and those of their answers, that are no transactions of this profile."""
    return frozenset(both for mti in _types(profile) for both in (mti, reply_to(mti)))


def aside(mti: str, profile: Profile) -> list[Both]:
    """What the agent does about a message of this type, where that is worth a line."""
    return [_types(profile)[mti]] if mti in _types(profile) and mti[1] != "8" else []


def _types(profile: Profile) -> dict[str, Both]:
    kinds = {kind.mti for kind in profile.kinds.values()}
    messages = profile.session.messages.values()
    found = {one.mti: _UPLOADS if one.mti[1] == "3" else _SETTLES for one in messages if one.mti not in kinds}
    if profile.script_result is not None:
        found[profile.script_result.mti] = _SCRIPT
    return found
