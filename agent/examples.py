"""The certification kit: the exact bytes of each case of a profile, with its explanation.

Nothing in it is secret and nothing changes: card, keys, numbers and dates are fixed test values, so that a kit can be
compared byte for byte with the one of another release, and with what a host's test desk expects.

Card: 6200000000000005 (published test range). MAC key: 0123456789ABCDEFFEDCBA9876543210 (a well-known test key; for
algorithms with a single-length key its first half).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from agent.batch_upload import element_48
from agent.currency import money
from agent.explain import text_of
from agent.settlement import TOTALS_FIELD, Totals, supported
from protocol.envelope import wrap
from protocol.errors import MacError
from protocol.explain import Explanation, explain
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.mac import carries_mac, compute, mac_input, place, reserve
from protocol.meanings import KINDS, Both, same
from protocol.mti import reply_to
from protocol.notices import build_script_result
from protocol.requests import RequestFacts, build_network_message, build_request
from protocol.reversal import FrozenReversal, Learnt, freeze, render
from protocol.rules import Profile

TEST_CARD = "6200000000000005"
TEST_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
NOTE = Both(
    "Test card 6200000000000005, test MAC key 0123456789ABCDEFFEDCBA9876543210. Never use either with real money.",
    "测试卡号 6200000000000005，测试 MAC 密钥 0123456789ABCDEFFEDCBA9876543210，切勿用于真实交易。",
)

_STAN, _OWN_STAN, _BATCH = "000123", "000124", "000017"
_NOT_FOUND = "25"  # the code for it that every host has; others may mean it too
_LATER = "0102030506"  # MMDDhhmmss of a repeat, one minute and one second after the original
_CHIP = "9505000004E000" + "9F100807010103A0A00201" + "9F360200A1" + "9F1E083132333435363738"
_SCRIPT = "DF31052000000001"  # one script, done, id 00000001
_RRN, _APPROVAL = "000000000042", "123456"
# What a reply never brings back.
_NOT_ECHOED = frozenset({2, 14, 22, 23, 26, 35, 36, 52, 53, 55, 61, 62, 63, 64, 128})


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """One message of the kit. `frame`: the exact bytes on the wire, card number included."""

    name: str
    title: Both
    direction: Literal["to-host", "from-host"]
    mti: str
    frame: bytes
    explanation: Explanation


def examples(profile: Profile) -> list[Case]:
    """Every case that the profile has, in the order of a certification."""
    return list(_Kit(profile).cases())


class _Kit:
    """Builds the cases of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def cases(self) -> Iterator[Case]:
        """In the order of a terminal's day."""
        yield from self._session("sign-on", Both("sign-on", "签到"))
        yield from self._session("echo", Both("echo test", "回响测试"))
        sale = self._request("sale")
        yield self._case("sale", Both("sale", "消费"), sale)
        yield self._case("sale-reply", Both("approval of the sale", "消费批准应答"), self._approval(sale))
        yield from self._declined(sale)
        yield from self._time_out(sale)
        yield from self._other_reversals(sale)
        yield from self._after_the_sale(sale)
        yield from self._settling(sale)
        for kind in ("void", "preauth", "preauth-void", "completion", "completion-void", "refund"):
            yield from self._kind(kind)

    def _after_the_sale(self, sale: Message) -> Iterator[Case]:
        """The result of an issuer's script, where the host wants it."""
        rules = self._profile.script_result
        if rules is None:
            return
        known = {"stan": _OWN_STAN, "batch": _BATCH, "original_batch": _BATCH, "original_stan": _STAN}
        known |= {"original_date": "0102", "terminal_id": "10000001", "merchant_id": "102110000000001"}
        known |= {"learnt_rrn": _RRN, "learnt_approval_code": _APPROVAL, "learnt_acquirer": "12345678"}
        body = self._freeze(sale, "timeout").body
        message = build_script_result(self._profile, body, _CHIP + _SCRIPT, known)
        title = Both("result of the issuer's script", "脚本处理结果通知")
        yield self._case("script-result", title, message)
        answer = Both("answer to the script result", "脚本处理结果通知应答")
        yield self._case("script-result-reply", answer, self._reply(message, self._good_code()))

    def _settling(self, sale: Message) -> Iterator[Case]:
        """A batch of one sale: settled, then, as if the host had other totals, its details and their end."""
        if not supported(self._profile):
            return
        facts = self._facts("")
        totals = Totals(1250, 1).field_48()
        message = build_network_message(self._profile, "settlement", facts, totals)
        yield self._case("settlement", Both("settlement of a batch of one sale", "批结算"), message)
        unequal = {TOTALS_FIELD: totals[:30] + "2" + totals[31:]}
        reply = self._reply(message, "", unequal).with_fields({39: None})
        yield self._case("settlement-reply", Both("answer: other totals", "批结算应答：对账不平"), reply)
        if self._profile.batch_upload is not None:
            details = element_48([f"00{_STAN}{TEST_CARD:0>20}{1250:012d}"])
            upload = build_network_message(self._profile, "upload", facts, details=details)
            yield self._case("upload", Both("upload of its detail", "批上送明细"), upload)
            end = build_network_message(self._profile, "upload-end", facts, count="0001")
            yield self._case("upload-end", Both("end of the upload", "批上送结束"), end)

    def _declined(self, sale: Message) -> Iterator[Case]:
        code = "100" if self._code_length() == 3 else "51"
        yield self._case("sale-declined", Both("decline of the sale", "消费拒绝应答"), self._reply(sale, code))

    def _time_out(self, sale: Message) -> Iterator[Case]:
        frozen = self._freeze(sale, "timeout")
        first = render(frozen, repeat=False, stamp=_LATER, local=_LATER)
        title = Both("reversal after a time-out", "超时冲正")
        yield self._bytes("reversal-timeout", title, "to-host", first)
        yield from self._answers(self._profile.codec.unpack(first))
        again = render(frozen, repeat=True, stamp="0102030607", local="0102030607")
        note = Both("the same reversal, sent again", "冲正重发")
        yield self._bytes("reversal-repeat", note, "to-host", again)

    def _answers(self, reversal: Message) -> Iterator[Case]:
        verdicts = self._profile.responses.verdicts
        titles: tuple[tuple[str, Both], ...] = (
            ("done", Both("acknowledgement", "冲正成功应答")),
            ("overtaken", Both("answer: original not found", "应答：无原始交易")),
            ("retry", Both("answer: try again", "应答：需重发")),
            ("later", Both("answer: try later", "应答：稍后重发")),
            ("park", Both("answer: a person must act", "应答：需人工处理")),
        )
        for verdict, title in titles:
            codes = sorted(code for code, meant in verdicts.items() if meant == verdict)
            if codes:
                name = "acknowledgement" if verdict == "done" else f"reversal-answer-{verdict}"
                code = _NOT_FOUND if verdict == "overtaken" and _NOT_FOUND in codes else codes[0]
                yield self._case(name, title, self._reply(reversal, code))

    def _other_reversals(self, sale: Message) -> Iterator[Case]:
        rows = (
            ("mac", "reversal-mac-error", Both("reversal: the reply's MAC was wrong", "冲正：应答 MAC 错误")),
            ("other", "reversal-other", Both("reversal: another reason", "冲正：其他原因")),
            ("storage", "reversal-storage", Both("reversal: the approval could not be stored", "冲正：无法保存记录")),
            ("customer", "reversal-customer", Both("reversal: the customer cancelled", "冲正：客户取消")),
        )
        for reason, name, title in rows:
            yield self._bytes(name, title, "to-host", self._first(self._freeze(sale, reason)))
        if 55 in self._profile.codec.packings:
            chip = self._request("sale", chip_data=_CHIP, pos_entry_mode=self._entry_mode("051"))
            title = Both("reversal of a chip sale", "IC 卡消费冲正")
            yield self._bytes("reversal-chip", title, "to-host", self._first(self._freeze(chip, "timeout")))
        if self._profile.reversal.partial_field:
            frozen = freeze(sale, self._profile, "other", own_stan=_OWN_STAN, stands_minor=1000)
            title = Both("partial reversal: 10.00 of 12.50 stand", "部分冲正：12.50 中保留 10.00")
            yield self._bytes("reversal-partial", title, "to-host", self._first(frozen))

    def _kind(self, kind: str) -> Iterator[Case]:
        request = self._request(kind)
        name = KINDS.get(kind, same(kind))
        yield self._case(kind, name, request)
        if self._profile.kinds[kind].on_unknown == "reverse":
            title = Both(f"reversal of a {name.en}", f"{name.zh}冲正")
            yield self._bytes(f"{kind}-reversal", title, "to-host", self._first(self._freeze(request, "timeout")))

    # --- building ---

    def _facts(self, kind: str, **changes: str) -> RequestFacts:
        long_dates = self._profile.codec.packings[12].format.length == 12
        original = {"rrn": "000000000041", "approval_code": "123455", "batch": _BATCH, "stan": "000122"}
        original |= {"date": "260102" if long_dates else "0102", "time": "110000", "transmission": "0102030000"}
        known: dict[str, Any] = {
            "kind": kind,
            "amount_minor": 1250,
            "currency": "156",
            "stan": _STAN,
            "batch": _BATCH,
            "terminal_id": "10000001",
            "merchant_id": "102110000000001",
            "local_date": "0102",
            "local_time": "110405",
            "year": "26",
            "transmission": "0102030405",
            "pan": TEST_CARD,
            "expiry": "3012",
            "pos_entry_mode": self._entry_mode("012"),
            "operator": "001",
            "acquirer": "12345678",
            "original": original,
        }
        return RequestFacts(**(known | changes))

    def _entry_mode(self, mode: str) -> str:
        """Element 22 has twelve characters in the version of 1993: typed by hand, or chip."""
        if self._profile.codec.packings[22].format.length == 3:
            return mode
        return "510101513344" if mode == "051" else "600101613340"

    def _request(self, kind: str, **changes: str) -> Message:
        return build_request(self._profile, self._facts(kind, **changes))

    def _freeze(self, request: Message, reason: str) -> FrozenReversal:
        learnt = Learnt(approval_code=_APPROVAL, rrn=_RRN) if reason in ("other", "storage") else Learnt()
        return freeze(request, self._profile, reason, learnt, own_stan=_OWN_STAN)

    def _first(self, frozen: FrozenReversal) -> bytes:
        return render(frozen, repeat=False, stamp=_LATER, local=_LATER)

    def _session(self, name: str, title: Both) -> Iterator[Case]:
        if name in self._profile.session.messages:
            message = build_network_message(self._profile, name, self._facts(""))
            yield self._case(name, title, message)
            reply_title = Both(f"answer to the {title.en}", f"{title.zh}应答")
            yield self._case(f"{name}-reply", reply_title, self._reply(message, self._good_code()))

    def _approval(self, request: Message) -> Message:
        return self._reply(request, self._good_code(), {37: _RRN, 38: _APPROVAL})

    def _good_code(self) -> str:
        return min(self._profile.responses.approved)

    def _code_length(self) -> int:
        return self._profile.codec.packings[39].format.length

    def _reply(self, request: Message, code: str, more: dict[int, str] | None = None) -> Message:
        echoed = {field: value for field, value in request.fields.items() if field not in _NOT_ECHOED}
        message = Message(reply_to(request.mti), {**echoed, **(more or {}), 39: code})
        return reserve(self._profile, message)

    def _case(self, name: str, title: Both, message: Message) -> Case:
        is_reply = message.mti[2] in "13"
        return self._bytes(name, title, "from-host" if is_reply else "to-host", self._profile.codec.pack(message))

    def _bytes(self, name: str, title: Both, direction: Literal["to-host", "from-host"], body: bytes) -> Case:
        signed = _signed(self._profile, body)
        frame = wrap(self._profile, signed)
        mti = self._profile.codec.unpack(signed).mti
        return Case(name, title, direction, mti, frame, explain(self._profile, frame, money))


def _signed(profile: Profile, body: bytes) -> bytes:
    """The message with its MAC under the test key, where the profile wants one."""
    rules = profile.mac
    if not carries_mac(rules, profile.codec.unpack(body).mti):
        return body
    data = mac_input(rules, body)
    try:
        mac = compute(rules, TEST_KEY, data)
    except MacError:
        mac = compute(rules, TEST_KEY[:8], data)
    return place(profile, body, mac)


# --- output ------------------------------------------------------------------------------------


def kit_json(profile: Profile, cases: list[Case]) -> dict[str, Any]:
    """The kit as one object."""
    return {
        "profile": profile.name,
        "note_en": NOTE.en,
        "note_zh": NOTE.zh,
        "cases": [
            {
                "case": case.name,
                "title_en": case.title.en,
                "title_zh": case.title.zh,
                "direction": case.direction,
                "mti": case.mti,
                "hex": case.frame.hex().upper(),
                "fields": case.explanation.fields,
            }
            for case in cases
        ],
    }


def kit_text(profile: Profile, cases: list[Case], language: str) -> str:
    """The kit for people: each case with its bytes and its explanation."""
    lines = [f"{profile.name}: {profile.title}", NOTE.of(language)]
    for number, case in enumerate(cases, 1):
        lines += ["", _case_text(number, case, language)]
    return "\n".join(lines)


def _case_text(number: int, case: Case, language: str) -> str:
    arrow = "->" if case.direction == "to-host" else "<-"
    head = f"{number:02d} {arrow} {case.mti} {case.name}: {case.title.of(language)}"
    bytes_shown = re.sub("(.{64})", r"\1\n", case.frame.hex().upper()).rstrip("\n")
    return "\n".join(["=" * len(head), head, bytes_shown, "", text_of([case.explanation], language)])


def write_kit(profile: Profile, cases: list[Case], directory: Path, language: str) -> list[str]:
    """Writes NN-name.bin (the frame) and NN-name.txt (explained) for each case, and kit.json; gives the names."""
    directory.mkdir(parents=True, exist_ok=True)
    names = []
    for number, case in enumerate(cases, 1):
        stem = f"{number:02d}-{case.name}"
        (directory / f"{stem}.bin").write_bytes(case.frame)
        (directory / f"{stem}.txt").write_text(_case_text(number, case, language) + "\n", "utf-8")
        names += [f"{stem}.bin", f"{stem}.txt"]
    whole = json.dumps(kit_json(profile, cases), ensure_ascii=False, indent=1)
    (directory / "kit.json").write_text(whole + "\n", "utf-8")
    return [*names, "kit.json"]
