"""What values mean, in English and Chinese: tables only. Sources stand above each table.

`Both` is the same text in both languages. What a table does not know is shown without a meaning, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Both(NamedTuple):
    """The same text in English and Chinese."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The text in one language; English for any that is not "zh"."""
        return self.zh if language == "zh" else self.en


def same(text: str) -> Both:
    """A text that needs no translation."""
    return Both(text, text)


Table = Mapping[str, Both]


def _table(*rows: tuple[str, str, str]) -> Table:
    return {key: Both(en, zh) for key, en, zh in rows}


# Envelope. halo-pos PosHeader.java, LiaoYang tranproc.c (facts/iso8583.md section 2.1).
HEADER_CLASS = _table(("60", "financial", "金融交易"), ("61", "financial, other application", "金融类其他应用"))
HEADER_STATE = _table(("0", "normal", "正常"), ("1", "test", "测试"))
ACTIONS = _table(
    ("none", "nothing", "无"),
    ("sign-on", "sign on again", "重新签到"),
    ("download-parameters", "download parameters", "下载终端参数"),
    ("upload-status", "upload the terminal's state", "上传终端状态"),
    ("download-capk", "download CA public keys", "下载公钥"),
    ("download-emv", "download chip parameters", "下载IC卡参数"),
    ("update", "update the application", "更新应用程序"),
    ("blacklist", "download the card list", "下载卡BIN黑名单"),
)

# Element 3, positions 1-2 [ISO 8583:1987 table; UnionPay 2002 field description] and 3-6 (account types).
PROCESSING = _table(
    ("00", "goods and services (sale)", "消费"),
    ("01", "cash", "取现"),
    ("02", "adjustment, debit (void)", "撤销（借记调整）"),
    ("03", "pre-authorisation", "预授权"),
    ("09", "goods with cash back", "消费加取现"),
    ("20", "return (void or refund)", "撤销或退货"),
    ("30", "available funds inquiry", "可用余额查询"),
    ("31", "balance inquiry", "余额查询"),
    ("92", "settlement", "结算"),
    ("99", "test transaction", "测试"),
)
ACCOUNTS = _table(
    ("00", "default account", "默认账户"),
    ("10", "savings account", "储蓄账户"),
    ("20", "cheque account", "支票账户"),
    ("30", "credit account", "信用账户"),
    ("40", "universal account", "通用账户"),
)
KINDS = _table(
    ("sale", "sale", "消费"),
    ("void", "void", "消费撤销"),
    ("preauth", "pre-authorisation", "预授权"),
    ("preauth-void", "void of a pre-authorisation", "预授权撤销"),
    ("completion", "completion", "预授权完成"),
    ("completion-void", "void of a completion", "预授权完成撤销"),
    ("balance", "balance inquiry", "余额查询"),
    ("refund", "refund", "退货"),
)

# Element 22: positions 1-2 (card) and 3 (PIN) [ISO 8583:1987; UnionPay adds 07, 91, 98].
ENTRY_MODE = _table(
    ("00", "not stated", "未指明"),
    ("01", "typed by hand", "手工输入"),
    ("02", "magnetic stripe", "磁条"),
    ("03", "bar code or QR code", "条码／二维码"),
    ("04", "optical reading", "光学读取"),
    ("05", "chip", "接触式IC卡"),
    ("07", "contactless chip", "非接触式IC卡"),
    ("80", "fallback from chip to stripe", "IC卡降级为磁条"),
    ("90", "magnetic stripe, whole track", "磁条（完整磁道）"),
    ("91", "contactless stripe data", "非接触磁条数据"),
    ("95", "chip, data may be unreliable", "IC卡（数据可能不可靠）"),
    ("98", "contactless chip (UnionPay)", "非接触式IC卡（银联）"),
)
PIN_ENTRY = _table(
    ("0", "PIN not stated", "未指明是否输密"),
    ("1", "PIN can be entered", "有密码"),
    ("2", "no PIN", "无密码"),
)
# Element 22 of 1993: twelve positions [ISO 8583:1993 section A.8].
ENTRY_POSITIONS_1993 = (
    Both("card input capability", "读卡能力"),
    Both("cardholder authentication capability", "持卡人验证能力"),
    Both("card capture capability", "吞卡能力"),
    Both("operating environment", "操作环境"),
    Both("cardholder present", "持卡人是否在场"),
    Both("card present", "卡是否在场"),
    Both("card input mode", "本次读卡方式"),
    Both("cardholder authentication method", "本次持卡人验证方式"),
    Both("who authenticates", "验证方"),
    Both("card output capability", "写卡能力"),
    Both("terminal output capability", "终端输出能力"),
    Both("PIN capture capability", "密码长度能力"),
)

# Element 24 of 1993 [ISO 8583:1993 A.9; PayEx].
FUNCTIONS_1993 = _table(
    ("100", "authorisation", "授权"),
    ("108", "inquiry", "查询"),
    ("200", "financial", "金融"),
    ("201", "completion of an authorisation", "授权完成"),
    ("400", "full reversal", "全额冲正"),
    ("401", "partial reversal", "部分冲正"),
    ("801", "sign-on", "签到"),
    ("802", "sign-off", "签退"),
    ("831", "echo test", "回响测试"),
)
# Element 25 of two digits [1987; UnionPay 2002; LiaoYang].
CONDITIONS = _table(
    ("00", "normal", "正常提交"),
    ("04", "seen in a bank's dialect", "银行方言中出现"),
    ("06", "pre-authorisation", "预授权请求"),
    ("08", "mail or telephone order", "邮购／电话订购"),
    ("18", "mail or telephone order, pre-authorisation", "邮购／电话预授权"),
    ("59", "electronic commerce", "电子商务"),
    ("60", "additional pre-authorisation", "追加预授权"),
    ("64", "instalments", "分期付款"),
    ("65", "seen in a bank's dialect", "银行方言中出现"),
)
# Element 25 of four digits [jPOS-CMF reason_codes.xml].
REASONS_1993 = _table(
    ("4000", "customer cancellation", "客户取消"),
    ("4001", "unspecified, no action taken", "未指明"),
    ("4002", "suspected malfunction", "疑似故障"),
    ("4003", "format error", "格式错误"),
    ("4004", "completed partially", "部分完成"),
    ("4005", "original amount incorrect", "原金额错误"),
    ("4006", "response received too late", "应答超时到达"),
    ("4007", "device unable to complete", "设备无法完成"),
    ("4013", "unable to deliver the message to the terminal", "无法送达终端"),
    ("4020", "invalid response", "应答无效"),
    ("4021", "time-out waiting for the response", "等待应答超时"),
)
# Element 39 of a reversal request: why it is reversed (facts/iso8583.md section 1.4 and 3.1).
REVERSAL_REASONS = _table(
    ("98", "no reply in time", "未在规定时间内收到应答"),
    ("A0", "the MAC of the reply was wrong", "应答报文MAC错误"),
    ("06", "any other reason", "其他原因"),
    ("96", "the terminal could not store the approval", "终端无法保存交易记录"),
    ("00", "no reason given (seen in some dialects)", "未说明原因（部分方言）"),
    ("17", "the customer cancelled", "客户取消"),
    ("20", "the reply was invalid", "应答无效"),
    ("22", "suspected malfunction", "疑似故障"),
    ("68", "no reply in time", "应答超时"),
)
REASON_NAMES = _table(
    ("timeout", "no reply in time", "未及时收到应答"),
    ("mac", "the MAC of the reply was wrong", "应答MAC错误"),
    ("other", "another reason", "其他原因"),
    ("storage", "the approval could not be stored", "无法保存交易记录"),
    ("customer", "the customer cancelled", "客户取消"),
)
VERDICTS = _table(
    ("approved", "the request is approved", "请求获批准"),
    ("declined", "the request is declined", "请求被拒绝"),
    ("done", "the reversal is done", "冲正完成"),
    ("retry", "the reversal is tried again", "冲正将重发"),
    ("later", "the reversal is tried again later", "冲正稍后重发"),
    ("park", "a person must act", "需人工处理"),
    (
        "overtaken",
        "tried again shortly after the original, done later",
        "原交易刚发出时重发，之后视为完成",
    ),
)

# Element 53 at UnionPay: PIN format, key length [LiaoYang; UnionPay 2002].
PIN_FORMATS = _table(("1", "PIN without card number", "不带主账号"), ("2", "PIN with card number", "带主账号"))
KEY_LENGTHS = _table(("0", "single-length key", "单倍长密钥"), ("6", "double-length key", "双倍长密钥"))
# Element 54, positions 3-4 [1987].
AMOUNT_TYPES = _table(
    ("01", "ledger balance", "账面余额"), ("02", "available balance", "可用余额"), ("40", "cash back", "返现金额")
)

# Element 60 at UnionPay: 60.1 [facts 1.2], 60.3 [LiaoYang globalvar.c TrTable], 60.4, 60.5 [2002].
TYPES_60 = _table(
    ("00", "administration", "管理类"),
    ("01", "balance inquiry", "余额查询"),
    ("10", "pre-authorisation", "预授权"),
    ("11", "void of a pre-authorisation", "预授权撤销"),
    ("20", "completion", "预授权完成（请求）"),
    ("21", "void of a completion", "预授权完成撤销"),
    ("22", "sale", "消费"),
    ("23", "void of a sale", "消费撤销"),
    ("24", "completion advice", "预授权完成（通知）"),
    ("25", "refund", "退货"),
    ("30", "offline settlement", "离线结算"),
    ("32", "adjustment", "结算调整"),
    ("34", "adjustment with tip", "小费调整"),
    ("36", "offline sale", "脱机消费"),
)
NETWORK_60 = _table(
    ("000", "none", "无"),
    ("001", "sign-on, single-length keys", "签到（单倍长密钥）"),
    ("002", "sign-off", "签退"),
    ("003", "sign-on, double-length keys", "签到（双倍长密钥）"),
    ("004", "sign-on, double-length and track key", "签到（双倍长密钥及磁道密钥）"),
    ("201", "settlement or batch upload", "结算／批上送"),
    ("202", "end of upload, not balanced", "批上送结束（不平）"),
    ("203", "upload of chip transactions", "IC卡交易上送"),
    ("204", "upload of failed chip transactions", "IC卡失败交易上送"),
    ("207", "end of upload, balanced", "批上送结束（平）"),
    ("301", "echo test", "回响测试"),
    ("360", "parameter download", "参数下载"),
    ("362", "end of parameter download", "参数下载结束"),
    ("370", "CA key download", "公钥下载"),
    ("371", "end of CA key download", "公钥下载结束"),
    ("372", "CA key inquiry", "公钥查询"),
    ("380", "chip parameter download", "IC卡参数下载"),
    ("381", "end of chip parameter download", "IC卡参数下载结束"),
    ("382", "chip parameter inquiry", "IC卡参数查询"),
    ("390", "card list download", "黑名单下载"),
    ("391", "end of card list download", "黑名单下载结束"),
    ("401", "points sign-on", "积分签到"),
    ("800", "electronic signature", "电子签名"),
    ("951", "script result", "脚本结果通知"),
)
CAPABILITY_60 = _table(
    ("0", "not stated", "未知"),
    ("2", "stripe", "磁条"),
    ("5", "stripe and chip", "磁条及接触式IC卡"),
    ("6", "stripe, chip and contactless", "磁条、接触及非接触IC卡"),
)
CHIP_CONDITION_60 = _table(
    ("0", "not used or no chip", "未使用或无IC卡"),
    ("1", "last chip reading was good", "上一笔IC卡读取成功"),
    ("2", "last chip reading failed", "上一笔IC卡读取失败"),
)

# Element 70 [1987].
NETWORK_70 = _table(
    ("001", "sign-on", "签到"),
    ("002", "sign-off", "签退"),
    ("101", "key change", "密钥更换"),
    ("161", "key change", "密钥更换"),
    ("201", "cut-over", "日切"),
    ("301", "echo test", "回响测试"),
)

# Tags of element 55 [EMV 4.3 book 3 annex A; DF31: UnionPay script results]. The last column: its value may be shown.
# What is not in this table, and what is not marked, is shown as a length only.
_TAGS = (
    ("4F", "application id", "应用标识", True),
    ("50", "application label", "应用标签", True),
    ("56", "track 1 data", "一磁道数据", False),
    ("57", "track 2 equivalent data", "二磁道等效数据", False),
    ("5A", "card number (PAN)", "主账号", False),
    ("5F20", "cardholder name", "持卡人姓名", False),
    ("5F24", "card expiry date", "卡有效期", False),
    ("5F2A", "transaction currency", "交易货币代码", True),
    ("5F34", "card sequence number", "卡序列号", True),
    ("71", "issuer script 1", "发卡行脚本1", False),
    ("72", "issuer script 2", "发卡行脚本2", False),
    ("82", "application interchange profile", "应用交互特征", True),
    ("84", "dedicated file name", "专用文件名称", True),
    ("8A", "authorisation response code", "授权响应代码", True),
    ("91", "issuer authentication data", "发卡行认证数据", True),
    ("95", "terminal verification results (TVR)", "终端验证结果（TVR）", True),
    ("99", "PIN", "密码", False),
    ("9A", "transaction date", "交易日期", True),
    ("9B", "transaction status information", "交易状态信息", True),
    ("9C", "transaction type", "交易类型", True),
    ("9F02", "amount, authorised", "授权金额", True),
    ("9F03", "amount, other", "其他金额", True),
    ("9F09", "application version", "应用版本号", True),
    ("9F10", "issuer application data", "发卡行应用数据", True),
    ("9F1A", "terminal country", "终端国家代码", True),
    ("9F1E", "interface device serial number", "接口设备序列号", True),
    ("9F1F", "track 1 discretionary data", "一磁道自定义数据", False),
    ("9F20", "track 2 discretionary data", "二磁道自定义数据", False),
    ("9F26", "application cryptogram", "应用密文", True),
    ("9F27", "cryptogram information", "密文信息数据", True),
    ("9F33", "terminal capabilities", "终端性能", True),
    ("9F34", "cardholder verification results", "持卡人验证结果", True),
    ("9F35", "terminal type", "终端类型", True),
    ("9F36", "application transaction counter (ATC)", "应用交易计数器（ATC）", True),
    ("9F37", "unpredictable number", "不可预知数", True),
    ("9F41", "transaction sequence counter", "交易序列计数器", True),
    ("9F63", "product identification", "产品标识信息", True),
    ("9F6B", "contactless track 2 data", "非接触二磁道数据", False),
    ("9F74", "electronic cash issuer code", "电子现金发卡行授权码", True),
    ("DF31", "issuer script results", "发卡行脚本结果", True),
)
TAG_NAMES: Table = {tag: Both(en, zh) for tag, en, zh, _ in _TAGS}
TAGS_SHOWN = frozenset(tag for tag, _, _, shown in _TAGS if shown)
