"""The loop: it stores before it acts, gives out numbers, and lets no item stand in the way of the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.events import Complete, Now, Reverse
from agent.journal_contract import JournalFailed
from agent.lane import Gate, Lane, Listener, Order, RefusedError
from agent.loop import Loop
from agent.outcomes import Exchange, Lost, Unsent
from agent.records import State, Transaction
from tests.dialogue import PAN, answered, policy
from tests.simulation.memory_journal import MemoryJournal

CARD = {"pan": PAN, "expiry": "3012", "pos_entry_mode": "012"}


class StillClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.mono = 1000.0

    def now(self) -> Now:
        """As a Clock."""
        return Now(self.mono, datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self.mono))


class Wire:
    """Keeps what was sent, and how many records the journal held when it was."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.sent: list[tuple[Exchange, int]] = []

    def exchange(self, exchange: Exchange) -> None:
        """As a Wire."""
        self.sent.append((exchange, len(self.journal.history(exchange.txn_id))))


class World:
    """A loop on a journal in memory and a wire that answers when told to."""

    def __init__(self, journal: MemoryJournal | None = None, profile: str = "unionpay-pos", **lane: object) -> None:
        self.journal = journal or MemoryJournal()
        self.clock = StillClock()
        self.wire = Wire(self.journal)
        rules = policy(profile)
        self.lane = replace(
            Lane("main", rules, "102110000000001", "000017", "156", gate=Gate(count=100)),
            **lane,  # type: ignore[arg-type]
        )
        self.loop = Loop(self.journal, [self.lane], self.wire, self.clock, Listener())  # type: ignore[arg-type]

    def begin(self, reference: str = "R1", amount_minor: int = 1250) -> Transaction:
        """A sale whose request is on the wire."""
        return self.loop.begin("main", Order(reference, "sale", amount_minor, CARD))

    def lose(self) -> None:
        """The exchange under way gets no answer."""
        assert self.loop.lanes["main"].busy
        self.loop.outcome(self.loop.lanes["main"].busy.id, Lost("timeout", "no answer", "h1"))

    def later(self, seconds: float) -> None:
        """Time goes on."""
        self.clock.mono += seconds
        self.loop.wake()


def test_each_try_bears_its_own_local_time_where_the_dialect_wants_that() -> None:
    world = World(profile="unionpay-x919")
    world.begin()
    world.lose()
    for _ in range(2):
        exchange = world.loop.lanes["main"].busy
        assert exchange
        message = world.lane.policy.profile.codec.unpack(exchange.body)
        assert message.get(13) + message.get(12) == world.clock.now().local
        world.lose()
        world.later(3600)


def test_the_record_is_stored_before_the_exchange_begins() -> None:
    world = World()
    world.begin()
    world.lose()
    assert [records for _, records in world.wire.sent] == [1, 3]  # intent; reversing and attempt


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_sent_when_the_record_cannot_be_stored(when: str) -> None:
    world = World()
    world.journal.fail_next = when  # type: ignore[assignment]
    with pytest.raises(JournalFailed):
        world.begin()
    assert world.wire.sent == []


def test_a_full_journal_refuses_the_sale_and_sends_nothing() -> None:
    world = World()
    world.journal.full = True
    with pytest.raises(Exception, match="E-JOURNAL-FULL"):
        world.begin()
    assert world.wire.sent == []


def test_a_new_journal_counts_from_where_the_terminal_stood_and_then_by_itself() -> None:
    """The same number in the same batch would mean another sale to the host."""
    world = World(first_stan=4711)
    assert world.begin("R1").stan == "004711"
    world.lose()
    again = World(world.journal, first_stan=4711)
    again.loop.start()
    assert again.loop.begin("main", Order("R2", "sale", 100, CARD, driver="application")).stan == "004712"


def test_numbers_wrap_and_skip_what_is_pending() -> None:
    journal = MemoryJournal()
    journal.append([], {"stan:main": 999_998})
    world = World(journal)
    world.loop.start()
    stans = []
    for number in range(3):
        stans.append(world.begin(f"R{number}").stan)
        world.lose()
        world.loop.outcome(world.loop.lanes["main"].busy.id, Unsent("network", "down"))  # type: ignore[union-attr]
    assert stans == ["999999", "000001", "000002"]
    journal.append([], {"stan:main": 999_998})
    again = World(journal)
    again.loop.start()
    again.clock.mono += 1
    again.loop.reserve("main", wanted=True)
    assert again.begin("R9").stan == "000003"


def test_a_reference_is_used_once() -> None:
    world = World()
    world.begin("R1")
    world.lose()
    with pytest.raises(RefusedError, match="A-REFERENCE-USED"):
        world.begin("R1")


def test_too_much_owed_closes_the_gate_and_a_warning_does_not() -> None:
    world = World(gate=Gate(count=0))
    world.begin("R1")
    world.lose()
    world.loop.outcome(world.loop.lanes["main"].busy.id, Unsent("network", "down"))  # type: ignore[union-attr]
    with pytest.raises(RefusedError, match="A-PENDING"):
        world.begin("R2")
    world.loop.put_lane(replace(world.lane, warn_only=True))
    assert world.begin("R2").state is State.BEGUN


def test_a_waiting_sale_goes_before_further_reversals() -> None:
    world = World()
    for reference in ("R1", "R2"):
        world.begin(reference)
        world.lose()
        world.loop.outcome(world.loop.lanes["main"].busy.id, Unsent("network", "down"))  # type: ignore[union-attr]
    world.loop.reserve("main", wanted=True)
    world.later(3600)
    assert world.loop.lanes["main"].busy is None
    world.begin("R3")
    world.loop.reserve("main", wanted=False)
    assert world.loop.lanes["main"].busy
    assert world.wire.sent[-1][0].txn_id == "main-3"


def test_a_lane_that_a_sale_and_a_reload_wait_for_is_kept_until_both_have_let_it_go() -> None:
    world = World()
    world.begin("R1")
    world.lose()
    world.loop.outcome(world.loop.lanes["main"].busy.id, Unsent("network", "down"))  # type: ignore[union-attr]
    world.loop.reserve("main", wanted=True)
    world.loop.reserve("main", wanted=True)
    world.later(3600)
    world.loop.put_lane(replace(world.lane))  # as a reload does
    world.loop.reserve("main", wanted=False)
    assert world.loop.lanes["main"].busy is None
    world.loop.reserve("main", wanted=False)
    assert world.loop.lanes["main"].busy


def test_an_item_that_cannot_be_sent_goes_to_a_person_and_the_others_flow() -> None:
    world = World()
    for reference in ("POISON", "GOOD"):
        world.begin(reference)
        world.lose()
        world.loop.outcome(world.loop.lanes["main"].busy.id, Unsent("network", "down"))  # type: ignore[union-attr]
    poison = world.loop.find("main", "POISON")
    assert poison
    assert poison.frozen
    broken = replace(poison, frozen=replace(poison.frozen, mti="no message type"))
    world.loop._book.live[poison.id] = replace(broken, wake_at=poison.wake_at)
    world.later(3600)
    after = world.loop.find("main", "POISON")
    assert after
    assert (after.state, after.held) == (State.PARKED, True)
    assert "cannot be made" in after.evidence[-1].detail
    assert world.wire.sent[-1][0].txn_id == "main-2"


def test_an_unreadable_record_is_not_an_empty_queue() -> None:
    world = World()
    world.begin("R1")
    world.lose()
    (stored,) = world.journal.pending()
    damaged = replace(stored.entry, public=stored.entry.public.replace('"reversing"', '"reversed?"'))
    world.journal.append([damaged])
    again = World(world.journal)
    again.loop.start()
    assert list(again.loop.unreadable) == ["main-1"]
    with pytest.raises(RefusedError, match="cannot be read"):
        again.begin("R2")


def test_a_restart_takes_up_every_state() -> None:
    world = World()
    world.begin("BEGUN")
    again = World(world.journal)
    again.loop.start()
    assert [txn.state for txn in again.loop.pending()] == [State.REVERSING]
    assert again.loop.next_wake() is not None


def test_a_refused_command_changes_nothing() -> None:
    world = World()
    txn = world.begin("R1")
    records = len(world.journal.history(txn.id))
    with pytest.raises(RefusedError, match="A-NOT-APPROVED"):
        world.loop.handle(txn.id, Complete("till"))
    assert len(world.journal.history(txn.id)) == records
    world.loop.handle(txn.id, Reverse("till"))
    with pytest.raises(RefusedError, match="A-NO-ITEM"):
        world.loop.handle("main-99", Reverse("till"))


def test_a_reversal_of_its_own_number_takes_two_numbers_at_once() -> None:
    world = World(profile="iso93")
    order = Order("R1", "sale", 1250, {**CARD, "pos_entry_mode": "210101213344"})
    txn = world.loop.begin("main", order)
    assert (txn.stan, txn.own_stan) == ("000001", "000002")
    assert world.journal.counters()["stan:main"] == 2


def test_a_retry_of_all_leaves_out_what_nobody_has_decided() -> None:
    """It would be refused, and the others would not be tried."""
    world = World(policy=replace(policy(), nobody_knows="park"))
    undecided = world.loop.begin("main", Order("R1", "sale", 1250, CARD, driver="application"))
    world.loop.handle(undecided.id, answered("00"))
    world.later(121)
    owed = world.begin("R2")
    world.lose()
    world.lose()
    assert [txn.undecided for txn in world.loop.pending()] == [True, False]
    assert world.loop.to_retry() == [owed.id]
