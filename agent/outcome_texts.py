"""What an application is told about a sale: its outcome in words a cashier can read aloud."""

from __future__ import annotations

from typing import Any

from agent.records import State, Transaction
from protocol.rules import Profile

# outcome: (English, Chinese, next step in English, next step in Chinese)
WORDS: dict[State, tuple[str, str, str, str]] = {
    State.NEW: ("not sent yet", "尚未发送", "wait", "请等待"),
    State.BEGUN: (
        "the outcome is not known yet",
        "交易结果未知",
        "wait; do not start the sale again",
        "请等待，不要重复交易",
    ),
    State.APPROVED: (
        "approved; waiting for your confirmation",
        "交易已批准，等待确认",
        "hand over the goods and confirm, or reverse",
        "交付商品后确认，或发起冲正",
    ),
    State.COMPLETED: ("completed; the sale stands", "交易成功", "nothing to do", "无需处理"),
    State.DECLINED: (
        "declined; nothing is charged",
        "交易未成功，未扣款",
        "ask for another card or cash",
        "请换卡或使用现金",
    ),
    State.REVERSING: (
        "cancelled; the reversal is being sent until the bank confirms it",
        "交易取消，冲正发送中",
        "do not hand over the goods; the customer gets the money back",
        "请勿交付商品，款项将退回持卡人",
    ),
    State.REVERSED: (
        "cancelled; the bank has confirmed the reversal",
        "交易取消，冲正成功",
        "nothing is charged; start a new sale if wanted",
        "未扣款，如需要请重新交易",
    ),
    State.PARKED: (
        "cancelled; the bank has not confirmed the reversal, a person must act",
        "交易取消，冲正未确认，需要人工处理",
        "call your service desk with this number",
        "请持此编号联系客服",
    ),
    State.SETTLED: ("closed by hand with the bank's reference", "已人工结案", "nothing to do", "无需处理"),
}


def describe(txn: Transaction, profile: Profile | None) -> dict[str, Any]:
    """JSON-able; no card number. `outcome` as in `Transaction.outcome`; `text_*` for people."""
    english, chinese, next_english, next_chinese = WORDS[txn.state]
    if txn.response_code and txn.state is State.DECLINED and profile is not None:
        english += f": {profile.responses.text(txn.response_code, 'en')}"
        chinese += f"：{profile.responses.text(txn.response_code, 'zh')}"
    return {
        "id": txn.id,
        "reference": txn.reference,
        "lane": txn.lane,
        "kind": txn.kind,
        "state": str(txn.state),
        "outcome": txn.outcome,
        "amount_minor": txn.amount_minor,
        "currency": txn.currency,
        "card": txn.masked_pan,
        "stan": txn.stan,
        "batch": txn.batch,
        "terminal_id": txn.terminal_id,
        "merchant_id": txn.merchant_id,
        "response_code": txn.response_code,
        "approval_code": txn.approval_code,
        "rrn": txn.rrn,
        "cause": txn.cause,
        "begun_at_utc": txn.begun_at_utc,
        "ended_at_utc": txn.ended_at_utc,
        "text_en": english,
        "text_zh": chinese,
        "next_step_en": next_english,
        "next_step_zh": next_chinese,
    }
