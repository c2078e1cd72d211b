"""What one element says, in sentences: sub-fields, amounts, dates, codes. One small function an element.

Input is the value as text; output are lines in both languages. What does not have the expected shape gives no lines:
the element is still shown with its value. No line holds more of a secret element than its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from protocol import masking
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.meanings import (
    ACCOUNTS,
    AMOUNT_TYPES,
    CAPABILITY_60,
    CHIP_CONDITION_60,
    CONDITIONS,
    ENTRY_MODE,
    ENTRY_POSITIONS_1993,
    FUNCTIONS_1993,
    KEY_LENGTHS,
    KINDS,
    NETWORK_60,
    NETWORK_70,
    PIN_ENTRY,
    PIN_FORMATS,
    PROCESSING,
    REASON_NAMES,
    REASONS_1993,
    REVERSAL_REASONS,
    TAG_NAMES,
    TAGS_SHOWN,
    TYPES_60,
    VERDICTS,
    Both,
    Table,
    same,
)
from protocol.mti import describe, is_reply, is_reversal, is_valid
from protocol.reversal import kind_of
from protocol.rules import Profile
from protocol.tlv import read_tags

Money = Callable[[int, str], str]
Lines = Iterator[Both]


@dataclass(frozen=True, slots=True, repr=False)
class Around:
    """What the meaning of an element depends on: profile, message type, the other elements, how money is written."""

    profile: Profile
    mti: str
    fields: Mapping[int, str]
    money: Money

    @property
    def is_1993(self) -> bool:
        """Version digit 1 or 2."""
        return self.mti[:1] in ("1", "2")


def minor_units(amount_minor: int, currency: str) -> str:
    """An amount where nobody gave a better way to write it."""
    return f"{amount_minor} ({currency or '?'}, minor units)"


def meaning(field: int, value: str, around: Around) -> tuple[Both, ...]:
    """The lines for one element."""
    reader = _READERS.get(field)
    return tuple(reader(value, around)) if reader else ()


def _named(label: Both, value: str, table: Table | None = None) -> Both:
    """A sub-field: "60.1 type 22: sale"."""
    known = (table or {}).get(value)
    if known is None:
        return Both(f"{label.en} {value}", f"{label.zh} {value}")
    return Both(f"{label.en} {value}: {known.en}", f"{label.zh} {value}：{known.zh}")


def mti_meaning(mti: str) -> Both:
    """A message type in words."""
    return Both(describe(mti), describe(mti, "zh"))


def kind_name(message: Message, profile: Profile) -> str:
    """The kind of transaction that a request is, "" where the profile does not tell."""
    try:
        return kind_of(message, profile).name
    except MessageError:
        return ""


def _processing(value: str, around: Around) -> Lines:
    kind = kind_name(Message(around.mti, around.fields), around.profile)
    yield _named(Both("transaction", "交易"), value[:2], PROCESSING)
    if value[2:] != "0000":
        yield _named(Both("from account", "转出账户"), value[2:4], ACCOUNTS)
        yield _named(Both("to account", "转入账户"), value[4:6], ACCOUNTS)
    if kind:
        name = KINDS.get(kind, same(kind))
        yield Both(f"in this profile: {name.en}", f"本配置中为：{name.zh}")


def _amount(value: str, around: Around) -> Lines:
    if value.isdigit():
        yield same(around.money(int(value), around.fields.get(49, "")))


def _stamp(value: str, around: Around) -> Lines:
    if len(value) == 10:
        shown = f"{value[:2]}-{value[2:4]} {_clock(value[4:])}"
        yield Both(f"{shown} UTC (month-day)", f"{shown} UTC（月-日）")


def _clock(value: str) -> str:
    return f"{value[:2]}:{value[2:4]}:{value[4:6]}"


def _time(value: str, around: Around) -> Lines:
    if len(value) == 12:
        shown = f"20{value[:2]}-{value[2:4]}-{value[4:6]} {_clock(value[6:])}"
        yield Both(f"{shown} local time", f"{shown} 当地时间")
    elif len(value) == 6:
        yield same(_clock(value))


def _date(value: str, around: Around) -> Lines:
    if len(value) == 4:
        yield Both(f"month {value[:2]}, day {value[2:]}", f"{value[:2]} 月 {value[2:]} 日")


def _entry_mode(value: str, around: Around) -> Lines:
    if len(value) == 3:
        yield _named(Both("card", "读卡"), value[:2], ENTRY_MODE)
        yield _named(Both("PIN", "密码"), value[2], PIN_ENTRY)
    elif len(value) == 12:
        for place, (label, code) in enumerate(zip(ENTRY_POSITIONS_1993, value, strict=True), 1):
            yield Both(f"{place} {label.en}: {code}", f"{place} {label.zh}：{code}")


def _function(value: str, around: Around) -> Lines:
    if around.is_1993:
        yield _named(Both("function", "功能"), value, FUNCTIONS_1993)
    else:
        yield Both(f"network id (NII) {value}", f"网络标识（NII）{value}")


def _condition(value: str, around: Around) -> Lines:
    if len(value) == 4:
        yield _named(Both("reason", "原因"), value, REASONS_1993)
        yield from _profile_reason(value, around, 25)
    elif value in CONDITIONS:
        yield CONDITIONS[value]


def _profile_reason(value: str, around: Around, field: int) -> Lines:
    rules = around.profile.reversal
    names = [REASON_NAMES.get(name, same(name)) for name, code in rules.reasons.items() if code == value]
    general = (REASONS_1993 if field == 25 else REVERSAL_REASONS).get(value)
    if general is not None and [name.en for name in names] == [general.en]:
        return  # the line before has said it
    if rules.reason_field == field and names:
        yield Both(
            "in this profile: " + ", or ".join(name.en for name in names),
            "本配置中为：" + "或".join(name.zh for name in names),
        )


def _response(value: str, around: Around) -> Lines:
    if not is_reply(around.mti):
        if is_reversal(around.mti):
            yield _named(Both("reason of the reversal", "冲正原因"), value, REVERSAL_REASONS)
            yield from _profile_reason(value, around, 39)
        return
    rules = around.profile.responses
    yield Both(rules.text(value, "en"), rules.text(value, "zh"))
    verdict = rules.reversal(value) if is_reversal(around.mti) else rules.request(value)
    if around.mti[1] != "8":
        yield VERDICTS[verdict]


def _institutions(value: str, around: Around) -> Lines:
    if around.profile.request.type_at and len(value) > 11:
        for label, part in (
            (Both("44.1 issuer", "44.1 发卡机构"), value[:11].rstrip()),
            (Both("44.2 acquirer", "44.2 收单机构"), value[11:22].rstrip()),
        ):
            yield Both(f"{label.en} {part or 'not given'}", f"{label.zh} {part or '未填'}")


_TOTALS_DIGITS = 62


def _private_48(value: str, around: Around) -> Lines:
    """UnionPay: totals of a settlement; details of an upload; their count at its end."""
    if not around.profile.request.type_at or not value.isdigit():
        return
    if around.mti[1] == "5" and len(value) == _TOTALS_DIGITS:
        yield from _totals(value, around)
    elif around.mti[1] == "3" and len(value) == 4:
        yield Both(f"{int(value)} details were uploaded", f"共上送 {int(value)} 笔")
    elif around.mti[1] == "3":
        for one in uploaded(value):
            shown = around.money(int(one[28:]), "156")
            card = masking.mask_pan(one[8:28].lstrip("0"))
            yield Both(f"STAN {one[2:8]}  {shown}  card {card}", f"流水号 {one[2:8]}  {shown}  卡号 {card}")


def _totals(value: str, around: Around) -> Lines:
    for start, whose in ((0, Both("domestic cards", "内卡")), (31, Both("foreign cards", "外卡"))):
        part = value[start : start + 31]
        if start and not int(part[:30]):
            continue
        debits, credits_ = (around.money(int(part[at : at + 12]), "156") for at in (0, 15))
        flag = {"1": Both(", equal", "，对账平"), "2": Both(", NOT equal", "，对账不平")}.get(part[30], same(""))
        yield Both(
            f"{whose.en}: {int(part[12:15])} debits {debits}, {int(part[27:30])} credits {credits_}{flag.en}",
            f"{whose.zh}：借记 {int(part[12:15])} 笔 {debits}，贷记 {int(part[27:30])} 笔 {credits_}{flag.zh}",
        )


def uploaded(value: str) -> list[str]:
    """The details in element 48 of an upload, 40 digits each; [] where it has another shape."""
    count, rest = value[:2], value[2:]
    if not value.isdigit() or len(rest) != 40 * int(count):
        return []
    return [rest[at : at + 40] for at in range(0, len(rest), 40)]


def _currency(value: str, around: Around) -> Lines:
    shown = around.money(0, value).split(" ")[0]
    if shown != value:
        yield same(shown)


def _security(value: str, around: Around) -> Lines:
    if around.profile.request.type_at:
        yield _named(Both("53.1 PIN format", "53.1 密码格式"), value[:1], PIN_FORMATS)
        yield _named(Both("53.2 key length", "53.2 密钥长度"), value[1:2], KEY_LENGTHS)


def _additional_amounts(value: str, around: Around) -> Lines:
    for start in range(0, len(value) - 19, 20):
        part = value[start : start + 20]
        kind = AMOUNT_TYPES.get(part[2:4], same(part[2:4]))
        if part[8:].isdigit():
            sign = {"D": "-", "C": ""}.get(part[7], part[7])
            shown = sign + around.money(int(part[8:]), part[4:7])
            yield Both(f"{kind.en}: {shown}", f"{kind.zh}：{shown}")


def chip_tags(value: str) -> list[tuple[str, str]]:
    """The tags of chip data with what may be shown of them; [] where the data cannot be read."""
    try:
        return [(tag, _tag_value(tag, content)) for tag, content in read_tags(value)]
    except (MessageError, ValueError):
        return []


def _tag_value(tag: str, content: str) -> str:
    if tag == "5A":
        return masking.mask_pan(content.rstrip("F"))
    return content if tag in TAGS_SHOWN else f"<hidden {len(content) // 2}>"


def _chip(value: str, around: Around) -> Lines:
    tags = chip_tags(value)
    if not tags and value:
        yield Both("the chip data cannot be read as tags", "IC卡数据无法按TLV解析")
    for tag, shown in tags:
        name = TAG_NAMES.get(tag, Both("unknown tag", "未知标签"))
        text = shown
        if tag in ("9F02", "9F03") and shown.isdigit():
            text = f"{shown} = {around.money(int(shown), around.fields.get(49, '') or dict(tags).get('5F2A', '')[1:])}"
        yield Both(f"{tag} {name.en}: {text}", f"{tag} {name.zh}：{text}")


def _original_1993(value: str, around: Around) -> Lines:
    if around.is_1993 and len(value) >= 22 and value[:22].isdigit():
        yield from _original_head(value)
        yield Both(f"56.3 date and time {value[10:22]}", f"56.3 日期时间 {value[10:22]}")
        if len(value) > 24:
            yield Both(f"56.4 acquirer {value[24:]}", f"56.4 受理机构 {value[24:]}")


def _original_head(value: str) -> Lines:
    words = mti_meaning(value[:4]) if is_valid(value[:4]) else Both("no message type", "不是报文类型")
    yield Both(f"original message {value[:4]}: {words.en}", f"原报文类型 {value[:4]}：{words.zh}")
    yield Both(f"original STAN {value[4:10]}", f"原流水号 {value[4:10]}")


def _original_1987(value: str, around: Around) -> Lines:
    if len(value) == 42 and value.isdigit():
        yield from _original_head(value)
        stamp = value[10:20]
        yield Both(f"original transmission {stamp} (MMDDhhmmss)", f"原传输时间 {stamp}（MMDDhhmmss）")
        yield Both(f"acquirer {value[20:31]}", f"受理机构 {value[20:31]}")
        yield Both(f"forwarder {value[31:42]}", f"发送机构 {value[31:42]}")


def _private_60(value: str, around: Around) -> Lines:
    at = around.profile.request.type_at
    if at is None or at.field != 60:
        batch = around.profile.session.batch_at
        if batch and batch.field == 60:
            yield Both(f"batch {batch.of(value)}", f"批次号 {batch.of(value)}")
        return
    labels: tuple[tuple[int, int, Both, Table | None], ...] = (
        (0, 2, Both("60.1 type", "60.1 交易类型"), TYPES_60),
        (2, 8, Both("60.2 batch", "60.2 批次号"), None),
        (8, 11, Both("60.3 network code", "60.3 网络管理信息码"), NETWORK_60),
        (11, 12, Both("60.4 terminal capability", "60.4 终端读取能力"), CAPABILITY_60),
        (12, 13, Both("60.5 chip condition", "60.5 IC卡条件代码"), CHIP_CONDITION_60),
        (13, 14, Both("60.6 partial approval", "60.6 部分承兑标志"), None),
        (14, 17, Both("60.7 account", "60.7 账户类型"), None),
    )
    for start, end, label, table in labels:
        if part := value[start:end]:
            yield _named(label, part, table)


# Digits of the facts that templates of element 61 speak of, and their names.
_PARTS = {
    "f11": (6, Both("STAN of this message", "本交易流水号")),
    "f12": (6, Both("time of the original", "原交易时间")),
    "f13": (4, Both("date of the original", "原交易日期")),
    "f60": (6, Both("batch", "批次号")),
    "original_batch": (6, Both("original batch", "原批次号")),
    "original_stan": (6, Both("original STAN", "原流水号")),
    "original_date": (4, Both("original date", "原交易日期")),
    "learnt_date": (4, Both("date in the reply (0000: no reply)", "应答日期（0000：无应答）")),
}
_USUAL_61 = ("original_batch", "original_stan", "original_date")


def _private_61(value: str, around: Around) -> Lines:
    if around.profile.request.type_at is None:
        return
    start = 0
    for number, name in enumerate(_parts_of_61(value, around), 1):
        size, label = _PARTS[name]
        if part := value[start : start + size]:
            yield Both(f"61.{number} {label.en} {part}", f"61.{number} {label.zh} {part}")
        start += size
    if rest := value[start:]:
        yield Both(f"rest {rest}", f"其余 {rest}")


def _parts_of_61(value: str, around: Around) -> tuple[str, ...]:
    """Which facts stand one after the other: by the profile's template where the lengths agree."""
    rules = around.profile
    templates = [rules.reversal.templates.get(61)] if is_reversal(around.mti) else []
    for kind in rules.kinds.values():
        found = kind.reversal_templates if is_reversal(around.mti) else kind.request_templates
        if kind.processing_code == around.fields.get(3, kind.processing_code):
            templates.append(found.get(61))
    for template in templates:
        names = tuple(part.name for part in template.parts) if template else ()
        if names and all(name in _PARTS for name in names) and sum(_PARTS[name][0] for name in names) == len(value):
            return names
    return _USUAL_61


def _private_62(value: str, around: Around) -> Lines:
    size = len(value) // 2
    if around.profile.session.keys_field == 62 and around.mti == "0810" and size in (24, 40, 60):
        yield Both(f"working keys, {size} bytes, encrypted", f"工作密钥密文，{size} 字节")


def _mac(value: str, around: Around) -> Lines:
    rules = around.profile.mac
    yield Both(f"algorithm {rules.algorithm}, {rules.output}", f"算法 {rules.algorithm}，{rules.output}")
    if len(value) == 16 and set(value) == {"0"}:
        yield Both("all zeros: not computed", "全零：尚未计算")
        return
    raw = bytes.fromhex(value) if len(value) == 16 else b""
    if rules.output == "hex8" and raw and all(byte in b"0123456789ABCDEF" for byte in raw):
        yield Both(f"as text {raw.decode('ascii')}", f"文本 {raw.decode('ascii')}")


def _network(value: str, around: Around) -> Lines:
    if value in NETWORK_70:
        yield NETWORK_70[value]


def _replacement(value: str, around: Around) -> Lines:
    if len(value) == 42 and value[:12].isdigit():
        shown = around.money(int(value[:12]), around.fields.get(49, ""))
        yield Both(f"amount that stands {shown}", f"实际保留金额 {shown}")


_READERS: dict[int, Callable[[str, Around], Lines]] = {
    3: _processing,
    4: _amount,
    5: _amount,
    6: _amount,
    7: _stamp,
    12: _time,
    13: _date,
    15: _date,
    17: _date,
    22: _entry_mode,
    24: _function,
    25: _condition,
    39: _response,
    44: _institutions,
    48: _private_48,
    49: _currency,
    50: _currency,
    51: _currency,
    53: _security,
    54: _additional_amounts,
    55: _chip,
    56: _original_1993,
    60: _private_60,
    61: _private_61,
    62: _private_62,
    64: _mac,
    70: _network,
    90: _original_1987,
    95: _replacement,
    128: _mac,
}
