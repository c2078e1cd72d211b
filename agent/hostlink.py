"""One lane's conversation with its hosts: carries one exchange at a time and says exactly how it ended.

    exchange ─▶ MAC ─▶ envelope ─▶ connection (standing or new, hosts in order) ─▶ send ─▶ reply or deadline

Rules not to break:
1. Every exchange ends in exactly one outcome, delivered through `deliver`, never from within
   `exchange` itself. `Unsent` only while the kernel took no byte of the message (agent/connection.py).
2. Another connection or host is tried only while no byte left.
3. Only a body that the exchange's own `accept` takes ends it with `Replied`; everything else that
   arrives is a stray and the wait goes on until the deadline.
4. What the peer does wrong is counted and costs at most its own connection. What we do wrong (an
   assertion, an error out of a callback) reaches the event loop's exception handler: the daemon's
   ends the process, and the journal resumes.
5. All waits have deadlines on the event loop's monotonic clock.

A connection always has a listener (agent/standing.py), so that a late answer on a persistent
connection is heard while nothing is under way. After an exchange timed out its connection may only
listen: the next one opens a new connection, because a silent host often is a dead path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from agent.connection import Host, connect
from agent.linkstate import LinkBook, LinkError, LinkKind, LinkState
from agent.macs import MacProvider, MacUnavailable, NoMac, verdict
from agent.outcomes import Exchange, Lost, LostCause, MacVerdict, Outcome, Replied, Stray, Unsent, UnsentCause
from agent.resolver import Resolver
from agent.standing import Standing
from agent.strays import StrayDesk
from protocol.envelope import HostFrame, wrap
from protocol.errors import ProtocolError
from protocol.frozen import dataclass
from protocol.mac import place, split
from protocol.rules import Profile

__all__ = ["Exchange", "Host", "LaneLink", "LinkError", "LinkState", "Lost", "Outcome", "Replied", "Stray", "Unsent"]

# What breaks a connection after the first byte, in the words of outcomes; any other kind is a reset.
_LOST: dict[LinkKind, LostCause] = {
    "timeout": "timeout",
    "send-timeout": "send-timeout",
    "eof": "eof",
    "garbage": "garbage",
    "tls": "garbage",
    "closed": "closed",
}
# Any other kind is the network's fault.
_UNSENT: dict[LinkKind, UnsentCause] = {"configuration": "configuration", "closed": "closed"}


@dataclass(slots=True)
class _Waiting:
    """The exchange under way. `standing`: what its message is sent on, or about to be."""

    exchange: Exchange
    reply: asyncio.Future[HostFrame]
    standing: Standing | None = None

    @property
    def left(self) -> bool:
        """Whether a byte of the message left."""
        return self.standing is not None and self.standing.connection.left_bytes > 0


class LaneLink:
    """See the module. `clock` gives monotonic seconds, used only for what is shown.

    `stray(lane, exchange_id, stray)`: exchange_id is None when nothing was under way.
    `on_link_up(lane)`: a connect succeeded to a host that was down.
    `on_host_chosen(exchange_id, host)`: called before the first byte may leave to this host, and
    again when another one takes its place; what it stores is stored before the byte.
    `macs` may be exchanged for another provider at any time (new key of the day).
    """

    def __init__(
        self,
        lane_name: str,
        profile: Profile,
        hosts: Sequence[Host],
        macs: MacProvider,
        deliver: Callable[[int, Outcome], None],
        clock: Callable[[], float],
        *,
        stray: Callable[[str, int | None, Stray], None] | None = None,
        on_link_up: Callable[[str], None] | None = None,
        on_host_chosen: Callable[[int, str], None] | None = None,
        resolver: Resolver | None = None,
        tpdu: bytes = b"",
    ) -> None:
        self.lane_name = lane_name
        self.macs = macs
        self.stray = stray
        self.on_link_up = on_link_up
        self.on_host_chosen = on_host_chosen
        self._profile = profile
        self._hosts = {host.name: host for host in hosts}
        self._deliver = deliver
        self._resolver = resolver or Resolver()
        self._tpdu = tpdu
        self._book = LinkBook(lane_name, self._hosts, clock)
        self._strays = StrayDesk(lane_name, self._verdict, self._hand_stray)
        self._standing: Standing | None = None
        self._dropped: set[asyncio.Task[LinkError]] = set()
        self._waiting: _Waiting | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._closed = False

    # --- what others call ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._task is not None

    def exchange(self, exchange: Exchange) -> None:
        """Starts one; `deliver` gets its outcome later. One at a time."""
        assert not self._closed, f"lane {self.lane_name} is closed"
        assert self._task is None, f"lane {self.lane_name} is in an exchange"
        if self._probe:
            self._probe.cancel()
        self._book.counters.exchanges += 1
        loop = asyncio.get_running_loop()
        self._waiting = _Waiting(exchange, loop.create_future())
        self._task = loop.create_task(self._run(self._waiting), name=f"exchange on {self.lane_name}")
        self._task.add_done_callback(partial(self._finished, self._waiting))

    def probe(self) -> None:
        """Tries to connect to the hosts that are known to be down, if nothing is under way."""
        if self._closed or self._task or self._probe or not self._book.down_hosts():
            return
        self._book.counters.probes += 1
        self._probe = asyncio.get_running_loop().create_task(self._try_hosts(), name=f"probe of {self.lane_name}")
        self._probe.add_done_callback(self._probed)

    def link_state(self) -> LinkState:
        """What is known now."""
        return self._book.snapshot(self._standing.host if self._standing else "")

    async def close(self) -> None:
        """Ends what is under way; its outcome and all strays are delivered before this returns."""
        self._closed = True
        running = [task for task in (self._task, self._probe) if task]
        for task in running:
            task.cancel()
        self._drop(at_once=self._task is not None)
        await asyncio.gather(*running, *self._dropped, return_exceptions=True)
        await self._strays.close()

    # --- the exchange --------------------------------------------------------------------------

    def _finished(self, waiting: _Waiting, task: asyncio.Task[Outcome]) -> None:
        self._task = self._waiting = None
        outcome = _outcome_at_close(waiting) if task.cancelled() else task.result()  # cancelled before its first step
        self._deliver(waiting.exchange.id, outcome)

    async def _run(self, waiting: _Waiting) -> Outcome:
        try:
            outcome = await self._prepare_and_converse(waiting)
        except asyncio.CancelledError:  # only `close` cancels
            return _outcome_at_close(waiting)
        self._tidy(outcome)
        return outcome

    async def _prepare_and_converse(self, waiting: _Waiting) -> Outcome:
        try:
            data = await self._message(waiting.exchange)
        except MacUnavailable as error:
            return Unsent("device", str(error))
        except ProtocolError as error:
            return Unsent("configuration", str(error))
        return await self._converse(waiting, data)

    async def _message(self, exchange: Exchange) -> bytes:
        """The bytes for the wire: MAC placed where the message has one, envelope around it. A frame stays as it is."""
        if exchange.frame:
            return exchange.frame
        body = exchange.body
        parts = None if isinstance(self.macs, NoMac) else split(self._profile, body)
        if parts:
            body = place(self._profile, body, await self.macs.mac(parts[0]))
        return wrap(self._profile, body, self._tpdu)

    async def _converse(self, waiting: _Waiting, data: bytes) -> Outcome:
        try:
            standing = await self._hand_over(waiting, data)
            await self._await_reply(waiting, standing)
        except LinkError as error:
            if not waiting.reply.done():  # else the answer came before the connection broke
                return _failed(waiting, error)
        assert waiting.standing, "an answer without a connection"
        frame = waiting.reply.result()
        return _replied(frame, await self._verdict(frame.body), waiting.standing)

    async def _hand_over(self, waiting: _Waiting, data: bytes) -> Standing:
        """Sends the message to the first way that takes a byte of it. Raises LinkError."""
        failure = LinkError("configuration", f"no host for lane {self.lane_name}: {_wish(waiting.exchange)}")
        for way in self._ways(waiting.exchange):
            try:
                waiting.standing = way if isinstance(way, Standing) else await self._open(way)
                await self._send(waiting.exchange, waiting.standing, data)
                return waiting.standing
            except LinkError as error:
                failure = error
                if waiting.left or waiting.reply.done():
                    break
                waiting.standing = None
        raise failure

    def _ways(self, exchange: Exchange) -> Iterator[Standing | Host]:
        """The standing connection if it may be used, then the hosts in order."""
        wanted = exchange.prefer_host
        names = list(self._hosts)
        if wanted is not None:
            others = [] if exchange.only_host else [name for name in names if name != wanted]
            names = [name for name in names if name == wanted] + others
        standing = self._standing
        if standing and standing.host == (wanted or standing.host) and standing.usable():
            standing.begin_exchange()
            yield standing
        for name in names:
            yield self._hosts[name]

    async def _send(self, exchange: Exchange, standing: Standing, data: bytes) -> None:
        if self.on_host_chosen:
            self.on_host_chosen(exchange.id, standing.host)
        try:
            await standing.connection.send(data, self._profile.retry.send_timeout_s)
        except LinkError as error:
            self._note(standing, error)
            if not standing.connection.left_bytes:
                self._drop()
            raise

    async def _await_reply(self, waiting: _Waiting, standing: Standing) -> None:
        """Until the reply is there. Raises LinkError when the time is over or the connection ended."""
        limit_s = self._profile.retry.reply_timeout_s
        if not waiting.reply.done() and not standing.listener.done():
            await _either(waiting.reply, standing.listener, limit_s)
        if waiting.reply.done():
            return
        if standing.listener.done():
            raise standing.listener.result()
        error = LinkError("timeout", f"{standing.host} did not answer in {limit_s:g} s")
        self._book.broken(error)
        raise error

    def _tidy(self, outcome: Outcome) -> None:
        """What becomes of the connection after an exchange."""
        standing, persistent = self._standing, self._profile.retry.persistent_connection
        if standing is None:
            return
        if isinstance(outcome, Lost):
            if persistent and outcome.cause == "timeout" and not standing.partial:
                standing.listen_only = True  # for a late answer
            else:
                self._drop(at_once=True)
        elif not persistent or standing.listener.done() or not (standing.listen_only or standing.usable()):
            self._drop()

    # --- connections ---------------------------------------------------------------------------

    async def _open(self, host: Host) -> Standing:
        """A new standing connection in place of the old one. Raises LinkError."""
        self._drop()
        retry, counters = self._profile.retry, self._book.counters
        try:
            connection = await connect(host, self._resolver, retry.connect_timeout_s, retry.reply_timeout_s, counters)
        except LinkError as error:
            self._book.connect_failed(host.name, error)
            raise
        self._book.certificate_not_after = connection.certificate_not_after or self._book.certificate_not_after
        if self._book.connected(host.name) and self.on_link_up:
            asyncio.get_running_loop().call_soon(self.on_link_up, self.lane_name)
        self._standing = Standing(connection, self._profile, self._arrived, self._ended)
        return self._standing

    def _drop(self, *, at_once: bool = False) -> None:
        """Ends the standing connection, if there is one."""
        standing, self._standing = self._standing, None
        if standing:
            self._dropped.add(standing.listener)
            standing.listener.add_done_callback(self._dropped.discard)
            standing.drop(at_once=at_once)

    def _ended(self, standing: Standing, error: LinkError) -> None:
        """The other side ended a connection; in an exchange, the exchange deals with it."""
        self._note(standing, error)
        if self._standing is standing and not self._task:
            self._drop()

    def _note(self, standing: Standing, error: LinkError) -> None:
        """Counts a broken connection once. That a host closes an idle one is its right."""
        waiting = self._waiting
        awaited = waiting and waiting.standing is standing and not waiting.reply.done()
        if not standing.noted and (awaited or error.kind != "eof"):
            standing.noted = True
            self._book.broken(error)

    async def _try_hosts(self) -> None:
        for name in self._book.down_hosts():
            if self._standing:  # one connection is enough to know that the way is free
                return
            try:
                await self._open(self._hosts[name])
            except LinkError:
                continue  # noted by _open; the next host may answer
            if not self._profile.retry.persistent_connection:
                self._drop()

    def _probed(self, task: asyncio.Task[None]) -> None:
        self._probe = None
        if not task.cancelled():
            task.result()  # an error of ours goes to the event loop's handler here

    # --- what arrives --------------------------------------------------------------------------

    def _arrived(self, standing: Standing, frame: HostFrame) -> bool:
        """Whether this frame is the awaited answer; if not, it is a stray."""
        waiting = self._waiting
        awaited = waiting and waiting.standing is standing and not waiting.reply.done()
        if waiting and awaited and _accepts(waiting.exchange, frame.body):
            waiting.reply.set_result(frame)
            return True
        self._book.counters.strays += 1
        exchange_id = waiting.exchange.id if waiting else None
        self._strays.take(exchange_id, Stray(frame.body, "unverified", standing.host))
        return False

    def _hand_stray(self, exchange_id: int | None, stray: Stray) -> None:
        if self.stray:
            self.stray(self.lane_name, exchange_id, stray)

    async def _verdict(self, body: bytes) -> MacVerdict:
        return await verdict(self._profile, self.macs, body)


async def _either(reply: asyncio.Future[HostFrame], listener: asyncio.Task[LinkError], limit_s: float) -> None:
    """Until one of them is done or the time is over: what `asyncio.wait` does, in a third of its time."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(limit_s, wake)
    reply.add_done_callback(wake)
    listener.add_done_callback(wake)
    try:
        await over
    finally:
        timer.cancel()
        reply.remove_done_callback(wake)
        listener.remove_done_callback(wake)


def _accepts(exchange: Exchange, body: bytes) -> bool:
    try:
        return exchange.accept(body)
    except ProtocolError:
        return False


def _replied(frame: HostFrame, mac: MacVerdict, standing: Standing) -> Replied:
    return Replied(frame.body, mac, standing.host, frame.processing_requirement, frame.tpdu, frame.header)


def _failed(waiting: _Waiting, error: LinkError) -> Unsent | Lost:
    """Unsent or lost: only the count of bytes decides."""
    if waiting.standing and waiting.left:
        return Lost(_LOST.get(error.kind, "reset"), str(error), waiting.standing.host)
    return Unsent(_UNSENT.get(error.kind, "network"), str(error))


def _outcome_at_close(waiting: _Waiting) -> Outcome:
    if waiting.reply.done() and waiting.standing:  # its MAC was being checked
        return _replied(waiting.reply.result(), "unverified", waiting.standing)
    return _failed(waiting, LinkError("closed", "the link was closed"))


def _wish(exchange: Exchange) -> str:
    if exchange.prefer_host and exchange.only_host:
        return f"{exchange.prefer_host} is not among the configured hosts"
    return "none is configured"
