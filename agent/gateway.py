"""The drop-in gateway: stands between an existing POS application and its host, one listener for each lane.

    application ──TCP──▶ Till ──frames──▶ Relay ──▶ loop, journal, lane's link ──▶ host

The shop changes the address that its application dials, nothing else. docs/gateway.md says what is promised.

Rules not to break:
1. Only the configured client addresses are let in; connections are counted and limited.
2. A connection works on one message at a time. What it began goes on when it ends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from agent.api import Api
from agent.config_lane import Gateway as GatewaySettings
from agent.gateway_lane import Relay, Rules
from agent.gateway_socket import Till, close_watched
from agent.lanes import Links
from agent.loop import Loop
from agent.outcomes import Replied
from protocol.errors import AgentError, FrameError

BACKLOG = 16
# What messages under way get when the daemon ends.
CLOSE_GRACE_S = 3.0
# Where the system has no descriptor for a connection, the next look comes so much later; asyncio's own servers do so.
ACCEPT_AGAIN_S = 1.0

log = logging.getLogger("reversald")

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class GatewayError(AgentError):
    """A gateway cannot listen."""

    code = "E-GATEWAY"


class Gateway:
    """All lanes' listeners. `spawn` runs a task whose fault ends the process."""

    def __init__(self, loop: Loop, api: Api, links: Links, spawn: Spawn) -> None:
        self._loop = loop
        self._api = api
        self._links = links
        self._spawn = spawn
        self._relays: dict[str, Relay] = {}
        self._listeners: list[socket.socket] = []
        self._open: dict[str, set[Till]] = {}
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, gateways: Iterable[GatewaySettings]) -> None:
        """Listen. Raises GatewayError."""
        for settings in gateways:
            listener = _listen(settings.listen)
            self._listeners.append(listener)
            rules = Rules(settings.when_refused == "decline", settings.unrecorded)
            relay = Relay(settings.lane, rules, self._loop, self._api, self._macs(settings.lane))
            self._relays[settings.lane] = relay
            self._open[settings.lane] = set()
            self._spawn(self._accept(listener, settings, relay))
            log.info("gateway %s: applications connect to %s", settings.lane, settings.listen)

    def replied(self, lane: str, txn_id: str, purpose: str, reply: Replied) -> None:
        """The loop tells what the host answered."""
        if lane in self._relays:
            self._relays[lane].replied(txn_id, purpose, reply)

    async def close(self) -> None:
        """Listen no more; messages under way get a moment, then all connections end."""
        for listener in self._listeners:
            close_watched(listener)
        for relay in self._relays.values():
            relay.closing = True
        try:
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self._idle.wait()
        except TimeoutError:
            log.warning("gateway: an application still waits for its answer")
        for tills in self._open.values():
            for till in tills:
                till.close()

    # --- connections ---------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket, settings: GatewaySettings, relay: Relay) -> None:
        allowed = [ipaddress.ip_network(client) for client in settings.clients]
        tills = self._open[settings.lane]
        while not relay.closing:
            try:
                sock, address = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:  # descriptors or memory are short: no fault of ours, and it may pass
                if listener.fileno() < 0:
                    return  # the daemon ends
                log.error("gateway %s: no connection can be taken now: %s", settings.lane, error.strerror)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            name = f"{address[0]}:{address[1]}"
            if not _is_allowed(address[0], allowed):
                log.warning("gateway %s: %s is not one of the clients, refused", settings.lane, name)
            elif len(tills) >= settings.connections:
                log.warning("gateway %s: too many connections, %s is refused", settings.lane, name)
            else:
                till = Till(sock, relay.profile, name, settings.idle_s)
                tills.add(till)
                self._spawn(self._serve(till, relay, tills))
                continue
            sock.close()

    async def _serve(self, till: Till, relay: Relay, tills: set[Till]) -> None:
        try:
            while (frame := await till.next_frame()) is not None:
                self._count(+1)
                try:
                    stays = await relay.handle(frame, till)
                finally:
                    self._count(-1)
                if not stays:
                    break
        except FrameError as error:
            log.warning("gateway %s: %s sends what is no message: %s", relay.lane, till.name, error.text)
        finally:
            tills.discard(till)
            till.close()

    def _count(self, change: int) -> None:
        self._busy += change
        if self._busy:
            self._idle.clear()
        else:
            self._idle.set()

    def _macs(self, lane: str) -> Callable[[], Any]:
        return lambda: self._links.by_lane[lane].macs


def _is_allowed(address: str, allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    client = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped:
        client = client.ipv4_mapped
    return any(client in network for network in allowed)


def _listen(address: str) -> socket.socket:
    """A listening socket. Raises GatewayError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = "check [[gateway]] listen, and that nothing else listens there"
        raise GatewayError(f"cannot listen on {address}: {error.strerror}", hint) from error
    return listener
