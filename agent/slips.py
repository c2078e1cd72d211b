"""What is printed for customer and merchant, in Chinese and English, without a full card number.

A slip's name: "receipt" (the sale stands), "cancelled" (its reversal has begun), "confirmed" (the bank
acknowledged the reversal), "parked" (merchant: a person must act), "settled" (closed by hand), "declined",
"adjustment" (asks the bank for a manual adjustment), "notice" (an alert, with texts of its own).
Texts are short: 32 columns on 58 mm paper, a Chinese character takes two.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.currency import money
from agent.letterhead import Letterhead
from agent.records import Transaction
from protocol.escpos import CutPaper, Feed, Item, Line, Pair, Rule, Slip

# name: (title zh, title en, sentence zh, sentence en)
WORDS: dict[str, tuple[str, str, str, str]] = {
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
    "settled": ("已人工结案", "CLOSED BY HAND", "按银行参考号结案", "Closed with the bank's reference."),
    "adjustment": (
        "人工调账申请",
        "MANUAL ADJUSTMENT",
        "请银行核实并调账，退回持卡人",
        "To the bank: please check and give the amount back.",
    ),
    "notice": ("通知", "NOTICE", "", ""),
}
# Why the same slip may be there twice: (zh, en).
NOTES: dict[str, tuple[str, str]] = {
    "again": ("可能重复打印：如已有此单请作废本单", "May be printed twice: if you have it already, discard this one."),
    "copy": ("补打", "COPY"),
}


def slip(what: str, txn: Transaction, letterhead: Letterhead, note: str = "") -> Slip:
    """The slip of one transaction. `what` as above; `note`: "" or one of `NOTES`."""
    title_zh, title_en, sentence_zh, sentence_en = WORDS[what]
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
        ("银行参考 REF", txn.closing.bank_reference if txn.closing else ""),
        ("编号 ID", txn.id),
        ("时间 UTC", txn.begun_at_utc[:19].replace("T", " ")),
    ]
