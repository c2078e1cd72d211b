"""The agent's own sale against a real daemon, simulated devices and a host that keeps books of the money."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from tests.agent_bench import agree
from tests.shop_bench import GOOD_CARD, ShopBench, pad_host

pytestmark = pytest.mark.slow


@pytest.fixture
def host() -> Iterator[HostServer]:
    with pad_host() as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, host: HostServer) -> Iterator[ShopBench]:
    with ShopBench(tmp_path, host) as made:
        made.start()
        yield made


def charged(host: HostServer) -> int:
    return host.ledger.net().get("156", 0)


def heard(host: HostServer) -> int:
    """Requests and reversals that the host has seen."""
    return len(host.ledger.rows())


# --- the good sale ---


def test_a_sale_with_card_pin_and_slip_is_completed_and_charged_once(shop: ShopBench, host: HostServer) -> None:
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R1")["outcome"] == "completed"
    assert charged(host) == 1250
    (slip,) = shop.devices.printer.slips()
    assert "签购单" in slip
    card = shop.devices.reader.state()["card"]
    assert isinstance(card, dict)
    assert card["decisions"] == ["ARQC 1", "TC 1"]
    agree(host, shop)


# --- the card ---


def test_a_card_pulled_while_the_host_decides_gives_the_money_back(shop: ShopBench, host: HostServer) -> None:
    host.faults.add("financial", "delay", value="0.3")
    shop.devices.reader.insert_card(GOOD_CARD)
    sale = shop.sale_beside("R1")
    host.wait_for(lambda ledger: bool(ledger.rows()))
    shop.devices.reader.remove_card()
    assert sale.result()["outcome"] == "reversing"
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    assert shop.item("R1")["origin"]["cause"] == "card-gone"
    assert charged(host) == 0
    agree(host, shop)


def test_a_card_pulled_in_its_second_decision_gives_the_money_back(shop: ShopBench, host: HostServer) -> None:
    shop.devices.reader.insert_card("unionpay-slow")
    sale = shop.sale_beside("R1")
    shop.until(lambda: shop.state_of("R1") == "approved", "the host has approved")
    shop.devices.reader.remove_card()
    sale.result()
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    assert charged(host) == 0
    agree(host, shop)


def test_a_card_pulled_after_its_last_word_changes_nothing(shop: ShopBench, host: HostServer) -> None:
    shop.devices.reader.insert_card(GOOD_CARD)
    sale = shop.sale_beside("R1")
    # The slip begins when the card's word has arrived.
    assert shop.devices.printer.wait(lambda state: state["hanging"] or state["slips"], 20)
    shop.devices.reader.remove_card()
    assert sale.result()["outcome"] == "completed"
    assert charged(host) == 1250
    agree(host, shop)


def test_a_card_that_refuses_after_the_approval_gives_the_money_back(shop: ShopBench, host: HostServer) -> None:
    shop.devices.reader.insert_card("unionpay-second-ac-refused")
    assert shop.card_sale("R1")["outcome"] == "reversing"
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    assert shop.item("R1")["origin"]["cause"] == "card-refused"
    assert charged(host) == 0
    agree(host, shop)


def _order_heard(host: HostServer) -> list[str]:
    """The types of what moved or told something, in the host's order."""
    return [line[:4] for line in list(host.machine.transcript) if line[:4] in ("0200", "0400", "0620")]


def test_what_the_issuers_script_did_is_told_before_anything_else_of_the_lane(
    shop: ShopBench, host: HostServer
) -> None:
    host.faults.add("financial", "issuer-script")
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R1")["outcome"] == "completed"
    host.wait_for(lambda ledger: bool(ledger.notices()))
    (notice,) = host.ledger.notices()
    assert "DF31052000000001" in notice.chip_data  # done, script 00000001
    assert notice.about.startswith("000017")
    card = shop.devices.reader.state()["card"]
    assert isinstance(card, dict)
    assert card["decisions"] == ["ARQC 1", "TC 1", "script 8424 done"]
    agree(host, shop)


def test_a_script_that_came_with_a_decline_runs_and_is_told(shop: ShopBench, host: HostServer) -> None:
    host.faults.add("financial", "issuer-script")
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R1", 1251)["outcome"] == "declined"  # the host declines amounts that end in 51
    host.wait_for(lambda ledger: bool(ledger.notices()))
    card = shop.devices.reader.state()["card"]
    assert isinstance(card, dict)
    assert card["decisions"] == ["ARQC 1", "AAC 1", "script 8424 done"]
    assert charged(host) == 0
    agree(host, shop)


def test_a_script_result_goes_before_the_reversal_of_a_card_that_refused(shop: ShopBench, host: HostServer) -> None:
    host.faults.add("financial", "issuer-script")
    shop.devices.reader.insert_card("unionpay-second-ac-refused")
    assert shop.card_sale("R1")["outcome"] == "reversing"
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    assert _order_heard(host) == ["0200", "0620", "0400"]
    agree(host, shop)


def test_a_host_that_never_answers_script_results_gets_the_reversal_all_the_same(
    shop: ShopBench, host: HostServer
) -> None:
    host.faults.add("financial", "issuer-script")
    host.faults.add("0620", "drop-request", count=3)
    shop.devices.reader.insert_card("unionpay-second-ac-refused")
    shop.card_sale("R1")
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    listed = shop.agent.call("script.list", {})["lanes"]["main"]
    assert [one["tries"] for one in listed["waiting"]] == [3]
    assert "S-SCRIPT-RESULT" in [one["code"] for one in shop.agent.call("agent.status", {})["conditions"]]
    assert _order_heard(host) == ["0200", "0620", "0620", "0620", "0400"]
    shop.agent.call("script.close", {"id": listed["waiting"][0]["id"], "why": "told by telephone"})
    assert "S-SCRIPT-RESULT" not in [one["code"] for one in shop.agent.call("agent.status", {})["conditions"]]
    agree(host, shop)


def test_a_card_that_declines_offline_sends_nothing(shop: ShopBench, host: HostServer) -> None:
    shop.devices.reader.insert_card("unionpay-declines")
    refused = shop.card_sale("R1")
    assert "A-CARD-DECLINED" in refused["error"]
    assert heard(host) == 0
    shop.devices.reader.remove_card()
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R2")["outcome"] == "completed"
    agree(host, shop)


def test_a_declined_sale_tells_the_card_and_charges_nobody(shop: ShopBench, host: HostServer) -> None:
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R1", 1251)["outcome"] == "declined"  # the host declines amounts that end in 51
    card = shop.devices.reader.state()["card"]
    assert isinstance(card, dict)
    assert card["decisions"] == ["ARQC 1", "AAC 1"]
    assert charged(host) == 0
    agree(host, shop)


def test_without_a_card_nothing_is_sent(shop: ShopBench, host: HostServer) -> None:
    assert "no card within 5 s" in shop.card_sale("R1")["error"]
    assert heard(host) == 0


# --- the PIN pad ---


@pytest.mark.parametrize("act", ["cancel", "wait"])
def test_a_pin_that_is_not_entered_sends_nothing(shop: ShopBench, host: HostServer, act: str) -> None:
    shop.devices.reader.insert_card(GOOD_CARD)
    shop.devices.perform("pinpad", "person", {"kind": act})
    refused = shop.card_sale("R1")
    assert refused["outcome"] == "refused"
    assert "no sale was sent" in refused["error"]
    assert heard(host) == 0
    assert shop.card_sale("R2")["outcome"] == "completed"  # the same card, taken anew
    agree(host, shop)


def test_an_unplugged_pin_pad_keeps_the_reversal_until_it_is_back(shop: ShopBench, host: HostServer) -> None:
    host.faults.add("financial", "drop-reply")
    shop.devices.reader.insert_card(GOOD_CARD)
    sale = shop.sale_beside("R1")
    host.wait_for(lambda ledger: bool(ledger.rows()))
    shop.devices.pinpad.fault("unplug")
    assert sale.result()["outcome"] == "reversing"
    shop.until(lambda: shop.item("R1")["diagnosis"]["class"] == "device", "the cause is the device")
    assert charged(host) == 1250
    assert host.ledger.rows()[0].effects == 0
    shop.devices.pinpad.fault("replug")
    shop.until(lambda: shop.state_of("R1") == "reversed", "the reversal left with a MAC again")
    assert charged(host) == 0
    agree(host, shop)


# --- the printer ---


def test_without_paper_the_sale_is_reversed_and_the_slips_come_with_the_new_roll(
    shop: ShopBench, host: HostServer
) -> None:
    shop.devices.printer.fault("paper-out")
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R1")["outcome"] == "reversing"
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    assert shop.item("R1")["origin"]["cause"] == "not-printed"
    assert charged(host) == 0
    assert shop.devices.printer.slips() == []
    shop.devices.printer.fault("paper-ok")
    assert shop.devices.printer.wait(lambda state: state["slips"] == 2, 20)
    assert ["冲正中" in slip for slip in shop.devices.printer.slips()] == [True, False]
    agree(host, shop)


@pytest.mark.parametrize(("rule", "state"), [("reverse", "reversed"), ("complete", "completed")])
def test_paper_that_ends_in_the_slip_is_decided_as_configured(tmp_path: Path, rule: str, state: str) -> None:
    with pad_host() as host, ShopBench(tmp_path, host, nobody_knows=rule) as shop:
        shop.start()
        shop.devices.printer.fault("paper-out", after_lines=3)
        shop.devices.reader.insert_card(GOOD_CARD)
        shop.card_sale("R1")
        shop.until(lambda: shop.state_of("R1") == state, f"the sale is {state}")
        assert charged(host) == (1250 if state == "completed" else 0)
        agree(host, shop)


@pytest.mark.parametrize("fault", ["unplug", "silence"])
def test_a_printer_that_is_away_or_hangs_costs_the_sale_and_nothing_else(
    shop: ShopBench, host: HostServer, fault: str
) -> None:
    shop.devices.printer.fault(fault)
    shop.devices.reader.insert_card(GOOD_CARD)
    shop.card_sale("R1")
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    assert charged(host) == 0
    shop.devices.printer.fault("replug" if fault == "unplug" else "clear")
    shop.until_ready()
    assert shop.card_sale("R2")["outcome"] == "completed"
    assert charged(host) == 1250
    agree(host, shop)


# --- restart ---


def test_after_a_kill_the_printer_is_asked_whether_the_slip_came_out(tmp_path: Path) -> None:
    with pad_host() as host, ShopBench(tmp_path, host, print_timeout_s=60) as shop:
        shop.start()
        shop.devices.printer.fault("paper-out", after_lines=3)
        shop.devices.reader.insert_card(GOOD_CARD)
        sale = shop.sale_beside("R1")
        shop.until(lambda: shop.state_of("R1") == "approved", "the host has approved")
        assert shop.devices.printer.wait(lambda state: state["paper"] == "out", 20)
        shop.agent.kill()
        sale.result()
        shop.devices.printer.fault("paper-ok")
        assert shop.devices.printer.wait(lambda state: state["slips"] == 1, 10)
        shop.start()
        shop.until(lambda: shop.state_of("R1") in ("completed", "reversed", "approved"), "it has one state")
        agree_or_open(host, shop)


def test_after_a_kill_a_card_that_never_agreed_gives_the_money_back_whatever_the_rule_is(tmp_path: Path) -> None:
    """`nobody_knows = "complete"` is for what nobody knows: the card in the reader knows."""
    with pad_host() as host, ShopBench(tmp_path, host, nobody_knows="complete") as shop:
        shop.start()
        host.faults.add("financial", "delay", value="0.3")
        shop.devices.reader.insert_card(GOOD_CARD)
        sale = shop.sale_beside("R1")
        host.wait_for(lambda ledger: bool(ledger.rows()))
        shop.devices.reader.fault("silence", seconds=1.5)
        shop.until(lambda: shop.state_of("R1") == "approved", "the host has approved")
        shop.agent.kill()
        sale.result()
        shop.start()
        shop.until(lambda: shop.state_of("R1") == "reversed", "the card was asked and the sale is reversed")
        assert shop.item("R1")["origin"]["cause"] == "card-unfinished"
        assert charged(host) == 0
        agree(host, shop)


def test_after_a_kill_a_card_that_agreed_does_not_decide_about_the_slip(tmp_path: Path) -> None:
    with pad_host() as host, ShopBench(tmp_path, host, print_timeout_s=60) as shop:
        shop.start()
        shop.devices.printer.fault("silence", seconds=30)
        shop.devices.reader.insert_card(GOOD_CARD)
        sale = shop.sale_beside("R1")
        shop.until(lambda: "TC 1" in shop.devices.reader.state()["card"]["decisions"], "the card has agreed")
        shop.agent.kill()
        sale.result()
        shop.devices.printer.fault("clear")
        shop.start()
        shop.until(lambda: not shop.devices.reader.state()["powered"], "the card was asked")
        assert shop.state_of("R1") in ("approved", "completed")
        agree_or_open(host, shop)


def agree_or_open(host: HostServer, shop: ShopBench) -> None:
    """A sale that is still approved is charged and waits; everything else agrees."""
    if shop.state_of("R1") == "approved":
        assert charged(host) == 1250
        shop.agent.call("transaction.reverse", {"reference": "R1"})
        shop.until(lambda: shop.state_of("R1") == "reversed", "it is reversed on command")
    agree(host, shop)
