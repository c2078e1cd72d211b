"""A lane and hosts on 127.0.0.1 whose every byte and reset the test decides; no sleeps, one deadline for all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

from agent.hostlink import Exchange, Host, LaneLink, Outcome, Stray
from agent.macs import MacProvider, NoMac
from agent.resolver import Resolver
from agent.tls import TlsClient
from protocol.rules import EnvelopeRules, MacRules, Profile, RetryRules

# No test may hang longer; those that wait for a time-out of the lane set it to TICK_S.
STORY_DEADLINE_S = 20.0
TICK_S = 0.15

# Names of the link's own tasks.
LANE_TASKS = ("exchange on", "probe of", "strays of")

TPDU = bytes.fromhex("6000030000")
HEADER = bytes.fromhex("602200000000")

# Bodies are opaque to the host link except for the bitmap (does it carry a MAC?): MTI, bitmap without
# bit 64, then text.
REQUEST = bytes.fromhex("02007020000000C00010") + b"the request"
ANSWER = bytes.fromhex("02107020000000C00010") + b"the answer"
OTHER = bytes.fromhex("02107020000000C00010") + b"somebody else's"

NO_MAC = MacRules()


def rules(**changes: Any) -> RetryRules:
    """Time-outs that no test reaches unless it sets them."""
    values: dict[str, Any] = {
        "first_delay_s": 0.0,
        "base_s": 1.0,
        "factor": 2.0,
        "cap_s": 60.0,
        "jitter": 0.0,
        "park_after_attempts": 0,
        "parked_every_s": 3600.0,
        "connect_timeout_s": 10.0,
        "send_timeout_s": 10.0,
        "reply_timeout_s": 10.0,
        "overtake_window_s": 5.0,
        "persistent_connection": False,
        "triggers": (),
    }
    return RetryRules(**{**values, **changes})


def lane_profile(mac: MacRules = NO_MAC, length_bytes: int = 2, length_max: int = 2048, **retry: Any) -> Profile:
    """What the host link reads of a profile: envelope, MAC and time-outs."""
    nothing: dict[str, Any] = dict.fromkeys(Profile.__dataclass_fields__)
    envelope = EnvelopeRules(length_bytes, "binary", False, length_max, TPDU, HEADER, 5)
    return Profile(**{**nothing, "name": "bench", "envelope": envelope, "mac": mac, "retry": rules(**retry)})


def framed(body: bytes, header: bytes = HEADER) -> bytes:
    """A frame as the host sends it, by hand: length, TPDU, header, body."""
    return struct.pack(">H", len(TPDU) + len(header) + len(body)) + TPDU + header + body


class Peer:
    """The host's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def read(self, count: int) -> bytes:
        """Exactly `count` bytes; fewer when the lane ended the connection. ConnectionResetError when it cut it."""
        data = b""
        while len(data) < count:
            more = await asyncio.get_running_loop().sock_recv(self._sock, count - len(data))
            if not more:
                break
            data += more
        return data

    async def frame(self) -> bytes:
        """The next frame of the lane, with its length."""
        length = await self.read(2)
        return length + await self.read(int.from_bytes(length, "big"))

    async def ended(self) -> bool:
        """Waits until the lane ended the connection, in either way, having sent nothing more."""
        try:
            return await self.read(1) == b""
        except ConnectionResetError:
            return True

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own."""
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(self._sock, piece)

    def finish(self) -> None:
        """FIN in our direction only."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        """RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class FakeHost:
    """A listening socket."""

    def __init__(self, port: int = 0, backlog: int = 16, receive_buffer: int = 0) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._sock.bind(("127.0.0.1", port))
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        self._peers: list[Peer] = []
        if backlog >= 0:
            self._sock.listen(backlog)

    def at(self, tls: TlsClient | None = None, address: str = "127.0.0.1") -> Host:
        return Host(address, self.port, tls)

    def listen(self) -> None:
        self._sock.listen(16)

    async def accept(self) -> Peer:
        sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers.append(Peer(sock))
        return self._peers[-1]

    def nobody_came(self) -> bool:
        """Whether no connection waits to be accepted."""
        try:
            sock, _ = self._sock.accept()
        except BlockingIOError:
            return True
        sock.close()
        return False

    def stop_listening(self) -> None:
        self._sock.close()

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._sock.close()


class Bench:
    """One lane, and everything that it reported."""

    def __init__(self, profile: Profile, macs: MacProvider | None = None) -> None:
        self.profile = profile
        self.macs: MacProvider = macs or NoMac()
        self.outcomes: asyncio.Queue[tuple[int, Outcome]] = asyncio.Queue()
        self.strays: asyncio.Queue[tuple[int | None, Stray]] = asyncio.Queue()
        self.link_ups: asyncio.Queue[str] = asyncio.Queue()
        self.chosen: list[tuple[int, str]] = []
        self.faults: list[BaseException] = []
        self.host = FakeHost()
        self._hosts = [self.host]
        self._link: LaneLink | None = None

    @property
    def link(self) -> LaneLink:
        return self._link or self.build(self.host.at())

    def build(self, *hosts: Host, resolver: Resolver | None = None) -> LaneLink:
        self._link = LaneLink(
            "lane-1",
            self.profile,
            hosts,
            self.macs,
            lambda exchange_id, outcome: self.outcomes.put_nowait((exchange_id, outcome)),
            asyncio.get_running_loop().time,
            stray=lambda lane, exchange_id, stray: self.strays.put_nowait((exchange_id, stray)),
            on_link_up=self.link_ups.put_nowait,
            on_host_chosen=lambda exchange_id, host: self.chosen.append((exchange_id, host)),
            resolver=resolver,
        )
        return self._link

    def another_host(self, **how: int) -> FakeHost:
        self._hosts.append(FakeHost(**how))
        return self._hosts[-1]

    def start(
        self,
        number: int = 1,
        body: bytes = REQUEST,
        accept: Callable[[bytes], bool] = lambda body: body == ANSWER,
        prefer: str | None = None,
        only: bool = False,
    ) -> None:
        self.link.exchange(Exchange(number, "lane-1", f"txn-{number}", body, prefer, only, accept))

    async def outcome(self) -> Outcome:
        return (await self.outcomes.get())[1]

    async def sold(self, number: int = 1) -> Peer:
        """One exchange that goes well; gives the host's end of its connection."""
        self.start(number)
        peer = await self.host.accept()
        await peer.frame()
        await peer.send(framed(ANSWER))
        assert (await self.outcomes.get())[0] == number
        return peer

    async def until(self, condition: Callable[[], bool]) -> None:
        """Lets the event loop run until the condition holds; the story's deadline ends a vain wait."""
        while not condition():  # noqa: ASYNC110 - the link offers no event to a bystander
            await asyncio.sleep(0)

    async def close(self) -> None:
        if self._link:
            await self._link.close()
        for host in self._hosts:
            host.close()

    def note_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(cast("BaseException", context.get("exception") or AssertionError(context["message"])))


def play(
    story: Callable[[Bench], Awaitable[None]], macs: MacProvider | None = None, faults: int = 0, **profile: Any
) -> None:
    """Runs a story within its deadline. Afterwards: every exchange ended once, no task is left, no error vanished."""

    async def run() -> None:
        bench = Bench(lane_profile(**profile), macs)
        asyncio.get_running_loop().set_exception_handler(bench.note_fault)
        try:
            async with asyncio.timeout(STORY_DEADLINE_S):
                await story(bench)
        finally:
            await bench.close()
        assert bench.outcomes.empty(), "an outcome that nobody expected"
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(LANE_TASKS)]
        assert not left, "a task was left behind"
        assert len(bench.faults) == faults, bench.faults

    asyncio.run(run())
