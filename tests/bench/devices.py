"""What devices cost a reversal (nothing), and how long a device is away after a replug."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hwsim.host import HostServer
from tests.bench.figures import Figure, spread
from tests.reversal_times import (
    BUSY_TRIES,
    IDLE_TRIES,
    MOVED_S_MAX,
    Begin,
    Moved,
    hanging,
    moved_by,
    printing,
    reading,
    steady_shop,
)
from tests.shop_bench import ShopBench, pad_host

SUBJECT = "Devices"
BACK_S_MAX = 2.0


def figures(directory: Path, hang_s: float, replugs: int, *, quick: bool = False) -> list[Figure]:
    """Each kind of work beside a due reversal, then replugs under another name. `quick`: a hung PIN pad only."""
    works: list[tuple[str, Callable[[ShopBench], Begin]]] = [
        ("a reversal beside a printing printer", printing),
        ("a reversal beside a reading reader", reading),
        (f"a reversal beside a PIN pad hung for {hang_s:g} s", lambda shop: hanging(shop, hang_s)),
    ]
    tries = BUSY_TRIES if quick else IDLE_TRIES
    found = [_moved(directory, name, work, tries) for name, work in (works[-1:] if quick else works)]
    return [*found, *_replugged(directory, replugs)]


def _moved(directory: Path, name: str, work: Callable[[ShopBench], Begin], tries: int) -> Figure:
    with tempfile.TemporaryDirectory(dir=directory) as own, pad_host() as host:
        moved = _measured(Path(own), host, work, tries)
    return Figure(
        SUBJECT,
        f"{name} strays by at most",
        1000 * moved.busy_s,
        "ms",
        baseline_name="idle devices",
        baseline=1000 * moved.idle_s,
        goal=f"< {1000 * MOVED_S_MAX:.0f} ms more",
        met=moved.moved_s < MOVED_S_MAX,
        note=f"{moved.tries} tries, {moved.usual_s:.2f} s apart",
    )


def _measured(directory: Path, host: HostServer, work: Callable[[ShopBench], Begin], tries: int) -> Moved:
    with steady_shop(directory, host) as shop:
        shop.start()
        return moved_by(shop, host, work(shop), tries)


def _replugged(directory: Path, replugs: int) -> list[Figure]:
    """From the moment that the plug is in again to "ready" in the daemon's list."""
    with tempfile.TemporaryDirectory(dir=directory) as own, pad_host() as host, ShopBench(Path(own), host) as shop:
        shop.start()
        samples: dict[str, list[float]] = {}
        for name in shop.devices.devices():
            for _ in range(replugs):
                shop.devices.perform(name, "unplug", {})
                shop.until(lambda name=name: shop.device_states()[name] == "gone", f"the {name} is missed")  # type: ignore[misc]
                shop.devices.perform(name, "replug", {})
                began = time.monotonic()
                shop.until(lambda name=name: shop.device_states()[name] == "ready", f"the {name} is back")  # type: ignore[misc]
                samples.setdefault(name, []).append(time.monotonic() - began)
    goal = f"< {BACK_S_MAX:g} s"
    return [
        spread(SUBJECT, f"{name} in service after a replug", times, "s", goal=goal, met=max(times) < BACK_S_MAX)
        for name, times in samples.items()
    ]
