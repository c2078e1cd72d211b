"""Thousands of pending items: what a start leaves in the journal is counted, found and sent as if it were in memory."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from agent.backlog import FRESH_MAX, Sketch, whole
from agent.events import Hold, Settle
from agent.journal_contract import JournalUnreadable, Stored
from agent.lane import Gate, Order, RefusedError
from agent.loop import Loop
from agent.outcomes import Lost, Replied, Stray, Unsent
from agent.records import State, Transaction, dump
from protocol.frozen import replace
from protocol.iso8583 import Message
from protocol.profile import load_profile
from tests.bench.scene import entry, owed
from tests.simulation.memory_journal import MemoryJournal
from tests.unit.test_loop import CARD, World

PROFILE = load_profile("unionpay-pos")
COUNT = 100


def stored(count: int = COUNT, change: Callable[[Transaction], Transaction] = lambda txn: txn) -> MemoryJournal:
    """A journal with so many owed reversals of one lane."""
    journal = MemoryJournal()
    entries = [entry(change(owed(PROFILE, "main", "12345678", number))) for number in range(1, count + 1)]
    journal.append(entries, {"stan:main": count, "txn:main": count})
    return journal


def restarted(journal: MemoryJournal, *, at_once: int = 0, surveyed: bool = True, **lane: object) -> World:
    """A world whose loop has started on this journal."""
    world = World(journal, **lane)  # type: ignore[arg-type]
    world.loop = Loop(journal, [world.lane], world.wire, world.clock, None, at_once)  # type: ignore[arg-type]
    world.loop.start()
    while surveyed and world.loop.survey(7):
        pass
    return world


def acknowledged(world: World) -> None:
    """The exchange under way is answered."""
    exchange = world.loop.lanes["main"].busy
    assert exchange
    sent = PROFILE.codec.unpack(exchange.body)
    kept = {number: value for number, value in sent.fields.items() if number not in (64, 38, 22, 25, 26, 14, 2)}
    body = PROFILE.codec.pack(Message("0410", {**kept, 37: "123456789012", 39: "00"}))
    world.loop.outcome(exchange.id, Replied(body, "valid", "h1", 0))


def in_memory(world: World) -> int:
    return sum(not isinstance(txn, Sketch) for txn in world.loop.pending())


def test_the_first_reversal_leaves_before_the_others_are_read() -> None:
    world = restarted(stored(), surveyed=False)
    world.later(3600)
    assert len(world.wire.sent) == 1
    assert world.loop.lanes_owed() == {"main"}
    assert in_memory(world) <= FRESH_MAX
    assert world.loop.objection(world.lane) == "" or "owed" in world.loop.objection(world.lane)


def test_everything_is_sent_once_and_oldest_first() -> None:
    world = restarted(stored(), gate=Gate(count=0))
    world.later(3600)
    for left in range(COUNT, 0, -1):
        assert world.loop.objection(world.lane) == f"reversals owed: {left}, allowed: 0"
        assert len(world.loop.pending()) == left
        assert in_memory(world) <= FRESH_MAX
        acknowledged(world)
    assert world.loop.pending() == []
    assert sorted(world.loop.lanes_pending()) == []
    assert len({exchange.txn_id for exchange, _ in world.wire.sent}) == COUNT
    assert world.journal.counts() == {"reversed": COUNT}


def test_what_waits_is_whole_to_its_readers() -> None:
    world = restarted(stored())
    waiting = world.loop.pending()[-1]
    assert isinstance(waiting, Sketch)
    assert waiting.frozen == whole(waiting).frozen is not None
    assert (waiting.reference, waiting.outcome) == ("ref-100", "reversing")
    assert world.loop.find("main", "ref-100") == whole(waiting)
    assert [txn.id for txn in world.loop.of_lane("main")] == [f"main-{number}" for number in range(1, COUNT + 1)]


@pytest.mark.parametrize(
    "txn_id", ["main-1", "main-01", "main-", "main-x", "other-7", "main-²", "main--1", "main-1-1", ""]
)
def test_a_sketch_bears_the_very_id_of_its_item(txn_id: str) -> None:
    facts = dump(replace(owed(PROFILE, "main", "12345678", 7), id=txn_id))
    assert Sketch(json.loads(facts), lambda _: pytest.fail("nothing needs to be read")).id == txn_id


def test_its_number_is_not_given_out_again() -> None:
    journal = stored()
    journal.append([], {"stan:main": 49})
    world = restarted(journal, warn_only=True)
    assert world.begin("NEW").stan == "000101"


def test_somebody_acts_on_one_that_waits() -> None:
    world = restarted(stored())
    held = world.loop.handle("main-70", Hold("somebody", "wait"))
    assert (held.held, held.sending) == (True, False)
    world.loop.handle("main-71", Settle("somebody", "by hand", "B1"))
    assert len(world.loop.pending()) == COUNT - 1
    assert "main-71" not in [txn.id for txn in world.loop.pending()]
    assert sum(txn.id == "main-70" for txn in world.loop.pending()) == 1


def test_a_late_answer_finds_one_that_waits() -> None:
    world = restarted(stored())
    request = whole(world.loop.pending()[79])
    reply = Message(
        "0210",
        {3: "000000", 4: f"{request.amount_minor:012d}", 11: request.stan, 39: "00", 41: "12345678", 49: "156"},
    )
    world.loop.stray("main", Stray(PROFILE.codec.pack(reply), "valid", "h1"))
    after = world.loop.get(request.id)
    assert after
    assert after.state is State.REVERSING
    assert len(after.evidence) == 1


def test_a_dead_host_is_not_asked_once_for_each_item() -> None:
    world = restarted(stored())
    world.later(3600)
    for _ in range(40):
        if exchange := world.loop.lanes["main"].busy:
            world.loop.outcome(exchange.id, Unsent("network", "down"))
        if (wake := world.loop.next_wake()) is not None:
            world.clock.mono = max(world.clock.mono, wake)
            world.loop.wake()
    assert 1 < len({exchange.txn_id for exchange, _ in world.wire.sent}) < 30
    assert in_memory(world) <= FRESH_MAX
    world.loop.resume("main", "link-up")
    world.later(3600)
    acknowledged(world)


def test_a_silent_host_does_not_stop_the_others_for_ever() -> None:
    world = restarted(stored(count=40))
    world.later(3600)
    tried = set()
    for _ in range(400):
        if (exchange := world.loop.lanes["main"].busy) is None:
            wake = world.loop.next_wake()
            assert wake is not None
            world.clock.mono = max(world.clock.mono, wake)
            world.loop.wake()
            continue
        tried.add(exchange.txn_id)
        world.loop.outcome(exchange.id, Lost("timeout", "no answer", "h1"))
    assert len(tried) == 40


def test_an_unreadable_one_that_waits_calls_a_person() -> None:
    journal = stored(count=10)
    broken = entry(owed(PROFILE, "main", "12345678", 7))
    journal.append([type(broken)(**{**{n: getattr(broken, n) for n in broken.__slots__}, "public": "{}"})])
    world = restarted(journal)
    assert list(world.loop.unreadable) == ["main-7"]
    assert len(world.loop.pending()) == 9
    with pytest.raises(RefusedError, match="cannot be read"):
        world.loop.begin("main", Order("R", "sale", 100, CARD))
    world.loop.lanes["main"].warn_only = True  # a shop that sells on while it owes still does not know what it owes
    with pytest.raises(RefusedError, match="cannot be read"):
        world.loop.begin("main", Order("R", "sale", 100, CARD))


def test_a_damaged_one_that_waits_ends_the_start() -> None:
    class Damaged(MemoryJournal):
        def checked(self, txn_id: str) -> Stored | None:
            if txn_id == "main-7":
                raise JournalUnreadable("DAMAGED", None, "record 7", "salvage")  # type: ignore[arg-type]
            return super().checked(txn_id)

    with pytest.raises(JournalUnreadable):
        restarted(Damaged(stored(count=10).image()))


def test_a_new_key_seals_also_what_waits() -> None:
    world = restarted(stored())
    assert world.loop.seal_anew("somebody") == COUNT
    assert all(row.event == "Resealed" for row in world.journal.recent(COUNT))


def test_all_may_be_tried_now() -> None:
    world = restarted(stored())
    world.later(3600)
    exchange = world.loop.lanes["main"].busy
    assert exchange
    world.loop.outcome(exchange.id, Unsent("network", "down"))
    assert world.loop.lanes["main"].busy is None
    assert exchange.txn_id in world.loop.to_retry()
    world.loop.wake()
    assert world.loop.lanes["main"].busy is not None
