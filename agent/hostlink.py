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

What can be done without a wait is done at once, from `exchange` and from the listener: the message into a standing
connection, the MAC where no device makes it, the answer. A task is made only for what waits: a new connection, a full
buffer, the PIN pad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

from agent.connection import Host, connect
from agent.linkstate import LinkBook, LinkError, LinkKind, LinkState
from agent.macs import MacProvider, MacUnavailable, NoMac, verdict, verdict_now
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
    """The exchange under way. `standing`: what its message is sent on, or about to be; `sent`: all of it."""

    exchange: Exchange
    standing: Standing | None = None
    sent: bool = False
    answer: HostFrame | None = None
    overdue: asyncio.TimerHandle | None = None
    task: asyncio.Task[Any] | None = None

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
        self._waiting: _Waiting | None = None
        self._probe: asyncio.Task[None] | None = None
        self._closed = False

    # --- what others call ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._waiting is not None

    def exchange(self, exchange: Exchange) -> None:
        """Starts one; `deliver` gets its outcome later. One at a time."""
        assert not self._closed, f"lane {self.lane_name} is closed"
        assert self._waiting is None, f"lane {self.lane_name} is in an exchange"
        if self._probe:
            self._probe.cancel()
        self._book.counters.exchanges += 1
        waiting = self._waiting = _Waiting(exchange)
        if self._sent_at_once(waiting):
            self._await_reply(waiting)
        else:
            self._aside(waiting, self._send_aside(waiting), partial(self._sent_aside, waiting))

    def probe(self) -> None:
        """Tries to connect to the hosts that are known to be down, if nothing is under way."""
        if self._closed or self._waiting or self._probe or not self._book.down_hosts():
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
        waiting = self._waiting
        running = [task for task in (waiting.task if waiting else None, self._probe) if task]
        for task in running:
            task.cancel()
        self._drop(at_once=waiting is not None)
        await asyncio.gather(*running, return_exceptions=True)
        if waiting and self._waiting is waiting:
            self._conclude(waiting, _outcome_at_close(waiting))
        await self._strays.close()

    # --- the exchange --------------------------------------------------------------------------

    def _sent_at_once(self, waiting: _Waiting) -> bool:
        """Whether all of the message is out on the standing connection: nearly always, once there is one."""
        standing = self._fit_for(waiting.exchange)
        data = self._message_now(waiting.exchange) if standing else None
        if standing is None or data is None:
            return False
        try:
            return self._begin_send(waiting, standing, data)
        except LinkError:
            return False  # `_send_aside` tries other ways where no byte left, else it meets the same error and tells it

    async def _send_aside(self, waiting: _Waiting) -> Outcome | None:
        """What waits of the way to the answer; None: all of the message is out, or the answer is there already."""
        try:
            if not await self._rest_sent(waiting):
                await self._hand_over(waiting, await self._message(waiting.exchange))
        except MacUnavailable as error:
            return Unsent("device", str(error))
        except ProtocolError as error:
            return Unsent("configuration", str(error))
        except LinkError as error:
            return None if waiting.answer else _failed(waiting, error)
        return None

    def _sent_aside(self, waiting: _Waiting, outcome: Outcome | None) -> None:
        if outcome is None:
            self._await_reply(waiting)
        else:
            self._conclude(waiting, outcome)

    def _await_reply(self, waiting: _Waiting) -> None:
        """From now on the listener ends the exchange, or the deadline does."""
        waiting.sent = True
        standing = waiting.standing
        assert standing
        if waiting.answer is not None:
            self._answered(waiting)
        elif standing.error is not None:
            self._conclude(waiting, _failed(waiting, standing.error))
        else:
            limit_s = self._profile.retry.reply_timeout_s
            waiting.overdue = asyncio.get_running_loop().call_later(limit_s, self._overdue, waiting, limit_s)

    def _overdue(self, waiting: _Waiting, limit_s: float) -> None:
        assert waiting.standing
        error = LinkError("timeout", f"{waiting.standing.host} did not answer in {limit_s:g} s")
        self._book.broken(error)
        self._conclude(waiting, _failed(waiting, error))

    def _answered(self, waiting: _Waiting) -> None:
        """The awaited answer is there; its MAC says how far it counts."""
        assert waiting.answer
        _silence(waiting)
        body = waiting.answer.body
        at_once = verdict_now(self._profile, self.macs, body)
        if at_once is None:
            self._aside(waiting, self._verdict(body), partial(self._verified, waiting))
        else:
            self._verified(waiting, at_once)

    def _verified(self, waiting: _Waiting, mac: MacVerdict) -> None:
        assert waiting.answer
        assert waiting.standing
        self._conclude(waiting, _replied(waiting.answer, mac, waiting.standing))

    def _conclude(self, waiting: _Waiting, outcome: Outcome) -> None:
        """The one end of every exchange."""
        assert self._waiting is waiting, f"an exchange of lane {self.lane_name} ended twice"
        _silence(waiting)
        self._tidy(outcome)
        self._waiting = None
        self._deliver(waiting.exchange.id, outcome)

    def _aside(self, waiting: _Waiting, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        """Something of the exchange that waits; `then` gets its result, unless the link is closed meanwhile."""
        name = f"exchange on {self.lane_name}"
        waiting.task = asyncio.get_running_loop().create_task(work, name=name)

        def done(task: asyncio.Task[Any]) -> None:
            waiting.task = None
            if not task.cancelled():
                then(task.result())  # an error of ours goes to the event loop's handler here

        waiting.task.add_done_callback(done)

    def _message_now(self, exchange: Exchange) -> bytes | None:
        """The bytes for the wire, where no device has to make the MAC. A frame stays as it is."""
        if exchange.frame:
            return exchange.frame
        try:
            parts = self._parts_for_mac(exchange)
            mac = self.macs.mac_now(parts[0]) if parts else b""
            return None if mac is None else self._wrapped(exchange.body, mac)
        except (MacUnavailable, ProtocolError):
            return None  # told by `_message`

    async def _message(self, exchange: Exchange) -> bytes:
        """The same with a wait. Raises MacUnavailable and ProtocolError."""
        if exchange.frame:
            return exchange.frame
        parts = self._parts_for_mac(exchange)
        return self._wrapped(exchange.body, await self.macs.mac(parts[0]) if parts else b"")

    def _parts_for_mac(self, exchange: Exchange) -> tuple[bytes, bytes] | None:
        return None if isinstance(self.macs, NoMac) else split(self._profile, exchange.body)

    def _wrapped(self, body: bytes, mac: bytes) -> bytes:
        """MAC placed where the message has one, envelope around it."""
        return wrap(self._profile, place(self._profile, body, mac) if mac else body, self._tpdu)

    async def _hand_over(self, waiting: _Waiting, data: bytes) -> None:
        """Sends the message to the first way that takes a byte of it. Raises LinkError."""
        failure = LinkError("configuration", f"no host for lane {self.lane_name}: {_wish(waiting.exchange)}")
        for way in self._ways(waiting.exchange):
            try:
                standing = way if isinstance(way, Standing) else await self._open(way)
                if not self._begin_send(waiting, standing, data):
                    await self._send_rest(waiting, standing)
                return
            except LinkError as error:
                failure = error
                if waiting.standing is not None:
                    break
        raise failure

    def _ways(self, exchange: Exchange) -> Iterator[Standing | Host]:
        """The standing connection if it may be used, then the hosts in order."""
        wanted = exchange.prefer_host
        names = list(self._hosts)
        if wanted is not None:
            others = [] if exchange.only_host else [name for name in names if name != wanted]
            names = [name for name in names if name == wanted] + others
        if standing := self._fit_for(exchange):
            yield standing
        for name in names:
            yield self._hosts[name]

    def _fit_for(self, exchange: Exchange) -> Standing | None:
        """The standing connection, where this message may be sent on it."""
        standing = self._standing
        fits = standing and standing.host == (exchange.prefer_host or standing.host) and standing.usable()
        return standing if fits else None

    def _begin_send(self, waiting: _Waiting, standing: Standing, data: bytes) -> bool:
        """Hands the kernel what it takes of the message now; whether that is all. Raises LinkError."""
        waiting.standing = standing
        standing.begin_exchange()
        if self.on_host_chosen:
            self.on_host_chosen(waiting.exchange.id, standing.host)
        try:
            return standing.connection.send_now(data)
        except LinkError as error:
            self._refused(waiting, standing, error)
            raise

    async def _send_rest(self, waiting: _Waiting, standing: Standing) -> None:
        """Waits until the kernel took all of a message that has begun. Raises LinkError."""
        try:
            await standing.connection.send_rest(self._profile.retry.send_timeout_s)
        except LinkError as error:
            self._refused(waiting, standing, error)
            raise

    async def _rest_sent(self, waiting: _Waiting) -> bool:
        """The same of what began at once; False where nothing did, or where no byte left: another way may take it."""
        if waiting.standing is None:
            return False
        try:
            await self._send_rest(waiting, waiting.standing)
        except LinkError:
            if waiting.standing is not None:
                raise
        return waiting.standing is not None

    def _refused(self, waiting: _Waiting, standing: Standing, error: LinkError) -> None:
        """A send failed. Where no byte of the message left, another way may take it."""
        self._note(standing, error)
        if not waiting.left:
            self._drop()
            if waiting.answer is None:
                waiting.standing = None

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
        elif not persistent or standing.error or not (standing.listen_only or standing.usable()):
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
        self._standing = Standing(connection, self._profile, self)
        return self._standing

    def _drop(self, *, at_once: bool = False) -> None:
        """Ends the standing connection, if there is one."""
        standing, self._standing = self._standing, None
        if standing:
            standing.drop(at_once=at_once)

    def _note(self, standing: Standing, error: LinkError) -> None:
        """Counts a broken connection once. That a host closes an idle one is its right."""
        waiting = self._waiting
        awaited = waiting and waiting.standing is standing and waiting.answer is None
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

    # --- what arrives (agent/standing.py, `Ear`) --------------------------------------------------

    def arrived(self, standing: Standing, frame: HostFrame) -> bool:
        """Whether this frame is the awaited answer; if not, it is a stray."""
        waiting = self._waiting
        awaited = waiting and waiting.standing is standing and waiting.answer is None
        if waiting and awaited and _accepts(waiting.exchange, frame.body):
            waiting.answer = frame
            return True
        self._book.counters.strays += 1
        exchange_id = waiting.exchange.id if waiting else None
        self._strays.take(exchange_id, Stray(frame.body, "unverified", standing.host))
        return False

    def ended(self, standing: Standing, error: LinkError) -> None:
        """The other side ended a connection; an exchange on it that is all sent ends with it."""
        self._note(standing, error)
        waiting = self._waiting
        if waiting is None:
            if self._standing is standing:
                self._drop()
        elif waiting.standing is standing and waiting.sent and waiting.answer is None:
            self._conclude(waiting, _failed(waiting, error))

    def pause(self, standing: Standing) -> None:
        """The awaited answer, if it was there, is dealt with when all that came with it has been heard."""
        waiting = self._waiting
        if waiting and waiting.standing is standing and waiting.sent and waiting.answer and not waiting.task:
            self._answered(waiting)

    def _hand_stray(self, exchange_id: int | None, stray: Stray) -> None:
        if self.stray:
            self.stray(self.lane_name, exchange_id, stray)

    async def _verdict(self, body: bytes) -> MacVerdict:
        return await verdict(self._profile, self.macs, body)


def _silence(waiting: _Waiting) -> None:
    """The deadline of the answer is over with it."""
    if waiting.overdue is not None:
        waiting.overdue.cancel()
        waiting.overdue = None


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
    if waiting.answer and waiting.standing:  # its MAC was being checked
        return _replied(waiting.answer, "unverified", waiting.standing)
    return _failed(waiting, LinkError("closed", "the link was closed"))


def _wish(exchange: Exchange) -> str:
    if exchange.prefer_host and exchange.only_host:
        return f"{exchange.prefer_host} is not among the configured hosts"
    return "none is configured"
