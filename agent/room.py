"""The devices as the daemon uses them: MACs of the PIN pad, the checkout, slips; nothing loaded without devices.

The drivers come in from the composition root (`make_desk`): this file knows only what they can do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any

from agent import config as settings
from agent.api import Api
from agent.checkout import Checkout, CheckoutRules
from agent.events import Now
from agent.inhibitions import Inhibitions
from agent.lane import RefusedError
from agent.letterhead import Letterhead
from agent.loop import Loop
from agent.macs import Submit
from agent.paper import PaperQueue
from agent.records import State, Transaction
from agent.slip_book import SlipBook
from agent.slip_book import reference as slip_reference


class DeviceRoom:
    """All devices of this terminal. `make_desk(on_change)` gives drivers/desk.py's Desk.

    `on_ready(name)`: a device is in service (again); `on_change()`: any device is in another state. `now`: the
    daemon's clock. `spawn_paper`: for slips, whose faults end nothing.
    """

    def __init__(
        self,
        make_desk: Callable[[Callable[[Any], None]], Any],
        on_ready: Callable[[str], None],
        spawn: Callable[[Any], None],
        on_change: Callable[[], None],
        now: Callable[[], Now],
        spawn_paper: Callable[[Any], None],
    ) -> None:
        self._now = now
        self._inhibitions: Inhibitions | None = None
        self._make_desk = make_desk
        self._on_ready = on_ready
        self._on_change = on_change
        self._closed = False
        self._spawn = spawn
        self._aio = asyncio.get_running_loop()
        self._desk: Any = None
        self._shop: settings.Checkout | None = None
        self._checkout: Checkout | None = None
        self._book: SlipBook | None = None
        self._reprints = 0
        self.paper = PaperQueue(self._print, spawn_paper)

    def configure(self, configuration: settings.Configuration) -> None:
        """Start, keep or stop devices as configured. The drivers are loaded only where there are devices."""
        self._shop = configuration.checkout
        if self._desk is None and not configuration.devices:
            return
        if self._desk is None:
            self._desk = self._make_desk(self._changed)
        if self._inhibitions is None:
            self._inhibitions = Inhibitions(configuration.agent.state_dir)
        keys = {lane.pinpad: lane.pinpad_master_key for lane in configuration.lanes if lane.pinpad}
        self._desk.configure(configuration.devices, keys, self._inhibitions.because)

    def submits(self) -> Mapping[str, Submit]:
        """For each device: run work in its thread and await the result."""
        return {name: self._submit(name) for name in (self._desk.names() if self._desk else ())}

    def statuses(self) -> list[Any]:
        """One look at each device."""
        return self._desk.statuses() if self._desk else []

    def make_checkout(self, configuration: settings.Configuration, api: Api, loop: Loop) -> Checkout | None:
        """The checkout as configured; None where there is none."""
        shop = configuration.checkout
        if shop is None or self._desk is None:
            self._checkout = None
            return None
        rules = CheckoutRules(
            reader=shop.reader,
            pinpad=shop.pinpad,
            printer=shop.printer if shop.print else "",
            letterhead=_letterhead(shop),
            card_timeout_s=shop.card_timeout_s,
            pin_timeout_s=shop.pin_timeout_s,
            print_timeout_s=shop.print_timeout_s,
            pin_keys={lane.name: lane.pin_key for lane in configuration.lanes if lane.pin_key},
        )
        self._checkout = Checkout(
            rules, self._desk, loop, api.send, api.settled_answer, api.keep_script_result, self._now
        )
        return self._checkout

    def ask_about(self, transactions: list[Transaction]) -> None:
        """After a restart: what our own checkout left unconfirmed, the devices are asked about."""
        for txn in transactions:
            if self._checkout and txn.driver == "checkout" and txn.state is State.APPROVED:
                self._spawn(self._checkout.resume(txn))

    @property
    def prints(self) -> bool:
        """Whether there is a printer for slips."""
        return self._shop is not None and bool(self._shop.printer) and self._shop.print

    @property
    def slips_waiting(self) -> int:
        """Slips that the printer has not taken yet."""
        return self.paper.waiting

    def owe_slips(self, book: SlipBook, transactions: list[tuple[int, Transaction]]) -> None:
        """At the start: the slips that were waiting when the last run ended. `book` keeps what is printed."""
        self._book = book
        if self.prints:
            for txn, what, again in book.owed(transactions):
                self.slip(txn, what, note="again" if again else "")

    def slip(self, txn: Transaction, what: str, note: str = "") -> None:
        """Print a slip when the printer has time; without a printer there is none. `note`: "again" or "copy"."""
        if not self.prints:
            return
        from agent.slips import slip  # construct costs 30 ms and 10 MB: loaded with the first slip

        assert self._shop is not None
        name = slip_reference(txn, what)
        if note == "copy":
            self._reprints += 1
            name = f"{name}/copy-{self._reprints}"
        self.paper.add(name, slip(what, txn, _letterhead(self._shop), note))

    def notice(self, reference: str, lines: list[str]) -> None:
        """Print an alert or another notice to people; `reference` names it."""
        if self.prints:
            from agent.slips import notice  # as above

            assert self._shop is not None
            self.paper.add(f"{reference}/copy-0", notice(lines, _letterhead(self._shop)))

    def attached(self) -> list[dict[str, str]]:
        """What is plugged in and not configured. A terminal without any device loads no drivers to look for some."""
        return list(self._desk.attached()) if self._desk is not None else []

    def inhibit(self, name: str, reason: str) -> None:
        """A technician takes a device, until `release`, restarts included. `reason` says why and who.

        Raises RefusedError where there is none, or when the disk does not take it.
        """
        because = f"{reason}, since {self._now().at_utc}"
        self._known_desk().inhibit(name, because)
        self._stored().add(name, because)

    def release(self, name: str) -> None:
        """The technician gives it back. Raises RefusedError as `inhibit` does."""
        self._known_desk().release(name)
        self._stored().drop(name)

    async def test(self, name: str, timeout_s: float) -> str:
        """Exercise one device; what was seen in one line. Raises the driver's error."""
        deadline_s = self._aio.time() + timeout_s
        future = self._known_desk().submit(name, lambda device: device.test(deadline_s), timeout_s)
        return str(await asyncio.wrap_future(future))

    def close(self) -> None:
        """Stop all devices; nobody is told of anything any more."""
        self._closed = True
        if self._desk is not None:
            self._desk.close()

    # --- steps ---------------------------------------------------------------------------------

    def _known_desk(self) -> Any:
        if self._desk is None:
            raise RefusedError("A-NO-DEVICE", "no devices are configured", "add [[device]] to the configuration")
        return self._desk

    def _stored(self) -> Inhibitions:
        assert self._inhibitions is not None  # as long as there is a desk
        return self._inhibitions

    def _submit(self, name: str) -> Submit:
        def submit(work: Callable[[Any], bytes], timeout_s: float) -> Awaitable[bytes]:
            return asyncio.wrap_future(self._desk.submit(name, work, timeout_s))

        return submit

    def _print(self, paper: Any, reference: str) -> Any:
        assert self._shop is not None
        book = None if "/copy-" in reference else self._book
        if book is not None:
            book.note(reference, "begun", durable=False)
        future = self._desk.print_slip(self._shop.printer, paper, reference, self._shop.print_timeout_s)
        if book is not None:
            future.add_done_callback(lambda done: _enter(book, reference, done))
        return future

    def _changed(self, status: Any) -> None:
        """Called from a device's thread."""
        if not self._closed:
            self._aio.call_soon_threadsafe(self._moved, status.name, status.state)

    def _moved(self, name: str, state: str) -> None:
        if self._closed:
            return
        if state == "ready":
            self.paper.go_on()
            self._on_ready(name)
        self._on_change()


def _enter(book: SlipBook, reference: str, done: Future[Any]) -> None:
    """In the device's thread, so that the disk keeps nobody waiting."""
    if done.cancelled() or done.exception() is not None:
        return  # nobody knows whether a part of it is on paper
    outcome = done.result().outcome
    book.note(reference, "waits" if outcome == "not printed" else outcome, durable=outcome != "not printed")


def _letterhead(shop: settings.Checkout) -> Letterhead:
    return Letterhead(shop.merchant_name, shop.header_lines, shop.footer_lines)
