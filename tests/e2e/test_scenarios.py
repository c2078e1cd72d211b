"""Every scenario of the library, played on a running shop while a customer pays: the agent does what the file says.

`[sale]` of a scenario: `outcome` of the sale that is under way (one of them where it depends on the instant), `at_s`
when the sale begins, `error` a piece of what a refusal says, `cause` the reversal's. Afterwards the bench is mended,
every device comes back, the next sale is good, and the host's books agree with the agent's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hwsim
from hwsim.fault_script import FaultScript, load_script
from hwsim.host import HostServer
from hwsim.script_runner import play
from tests.agent_bench import agree
from tests.shop_bench import GOOD_CARD, ShopBench, pad_host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FILES = sorted((Path(hwsim.__file__).parent / "scenarios").glob("*.toml"))
ENDED = ("completed", "reversed", "declined")
# The sale of the scenario has used up what was planned for the next person.
NOT_AFTER_A_SALE = {"planned_acts"}
# A fault that lasts longer than this is ended by the technician; what it leaves is shown without an agent, in
# tests/unit/test_hwsim_devices_scenarios.py.
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def host() -> Iterator[HostServer]:
    with pad_host() as server:
        yield server


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, host: HostServer) -> Iterator[ShopBench]:
    with ShopBench(tmp_path_factory.mktemp("shop"), host) as made:
        made.start()
        yield made


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agent_does_what_the_scenario_says(path: Path, shop: ShopBench, host: HostServer) -> None:
    script = load_script(path)
    told = script.values["sale"]
    assert isinstance(told, dict)
    known = len(host.ledger.rows())
    shop.mend()
    shop.until_ready()
    played = playing(script, shop, float(told.get("at_s", 0.0)))
    result = shop.card_sale(path.stem)
    played.join(PATIENCE_S)
    check_outcome(shop, host, path.stem, told, result, known)
    if lasts_s(script) <= PATIENCE_S:
        check_devices(shop, script)
    shop.mend()
    shop.until_ready()
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale(f"{path.stem}-next")["outcome"] == "completed"
    agree(host, shop)


def playing(script: FaultScript, shop: ShopBench, begin_s: float) -> threading.Thread:
    """Begin the script; gives its thread when the time of the sale has come."""
    if not any(step.fault == "insert-card" for step in script.steps):
        shop.devices.reader.insert_card(GOOD_CARD)
    due = sum(step.at_s <= begin_s for step in script.steps)
    begun = threading.Semaphore(0)

    def run() -> None:
        play(script, shop.devices.perform, threading.Event().wait, lambda step: begun.release())

    began = time.monotonic()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    for _ in range(due):
        assert begun.acquire(timeout=30)
    threading.Event().wait(max(0.0, began + begin_s - time.monotonic()))
    return thread


def check_outcome(
    shop: ShopBench, host: HostServer, reference: str, told: dict[str, Any], result: dict[str, Any], known: int
) -> None:
    wanted = [told["outcome"]] if isinstance(told["outcome"], str) else told["outcome"]
    if result["outcome"] == "refused":
        assert "refused" in wanted, result
        assert told.get("error", "") in result["error"] + result["hint"], result
        assert len(host.ledger.rows()) == known, "a refused sale reached the host"
        return
    shop.until(lambda: shop.state_of(reference) in ENDED, "the sale has ended")
    item = shop.item(reference)
    assert item["state"] in wanted, item
    if "cause" in told and item["state"] == "reversed":
        assert item["origin"]["cause"] == told["cause"]


def check_devices(shop: ShopBench, script: FaultScript) -> None:
    expected = script.values.get("expect", {})
    assert isinstance(expected, dict)
    for name, values in expected.items():
        asked = {key: value for key, value in values.items() if key not in NOT_AFTER_A_SALE}
        device = shop.devices.devices()[name]
        seen = device.wait(lambda state, asked=asked: asked.items() <= state.items(), PATIENCE_S)  # type: ignore[misc]
        assert seen, (asked, device.state())


def lasts_s(script: FaultScript) -> float:
    """When everything in the script is over."""
    return max(step.at_s + float(str(step.args.get("seconds", 0))) for step in script.steps)
