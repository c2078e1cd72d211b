"""What is known about the way to the hosts, and how its return is noticed."""

from __future__ import annotations

import asyncio

from agent.hostlink import Lost, Replied, Unsent
from agent.linkstate import LinkBook, LinkError
from tests.unit.hostlink_bench import ANSWER, REQUEST, Bench, framed, play


def test_a_new_link_is_unknown_and_quiet() -> None:
    async def story(bench: Bench) -> None:
        state = bench.link.link_state()
        assert (state.state, state.connected_to, state.last_error, state.last_error_at) == ("unknown", "", "", None)
        bench.link.probe()
        assert bench.link.link_state().counters.probes == 0

    play(story)


def test_since_moves_only_when_the_state_does() -> None:
    now = [10.0]
    book = LinkBook("lane-1", ["a:1", "b:1"], lambda: now[0])
    now[0] = 11.0
    book.connect_failed("a:1", LinkError("refused", "no"))
    assert (book.snapshot("").state, book.snapshot("").since) == ("down", 11.0)
    now[0] = 12.0
    book.connect_failed("b:1", LinkError("dns", "no"))
    assert (book.snapshot("").state, book.snapshot("").since) == ("down", 11.0)
    assert (book.snapshot("").last_error_code, book.snapshot("").last_error_at) == ("E-LINK-DNS", 12.0)
    now[0] = 13.0
    assert book.connected("b:1")
    assert not book.connected("b:1")
    assert (book.snapshot("").state, book.snapshot("").since) == ("up", 13.0)
    assert book.down_hosts() == ["a:1"]


def test_bytes_and_exchanges_are_counted() -> None:
    async def story(bench: Bench) -> None:
        await bench.sold()
        counters = bench.link.link_state().counters
        assert counters.exchanges == 1
        assert counters.bytes_sent == len(framed(REQUEST))
        assert counters.bytes_received == len(framed(ANSWER))

    play(story)


def test_an_exchange_that_finds_the_host_again_says_link_up() -> None:
    async def story(bench: Bench) -> None:
        later = bench.another_host(backlog=-1)
        bench.build(later.at())
        bench.start(1)
        assert isinstance(await bench.outcome(), Unsent)
        assert bench.link_ups.empty()
        later.listen()
        bench.start(2)
        assert await bench.link_ups.get() == "lane-1"
        peer = await later.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        bench.start(3)
        await later.accept()
        await bench.link.close()
        assert isinstance(await bench.outcome(), Lost | Unsent)
        assert bench.link_ups.empty()

    play(story)


def test_a_probe_notices_the_host_without_sending_anything() -> None:
    async def story(bench: Bench) -> None:
        later = bench.another_host(backlog=-1)
        bench.build(later.at())
        bench.start()
        await bench.outcome()
        bench.link.probe()
        await bench.until(lambda: bench.link.link_state().counters.connect_failures == 2)
        await bench.until(lambda: bench.link._probe is None)
        later.listen()
        bench.link.probe()
        assert await bench.link_ups.get() == "lane-1"
        peer = await later.accept()
        assert await peer.ended()
        assert bench.link.link_state().state == "up"
        bench.link.probe()
        assert bench.link.link_state().counters.probes == 2

    play(story)


def test_the_connection_of_a_probe_serves_the_next_exchange_where_connections_last() -> None:
    async def story(bench: Bench) -> None:
        later = bench.another_host(backlog=-1)
        bench.build(later.at())
        bench.start(1)
        await bench.outcome()
        later.listen()
        bench.link.probe()
        await bench.link_ups.get()
        peer = await later.accept()
        bench.start(2)
        assert await peer.frame() == framed(REQUEST)
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)

    play(story, persistent_connection=True)


def test_a_probe_looks_for_the_down_host_though_another_is_up() -> None:
    async def story(bench: Bench) -> None:
        later = bench.another_host(backlog=-1)
        bench.build(later.at(), bench.host.at())
        await bench.sold()
        later.listen()
        bench.link.probe()
        assert await bench.link_ups.get() == "lane-1"
        assert set(dict(bench.link.link_state().hosts).values()) == {"up"}

    play(story)


def test_an_exchange_does_not_wait_for_a_probe() -> None:
    async def story(bench: Bench) -> None:
        dead = bench.another_host(backlog=-1)
        bench.build(dead.at(), bench.host.at())
        bench.start(1, prefer=dead.at().name, only=True)
        await bench.outcome()
        dead.listen()
        bench.link.probe()
        bench.start(2, prefer=bench.host.at().name)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        bench.link.probe()  # the first one is over: this one may start
        assert bench.link.link_state().counters.probes == 2
        await bench.link_ups.get()

    play(story)


def test_an_exchange_may_start_from_the_news_that_the_link_is_up() -> None:
    async def story(bench: Bench) -> None:
        later = bench.another_host(backlog=-1)
        bench.build(later.at())
        bench.start(1)
        await bench.outcome()
        bench.link.on_link_up = lambda lane: bench.start(2)
        later.listen()
        bench.link.probe()
        probing = await later.accept()
        peer = await later.accept()
        assert await probing.ended()
        await peer.frame()
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)

    play(story)


def test_closing_during_a_probe_leaves_nothing_behind() -> None:
    async def story(bench: Bench) -> None:
        dead = bench.another_host(backlog=-1)
        bench.build(dead.at())
        bench.start()
        await bench.outcome()
        bench.link.probe()
        await bench.link.close()
        bench.link.probe()
        await asyncio.sleep(0)
        assert bench.link.link_state().counters.probes == 1

    play(story)
