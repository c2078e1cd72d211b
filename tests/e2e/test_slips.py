"""A slip that is owed gets onto paper once: also when the printer had none and the agent was killed meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_SINGLE
from hwsim.host.settings import HostSettings
from tests.agent_bench import CARD
from tests.shop_bench import ShopBench

pytestmark = pytest.mark.slow


@pytest.fixture
def host() -> Iterator[HostServer]:
    settings = HostSettings(mac="up-ecb", mac_key=UNIONPAY_MAK_SINGLE, mac_on_all_replies=True)
    with HostServer(settings=settings) as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, host: HostServer) -> Iterator[ShopBench]:
    with ShopBench(tmp_path, host, mac_by_pad=True) as made:
        made.start()
        yield made


def printed(shop: ShopBench, words: str) -> int:
    return sum(words in slip for slip in shop.devices.printer.slips())


def test_a_slip_waits_for_paper_through_a_power_cut_and_is_printed_once(shop: ShopBench, host: HostServer) -> None:
    shop.devices.printer.fault("paper-out")
    host.faults.add("0200", "drop-reply")
    shop.sale("R1")
    shop.until(lambda: shop.state_of("R1") == "reversed", "the sale is reversed")
    shop.agent.kill()
    assert printed(shop, "CANCELLATION CONFIRMED") == 0
    shop.agent.start()
    shop.devices.printer.fault("paper-ok")
    shop.until(lambda: printed(shop, "CANCELLATION CONFIRMED") == 1, "the customer has the confirmation")
    book = shop.directory / "state/slips.book"
    shop.until(lambda: '"printed"' in book.read_text(), "the book says so")
    shop.agent.kill()
    shop.start()
    host.faults.add("0200", "drop-reply")
    shop.sale("R2")
    shop.until(lambda: printed(shop, "CANCELLATION CONFIRMED") == 2, "the second sale's slip")
    first = [slip for slip in shop.devices.printer.slips() if "main-1" in slip and "CANCELLATION CONFIRMED" in slip]
    assert len(first) == 1


def test_customer_and_merchant_get_their_slips_and_a_copy_says_so(shop: ShopBench, host: HostServer) -> None:
    host.faults.add("0200", "drop-reply")
    host.faults.add("reversal", "code", value="57", count=None)
    shop.sale("R1")
    shop.until(lambda: printed(shop, "REVERSAL NOT CONFIRMED") == 1, "the merchant's slip")
    assert printed(shop, "SALE CANCELLED") == 1
    line = [sys.executable, "-m", "agent.cli", "--config", str(shop.configuration), "reprint", "main-1"]
    done = subprocess.run([*line, "--slip", "adjustment"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shop.until(lambda: printed(shop, "MANUAL ADJUSTMENT") == 1, "the paper for the bank")
    slip = next(slip for slip in shop.devices.printer.slips() if "MANUAL ADJUSTMENT" in slip)
    assert "COPY" in slip
    assert CARD["pan"] not in slip
