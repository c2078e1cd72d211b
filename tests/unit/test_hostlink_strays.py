"""Frames that nobody awaited are evidence: none is lost, none is taken for the answer, none blocks it."""

from __future__ import annotations

import asyncio
import contextlib

from agent.hostlink import Lost, Replied, Stray
from agent.outcomes import MacVerdict
from agent.standing import STRAYS_MAX
from agent.strays import QUEUE_MAX, StrayDesk
from protocol.rules import MacRules
from tests.unit.hostlink_bench import ANSWER, OTHER, REQUEST, TICK_S, Bench, framed, play

MAC_RULES = MacRules("x919", "binary8", 64)


def signed(body: bytes) -> bytes:
    """The body with bit 64 set and eight bytes of MAC behind it."""
    return body[:9] + bytes([body[9] | 1]) + body[10:] + bytes(8)


def test_two_answers_in_a_segment_are_told_apart() -> None:
    async def story(bench: Bench) -> None:
        bench.start(9)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(OTHER) + framed(ANSWER))
        host = bench.host.at().name
        assert await bench.outcome() == Replied(ANSWER, "unchecked", host, 0)
        assert await bench.strays.get() == (9, Stray(OTHER, "unchecked", host))

    play(story)


def test_an_answer_that_comes_twice_is_a_stray_the_second_time() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER) * 2)
        assert isinstance(await bench.outcome(), Replied)
        assert (await bench.strays.get())[1].body == ANSWER

    play(story, persistent_connection=True)


def test_a_hundred_strays_come_in_order_and_the_answer_behind_them_counts() -> None:
    strays = [OTHER + f"{number:03d}".encode() for number in range(100)]

    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(*map(framed, strays), framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        assert [(await bench.strays.get())[1].body for _ in strays] == strays
        assert bench.link.link_state().counters.strays == 100

    play(story)


def test_a_flood_of_strays_is_garbage() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(OTHER) * (STRAYS_MAX + 10) + framed(ANSWER))
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "garbage"
        assert bench.link.link_state().counters.strays == STRAYS_MAX

    play(story)


def test_strays_do_not_move_the_deadline() -> None:
    async def story(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.start()
        began = loop.time()
        peer = await bench.host.accept()
        await peer.frame()
        outcome = None
        while outcome is None:
            await peer.send(framed(OTHER))
            with contextlib.suppress(TimeoutError):
                outcome = await asyncio.wait_for(bench.outcome(), TICK_S / 5)
        assert isinstance(outcome, Lost)
        assert outcome.cause == "timeout"
        assert loop.time() - began < 4 * TICK_S
        while not bench.strays.empty():
            bench.strays.get_nowait()

    play(story, reply_timeout_s=TICK_S)


def test_a_late_answer_on_a_persistent_connection_is_heard_and_the_next_message_takes_a_new_one() -> None:
    async def story(bench: Bench) -> None:
        bench.start(1)
        late = await bench.host.accept()
        await late.frame()
        assert isinstance(await bench.outcome(), Lost)
        await late.send(framed(ANSWER))
        assert await bench.strays.get() == (None, Stray(ANSWER, "unchecked", bench.host.at().name))
        bench.start(2)
        fresh = await bench.host.accept()
        assert await fresh.frame() == framed(REQUEST)
        assert await late.ended()
        await fresh.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)

    play(story, persistent_connection=True, reply_timeout_s=TICK_S)


def test_a_frame_on_an_idle_connection_is_a_stray_and_the_connection_stays() -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold(1)
        await peer.send(framed(OTHER))
        assert (await bench.strays.get())[1].body == OTHER
        bench.start(2)
        assert await peer.frame() == framed(REQUEST)
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)

    play(story, persistent_connection=True)


def test_a_slow_check_of_a_stray_does_not_hold_up_the_answer() -> None:
    class SlowForStrays:
        def __init__(self) -> None:
            self.release = asyncio.Event()

        async def mac(self, data: bytes) -> bytes:
            return bytes(8)

        def mac_now(self, data: bytes) -> bytes | None:
            return None

        async def verify(self, data: bytes, mac: bytes) -> bool:
            if b"somebody" in data:
                await self.release.wait()
            return True

        def describe(self) -> str:
            return "slow"

    async def story(bench: Bench) -> None:
        slow = bench.macs = SlowForStrays()
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(signed(OTHER)) + framed(ANSWER))
        outcome = await bench.outcome()
        assert isinstance(outcome, Replied)
        assert bench.strays.empty()
        slow.release.set()
        assert (await bench.strays.get())[1].mac == "valid"

    play(story, mac=MAC_RULES)


def test_a_stray_that_comes_just_when_the_last_one_was_handed_on_does_not_stay() -> None:
    async def story(bench: Bench) -> None:
        handed: list[int | None] = []

        async def judge(body: bytes) -> MacVerdict:
            return "valid"

        desk = StrayDesk("lane-1", judge, lambda number, stray: handed.append(number))
        desk.take(1, Stray(OTHER, "unverified", "h:1"))
        asyncio.get_running_loop().call_soon(desk.take, 2, Stray(OTHER, "unverified", "h:1"))
        await bench.until(lambda: handed == [1, 2])

    play(story)


def test_what_cannot_be_checked_any_more_is_handed_on_unverified() -> None:
    async def story(bench: Bench) -> None:
        handed: list[tuple[int | None, Stray]] = []

        async def never(body: bytes) -> str:
            await asyncio.Event().wait()
            return "valid"

        desk = StrayDesk("lane-1", never, lambda number, stray: handed.append((number, stray)))  # type: ignore[arg-type]
        for number in range(QUEUE_MAX + 1):
            desk.take(number, Stray(OTHER, "unverified", "h:1"))
        assert [number for number, _ in handed] == [QUEUE_MAX]
        await asyncio.sleep(0)
        await desk.close()
        assert [number for number, _ in handed] == [QUEUE_MAX, *range(QUEUE_MAX)]
        assert {stray.mac for _, stray in handed} == {"unverified"}

    play(story)


def test_strays_under_check_are_handed_on_when_the_link_closes() -> None:
    class Hung:
        async def mac(self, data: bytes) -> bytes:
            return bytes(8)

        def mac_now(self, data: bytes) -> bytes | None:
            return None

        async def verify(self, data: bytes, mac: bytes) -> bool:
            await asyncio.Event().wait()
            return True

        def describe(self) -> str:
            return "hung"

    async def story(bench: Bench) -> None:
        bench.macs = Hung()
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(signed(OTHER)) + framed(ANSWER))
        await bench.outcome()
        await bench.link.close()
        assert bench.strays.get_nowait()[1].mac == "unverified"

    play(story, mac=MAC_RULES)
