"""One connection knows to the byte what the kernel took."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from agent.connection import Connection, connect
from agent.linkstate import LinkCounters, LinkError
from agent.resolver import Resolver
from tests.unit.hostlink_bench import STORY_DEADLINE_S, TICK_S, FakeHost

MUCH = bytes(30_000_000)


def with_connection(story: Callable[[Connection, FakeHost, LinkCounters], Awaitable[None]]) -> None:
    async def run() -> None:
        host, counters = FakeHost(receive_buffer=4096), LinkCounters()
        try:
            async with asyncio.timeout(STORY_DEADLINE_S):
                connection = await connect(host.at(), Resolver(), 5.0, 5.0, counters)
                await story(connection, host, counters)
                connection.close()
        finally:
            host.close()

    asyncio.run(run())


async def heard(connection: Connection, count: int) -> bytes:
    """So many bytes from a listener. Raises what the listener meets."""
    data, ended = b"", asyncio.get_running_loop().create_future()

    def take() -> None:
        nonlocal data
        try:
            data += b"".join(connection.received())
        except LinkError as error:
            ended.set_exception(error)
        if len(data) >= count and not ended.done():
            ended.set_result(None)

    connection.listen(take)
    await ended
    connection.deafen()
    return data


def test_a_full_buffer_takes_part_of_a_message_and_the_count_says_how_much() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        peer = await host.accept()
        with pytest.raises(LinkError, match="did not take"):
            await connection.send(MUCH, TICK_S)
        assert 0 < connection.left_bytes < len(MUCH)
        left = connection.left_bytes
        connection.close()
        assert len(await peer.read(len(MUCH))) == left == counters.bytes_sent

    with_connection(story)


def test_a_full_buffer_takes_nothing_of_the_next_message() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        with pytest.raises(LinkError):
            await connection.send(MUCH, TICK_S)
        with pytest.raises(LinkError) as caught:
            await connection.send(b"next", TICK_S)
        assert caught.value.kind == "send-timeout"
        assert connection.left_bytes == 0
        connection.abort()

    with_connection(story)


def test_a_message_into_a_reset_connection_has_not_left() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        (await host.accept()).reset()
        with pytest.raises(LinkError):
            await heard(connection, 1)
        with pytest.raises(LinkError) as caught:
            await connection.send(b"message", 5.0)
        assert caught.value.kind == "reset"
        assert connection.left_bytes == 0

    with_connection(story)


def test_every_byte_is_heard_once_and_in_order() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        peer = await host.accept()
        sent = bytes(range(200))
        for byte in sent:
            await peer.send(bytes([byte]))
        assert await heard(connection, len(sent)) == sent
        assert counters.bytes_received == len(sent)

    with_connection(story)


def test_the_end_of_a_connection_is_seen_before_a_message_is_sent_into_it() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        peer = await host.accept()
        assert not connection.has_ended()
        peer.finish()
        assert connection.has_ended()

    with_connection(story)


def test_a_closed_connection_gives_no_more_bytes() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        connection.close()
        connection.close()
        assert list(connection.received()) == []

    with_connection(story)


def test_the_socket_neither_delays_small_messages_nor_trusts_a_dead_peer() -> None:
    async def story(connection: Connection, host: FakeHost, counters: LinkCounters) -> None:
        sock = connection._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000

    with_connection(story)


def test_an_impossible_name_is_a_dns_error() -> None:
    async def run() -> None:
        with pytest.raises(LinkError) as caught:
            await Resolver().resolve("x" * 70 + ".invalid", 1)
        assert caught.value.kind == "dns"

    asyncio.run(run())


def test_a_name_without_an_address_is_a_dns_error() -> None:
    async def run() -> None:
        with pytest.raises(LinkError, match="no address"):
            await Resolver(lambda address, port: []).resolve("empty.invalid", 1)

    asyncio.run(run())
