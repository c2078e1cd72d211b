"""How far the tries of a due reversal stray from their time, with idle devices and with a device at work or hung.

One reversal is owed to a host that answers nothing, and is due again and again at a fixed distance: reply time-out plus
wait. What is measured is how far each arrival at the host strays from that distance, first with idle devices and then
with the device at work. A daemon that waits for a device strays in every round; a busy machine does not find the same
tries three times: so the best of three rounds counts, less what the same daemon strayed when idle.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwsim.host import HostServer
from tests.shop_bench import GOOD_CARD, ShopBench

ROUNDS = 3
MOVED_S_MAX = 0.05  # the promise: a device moves a reversal's send time by less than this
GIVEN_UP_S = 15.0  # a pad that says nothing is given up after 12 s: no customer begins later than this before the end
BUSY_TRIES, IDLE_TRIES = 8, 24  # at least: the worst of many is worse than the worst of few
Begin = Callable[[int], Callable[[], bool]]


class Timed(deque[str]):
    """The host's transcript, with the instant of each line about a reversal."""

    def __init__(self) -> None:
        super().__init__(maxlen=1000)
        self.arrivals: list[float] = []

    def append(self, line: str) -> None:
        if line.startswith("0400"):
            self.arrivals.append(time.monotonic())
        super().append(line)


@dataclass(frozen=True)
class Moved:
    """The best round. `moved_s`: by how much more the worst try strayed than with idle devices."""

    usual_s: float
    idle_s: float
    busy_s: float
    tries: int

    @property
    def moved_s(self) -> float:
        return self.busy_s - self.idle_s

    def __str__(self) -> str:
        strays = f"idle ±{1000 * self.idle_s:.1f} ms, at work ±{1000 * self.busy_s:.1f} ms"
        return f"{self.tries} tries {self.usual_s:.3f} s apart: {strays}, moved by {1000 * self.moved_s:.1f} ms"


def steady_shop(directory: Path, host: HostServer) -> ShopBench:
    """A lane whose MAC no device computes, with tries at a fixed distance of 0.4 s; not started yet."""
    shop = ShopBench(directory, host, mac_by_pad=False, reply_timeout_s=0.2)
    text = shop.configuration.read_text()
    steady_retry = "base_s = 0.2\nfactor = 1\njitter = 0\npark_after_attempts = 100000\ncap_s = 0.2"
    text = text.replace("base_s = 0.2\ncap_s = 1.0", steady_retry)
    shop.configuration.write_text(text.replace("pin_timeout_s = 10", "pin_timeout_s = 60"))
    return shop


def moved_by(shop: ShopBench, host: HostServer, begin: Begin, idle_tries: int = IDLE_TRIES) -> Moved:
    """How far `begin`, which starts the device's work and gives when it is over, moves the tries at the worst."""
    timed, best = owing(shop, host), None
    for number in range(ROUNDS):
        idle = strayed(timed, shop, lambda: True, idle_tries)
        usual_s = statistics.median(idle)
        over = begin(number)
        busy = strayed(timed, shop, over)
        found = Moved(usual_s, worst(idle, usual_s), worst(busy, usual_s), len(busy))
        best = found if best is None or found.moved_s < best.moved_s else best
        if best.moved_s < MOVED_S_MAX:
            break
    host.faults.clear()
    shop.until(lambda: shop.state_of("OWED") == "reversed", "the host answers again")
    assert best is not None
    return best


def owing(shop: ShopBench, host: HostServer) -> Timed:
    """A sale whose reply was lost and whose reversal is never answered."""
    host.faults.add("financial", "drop-reply")
    host.faults.add("reversal", "drop-request", count=None)
    timed = Timed()
    host.machine.transcript = timed
    shop.begin_sale("OWED")
    shop.until(lambda: len(timed.arrivals) > 3, "the reversal is tried again and again")
    return timed


def strayed(timed: Timed, shop: ShopBench, enough: Callable[[], bool], tries: int = BUSY_TRIES) -> list[float]:
    """The distances between the arrivals from now until `enough`, so many at least."""
    first = len(timed.arrivals)
    shop.until(lambda: enough() and len(timed.arrivals) >= first + tries, "the tries are measured", 90)
    arrivals = timed.arrivals[first - 1 :]
    return [after - before for before, after in itertools.pairwise(arrivals)]


def worst(distances: list[float], usual_s: float) -> float:
    return max(abs(distance - usual_s) for distance in distances)


def printing(shop: ShopBench) -> Begin:
    """Four slips on a slow printer."""

    def begin(number: int) -> Callable[[], bool]:
        shop.devices.printer.fault("delay", seconds=0.3, count=10)
        return beside(lambda: [shop.agent.call("device.test", {"name": "printer"}) for _ in range(4)])

    return begin


def reading(shop: ShopBench) -> Begin:
    """A card whose answers take a second each."""

    def begin(number: int) -> Callable[[], bool]:
        sale = shop.sale_beside(f"READ-{number}")
        shop.devices.reader.insert_card("unionpay-declines")
        shop.devices.reader.fault("delay", seconds=1.0, count=4)
        return lambda: sale.over

    return begin


def hanging(shop: ShopBench, hang_s: float) -> Begin:
    """A PIN pad that says nothing for so long, and customers who try it one after another."""
    shop.devices.reader.insert_card(GOOD_CARD)

    def begin(number: int) -> Callable[[], bool]:
        shop.devices.pinpad.fault("silence", seconds=hang_s)
        end = time.monotonic() + hang_s

        def customers() -> None:
            for customer in itertools.count():
                outcome = shop.card_sale(f"PIN-{number}-{customer}")["outcome"]
                assert outcome == "refused" or time.monotonic() > end
                if time.monotonic() > end - GIVEN_UP_S:
                    return

        customer = beside(customers)
        return lambda: customer() and time.monotonic() > end

    return begin


def beside(work: Callable[[], object]) -> Callable[[], bool]:
    """Run it in a thread; tells when it is over."""
    thread = threading.Thread(target=work)
    thread.start()
    return lambda: not thread.is_alive()
