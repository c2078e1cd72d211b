"""An exchange ends in the one outcome that is true."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from agent.hostlink import Exchange, Host, LinkError, Lost, Outcome, Replied, Unsent
from agent.resolver import AddressRow, Resolver
from protocol.errors import MessageError
from tests.unit.hostlink_bench import (
    ANSWER,
    HEADER,
    OTHER,
    REQUEST,
    TICK_S,
    Bench,
    FakeHost,
    framed,
    play,
)


def test_the_answer_is_handed_over_with_host_and_processing_requirement() -> None:
    async def story(bench: Bench) -> None:
        bench.start(7)
        peer = await bench.host.accept()
        assert await peer.frame() == framed(REQUEST)
        await peer.send(framed(ANSWER, header=bytes.fromhex("602203000000")))
        expected = Replied(ANSWER, "unchecked", bench.host.at().name, 3)
        assert await bench.outcomes.get() == (7, expected)
        assert await peer.ended()

    play(story)


def test_the_outcome_never_comes_from_within_the_call() -> None:
    async def story(bench: Bench) -> None:
        bench.build()
        bench.start()
        assert bench.outcomes.empty()
        assert bench.link.busy
        assert isinstance(await bench.outcome(), Unsent)
        assert not bench.link.busy

    play(story)


def test_a_short_lived_connection_ends_with_its_exchange() -> None:
    async def story(bench: Bench) -> None:
        first = await bench.sold(1)
        assert await first.ended()
        second = await bench.sold(2)
        assert await second.ended()
        assert bench.link.link_state().counters.connects == 2

    play(story)


def test_a_persistent_connection_carries_the_next_exchange() -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold(1)
        bench.start(2)
        assert await peer.frame() == framed(REQUEST)
        await peer.send(framed(ANSWER))
        assert await bench.outcome() == Replied(ANSWER, "unchecked", bench.host.at().name, 0)
        assert bench.link.link_state().counters.connects == 1
        assert bench.link.link_state().connected_to == bench.host.at().name

    play(story, persistent_connection=True)


def test_a_second_exchange_at_the_same_time_is_our_own_fault() -> None:
    async def story(bench: Bench) -> None:
        bench.start(1)
        with pytest.raises(AssertionError, match="in an exchange"):
            bench.start(2)
        await bench.link.close()
        assert (await bench.outcome()).cause == "closed"  # type: ignore[union-attr]

    play(story)


def test_the_next_exchange_may_start_from_the_delivery_of_the_last() -> None:
    async def story(bench: Bench) -> None:
        outcomes: list[Outcome] = []
        ended = asyncio.Event()

        def deliver(_: int, outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == 1:
                bench.start(2)
            else:
                ended.set()

        bench.link._deliver = deliver
        bench.start(1)
        for _ in range(2):
            peer = await bench.host.accept()
            await peer.frame()
            await peer.send(framed(ANSWER))
        await ended.wait()
        assert [type(outcome) for outcome in outcomes] == [Replied, Replied]

    play(story)


# --- before the first byte ---------------------------------------------------------------------


def test_a_refused_connection_is_unsent() -> None:
    async def story(bench: Bench) -> None:
        silent = bench.another_host(backlog=-1)
        bench.build(silent.at())
        bench.start()
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert outcome.cause == "network"
        state = bench.link.link_state()
        assert (state.state, state.last_error_code) == ("down", "E-LINK-REFUSED")
        assert state.counters.connect_failures == 1

    play(story)


def test_a_connect_that_nobody_answers_is_unsent_in_time() -> None:
    async def story(bench: Bench) -> None:
        full = bench.another_host(backlog=0)
        waiting = [_pending_connect(full) for _ in range(4)]  # the queue is full: SYNs are dropped
        bench.build(full.at())
        bench.start()
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert "E-LINK-CONNECT-TIMEOUT" in outcome.text
        for sock in waiting:
            sock.close()

    play(story, connect_timeout_s=TICK_S)


def _pending_connect(host: FakeHost) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", host.port))
    return sock


def test_an_unknown_name_is_unsent() -> None:
    def nobody_knows(address: str, port: int) -> list[AddressRow]:
        raise OSError(-2, "Name or service not known")

    async def story(bench: Bench) -> None:
        bench.build(Host("host.invalid", 5000), resolver=Resolver(nobody_knows))
        bench.start()
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert "E-LINK-DNS" in outcome.text

    play(story)


def test_a_hung_name_server_is_asked_once_and_costs_only_the_connect_timeout() -> None:
    release, asked = threading.Event(), []

    def hang(address: str, port: int) -> list[AddressRow]:
        asked.append(address)
        release.wait()
        return []

    async def story(bench: Bench) -> None:
        bench.build(Host("slow.invalid", 5000), resolver=Resolver(hang))
        for number in (1, 2):
            bench.start(number)
            assert isinstance(await bench.outcome(), Unsent)
        assert asked == ["slow.invalid"]

    try:
        play(story, connect_timeout_s=TICK_S)
    finally:
        release.set()


def test_a_name_with_a_dead_address_reaches_the_living_one() -> None:
    async def story(bench: Bench) -> None:
        dead = bench.another_host(backlog=-1)

        def two(address: str, port: int) -> list[AddressRow]:
            return [(2, 1, 6, "", ("127.0.0.1", dead.port)), (2, 1, 6, "", ("127.0.0.1", bench.host.port))]

        bench.build(Host("two.invalid", 5000), resolver=Resolver(two))
        await bench.sold()

    play(story)


def test_hosts_are_tried_in_order_while_no_byte_left() -> None:
    async def story(bench: Bench) -> None:
        silent = bench.another_host(backlog=-1)
        bench.build(silent.at(), bench.host.at())
        await bench.sold()
        assert bench.chosen == [(1, bench.host.at().name)]
        assert dict(bench.link.link_state().hosts) == {silent.at().name: "down", bench.host.at().name: "up"}
        assert bench.link.link_state().state == "up"

    play(story)


def test_the_preferred_host_comes_first() -> None:
    async def story(bench: Bench) -> None:
        other = bench.another_host()
        bench.build(other.at(), bench.host.at())
        bench.start(prefer=bench.host.at().name)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        assert other.nobody_came()

    play(story)


def test_a_persistent_connection_to_another_host_is_not_used_for_a_preferred_one() -> None:
    async def story(bench: Bench) -> None:
        other = bench.another_host()
        bench.build(bench.host.at(), other.at())
        first = await bench.sold(1)
        bench.start(2, prefer=other.at().name, only=True)
        peer = await other.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        assert await first.ended()

    play(story, persistent_connection=True)


def test_a_reversal_bound_to_its_host_goes_nowhere_else() -> None:
    async def story(bench: Bench) -> None:
        silent = bench.another_host(backlog=-1)
        bench.build(silent.at(), bench.host.at())
        bench.start(prefer=silent.at().name, only=True)
        assert isinstance(await bench.outcome(), Unsent)
        assert bench.host.nobody_came()

    play(story)


def test_a_host_that_is_no_longer_configured_is_a_matter_of_configuration() -> None:
    async def story(bench: Bench) -> None:
        bench.start(prefer="gone:1", only=True)
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert outcome.cause == "configuration"
        assert "gone:1" in outcome.text
        assert bench.host.nobody_came()

    play(story)


def test_a_message_too_long_for_the_envelope_is_unsent() -> None:
    async def story(bench: Bench) -> None:
        bench.start(body=bytes(3000))
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert outcome.cause == "configuration"
        assert bench.host.nobody_came()

    play(story)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_persistent_connection_found_dead_is_replaced_before_the_first_byte(noticed: bool) -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold(1)
        peer.close()
        if noticed:
            await bench.until(lambda: bench.link.link_state().connected_to == "")
        await bench.sold(2)
        assert bench.link.link_state().counters.connects == 2

    play(story, persistent_connection=True)


def test_a_persistent_connection_found_dead_with_no_host_behind_is_unsent() -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold(1)
        bench.host.stop_listening()
        peer.reset()
        bench.start(2)
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert bench.link.link_state().last_error_code == "E-LINK-REFUSED"

    play(story, persistent_connection=True)


# --- after the first byte ----------------------------------------------------------------------


@pytest.mark.parametrize("count", range(0, len(framed(REQUEST)) + 1, 8))
def test_a_reset_after_any_byte_is_lost(count: int) -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await bench.until(lambda: bench.link.link_state().counters.bytes_sent > 0)
        await peer.read(count)
        peer.reset()
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "reset"
        assert outcome.host == bench.host.at().name
        assert bench.link.link_state().counters.resets == 1

    play(story)


@pytest.mark.parametrize("count", range(1, len(framed(ANSWER))))
def test_a_reset_in_the_middle_of_the_answer_is_lost(count: int) -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER)[:count])
        await bench.until(lambda: bench.link.link_state().counters.bytes_received == count)
        peer.reset()
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "reset"

    play(story)


def test_a_host_that_hangs_up_without_an_answer_is_lost() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        peer.close()
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "eof"
        assert bench.link.link_state().last_error_code == "E-LINK-EOF"

    play(story)


def test_a_silent_host_is_lost_in_time_and_cut_off() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "timeout"
        assert bench.link.link_state().counters.timeouts == 1
        assert bench.link.link_state().state == "up"
        with pytest.raises(ConnectionResetError):
            await peer.read(1)

    play(story, reply_timeout_s=TICK_S)


def test_a_host_that_does_not_read_is_lost_in_time() -> None:
    async def story(bench: Bench) -> None:
        deaf = bench.another_host(receive_buffer=4096)
        bench.build(deaf.at(), bench.host.at())
        bench.start(body=bytes(30_000_000))
        await deaf.accept()
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "send-timeout"
        assert bench.host.nobody_came()  # never a second host once a byte left

    play(story, send_timeout_s=TICK_S, length_bytes=4, length_max=40_000_000)


def test_a_message_that_a_standing_connection_takes_in_parts_leaves_once_and_whole() -> None:
    """The kernel's buffer is full in the middle of it: nothing is sent again, nothing is left out."""

    async def story(bench: Bench) -> None:
        body = bytes(range(256)) * 20_000
        slow = bench.another_host(receive_buffer=4096)
        bench.build(slow.at())
        bench.start(1, body=REQUEST)
        peer = await slow.accept()
        await peer.read(2 + len(framed(REQUEST)))
        await peer.send(bytes(2) + framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        bench.start(2, body=body)
        length = int.from_bytes(await peer.read(4), "big")
        assert (await peer.read(length)).endswith(body)
        await peer.send(bytes(2) + framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        assert bench.link.link_state().counters.connects == 1
        await bench.link.close()
        assert await peer.read(1) == b""

    play(story, persistent_connection=True, length_bytes=4, length_max=40_000_000)


def test_a_standing_connection_that_takes_no_byte_leaves_the_message_to_the_next_host() -> None:
    async def story(bench: Bench) -> None:
        deaf = bench.another_host(receive_buffer=4096)
        bench.build(deaf.at(), bench.host.at())
        bench.start(1)
        peer = await deaf.accept()
        await peer.read(2 + len(framed(REQUEST)))
        await peer.send(bytes(2) + framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        standing = bench.link._standing
        assert standing
        with pytest.raises(LinkError):  # its buffer is full from now on
            await standing.connection.send(bytes(30_000_000), TICK_S)
        deaf.stop_listening()
        bench.start(2)
        answering = await bench.host.accept()
        await answering.read(2 + len(framed(REQUEST)))
        await answering.send(bytes(2) + framed(ANSWER))
        assert (await bench.outcome()) == Replied(ANSWER, "unchecked", bench.host.at().name, 0)
        assert bench.chosen[-1] == (2, bench.host.at().name)

    play(story, persistent_connection=True, send_timeout_s=TICK_S, length_bytes=4, length_max=40_000_000)


# --- what a hostile or broken host sends -------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [
        bytes(2),
        b"\xff\xff",
        b"\x00\x05hello",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        framed(ANSWER).replace(b"\x60\x00\x03", b"\x61\x00\x03"),
        bytes(range(256)) * 64,
    ],
    ids=["length 0", "length 65535", "length 5", "web server", "foreign TPDU", "noise"],
)
def test_garbage_is_lost_and_ends_the_connection(junk: bytes) -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(junk)
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "garbage"
        assert bench.link.link_state().counters.garbage == 1
        assert await peer.ended()

    play(story, persistent_connection=True)


def test_an_answer_is_not_lost_to_the_garbage_behind_it() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER) + bytes(100))
        assert isinstance(await bench.outcome(), Replied)
        assert await peer.ended()

    play(story, persistent_connection=True)


def test_an_answer_before_a_reset_counts() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        peer.reset()
        assert isinstance(await bench.outcome(), Replied)

    play(story)


def test_a_host_that_hangs_up_after_its_answer_has_done_nothing_wrong() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        peer.close()
        assert isinstance(await bench.outcome(), Replied)
        await bench.until(lambda: bench.link.link_state().connected_to == "")
        assert bench.link.link_state().counters.resets == 0
        assert bench.link.link_state().last_error == ""

    play(story, persistent_connection=True)


def test_an_answer_byte_by_byte_is_an_answer() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        for count, byte in enumerate(framed(ANSWER), start=1):
            await peer.send(bytes([byte]))
            await bench.until(lambda count=count: bench.link.link_state().counters.bytes_received == count)  # type: ignore[misc]
        assert isinstance(await bench.outcome(), Replied)

    play(story)


@pytest.mark.parametrize("persistent", [True, False])
def test_half_a_frame_and_silence_is_lost_and_the_connection_is_not_used_again(persistent: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.start(1)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER)[:-1])
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "timeout"
        assert await peer.ended()

    play(story, persistent_connection=persistent, reply_timeout_s=TICK_S)


def test_half_a_frame_on_an_idle_connection_is_not_waited_for_forever() -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold(1)
        await peer.send(framed(OTHER)[:5])
        assert await peer.ended()
        assert bench.link.link_state().counters.garbage == 1

    play(story, persistent_connection=True, reply_timeout_s=TICK_S)


def test_half_a_frame_on_an_idle_connection_does_not_meet_the_next_message() -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold(1)
        received = bench.link.link_state().counters.bytes_received
        await peer.send(framed(OTHER)[:5])
        await bench.until(lambda: bench.link.link_state().counters.bytes_received == received + 5)
        await bench.sold(2)
        assert await peer.ended()

    play(story, persistent_connection=True)


def test_a_body_that_cannot_be_read_is_no_answer() -> None:
    def accept(body: bytes) -> bool:
        if body == OTHER:
            raise MessageError("damaged", field=1)
        return body == ANSWER

    async def story(bench: Bench) -> None:
        bench.start(accept=accept)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(OTHER) + framed(ANSWER))
        assert isinstance(await bench.outcome(), Replied)
        assert (await bench.strays.get())[1].body == OTHER

    play(story)


def test_an_error_of_ours_is_not_swallowed() -> None:
    def broken(body: bytes) -> bool:
        raise ZeroDivisionError

    async def story(bench: Bench) -> None:
        bench.start(accept=broken)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        await bench.until(lambda: len(bench.faults) == 1)
        assert type(bench.faults[0]) is ZeroDivisionError
        await bench.link.close()
        assert isinstance(await bench.outcome(), Lost)  # the process ends; whatever is told is no answer

    play(story, faults=1)


# --- closing -----------------------------------------------------------------------------------


def test_closing_while_an_answer_is_awaited_is_lost() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        peer = await bench.host.accept()
        await peer.frame()
        await bench.link.close()
        outcome = bench.outcomes.get_nowait()[1]
        assert isinstance(outcome, Lost)
        assert outcome.cause == "closed"

    play(story)


def test_closing_before_a_byte_left_is_unsent() -> None:
    async def story(bench: Bench) -> None:
        bench.start()
        await bench.link.close()
        outcome = bench.outcomes.get_nowait()[1]
        assert isinstance(outcome, Unsent)
        assert outcome.cause == "closed"
        with pytest.raises(AssertionError, match="closed"):
            bench.start(2)

    play(story)


def test_bodies_and_answers_never_show_in_a_repr() -> None:
    exchange = Exchange(1, "lane-1", "txn-1", REQUEST, None, False, lambda body: True)
    for shown in (repr(exchange), repr(Replied(ANSWER, "valid", "h:1", 0))):
        assert "answer" not in shown.replace("<lambda>", "")
        assert "request" not in shown
    assert HEADER  # the envelope itself is no secret


# --- two things at once ------------------------------------------------------------------------


def test_an_answer_that_is_there_before_the_message_is_all_sent_counts() -> None:
    """A late answer to an earlier try of the same reversal, say."""

    async def story(bench: Bench) -> None:
        deaf = bench.another_host(receive_buffer=4096)
        bench.build(deaf.at())
        bench.start(body=bytes(30_000_000), accept=lambda body: True)
        peer = await deaf.accept()
        answer = framed(ANSWER)
        await peer.send(bytes(2) + answer)  # four bytes of length here
        assert isinstance(await bench.outcome(), Replied)

    play(story, send_timeout_s=TICK_S, length_bytes=4, length_max=40_000_000)


def test_a_reset_that_both_sender_and_listener_notice_is_counted_once() -> None:
    async def story(bench: Bench) -> None:
        deaf = bench.another_host(receive_buffer=4096)
        bench.build(deaf.at())
        bench.start(body=bytes(30_000_000))
        peer = await deaf.accept()
        await peer.read(1000)
        peer.reset()
        outcome = await bench.outcome()
        assert isinstance(outcome, Lost)
        assert outcome.cause == "reset"
        assert bench.link.link_state().counters.resets == 1

    play(story, length_bytes=4, length_max=40_000_000)


def test_a_host_may_close_an_idle_connection_without_blame() -> None:
    async def story(bench: Bench) -> None:
        peer = await bench.sold()
        peer.close()
        await bench.until(lambda: bench.link.link_state().connected_to == "")
        assert bench.link.link_state().counters.resets == 0
        assert bench.link.link_state().last_error == ""

    play(story, persistent_connection=True)
