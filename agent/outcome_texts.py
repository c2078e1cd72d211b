"""What an application is told about a sale: its outcome in words a cashier can read aloud.

The words follow what the kind of transaction does with the customer's money (agent/money_effect.py): a void that was
declined or reversed leaves the customer charged, and "nothing is charged" would be a lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.money_effect import Effect, effect_of
from agent.records import State, Transaction
from protocol.rules import Profile

# (English, Chinese, next step in English, next step in Chinese)
Words = tuple[str, str, str, str]

# What a sale is told, and every other kind where nothing else stands below.
WORDS: Mapping[State, Words] = {
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

_BEGUN_OTHER: Words = (*WORDS[State.BEGUN][:2], "wait; do not start it again", "请等待，不要重复交易")
_APPROVED_OTHER: Words = (*WORDS[State.APPROVED][:2], "confirm, or reverse", "请确认，或发起冲正")

# What differs where the transaction does something else than charge.
BY_EFFECT: Mapping[Effect, Mapping[State, Words]] = {
    "takes": {},
    "holds": {
        State.COMPLETED: (
            "completed; the amount is held on the card",
            "预授权成功，金额已冻结",
            "nothing to do",
            "无需处理",
        ),
        State.DECLINED: (
            "declined; nothing is held on the card",
            "交易未成功，未冻结",
            "ask for another card or cash",
            "请换卡或使用现金",
        ),
        State.REVERSING: (
            *WORDS[State.REVERSING][:2],
            "do not hand over anything; the held amount is freed",
            "请勿交付，冻结金额将解冻",
        ),
        State.REVERSED: (
            *WORDS[State.REVERSED][:2],
            "nothing is held on the card; start again if wanted",
            "未冻结，如需要请重新交易",
        ),
    },
    "undoes": {
        State.BEGUN: _BEGUN_OTHER,
        State.APPROVED: _APPROVED_OTHER,
        State.COMPLETED: ("completed; the original transaction is undone", "撤销成功", "nothing to do", "无需处理"),
        State.DECLINED: (
            "not undone; the original transaction still stands",
            "撤销未成功，原交易仍有效",
            "the customer has not got the money back: try again, or give it back in another way",
            "款项尚未退回持卡人：请重试，或以其他方式退款",
        ),
        State.REVERSING: (
            "not undone; the reversal is being sent until the bank confirms it",
            "撤销未成功，冲正发送中",
            "the original transaction will stand, the customer does not get the money back; wait",
            "原交易将保持有效，款项不会退回持卡人，请等待",
        ),
        State.REVERSED: (
            "not undone; the original transaction still stands",
            "撤销未成功，原交易仍有效",
            "the customer has not got the money back: try again, or give it back in another way",
            "款项尚未退回持卡人：请重试，或以其他方式退款",
        ),
        State.PARKED: (
            "it is not known whether the original transaction is undone; a person must act",
            "原交易是否已撤销未知，需要人工处理",
            "do not promise the customer the money; call your service desk with this number",
            "请勿承诺已退款，请持此编号联系客服",
        ),
    },
    "gives": {
        State.BEGUN: _BEGUN_OTHER,
        State.APPROVED: _APPROVED_OTHER,
        State.COMPLETED: (
            "completed; the customer gets the money",
            "退货成功，款项将退回持卡人",
            "nothing to do",
            "无需处理",
        ),
        State.DECLINED: (
            "declined; nothing is given back",
            "退货未成功，款项未退回",
            "the customer has not got the money: try again, or give it back in another way",
            "款项尚未退回持卡人：请重试，或以其他方式退款",
        ),
        State.REVERSING: (
            "cancelled; the reversal is being sent until the bank confirms it",
            "退货取消，冲正发送中",
            "the customer does not get the money; wait",
            "款项不会退回持卡人，请等待",
        ),
        State.REVERSED: (
            "cancelled; nothing is given back",
            "退货取消，款项未退回",
            "the customer has not got the money: try again, or give it back in another way",
            "款项尚未退回持卡人：请重试，或以其他方式退款",
        ),
        State.PARKED: (
            "it is not known whether the customer gets the money; a person must act",
            "款项是否已退回未知，需要人工处理",
            "do not refund again before the bank has said; call your service desk with this number",
            "银行确认前请勿重复退款，请持此编号联系客服",
        ),
    },
    "none": {
        State.BEGUN: _BEGUN_OTHER,
        State.APPROVED: _APPROVED_OTHER,
        State.COMPLETED: ("completed", "查询成功", "nothing to do", "无需处理"),
        State.DECLINED: (
            "declined; no money is moved",
            "查询未成功，不涉及资金",
            "ask again if wanted",
            "如需要请重新查询",
        ),
    },
}

# The shop has not said whether an approved sale took place, and the configuration wants to be told.
UNDECIDED: Words = (
    "approved, and nobody has said whether it took place; nothing is sent before that",
    "交易已批准，但尚未确认是否成交；确认前不发送任何报文",
    "find out whether the goods were handed over, then confirm or reverse",
    "请核实商品是否已交付，然后确认或发起冲正",
)
NOT_SENT: Words = (
    "not sent; nothing reached the bank",
    "未发出，银行未收到",
    "try again, or take cash; see the cause",
    "请重试或使用现金，见原因",
)


def words(txn: Transaction) -> Words:
    """How it stands and what to do next, for this kind of transaction."""
    if txn.undecided:
        return UNDECIDED
    if txn.state is State.DECLINED and txn.cause.startswith("not-sent-"):
        return NOT_SENT
    return BY_EFFECT[effect_of(txn.kind)].get(txn.state) or WORDS[txn.state]


def describe(txn: Transaction, profile: Profile | None) -> dict[str, Any]:
    """JSON-able; no card number. `outcome` as in `Transaction.outcome`; `text_*` for people."""
    english, chinese, next_english, next_chinese = words(txn)
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
