"""What people read about a session: causes, the host's wishes, conditions; English and Chinese by stable code.

Beside agent/texts.toml, in the same form: a code never changes, both languages have the same placeholders.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.texts import ConditionTexts, Text

# Why a sign-on is due (Session.wanted).
WANTED: Mapping[str, Text] = {
    "start": Text("the agent has started", "系统启动"),
    "daily": Text("the daily sign-on is due", "每日签到时间已到"),
    "command": Text("a person asked for it", "人工要求签到"),
    "host-asks": Text("the host asks for it in the header of its answer", "主机在报文头中要求签到"),
    "batch-mismatch": Text("the host answered that its batch number is another one", "主机应答批次号不一致"),
    "stale-key": Text("the host refused our MAC: its working key is another one", "主机拒绝 MAC：工作密钥不一致"),
}

# What the host asks for in the header's processing requirement, by the profile's words.
HOST_ASKS: Mapping[str, Text] = {
    "sign-on": Text("sign on again, and this lane does not sign on by itself", "重新签到，而本通道未启用自动签到"),
    "download-parameters": Text("download the terminal parameters", "下载终端参数"),
    "upload-status": Text("upload the terminal status", "上传终端状态信息"),
    "download-capk": Text("download the certificate authorities' public keys", "下载 IC 卡公钥"),
    "download-emv": Text("download the chip card parameters", "下载 IC 卡参数"),
    "update": Text("update the terminal application", "更新终端程序"),
    "blacklist": Text("download the card blacklist", "下载卡 BIN 黑名单"),
}

CONDITIONS: Mapping[str, ConditionTexts] = {
    "S-NOT-SIGNED-ON": ConditionTexts(
        "S-NOT-SIGNED-ON",
        "critical",
        "engineer",
        Text("lane {lane} is not signed on, no new sales: {why}", "通道 {lane} 未签到，不能开始新交易：{why}"),
        Text(
            "It is tried again by itself. At once: reversalctl sign-on {lane}",
            "系统会自动重试。立即签到：reversalctl sign-on {lane}",
        ),
    ),
    "S-SIGN-ON-LATE": ConditionTexts(
        "S-SIGN-ON-LATE",
        "warning",
        "engineer",
        Text(
            "lane {lane}: the sign-on fails, the old session still holds: {why}",
            "通道 {lane} 签到失败，原会话仍有效：{why}",
        ),
        Text(
            "It is tried again by itself. At once: reversalctl sign-on {lane}",
            "系统会自动重试。立即签到：reversalctl sign-on {lane}",
        ),
    ),
    "S-KEYS": ConditionTexts(
        "S-KEYS",
        "critical",
        "bank",
        Text(
            "lane {lane}: the working keys of the sign-on are wrong, no new sales: {why}",
            "通道 {lane} 签到返回的工作密钥校验失败，不能开始新交易：{why}",
        ),
        Text(
            "Ask the bank to check the terminal's master key, then: reversalctl sign-on {lane}",
            "请银行核对终端主密钥，然后执行：reversalctl sign-on {lane}",
        ),
    ),
    "S-HOST-ASKS": ConditionTexts(
        "S-HOST-ASKS",
        "warning",
        "engineer",
        Text("lane {lane}: the host asks to {wish}", "通道 {lane}：主机要求{wish}"),
        Text(
            "The agent does not do this by itself: tell the one who maintains the terminal.",
            "系统不执行该操作：请通知终端维护人员。",
        ),
    ),
    "S-UPLOAD": ConditionTexts(
        "S-UPLOAD",
        "warning",
        "bank",
        Text(
            "lane {lane}: the details of batch {batch} are not all uploaded: {why}",
            "通道 {lane}：批次 {batch} 的明细尚未全部上送：{why}",
        ),
        Text(
            "It goes on by itself; reversals and sales go on too. If it lasts, compare the lists with the bank",
            "系统会继续上送，冲正和交易不受影响。若长时间未完成，请与银行核对明细",
        ),
    ),
    "S-SCRIPT-RESULT": ConditionTexts(
        "S-SCRIPT-RESULT",
        "warning",
        "bank",
        Text(
            "lane {lane}: the host does not answer {count} script results of chip cards; they are kept and told again",
            "通道 {lane}：主机未应答 {count} 笔 IC 卡脚本处理结果通知；已保存并继续发送",
        ),
        Text(
            "Ask the bank whether it takes them (0620), and tell it those of: reversalctl script-results",
            "请向银行确认是否受理脚本通知（0620），并告知以下记录：reversalctl script-results",
        ),
    ),
}

# How a settlement ended (the answer of batch.settle).
SETTLED: Mapping[str, Text] = {
    "equal": Text("batch {batch} is settled; the host has the same totals", "批次 {batch} 结算完成，与主机对账平"),
    "unequal": Text(
        "batch {batch} is settled, but the host has other totals: compare the lists with the bank",
        "批次 {batch} 结算完成，但与主机对账不平：请与银行核对明细",
    ),
    "unsaid": Text(
        "batch {batch} is settled; the host does not say whether the totals are equal",
        "批次 {batch} 结算完成，主机未返回对账结果",
    ),
    "unknown": Text(
        "the host did not answer: whether batch {batch} is settled is not known; settle again",
        "主机未应答：批次 {batch} 是否结算未知，请再次结算",
    ),
    "not-sent": Text("the settlement of batch {batch} was not sent", "批次 {batch} 的结算未发送"),
    "refused": Text(
        "the host refused to settle batch {batch} with code {code}", "主机拒绝批次 {batch} 的结算，应答码 {code}"
    ),
}


def wanted(cause: str) -> Text:
    """Why a sign-on is due; a cause that is not in the list stands for itself."""
    return WANTED.get(cause, Text(cause, cause))


def wish(action: str) -> Text:
    """What the host asks for; an action of a profile of your own stands for itself."""
    return HOST_ASKS.get(action, Text(action, action))
