"""Each scripted fault, seen by a real socket client with deadlines, and the rules that choose a fault."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host.codec import HostMessage
from hwsim.host.faults import FAULT_NAMES, FaultError, FaultPlan
from hwsim.host.server import HostServer
from hwsim.host.settings import HostSettings
from hwsim.host.terminal import BenchLink, BenchTerminal

SETTINGS = HostSettings()
SILENCE_S = 0.15
"""How long nothing must come; short, because a late reply can only make a test fail, never pass."""


@pytest.fixture
def host() -> Iterator[HostServer]:
    with HostServer(settings=SETTINGS) as server:
        yield server


@pytest.fixture
def terminal() -> BenchTerminal:
    return BenchTerminal(SETTINGS)


@pytest.fixture
def link(host: HostServer) -> Iterator[BenchLink]:
    with BenchLink(host.address) as opened:
        yield opened


def exchange(link: BenchLink, terminal: BenchTerminal, message: HostMessage) -> HostMessage:
    link.send(terminal.frame(message))
    payload = link.receive()
    assert payload is not None
    return terminal.read(payload)


def expect_silence(link: BenchLink) -> None:
    with pytest.raises(TimeoutError):
        link.receive_raw(SILENCE_S)


def charged(host: HostServer) -> int:
    return host.ledger.net().get("156", 0)


def test_drop_request_is_not_processed_and_not_answered(
    host: HostServer, link: BenchLink, terminal: BenchTerminal
) -> None:
    host.faults.add("0200", "drop-request")
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    expect_silence(link)
    assert host.ledger.rows() == []
    assert exchange(link, terminal, terminal.sale("000002", 1000)).get(39) == "00"


def test_drop_reply_is_processed_and_not_answered(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "drop-reply")
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    expect_silence(link)
    assert charged(host) == 1000


def test_delay_answers_late(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "delay", value=0.2)
    began = time.monotonic()
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(39) == "00"
    assert time.monotonic() - began >= 0.2


def test_late_request_is_overtaken_by_its_reversal(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "late-request", value=0.6)
    sale = terminal.sale("000001", 1000)
    link.send(terminal.frame(sale))
    assert exchange(link, terminal, terminal.reversal(sale)).get(39) == "25"
    late = link.receive()
    assert late is not None
    assert terminal.read(late).get(39) == "12"
    assert (charged(host), host.ledger.rows()[0].state) == (0, "blocked")


def test_duplicate_reply_comes_twice(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "duplicate-reply")
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    assert link.receive() == link.receive() is not None
    assert charged(host) == 1000


@pytest.mark.parametrize(
    ("fault", "number"), [("wrong-stan", 11), ("wrong-amount", 4), ("wrong-terminal", 41), ("wrong-merchant", 42)]
)
def test_a_wrong_element_has_a_right_mac(
    host: HostServer, link: BenchLink, terminal: BenchTerminal, fault: str, number: int
) -> None:
    host.faults.add("0200", fault)
    sale = terminal.sale("000001", 1000)
    link.send(terminal.frame(sale))
    payload = link.receive()
    assert payload is not None
    reply = terminal.read(payload)
    assert reply.get(number) != sale.get(number)
    assert len(reply.get(number)) == len(sale.get(number))
    assert {other for other in (4, 11, 41, 42) if reply.get(other) != sale.get(other)} == {number}
    assert terminal.mac_is_right(payload)
    assert charged(host) == 1000


def test_a_wrong_element_can_be_given(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "wrong-amount", value="000000000001")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(4) == "000000000001"


def test_wrong_original_changes_de_90() -> None:
    settings = HostSettings(dialect="iso87")
    terminal = BenchTerminal(settings)
    with HostServer(settings=settings) as host, BenchLink(host.address) as link:
        host.faults.add("reversal", "wrong-original")
        sale = terminal.sale("000001", 1000)
        exchange(link, terminal, sale)
        reply = exchange(link, terminal, terminal.reversal(sale))
        assert reply.get(90)[:10] == "0200000002"
        assert charged(host) == 0


def test_wrong_mti_is_another_class(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "wrong-mti")
    host.faults.add("0400", "wrong-mti")
    sale = terminal.sale("000001", 1000)
    assert exchange(link, terminal, sale).mti == "0410"
    assert exchange(link, terminal, terminal.reversal(sale)).mti == "0210"


def test_bad_mac_and_no_mac(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "bad-mac", nth=1)
    host.faults.add("0200", "no-mac", nth=2)
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    wrong = link.receive()
    assert wrong is not None
    assert not terminal.mac_is_right(wrong)
    assert terminal.read(wrong).get(39) == "00"
    assert exchange(link, terminal, terminal.sale("000002", 1000)).get(64) == ""
    assert charged(host) == 2000


def test_code_refuses_without_effect(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("any", "code", value="91", count=2)
    sale = terminal.sale("000001", 1000)
    assert exchange(link, terminal, sale).get(39) == "91"
    assert exchange(link, terminal, terminal.reversal(sale)).get(39) == "91"
    assert charged(host) == 0
    assert host.ledger.rows()[0].refused_reversals == 1


def test_code_after_effect_is_processed_and_lies(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "code-after-effect", value="96")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(39) == "96"
    assert charged(host) == 1000


def test_no_code_leaves_element_39_out(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "no-code")
    assert 39 not in exchange(link, terminal, terminal.sale("000001", 1000)).fields


def test_an_issuers_script_comes_with_the_answer(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "issuer-script")
    answer = exchange(link, terminal, terminal.sale("000001", 1000))
    assert (answer.get(39), answer.get(55)[:4]) == ("00", "7212")


@pytest.mark.parametrize(("fault", "amount"), [("close-before-reply", 1000), ("close-before-processing", 0)])
def test_close_ends_the_connection_without_an_answer(
    host: HostServer, link: BenchLink, terminal: BenchTerminal, fault: str, amount: int
) -> None:
    host.faults.add("0200", fault)
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    assert link.receive() is None
    assert charged(host) == amount


def test_close_after_reply(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "close-after-reply")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(39) == "00"
    assert link.receive() is None


def test_close_mid_frame_sends_a_part(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "close-mid-frame", value=30)
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    assert link.receive() is None
    assert sum(len(piece) for piece in link.pieces) == 30
    assert charged(host) == 1000


@pytest.mark.parametrize(("fault", "amount"), [("reset", 1000), ("reset-before-processing", 0)])
def test_reset_is_seen_as_a_reset(
    host: HostServer, link: BenchLink, terminal: BenchTerminal, fault: str, amount: int
) -> None:
    host.faults.add("0200", fault)
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    with pytest.raises(ConnectionResetError):
        link.receive()
    assert charged(host) == amount


def test_garbage_is_reproducible_noise(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "garbage", count=2, value=40)
    noise = []
    for stan in ("000001", "000002"):
        link.send(terminal.frame(terminal.sale(stan, 1000)))
        noise.append(link.receive_raw())
    assert noise[0] == noise[1]
    assert len(noise[0]) == 40
    assert charged(host) == 2000


@pytest.mark.parametrize(("fault", "length"), [("length-zero", b"\x00\x00"), ("length-max", b"\xff\xff")])
def test_lengths_that_lie(
    host: HostServer, link: BenchLink, terminal: BenchTerminal, fault: str, length: bytes
) -> None:
    host.faults.add("0200", fault)
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    assert link.receive_raw()[:3] == length + b"\x60"
    expect_silence(link)


def test_half_then_silence(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "half-then-silence")
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    piece = link.receive_raw()
    assert len(piece) == (int.from_bytes(piece[:2], "big") + 2) // 2
    expect_silence(link)


def test_byte_by_byte_arrives_whole_in_the_end(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "byte-by-byte")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(39) == "00"
    assert len(link.pieces) > 20


def test_two_in_one_brings_a_stranger_first(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "two-in-one")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(11) == "000002"
    assert len(link.pieces) == 1
    right = link.receive()
    assert right is not None
    assert terminal.read(right).get(11) == "000001"


def test_late_reply_comes_before_the_reply_to_the_next_message(
    host: HostServer, link: BenchLink, terminal: BenchTerminal
) -> None:
    host.faults.add("0200", "late-reply")
    sale = terminal.sale("000001", 1000)
    link.send(terminal.frame(sale))
    expect_silence(link)
    assert exchange(link, terminal, terminal.reversal(sale)).mti == "0210"
    acknowledgement = link.receive()
    assert acknowledgement is not None
    assert terminal.read(acknowledgement).mti == "0410"


def test_late_reply_can_come_on_the_next_connection(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "late-reply", value="next-connection")
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    host.wait_for(lambda ledger: ledger.net() == {"156": 1000})
    with BenchLink(host.address) as second:
        payload = second.receive()
        assert payload is not None
        assert terminal.read(payload).mti == "0210"


def test_processing_requirement_of_one_reply(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "processing-requirement")
    link.send(terminal.frame(terminal.sale("000001", 1000)))
    payload = link.receive()
    assert payload is not None
    assert payload[7] == 0x03


@pytest.mark.parametrize("fault", ["hang", "close-before-processing", "reset-before-processing"])
def test_nothing_is_heard_afterwards_not_even_from_the_same_segment(
    host: HostServer, link: BenchLink, terminal: BenchTerminal, fault: str
) -> None:
    host.faults.add("0200", fault)
    link.send(b"".join(terminal.frame(terminal.sale(stan, 1000)) for stan in ("000001", "000002")))
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        assert link.receive_raw(SILENCE_S) == b""
    assert host.ledger.rows() == []


def test_answer_and_hang(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "answer-and-hang")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(39) == "00"
    link.send(terminal.frame(terminal.sale("000002", 1000)))
    expect_silence(link)


def test_faults_join(host: HostServer, link: BenchLink, terminal: BenchTerminal) -> None:
    host.faults.add("0200", "wrong-stan")
    host.faults.add("0200", "duplicate-reply")
    assert exchange(link, terminal, terminal.sale("000001", 1000)).get(11) == "000002"
    assert link.receive() is not None


# -- choosing


def message(mti: str, terminal_id: str = "10000001") -> HostMessage:
    return HostMessage(mti, {41: terminal_id})


def struck(plan: FaultPlan, *mtis: str) -> list[int]:
    return [len(plan.take(message(mti))) for mti in mtis]


def test_nth_and_count_choose_the_occurrence() -> None:
    plan = FaultPlan()
    plan.add("0200", "drop-reply", nth=2, count=2)
    assert struck(plan, "0200", "0400", "0200", "0200", "0200") == [0, 0, 1, 1, 0]
    assert plan.fired("drop-reply") == 2
    assert plan.fired("delay") == 0


def test_count_none_strikes_until_cleared() -> None:
    plan = FaultPlan()
    plan.add("any", "drop-reply", count=None)
    assert struck(plan, "0200", "0400", "0800") == [1, 1, 1]
    plan.clear()
    assert struck(plan, "0200") == [0]


@pytest.mark.parametrize(
    ("on", "hits"),
    [
        ("reversal", ["0400", "0401", "0420", "0421", "1420"]),
        ("financial", ["0200", "0220", "1200"]),
        ("charge", ["0100", "0200", "0220", "1200"]),
        ("network", ["0800"]),
        ("04x1", ["0401", "0421"]),
        ("0421", ["0421"]),
    ],
)
def test_message_classes(on: str, hits: list[str]) -> None:
    plan = FaultPlan()
    plan.add(on, "drop-reply", count=None)
    asked = ["0100", "0200", "0220", "0400", "0401", "0420", "0421", "0800", "1200", "1420"]
    assert [mti for mti in asked if plan.take(message(mti))] == hits


def test_a_fault_can_be_for_one_terminal() -> None:
    plan = FaultPlan()
    plan.add("any", "drop-reply", terminal="20000002")
    assert plan.take(message("0200")) == []
    assert len(plan.take(message("0200", "20000002"))) == 1


@pytest.mark.parametrize(
    ("on", "fault", "nth", "count", "value", "says"),
    [
        ("0200", "explode", 1, 1, "", "no fault"),
        ("02", "drop-reply", 1, 1, "", "no message class"),
        ("sales", "drop-reply", 1, 1, "", "no message class"),
        ("0200", "drop-reply", 0, 1, "", "begin at 1"),
        ("0200", "drop-reply", 1, 0, "", "begin at 1"),
        ("0200", "delay", 1, 1, "soon", "takes a number"),
    ],
)
def test_a_wrong_order_is_refused(on: str, fault: str, nth: int, count: int, value: str, says: str) -> None:
    plan = FaultPlan()
    with pytest.raises(FaultError, match=says):
        plan.add(on, fault, nth=nth, count=count, value=value)
    assert plan.rows() == []


def test_every_fault_has_a_test_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in FAULT_NAMES if f'"{name}"' not in source] == []


def test_every_fault_and_violation_is_documented() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "host-simulator.md").read_text(encoding="utf-8")
    code = (root / "hwsim" / "host" / "ledger.py").read_text(encoding="utf-8")
    accused = [*re.findall(r'_violate\(\s*"([a-z-]+)"', code), *re.findall(r'Violation\(\s*"([a-z-]+)"', code)]
    assert len(set(accused)) >= 6
    assert [name for name in (*FAULT_NAMES, *accused) if f"`{name}`" not in page] == []
