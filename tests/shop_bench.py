"""A whole shop: a real daemon, a simulated host, and reader, PIN pad and printer on simulated wires."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from hwsim.agent_process import DemoError
from hwsim.bench import Bench, WireKind
from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_SINGLE
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench

GOOD_CARD = "unionpay-credit"
BACK_S = 10.0  # promised are 2 s; the machine that runs the tests is loaded

PINPAD_MAC = """\
mac = "pinpad"
mac_key = "{mac_key}"
"""

CHECKOUT = """
[checkout]
reader = "reader"
pinpad = "pinpad"
printer = "printer"
card_timeout_s = 5
pin_timeout_s = 10
print_timeout_s = {print_timeout_s}
merchant_name = "测试商店"
"""


def pad_host() -> HostServer:
    """A host whose MAC the simulated PIN pad can compute."""
    return HostServer(settings=HostSettings(mac="up-ecb", mac_key=UNIONPAY_MAK_SINGLE))


class ShopBench(AgentBench):
    """`mac_by_pad`: the PIN pad computes the lane's MAC; else software does, and a dead pad keeps no reversal back."""

    def __init__(
        self,
        directory: Path,
        host: HostServer,
        *,
        mac_by_pad: bool = True,
        print_timeout_s: float = 2.0,
        nobody_knows: str = "reverse",
        wire: WireKind = "pty",
        **more: Any,
    ) -> None:
        self.devices = Bench(directory / "devices", wire=wire)
        pin_key = encrypted_under(TEST_KEYS["master"], TEST_KEYS["pin"])
        lane = f'pinpad = "pinpad"\npin_key = "{pin_key}"\n' + more.pop("more", "")
        super().__init__(directory, [host.address], key=b"" if mac_by_pad else UNIONPAY_MAK_SINGLE, more=lane, **more)
        text = self.configuration.read_text()
        if mac_by_pad:
            mac_key = encrypted_under(TEST_KEYS["master"], UNIONPAY_MAK_SINGLE.hex())
            text = text.replace('mac = "none"\n', PINPAD_MAC.format(mac_key=mac_key))
        text = text.replace('nobody_knows = "reverse"', f'nobody_knows = "{nobody_knows}"')
        checkout = CHECKOUT.format(print_timeout_s=print_timeout_s)
        self.configuration.write_text(f"{text}\n{self.devices.configuration()}{checkout}")
        if wire == "usb":
            self.agent.environment |= self.devices.usb_environment()

    def __exit__(self, *_exc: object) -> None:
        self.agent.stop()
        self.devices.close()

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon and wait until every device is in service."""
        self.agent.start()
        self.until_ready()

    def until_ready(self, deadline_s: float = BACK_S) -> None:
        """Every device is in service."""
        self.until(lambda: set(self.device_states().values()) == {"ready"}, "all devices are ready", deadline_s)

    def device_states(self) -> dict[str, str]:
        """As the daemon sees them."""
        return {device["name"]: device["state"] for device in self.agent.call("device.list", {})["devices"]}

    def mend(self) -> None:
        """A patient technician: everything plugged in, clean, with paper; no card in the reader, nobody at the pad."""
        for name in self.devices.devices():
            self.devices.perform(name, "clear", {})
            self.devices.perform(name, "replug", {})
        for fault in ("paper-ok", "cover-closed", "cutter-ok"):
            self.devices.printer.fault(fault)
        self.devices.printer.fault("drawer", open=False)
        self.devices.printer.fault("no-process-id", lacking=False)
        self.devices.printer.fault("small-buffer", size=65536)
        reader = self.devices.reader
        reader.fault("card-mute", mute=False)
        reader.fault("wrong-atr", atr="")
        reader.remove_card()
        self.devices.loop.call(self.devices.pinpad.device.person.forget)
        self.devices.pinpad.fault("tamper", repaired=True)
        self.devices.pinpad.load_key(0, "master")

    # --- sales ---------------------------------------------------------------------------------

    def card_sale(self, reference: str, amount_minor: int = 1250) -> dict[str, Any]:
        """A sale through the checkout; a refusal comes back as {"outcome": "refused", "error": ...}."""
        params = {"reference": reference, "amount_minor": amount_minor, "checkout": True}
        try:
            found: dict[str, Any] = self.agent.call("transaction.run", params)
        except DemoError as error:
            return {"outcome": "refused", "state": "absent", "error": error.text, "hint": error.hint}
        return found

    def sale_beside(self, reference: str, amount_minor: int = 1250) -> BesideSale:
        """The same, in a thread of its own."""
        return BesideSale(self, reference, amount_minor)

    def item(self, reference: str) -> dict[str, Any]:
        """One transaction, finished or not, as operators see it."""
        items = self.agent.call("reversal.list", {"all": True, "limit": 1000})["items"]
        return next(item for item in items if item["reference"] == reference)


class BesideSale:
    """A checkout under way."""

    def __init__(self, shop: ShopBench, reference: str, amount_minor: int) -> None:
        self._shop = shop
        self._result: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, args=(reference, amount_minor))
        self._thread.start()

    def _run(self, reference: str, amount_minor: int) -> None:
        self._result = self._shop.card_sale(reference, amount_minor)

    @property
    def over(self) -> bool:
        """It has an outcome."""
        return not self._thread.is_alive()

    def result(self, deadline_s: float = 60.0) -> dict[str, Any]:
        """Its outcome."""
        self._thread.join(deadline_s)
        assert self.over, f"the sale has no outcome; log:\n{self._shop.log()[-3000:]}"
        return self._result
