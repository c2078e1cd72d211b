"""Devices under a running daemon: replugged, tested, taken by a technician; and never in a reversal's way."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.bench import WireKind
from hwsim.host import HostServer
from tests.agent_bench import agree
from tests.reversal_times import MOVED_S_MAX, hanging, moved_by, printing, reading, steady_shop
from tests.shop_bench import GOOD_CARD, ShopBench, pad_host

pytestmark = pytest.mark.slow

HANG_S = 60.0


@pytest.fixture
def host() -> Iterator[HostServer]:
    with pad_host() as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, host: HostServer) -> Iterator[ShopBench]:
    with ShopBench(tmp_path, host) as made:
        made.start()
        yield made


# --- unplugged and replugged ---


@pytest.mark.parametrize("name", ["reader", "pinpad", "printer", "contactless"])
def test_a_device_that_comes_back_under_another_name_is_in_service_within_two_seconds(
    shop: ShopBench, host: HostServer, name: str
) -> None:
    device = shop.devices.devices()[name]
    before = device.name
    device.fault("unplug")
    shop.until(lambda: shop.device_states()[name] == "gone", f"the {name} is missed")
    device.fault("replug")
    began = time.monotonic()
    shop.until(lambda: shop.device_states()[name] == "ready", f"the {name} is back")
    assert time.monotonic() - began < 2.0
    assert device.name != before
    shop.devices.reader.insert_card(GOOD_CARD)
    assert shop.card_sale("R1")["outcome"] == "completed"
    agree(host, shop)


@pytest.mark.parametrize("wire", ["pty", "usb"])
def test_a_device_that_re_enumerates_is_back_within_two_seconds(
    tmp_path: Path, host: HostServer, wire: WireKind
) -> None:
    """It vanishes for 0.2 s: longer than a slice of a read, shorter than any look at its name."""
    with ShopBench(tmp_path, host, wire=wire) as shop:
        shop.start()
        for name in ("printer", "reader"):
            before, opened = shop.devices.devices()[name].name, times_opened(shop, name)
            shop.devices.perform(name, "re-enumerate", {"seconds": 0.2})
            began = time.monotonic()
            shop.until(lambda name=name, opened=opened: times_opened(shop, name) > opened, f"the {name} is reopened")  # type: ignore[misc]
            shop.until_ready()
            print(f"{wire} {name}: {before} is {shop.devices.devices()[name].name}, {time.monotonic() - began:.2f} s")
            assert shop.devices.devices()[name].name != before
        shop.devices.reader.insert_card(GOOD_CARD)
        assert shop.card_sale("R1")["outcome"] == "completed"
        agree(host, shop)


def times_opened(shop: ShopBench, name: str) -> int:
    devices = {device["name"]: device for device in shop.agent.call("device.list", {})["devices"]}
    return int(devices[name]["counters"].get("opened", 0)) if devices[name]["state"] == "ready" else 0


def test_the_status_file_tells_at_once_that_a_device_went_away(shop: ShopBench) -> None:
    shop.devices.printer.fault("unplug")
    shop.until(lambda: "gone" in {one["state"] for one in shop.agent.status()["devices"]}, "status.json says it", 5)


def test_reader_and_printer_on_usb_sell_and_come_back_when_replugged(tmp_path: Path, host: HostServer) -> None:
    """Over USB/IP: the daemon's pyusb sees the bench's devices, although this machine has no such bus."""
    with ShopBench(tmp_path, host, wire="usb") as shop:
        shop.start()
        assert "bench: USB devices are reached through" in shop.log()
        firmware = {device["name"]: device["firmware"] for device in shop.agent.call("device.list", {})["devices"]}
        assert firmware["printer"] == "TM-T82"
        shop.devices.reader.insert_card(GOOD_CARD)
        assert shop.card_sale("R1")["outcome"] == "completed"
        for name in ("printer", "reader"):
            shop.devices.perform(name, "unplug", {})
            shop.until(lambda name=name: shop.device_states()[name] == "gone", f"the {name} is missed")  # type: ignore[misc]
            shop.devices.perform(name, "replug", {})
            shop.until_ready(2.0)
        assert shop.card_sale("R2")["outcome"] == "completed"
        assert len(shop.devices.printer.slips()) == 2
        agree(host, shop)


def test_a_daemon_does_not_start_with_a_wrong_usb_backend(tmp_path: Path, host: HostServer) -> None:
    with ShopBench(tmp_path, host) as shop:
        shop.agent.spawn({"REVERSALD_USB_BACKEND": "nonsense"})
        assert shop.agent.wait() == 78
        assert "REVERSALD_USB_BACKEND is not of the form module:function" in shop.log()


# --- the technician's methods ---


def test_the_list_tells_state_firmware_and_counters(shop: ShopBench) -> None:
    devices = {device["name"]: device for device in shop.agent.call("device.list", {})["devices"]}
    assert set(devices) == {"reader", "pinpad", "printer", "contactless"}
    assert devices["reader"]["firmware"] == "GemTwin-V2.00-GH01"
    assert devices["printer"]["counters"]["bytes_read"] > 0
    assert devices["pinpad"]["address"].startswith("serial:/")
    assert (devices["contactless"]["kind"], devices["contactless"]["firmware"]) == ("contactless", "NEO v2.00.bench")


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("reader", "reader answers"),
        ("pinpad", "answers"),
        ("printer", "test line printed"),
        ("contactless", "firmware NEO v2.00.bench"),
    ],
)
def test_a_device_is_exercised_and_passes(shop: ShopBench, name: str, seen: str) -> None:
    result = shop.agent.call("device.test", {"name": name})
    assert result["passed"]
    assert seen in result["seen"]


def test_a_test_that_does_not_pass_says_what_to_do(shop: ShopBench) -> None:
    shop.devices.printer.fault("paper-out")
    result = shop.agent.call("device.test", {"name": "printer"})
    assert not result["passed"]
    assert result["error"]["hint"] == "change the paper and close the cover"
    shop.devices.pinpad.fault("unplug")
    shop.until(lambda: shop.device_states()["pinpad"] == "gone", "the pad is missed")
    assert shop.agent.call("device.test", {"name": "pinpad"})["error"]["code"] == "E-DEVICE-GONE"


def test_a_device_in_a_technicians_hand_is_left_alone_until_its_release(shop: ShopBench, host: HostServer) -> None:
    view = shop.agent.call("device.inhibit", {"name": "printer", "why": "new cutter"})
    assert view["state"] == "inhibited"
    assert view["inhibited_because"].startswith("new cutter (")
    heard = shop.devices.printer.state()["counters"]
    assert shop.agent.call("device.test", {"name": "printer"})["error"]["code"] == "E-DEVICE-INHIBITED"
    shop.devices.reader.insert_card(GOOD_CARD)
    shop.card_sale("R1")
    shop.until(lambda: shop.state_of("R1") == "reversed", "a sale without its slip is reversed")
    assert shop.devices.printer.state()["counters"] == heard
    shop.agent.call("device.release", {"name": "printer"})
    shop.until_ready()
    assert shop.card_sale("R2")["outcome"] == "completed"
    agree(host, shop)


def test_an_inhibition_survives_a_restart_and_tells_who_and_when(shop: ShopBench, host: HostServer) -> None:
    told = shop.agent.call("device.inhibit", {"name": "printer", "why": "new cutter"})["inhibited_because"]
    assert re.fullmatch(r"new cutter \(\w+\), since \d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d.*", told), told
    shop.devices.printer.fault("silence", seconds=0.001)
    heard = dict(shop.devices.printer.state()["counters"])["bytes in"]  # type: ignore[call-overload]
    for end in (shop.agent.stop, shop.agent.kill):
        end()
        shop.agent.start()
        shop.until(lambda: shop.device_states()["reader"] == "ready", "the others are in service")
        view = next(one for one in shop.agent.call("device.list", {})["devices"] if one["name"] == "printer")
        assert (view["state"], view["inhibited_because"]) == ("inhibited", told)
    assert dict(shop.devices.printer.state()["counters"])["bytes in"] == heard  # type: ignore[call-overload]
    shop.agent.call("device.release", {"name": "printer"})
    shop.until_ready()
    shop.agent.stop()
    shop.agent.start()
    shop.until_ready()


def test_a_device_that_does_not_exist_is_refused_with_the_names_that_do(shop: ShopBench) -> None:
    for method, more in (("device.test", {}), ("device.inhibit", {"why": "x"}), ("device.release", {})):
        with pytest.raises(DemoError, match="A-NO-DEVICE") as caught:
            shop.agent.call(method, {"name": "toaster", **more})
        assert all(name in caught.value.hint for name in ("reader", "pinpad", "printer"))


# --- a device never delays a reversal (how it is measured: tests/reversal_times.py) ---


@pytest.fixture
def steady(tmp_path: Path, host: HostServer) -> Iterator[ShopBench]:
    with steady_shop(tmp_path, host) as made:
        made.start()
        yield made


def test_a_printing_printer_moves_no_reversal(steady: ShopBench, host: HostServer) -> None:
    moved = moved_by(steady, host, printing(steady))
    print(f"printing: {moved}")
    assert moved.moved_s < MOVED_S_MAX
    assert len(steady.devices.printer.slips()) >= 4
    agree(host, steady)


def test_a_reading_reader_moves_no_reversal(steady: ShopBench, host: HostServer) -> None:
    moved = moved_by(steady, host, reading(steady))
    print(f"reading: {moved}")
    assert moved.moved_s < MOVED_S_MAX
    agree(host, steady)


@pytest.mark.timeout(300)
def test_a_pin_pad_that_hangs_for_a_minute_moves_no_reversal(steady: ShopBench, host: HostServer) -> None:
    moved = moved_by(steady, host, hanging(steady, HANG_S))
    print(f"PIN pad hung for {HANG_S:.0f} s: {moved}")
    assert moved.moved_s < MOVED_S_MAX
    assert moved.tries > HANG_S
    agree(host, steady)
