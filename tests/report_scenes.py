"""A shop's day as the engine would have recorded it: transactions fed with events at a wall clock of their own.

Every row comes from `decide`, so a report over them reads what the daemon writes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.engine import decide
from agent.events import Begin, Complete, Event, HostChosen, Lost, Now, Restart, Settle, Unsent, Wake
from agent.journal_contract import Entry, Row
from agent.records import OWED, State, Transaction, dump
from protocol.masking import mask_pan
from tests import dialogue
from tests.dialogue import PAN, STARTED, answered
from tests.journal_scenes import Home

HOST = "192.0.2.1:5000"
NO_LINK = Unsent("network", "E-LINK-CONNECT-TIMEOUT: no answer from 192.0.2.1:5000")
SILENCE = Lost("timeout", "E-LINK-TIMEOUT: no answer within 60 s", HOST)


class Shop:
    """Its rows, in the order of the journal, and its clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.rows: list[Row] = []
        self._rules = dialogue.policy()
        self._new = dialogue.transaction()
        self._open: dict[str, Transaction] = {}
        self._numbers = itertools.count(1)

    @property
    def utc(self) -> datetime:
        return STARTED + timedelta(seconds=self.now_s)

    def wait(self, seconds: float) -> Shop:
        """Time passes."""
        self.now_s += seconds
        return self

    def begin(self, lane: str = "main", pan: str = PAN, **changes: Any) -> str:
        """A sale leaves; its id."""
        number = next(self._numbers)
        txn_id = f"{lane}-{number}"
        given: dict[str, Any] = {
            "id": txn_id,
            "lane": lane,
            "reference": f"R{number}",
            "stan": f"{number:06d}",
            "masked_pan": mask_pan(pan),
            "begun_at_utc": self._now().at_utc,
            **changes,
        }
        self._open[txn_id] = replace(self._new, **given)
        self.feed(txn_id, Begin())
        self.feed(txn_id, HostChosen(HOST))
        return txn_id

    def feed(self, txn_id: str, *events: Event) -> Transaction:
        """Events happen to it, one second apart."""
        for event in events:
            before = self._open[txn_id]
            after, _ = decide(before, event, self._now(), self._rules)
            self._open[txn_id] = after
            if after != before or isinstance(event, Restart):
                self._write(event, after)
            self.now_s += 1
        return self._open[txn_id]

    def good_sale(self, **changes: Any) -> str:
        """Approved and confirmed."""
        txn_id = self.begin(**changes)
        self.feed(txn_id, answered("00", host=HOST), Complete("till"))
        return txn_id

    def failed_tries(self, txn_id: str, count: int, event: Event, apart_s: float) -> None:
        """The reversal is tried in vain."""
        for _ in range(count):
            self.feed(txn_id, Wake(), event)
            self.wait(apart_s)

    def acknowledged(self, txn_id: str, code: str = "00") -> None:
        """The reversal is tried once more and the bank says yes."""
        self.feed(txn_id, Wake(), answered(code, to="reversal", host=HOST))
        assert self._open[txn_id].state is State.REVERSED

    def states(self) -> Mapping[str, State]:
        """Where each stands."""
        return {txn_id: txn.state for txn_id, txn in self._open.items()}

    def owed(self) -> list[str]:
        """What is still open."""
        return [txn_id for txn_id, txn in self._open.items() if txn.state in OWED]

    def journal(self, directory: Path) -> Home:
        """The same rows in a real, closed journal."""
        home = Home(directory)
        journal = home.open()
        for row in self.rows:
            entry = Entry(
                row.txn_id, row.lane, row.reference, row.state, row.pending, row.event, row.public, b"", row.at_utc
            )
            journal.append([entry], {"stan main": row.seq})
        journal.close()
        return home

    def _now(self) -> Now:
        return Now(1000 + self.now_s, self.utc)

    def _write(self, event: Event, txn: Transaction) -> None:
        previous = next((row.seq for row in reversed(self.rows) if row.txn_id == txn.id), 0)
        self.rows.append(
            Row(
                len(self.rows) + 1,
                previous,
                txn.id,
                txn.lane,
                txn.reference,
                str(txn.state),
                txn.pending,
                type(event).__name__,
                dump(txn),
                self._now().at_utc,
            )
        )


def bad_week() -> Shop:
    """Good sales, an outage of three hours, a busy host, a power cut, a case closed by hand, one still open."""
    shop = Shop()
    for _ in range(30):
        shop.good_sale()
        shop.wait(600)
    outage(shop)
    busy_host(shop)
    power_cut(shop)
    shop.wait(40_000)
    by_hand = shop.begin(pan="6212345678900000003", amount_minor=99_900)
    shop.feed(by_hand, SILENCE)
    shop.failed_tries(by_hand, 6, SILENCE, 3600)
    shop.feed(by_hand, Settle("root", "the bank adjusted it", "BANK-7"))
    shop.wait(7200)
    left = shop.begin(pan="4111111111111111", amount_minor=4_200, currency="840", batch="000018")
    shop.feed(left, SILENCE)
    shop.failed_tries(left, 3, NO_LINK, 300)
    return shop


def outage(shop: Shop) -> None:
    """Two sales lose their answer; the link stays down for three hours."""
    first = shop.begin(amount_minor=8_800)
    shop.feed(first, SILENCE)
    second = shop.begin(amount_minor=1_500)
    shop.feed(second, SILENCE)
    for _ in range(18):
        shop.failed_tries(first, 1, NO_LINK, 300)
        shop.failed_tries(second, 1, NO_LINK, 300)
    shop.acknowledged(first)
    shop.acknowledged(second)
    shop.wait(3600)
    for _ in range(10):
        shop.good_sale()
        shop.wait(300)


def busy_host(shop: Shop) -> None:
    """A host that answers 96 five times."""
    txn_id = shop.begin(amount_minor=2_000)
    shop.feed(txn_id, SILENCE)
    shop.failed_tries(txn_id, 5, answered("96", to="reversal", host=HOST), 60)
    shop.acknowledged(txn_id)
    shop.wait(50_000)


def power_cut(shop: Shop) -> None:
    """Twice, in the middle of a sale."""
    for _ in range(2):
        txn_id = shop.begin(amount_minor=3_000)
        shop.wait(120)
        shop.feed(txn_id, Restart())
        shop.wait(5)
        shop.acknowledged(txn_id)
        shop.wait(20_000)
