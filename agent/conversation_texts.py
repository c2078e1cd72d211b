"""What a replayed conversation says to people: findings by code, and the decisions of `decide`, in both languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.events import Alarm, Begin, Effect, Event, Noticed, Now, SendReversal
from agent.policy import Policy
from agent.records import OWED, State, Transaction
from agent.texts import duration
from protocol.meanings import REASON_NAMES, Both, same

# Findings: what a person should look at. Codes never change.
FINDINGS: dict[str, Both] = {
    "time-out": Both("no answer in time", "未在规定时间内收到应答"),
    "closed": Both("the connection was closed before the answer", "收到应答前连接已关闭"),
    "reversal-without-original": Both(
        "reversal of STAN {stan}, and the capture holds no such request", "冲正流水号 {stan}，抓包中没有对应的原交易"
    ),
    "reversal-not-owed": Both(
        "the transaction is {state}: the agent would not send a reversal", "交易状态为 {state}：系统不会发送冲正"
    ),
    "reversed-early": Both(
        "the terminal reverses {seconds} s before the profile's time-out: the answer could still come",
        "终端比配置的超时早 {seconds} 秒发起冲正：应答仍可能到达",
    ),
    "repeat-unmarked": Both(
        "{sent} is sent again without saying that it is a repeat; the agent sends {wanted}",
        "{sent} 重发时未标明为重发；系统发送 {wanted}",
    ),
    "other-type": Both("message type {sent}; the agent sends {wanted}", "报文类型 {sent}；系统发送 {wanted}"),
    "element-missing": Both(
        "element {field} is missing; the agent sends {wanted}", "缺少第 {field} 域；系统发送 {wanted}"
    ),
    "element-extra": Both("element {field} ({found}) is not sent by the agent", "第 {field} 域（{found}）系统不发送"),
    "element-differs": Both(
        "element {field} is {found}; the agent sends {wanted}", "第 {field} 域为 {found}；系统发送 {wanted}"
    ),
    "unmatched-answer": Both("an answer with STAN {stan} that nobody asked for", "流水号 {stan} 的应答没有对应的请求"),
    "no-match": Both(
        "the answer does not match and clears nothing: {differences}", "应答不匹配，不清除任何记录：{differences}"
    ),
    "late-approval": Both(
        "late approval: it does not complete the sale, the reversal goes on", "迟到的批准：不使交易成立，冲正继续"
    ),
    "late-answer": Both("late answer to the request", "原请求的迟到应答"),
    "duplicate-answer": Both("the answer came before: it changes nothing", "重复应答：不改变任何状态"),
    "duplicate-acknowledgement": Both(
        "the acknowledgement came before: it changes nothing", "重复的冲正应答：不改变状态"
    ),
    "acknowledgement-not-owed": Both("an acknowledgement, and no reversal is owed", "收到冲正应答，但并无待冲正"),
    "duplicate-request": Both(
        "the request of STAN {stan} is sent twice: the customer may be charged twice",
        "流水号 {stan} 的请求重复发送：持卡人可能被重复扣款",
    ),
    "stan-in-use": Both(
        "STAN {stan} is used again while its transaction is open", "流水号 {stan} 的交易尚未结束就被再次使用"
    ),
    "unknown-kind": Both("the profile knows no transaction like this", "报文规范中没有此类交易"),
    "no-mac": Both("the message carries no MAC, and the profile wants one", "报文没有 MAC，而报文规范要求 MAC"),
    "no-reversal": Both("no reversal can be made of this request: {why}", "无法由此请求生成冲正：{why}"),
    "bytes-lost": Both("bytes are missing in the capture", "抓包中缺少数据"),
    "unreadable": Both(
        "{size} bytes that this profile cannot read: at byte {offset} expected {expected}, found {found}",
        "{size} 字节无法按此报文规范解析：位于字节 {offset}，应为 {expected_zh}，实为 {found_zh}",
    ),
    "unfinished-frame": Both("the capture ends within a message", "抓包在报文中间结束"),
    "open-at-end": Both("still {state} at the end of the capture", "抓包结束时状态仍为 {state}"),
}


class _Values(dict[str, str]):
    """A value that nobody gave reads "?"; a Chinese one falls back to the English."""

    def __missing__(self, key: str) -> str:
        return self.get(key.removesuffix("_zh"), "?")


def finding(code: str, **values: str) -> Both:
    """The text of a finding with its values."""
    text = FINDINGS[code]
    known = _Values(values)
    return Both(text.en.format_map(known), text.zh.format_map(known))


def decision(
    before: Transaction, after: Transaction, event: Event, effects: Sequence[Effect], now: Now, policy: Policy
) -> list[Both]:
    """What `decide` did, in sentences."""
    lines = [_sent(effect, after) for effect in effects if isinstance(effect, SendReversal)]
    if isinstance(event, Begin):
        seconds = f"{policy.retry.reply_timeout_s:g}"
        lines.append(
            Both(
                f"stores the intent before the first byte leaves, then waits {seconds} s",
                f"先保存记录再发送首字节，然后等待 {seconds} 秒",
            )
        )
    elif before.state is not after.state:
        lines.append(_state_line(before, after))
    elif len(after.evidence) > len(before.evidence):
        lines.append(_evidence(after, event))
    if before.state in OWED and after.state in OWED and before.sending and not after.sending:
        lines.append(_next(after, now))
    lines += [_alarm(effect) for effect in effects if isinstance(effect, Alarm)]
    return lines


def _sent(effect: SendReversal, after: Transaction) -> Both:
    mark = Both(", as a repeat", "（标明重发）") if effect.repeat and after.frozen and _marks(after) else same("")
    return Both(f"sends the reversal, try {after.attempts}{mark.en}", f"发送冲正，第 {after.attempts} 次{mark.zh}")


def _marks(record: Transaction) -> bool:
    return record.frozen is not None and record.frozen.mti != record.frozen.repeat_mti


def _state_line(before: Transaction, after: Transaction) -> Both:
    reason = REASON_NAMES.get(after.reason, same(after.reason))
    sentences: dict[State, Both] = {
        State.APPROVED: Both("records the approval and waits for the application's word", "记录批准，等待收银系统确认"),
        State.COMPLETED: Both("the sale stands", "交易成立"),
        State.DECLINED: Both("declined: nothing is owed", "已拒绝：无需冲正"),
        State.REVERSING: Both(
            f"a reversal is owed ({reason.en}): stored, then sent until it is acknowledged",
            f"需要冲正（{reason.zh}）：先保存，再发送直至确认",
        ),
        State.REVERSED: Both(
            f"acknowledged with {after.acknowledged_with}, match {after.match_grade}: the reversal is done",
            f"应答码 {after.acknowledged_with} 已确认，匹配等级 {after.match_grade}：冲正完成",
        ),
        State.PARKED: Both(
            f"a person must act ({after.cause}); tries go on slowly", f"需人工处理（{after.cause}）；继续低频重发"
        ),
    }
    return sentences.get(
        after.state, Both(f"{before.state} becomes {after.state}", f"{before.state} 变为 {after.state}")
    )


def _evidence(after: Transaction, event: Event) -> Both:
    if isinstance(event, Noticed):
        return Both("keeps the message as evidence; nothing changes", "留存为证据；状态不变")
    what: Any = after.evidence[-1].what
    return Both(f"keeps it as evidence ({what}); nothing else changes", "留存为证据；状态不变")


def _next(after: Transaction, now: Now) -> Both:
    if after.wake_at is None:
        return Both("waits for a person", "等待人工处理")
    wait = duration(after.wake_at - now.mono)
    return Both(f"not done: tries again in {wait.en}", f"未完成：{wait.zh}后重发")


def _alarm(effect: Alarm) -> Both:
    return Both(f"raises an alarm: {effect.code}", f"发出告警：{effect.code}")
