"""A turn of the loop: one commit for what is decided together, and nothing leaves before it is durable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from agent.events import Hold, Noticed, Retry
from agent.journal_contract import Entry, JournalFailed
from agent.lane import Lane, Listener, Order, RefusedError
from agent.loop import Loop
from agent.outcomes import Exchange, Lost, Outcome
from agent.records import State, Transaction
from tests.dialogue import PAN, policy
from tests.simulation.memory_journal import MemoryJournal
from tests.unit.test_loop import StillClock

CARD = {"pan": PAN, "expiry": "3012", "pos_entry_mode": "012"}
LANES = ("a", "b", "c")


class Counting(MemoryJournal):
    """Notes each commit, in the same list as everything that leaves."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def append(self, entries: Sequence[Entry], counters: Mapping[str, int] | None = None) -> int:
        """As a journal."""
        seq = super().append(entries, counters)
        self._seen.append("commit " + ",".join(f"{entry.txn_id}:{entry.state}" for entry in entries))
        return seq


class World(Listener):
    """Three lanes on one journal; everything that happens outside of the loop stands in `seen`, in its order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.journal = Counting(self.seen)
        self.clock = StillClock()
        lanes = [Lane(name, policy("unionpay-pos"), "102110000000001", "000017", "156") for name in LANES]
        self.loop = Loop(self.journal, lanes, self, self.clock, self)  # type: ignore[arg-type]

    def exchange(self, exchange: Exchange) -> None:
        """As a wire."""
        self.seen.append(f"leaves {exchange.txn_id}")

    def changed(self, txn: Transaction) -> None:
        """As a listener."""
        self.seen.append(f"told {txn.id} {txn.state}")

    def under_way(self) -> list[tuple[int, Outcome]]:
        """Every exchange, without an answer."""
        busy = [lane.busy for lane in self.loop.lanes.values() if lane.busy]
        return [(exchange.id, Lost("timeout", "no answer", "h1")) for exchange in busy]

    def three_sales(self) -> None:
        """One on each lane."""
        for name in LANES:
            self.loop.begin(name, Order("R1", "sale", 1250, CARD))
        self.seen.clear()


def test_outcomes_of_several_lanes_make_one_commit_before_anything_leaves() -> None:
    world = World()
    world.three_sales()
    world.loop.all_ended(world.under_way())
    commits = [number for number, what in enumerate(world.seen) if what.startswith("commit")]
    assert commits == [0]
    assert world.seen[0].count(":reversing") == 6  # for each lane: the reversal is owed, its first try goes out
    assert [what for what in world.seen if what.startswith("leaves")] == [f"leaves {name}-1" for name in LANES]


def test_messages_leave_before_anybody_is_told() -> None:
    world = World()
    world.three_sales()
    world.loop.all_ended(world.under_way())
    kinds = [what.split()[0] for what in world.seen]
    assert kinds == ["commit", *["leaves"] * 3, *["told"] * 6]
    assert world.seen[-6:] == [f"told {name}-1 reversing" for name in LANES for _ in range(2)]


def test_what_a_message_decides_is_told_behind_what_was_decided_before_it() -> None:
    """A link names the host that it chose while the message leaves; nobody hears of the older record last."""
    world = World()
    world.three_sales()
    told: list[str] = []

    class Wire(World):
        def exchange(self, exchange: Exchange) -> None:
            world.loop.handle(exchange.txn_id, Noticed("said while leaving", ""))

        def changed(self, txn: Transaction) -> None:
            told.append(f"{txn.id} {txn.sending} {len(txn.evidence)}")

    world.loop._wire = world.loop._listener = Wire()  # type: ignore[assignment]
    world.loop.all_ended(world.under_way()[:1])
    assert told == ["a-1 False 0", "a-1 True 0", "a-1 True 1"]


def test_a_word_that_fails_silences_no_later_turn() -> None:
    world = World()
    world.three_sales()

    class FailsOnce(Listener):
        heard: ClassVar[list[str]] = []

        def changed(self, txn: Transaction) -> None:
            self.heard.append(f"{txn.id} {txn.state}")
            if len(self.heard) == 1:
                raise RefusedError("A-TEST", "no")

    world.loop._listener = FailsOnce()
    with pytest.raises(RefusedError):
        world.loop.all_ended(world.under_way()[:1])
    world.loop.handle("b-1", Noticed("a frame", ""))
    assert FailsOnce.heard == ["a-1 reversing", "a-1 reversing", "b-1 begun"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_of_a_turn_that_cannot_be_stored_nothing_leaves_and_nobody_is_told(when: str) -> None:
    world = World()
    world.three_sales()
    world.journal.fail_next = when
    with pytest.raises(JournalFailed):
        world.loop.all_ended(world.under_way())
    assert not [what for what in world.seen if not what.startswith("commit")]
    with pytest.raises(JournalFailed):
        world.loop.begin("a", Order("R2", "sale", 1250, CARD))


def test_an_effect_of_a_turn_may_begin_a_turn_of_its_own() -> None:
    world = World()
    world.three_sales()
    freed: list[str] = []

    class Eager(Listener):
        def changed(self, txn: Transaction) -> None:
            if txn.state is State.REVERSING and not txn.sending and txn.id not in freed:
                freed.append(txn.id)
                world.loop.handle(txn.id, Hold("somebody", "wait"))

    world.loop._listener = Eager()
    world.loop.all_ended(world.under_way())
    assert freed == [f"{name}-1" for name in LANES]
    assert all(txn.held for txn in world.loop.pending())
    assert [what for what in world.seen if what.startswith("commit")] != []


def test_what_was_decided_before_a_refusal_stands() -> None:
    world = World()
    world.three_sales()
    with pytest.raises(RefusedError), world.loop.together():  # noqa: PT012
        world.loop.all_ended(world.under_way()[:1])
        world.loop.handle("b-1", Retry("somebody"))
    assert world.seen[0].startswith("commit a-1:reversing")
    assert "leaves a-1" in world.seen


def test_a_write_in_the_middle_of_a_turn_stores_what_was_decided_before_it() -> None:
    world = World()
    world.three_sales()
    note = Entry("session:a", "a", "session:a", "off", False, "Note", "{}", b"", "2026-01-02T00:00:00.000Z")
    with world.loop.together():
        world.loop.all_ended(world.under_way()[:1])
        world.loop.keep([replace(note)])
        assert [what.split(":")[0] for what in world.seen if what.startswith("commit")] == [
            "commit a-1",
            "commit session",
        ]
        assert "leaves a-1" in world.seen


def test_the_gate_counts_as_the_records_stand() -> None:
    world = World()
    world.three_sales()
    world.loop.all_ended(world.under_way())
    book = world.loop._book
    for name in LANES:
        share = book.lane(name)
        mine = [txn for txn in world.loop.pending() if txn.lane == name]
        assert (len(share.owed), share.amount_minor) == (len(mine), sum(txn.amount_minor for txn in mine))
        assert share.oldest() == min(txn.request_left_at or 0 for txn in mine)
    assert book.lanes_pending() == set(LANES)
