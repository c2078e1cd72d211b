"""Fault stories: for each the one diagnosis, who acts, the action in both languages, and the alerts that go out.

Built on the status as the daemon makes it: item, lane, link, device, store; nothing is asked of the parts alone.
"""

# The table is read as a table, one story a line.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.alerts import Seen, evaluate
from agent.config_watch import Alerts
from agent.diagnosis import DeviceFacts
from agent.records import State, Transaction
from agent.status import snapshot
from agent.trends import Span
from tests.unit.status_samples import (
    NOW,
    PANS,
    STORE,
    StillLoop,
    begun_before,
    evidence,
    lane,
    link,
    owed,
    parked,
    scene,
    transaction,
    utc,
)

OLD, YOUNG = begun_before(9000), begun_before(60)
OPEN = {"N-PENDING", "N-BLOCKED"}
LATE = OPEN | {"N-PENDING-OLD"}
HAND = LATE | {"N-PARKED"}
PAD_GONE = DeviceFacts("pad", "pinpad", "gone", "unplugged", 5.0, "E-DEVICE-GONE")


@dataclass(frozen=True)
class Story:
    """`action_en`, `action_zh`: what the action must say. `around`: changes of the scene."""

    name: str
    txn: Transaction
    code: str
    who: str
    action_en: str
    action_zh: str
    alerts: set[str]
    around: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None


def failed(code: str, **changes: Any) -> Transaction:
    """An old reversal whose last try ended with this error."""
    return owed(**{"last_error": f"{code}: text", "begun_at_utc": OLD, **changes})


def refused(code: str, **changes: Any) -> Transaction:
    """An old reversal that the host answered with this code."""
    return owed(**{"last_code": code, "begun_at_utc": OLD, **changes})


def by_hand(code: str, **changes: Any) -> Transaction:
    """Parked after one refusal."""
    return parked(**{"last_code": code, "attempts": 1, **changes})


WAIT = ("goes on by itself", "系统会自动继续发送")
DOWN = {"links": {"main": link("down", "E-LINK-UNREACHABLE", "no route")}}
PAD = {"mac_devices": {"main": "pad"}, "devices": [PAD_GONE]}
FULL = {"store": replace(STORE, bytes_free=1)}

STORIES = [
    Story("a silent host, a minute ago", failed("E-LINK-TIMEOUT", begun_at_utc=YOUNG), "D-NO-REPLY", "nobody", *WAIT, OPEN),
    Story("a silent host, for hours", failed("E-LINK-TIMEOUT"), "D-NO-REPLY", "bank", "STAN 000123", "流水号 000123", LATE),
    Story("a host that reads nothing", failed("E-LINK-SEND-TIMEOUT"), "D-NO-REPLY", "bank", "whether its host is up", "确认主机状态", LATE),
    Story("a cable pulled", failed("E-LINK-UNREACHABLE"), "D-LINK-DOWN", "engineer", "Check cable or SIM card", "检查网线或 SIM 卡", LATE | {"N-LINK-DOWN"}, DOWN),
    Story("a mobile network without answer", failed("E-LINK-CONNECT-TIMEOUT"), "D-LINK-DOWN", "engineer", "router and APN", "路由器和 APN", LATE),
    Story("a closed port", failed("E-LINK-REFUSED"), "D-CONN-REFUSED", "bank", "address and port", "主机地址和端口", LATE),
    Story("a name server down", failed("E-LINK-DNS"), "D-DNS", "engineer", "name server", "DNS 设置", LATE),
    Story("a certificate refused", failed("E-LINK-TLS"), "D-TLS", "engineer", "machine's date first", "先检查本机日期", LATE),
    Story("a firewall that cuts", failed("E-LINK-RESET"), "D-LINE-CUT", "engineer", "Check firewall", "检查防火墙", LATE),
    Story("a host that hangs up", failed("E-LINK-EOF"), "D-LINE-CUT", "engineer", "merchant 102110000000001", "商户号 102110000000001", LATE),
    Story("a wrong port answers", failed("E-LINK-GARBAGE"), "D-GARBAGE", "engineer", "profile, port and TLS", "端口和 TLS", LATE),
    Story("a host removed from the settings", failed("E-LINK-CONFIGURATION"), "D-SETTINGS", "engineer", "Put back the host", "恢复该交易的主机", LATE),
    Story("a power cut in mid-sale", owed(attempts=0, cause="restart", begun_at_utc=YOUNG), "D-RESTART", "nobody", "until the bank confirms", "直到银行确认", OPEN),
    Story("the first try", owed(attempts=1, sending=True, begun_at_utc=YOUNG), "D-TRYING", "nobody", "until the bank confirms", "直到银行确认", OPEN),
    Story("a reversal faster than its sale", owed(last_code="25", begun_at_utc=YOUNG), "D-OVERTAKEN", "nobody", *WAIT, OPEN),
    Story("a busy host", refused("96"), "D-HOST-BUSY", "bank", "how long it will take", "恢复时间", LATE),
    Story("the issuer is away", refused("91"), "D-HOST-BUSY", "bank", "response code 91", "应答码 91", LATE),
    Story("a code that may pass", refused("22"), "D-HOST-CODE", "bank", "what response code 22 means", "应答码 22", LATE),
    Story("a refusal for good", by_hand("57"), "D-HOST-REFUSED", "bank", "manual adjustment of CNY 12.50", "人工调账：金额 CNY 12.50", HAND),
    Story("an unknown merchant", by_hand("03"), "D-DATA-MERCHANT", "bank", "check merchant 102110000000001", "核对商户号 102110000000001", HAND),
    Story("an unknown terminal", by_hand("97"), "D-DATA-TERMINAL", "bank", "check terminal 10000001", "终端号 10000001", HAND),
    Story("a card the host does not know", by_hand("14"), "D-DATA-CARD", "bank", "was the sale booked", "查询是否入账", HAND),
    Story("an expired card", refused("54"), "D-DATA-EXPIRY", "bank", "adjusted by hand", "人工调账", LATE),
    Story("another amount", by_hand("64"), "D-DATA-AMOUNT", "bank", "which amount it has", "的金额", HAND),
    Story("a message the host cannot read", refused("30"), "D-DATA-FORMAT", "engineer", "does not fit this host", "与主机不符", LATE),
    Story("a batch already settled", refused("77"), "D-BATCH", "engineer", "batch 000017", "批次号 000017", LATE),
    Story("our MAC is refused", refused("A0"), "D-MAC-REFUSED", "engineer", "Sign on again", "请重新签到", LATE),
    Story("keys out of step", refused("99"), "D-KEYS", "engineer", "master key of terminal 10000001", "终端号 10000001 重新灌装主密钥", LATE),
    Story("an answer somebody altered", owed(last_error="acknowledgement with MAC invalid", begun_at_utc=OLD), "D-MAC-BAD", "engineer", "altering messages", "被篡改", LATE),
    Story("an answer without MAC", owed(last_error="acknowledgement with MAC absent", begun_at_utc=OLD), "D-MAC-MISSING", "bank", "sends a MAC", "是否带 MAC", LATE),
    Story("the PIN pad unplugged", owed(attempts=0, begun_at_utc=YOUNG), "D-PAD-MISSING", "shop", "PIN pad's cable", "密码键盘的连线", OPEN | {"N-DEVICE"}, PAD),
    Story("the disk full", owed(attempts=0, begun_at_utc=YOUNG), "D-STORE-FULL", "engineer", "Do not delete the journal", "切勿删除日志数据库", {"N-PENDING", "N-DISK-FULL"}, FULL),
    Story("held by a person", owed(held=True, begun_at_utc=YOUNG, evidence=(evidence("held by anna", "asks"),)), "D-HELD", "engineer", "then release it", "用 release 恢复", OPEN),
    Story("parked by a person", parked(attempts=1, evidence=(evidence("parked by anna", "asks"),)), "D-PARKED", "engineer", "Read the reason", "查看原因", HAND),
    Story("nobody confirmed", parked(cause="not-confirmed", attempts=0), "D-NOT-CONFIRMED", "shop", "goods were handed over", "商品是否已交付", HAND),
    Story("a refund without reversal", parked(frozen=None, on_unknown="park", kind="refund", attempts=0), "D-NO-REVERSAL", "bank", "was booked", "是否入账", HAND),
    Story("a lane taken away", owed(lane="gone", begun_at_utc=YOUNG), "D-NO-LANE", "engineer", "Put lane gone", "将通道 gone", {"N-PENDING"}),
    Story("a sale under way", transaction(state=State.BEGUN, begun_at_utc=YOUNG), "D-IN-PROGRESS", "nobody", "Do not start the same sale", "不要重复交易", set()),
    Story("a till that is silent", transaction(state=State.BEGUN, driver="application", begun_at_utc=OLD), "D-WAITS-REPORT", "shop", "Look at the cash register", "检查收银系统", set()),
    Story("an approval nobody confirms", transaction(state=State.APPROVED, response_code="00", begun_at_utc=YOUNG), "D-WAITS-CONFIRM", "shop", "Finish the sale", "完成或取消", set()),
    Story("a clock set back", failed("E-LINK-TIMEOUT"), "D-NO-REPLY", "bank", "STAN 000123", "流水号 000123", {"N-PENDING", "N-BLOCKED", "N-CLOCK"}, {"now": replace(NOW, utc=utc(1970, 1, 2))}),
    Story("a certificate about to end", transaction(state=State.APPROVED, begun_at_utc=YOUNG), "D-WAITS-CONFIRM", "shop", "cancel it there", "取消该交易", {"N-CERTIFICATE"}, {"links": {"main": link(certificate_not_after=utc(2026, 1, 20))}}),
    Story("a host that becomes slow", owed(attempts=1, begun_at_utc=YOUNG), "D-TRYING", "nobody", "until the bank confirms", "直到银行确认", OPEN | {"N-TIMEOUTS-RISING"}, {}, Span(20, 3, 0.0, 20.0)),
]  # fmt: skip


def told(story: Story) -> tuple[dict[str, Any], set[str], list[Any]]:
    """The item's diagnosis, the codes of the alerts, and the alerts."""
    document = snapshot(StillLoop(story.txn, lanes=(lane(),)), scene(**story.around))
    spans = {} if story.span is None else {"main": story.span}
    alerts = evaluate(Seen(document, spans, {"main": 60.0}), Alerts())
    return document["items"][0]["diagnosis"], {alert.code for alert in alerts}, alerts


def test_there_are_enough_stories_and_no_two_of_one_name() -> None:
    assert len({story.name for story in STORIES}) == len(STORIES) > 30


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_a_story_has_its_diagnosis_its_action_and_its_alerts(story: Story) -> None:
    found, codes, _ = told(story)
    assert (found["code"], found["who"]) == (story.code, story.who)
    assert story.action_en in found["action_en"]
    assert story.action_zh in found["action_zh"]
    assert codes == story.alerts


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_a_storys_alerts_speak_both_languages_and_show_no_card(story: Story) -> None:
    for alert in told(story)[2]:
        for text in (alert.text, alert.action):
            assert text.en
            assert text.zh
            assert not any(pan in text.en + text.zh for pan in PANS)
        if alert.code in ("N-PENDING", "N-PENDING-OLD") and story.code not in ("D-NO-LANE",):
            assert story.code in alert.text.en
            assert story.code in alert.text.zh
