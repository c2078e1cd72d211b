"""What is printed for customer and merchant, in Chinese and English, without a full card number.

A slip's name: "receipt" (the sale stands), "cancelled" (its reversal has begun), "confirmed" (the bank
acknowledged the reversal), "parked" (merchant: a person must act), "settled" (closed by hand), "declined",
"adjustment" (asks the bank for a manual adjustment), "notice" (an alert, with texts of its own).
Texts are short: 32 columns on 58 mm paper, a Chinese character takes two. They follow what the kind of transaction
does with the customer's money (agent/money_effect.py): who holds the slip of a failed void has got nothing back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.currency import money
from agent.letterhead import Letterhead
from agent.money_effect import Effect, effect_of
from agent.records import Transaction
from protocol.escpos import CutPaper, Feed, Item, Line, Pair, Rule, Slip

# (title zh, title en, sentence zh, sentence en)
Words = tuple[str, str, str, str]

# What stands on the slip of a sale, and of every other kind where nothing else stands below.
WORDS: Mapping[str, Words] = {
    "receipt": ("签购单", "SALE", "交易成功", "approved"),
    "declined": ("交易未成功", "DECLINED", "未扣款", "nothing is charged"),
    "cancelled": (
        "交易取消 冲正中",
        "SALE CANCELLED",
        "款项将退回您的账户，请保留此单",
        "The amount goes back to your account. Please keep this slip.",
    ),
    "confirmed": (
        "冲正成功",
        "CANCELLATION CONFIRMED",
        "银行已确认，此笔交易未扣款",
        "The bank confirmed: nothing is charged.",
    ),
    "parked": (
        "冲正未确认 需人工处理",
        "REVERSAL NOT CONFIRMED",
        "请持此单联系收单行客服",
        "Call the bank's service desk with this slip.",
    ),
    "settled": ("已人工结案", "CLOSED BY HAND", "凭银行凭证号结案", "Closed with the bank's reference."),
    "adjustment": (
        "人工调账申请",
        "MANUAL ADJUSTMENT",
        "请银行核实并调账，退回持卡人",
        "To the bank: please check and give the amount back.",
    ),
    "notice": ("通知", "NOTICE", "", ""),
}
BY_EFFECT: Mapping[Effect, Mapping[str, Words]] = {
    "takes": {},
    "holds": {
        "receipt": ("预授权单", "PRE-AUTHORISATION", "预授权成功，金额已冻结", "approved; the amount is held"),
        "declined": ("交易未成功", "DECLINED", "未冻结", "nothing is held"),
        "cancelled": (
            "预授权取消 冲正中",
            "PRE-AUTHORISATION CANCELLED",
            "冻结金额将解冻，请保留此单",
            "The held amount is freed. Please keep this slip.",
        ),
        "confirmed": (
            "冲正成功",
            "CANCELLATION CONFIRMED",
            "银行已确认，未冻结任何金额",
            "The bank confirmed: nothing is held.",
        ),
        "adjustment": (
            "人工调账申请",
            "MANUAL ADJUSTMENT",
            "请银行核实并解冻",
            "To the bank: please check and free the amount.",
        ),
    },
    "undoes": {
        "receipt": ("撤销单", "VOID", "撤销成功", "approved: the original transaction is undone"),
        "declined": ("撤销未成功", "NOT UNDONE", "原交易仍有效，款项未退回", "The original transaction stands."),
        "cancelled": (
            "撤销未成功 冲正中",
            "NOT UNDONE",
            "原交易仍有效，款项未退回，请保留此单",
            "The original transaction stands, nothing goes back to you. Please keep this slip.",
        ),
        "confirmed": (
            "撤销未成功",
            "NOT UNDONE",
            "银行已确认：原交易仍有效，款项未退回",
            "The bank confirmed: the original transaction stands, nothing went back to you.",
        ),
        "parked": (
            "撤销结果未知 需人工处理",
            "NOT KNOWN WHETHER UNDONE",
            "请持此单联系收单行客服，核实原交易是否已撤销",
            "Ask the bank's service desk whether the original transaction is undone.",
        ),
        "adjustment": (
            "人工调账申请",
            "MANUAL ADJUSTMENT",
            "请银行核实原交易是否已撤销",
            "To the bank: please check whether the original transaction is undone.",
        ),
    },
    "gives": {
        "receipt": ("退货单", "REFUND", "退货成功，款项将退回您的账户", "approved: the amount goes to your account"),
        "declined": ("退货未成功", "REFUND DECLINED", "款项未退回", "nothing is given back"),
        "cancelled": (
            "退货取消 冲正中",
            "REFUND CANCELLED",
            "款项不会退回，请保留此单",
            "Nothing goes back to your account. Please keep this slip.",
        ),
        "confirmed": (
            "退货已取消",
            "REFUND CANCELLED",
            "银行已确认，款项未退回",
            "The bank confirmed: nothing went back to your account.",
        ),
        "parked": (
            "退货结果未知 需人工处理",
            "REFUND NOT CONFIRMED",
            "请持此单联系收单行客服，核实款项是否已退回",
            "Ask the bank's service desk whether the amount went back.",
        ),
        "adjustment": (
            "人工调账申请",
            "MANUAL ADJUSTMENT",
            "请银行核实款项是否已退回持卡人",
            "To the bank: please check whether the amount went back to the customer.",
        ),
    },
    "none": {},
}
# Nobody has said whether an approved sale took place: nothing was reversed, and nothing goes back by itself.
UNDECIDED: Words = (
    "交易待确认 需人工处理",
    "NOT CONFIRMED",
    "银行已批准，请核实是否成交后确认或冲正",
    "The bank approved. Did the sale take place? Then confirm it, if not reverse it.",
)
# Why the same slip may be there twice: (zh, en).
NOTES: dict[str, tuple[str, str]] = {
    "again": ("可能重复打印：如已有此单请作废本单", "May be printed twice: if you have it already, discard this one."),
    "copy": ("补打", "COPY"),
}


def slip(what: str, txn: Transaction, letterhead: Letterhead, note: str = "") -> Slip:
    """The slip of one transaction. `what` as above; `note`: "" or one of `NOTES`."""
    title_zh, title_en, sentence_zh, sentence_en = words(what, txn)
    items: list[Item] = [Line(letterhead.merchant_name, "center", bold=True)] if letterhead.merchant_name else []
    items += [Line(text, "center") for text in letterhead.header]
    items += [
        Line(title_zh, "center", bold=True, height=2),
        Line(title_en, "center"),
        *(Line(text, "center") for text in NOTES.get(note, ())),
        Rule(),
        *(Pair(name, value) for name, value in facts(txn) if value),
        Rule(),
        Line(sentence_zh),
        Line(sentence_en),
    ]
    items += [Line(text, "center") for text in letterhead.footer]
    return Slip((*items, Feed(3), CutPaper()))


def words(what: str, txn: Transaction) -> Words:
    """What a slip says, for this kind of transaction."""
    if what == "parked" and txn.undecided:
        return UNDECIDED
    return BY_EFFECT[effect_of(txn.kind)].get(what) or WORDS[what]


def notice(lines: Sequence[str], letterhead: Letterhead) -> Slip:
    """A notice to the people of the shop, one line or sentence each."""
    title_zh, title_en, *_ = WORDS["notice"]
    head: list[Item] = [Line(f"{title_zh} {title_en}", "center", bold=True, height=2), Rule()]
    merchant = [Line(letterhead.merchant_name, "center", bold=True)] if letterhead.merchant_name else []
    return Slip((*merchant, *head, *(Line(line) for line in lines), Rule(), Feed(3), CutPaper()))


def facts(txn: Transaction) -> list[tuple[str, str]]:
    """What the bank needs to find the transaction; empty values are left out."""
    return [
        ("商户号 MID", txn.merchant_id),
        ("终端号 TID", txn.terminal_id),
        ("卡号 CARD", txn.masked_pan),
        ("金额 AMOUNT", money(txn.amount_minor, txn.currency)),
        ("批次号 BATCH", txn.batch),
        ("流水号 STAN", txn.stan),
        ("参考号 RRN", txn.rrn),
        ("授权码 AUTH", txn.approval_code),
        ("应答码 RC", txn.acknowledged_with or txn.last_code or txn.response_code),
        ("银行凭证 REF", txn.closing.bank_reference if txn.closing else ""),
        ("编号 ID", txn.id),
        ("时间 UTC", txn.begun_at_utc[:19].replace("T", " ")),
    ]
