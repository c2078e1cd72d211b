"""What is known about one lane's way to its hosts: for status, diagnosis and the retry policy.

"up" means that the last connect to at least one host succeeded; "down" that the last connect to
every host that was tried failed. A host that accepts and stays silent is up: the silence is
counted in `timeouts` and named in `last_error`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import field
from datetime import datetime
from typing import Literal

from protocol.errors import AgentError
from protocol.frozen import dataclass

HostState = Literal["up", "down", "unknown"]

LinkKind = Literal[
    "refused",
    "connect-timeout",
    "unreachable",
    "dns",
    "tls",
    "timeout",
    "send-timeout",
    "reset",
    "eof",
    "garbage",
    "closed",
    "configuration",
]

_HINTS: dict[LinkKind, str] = {
    "refused": "the machine is there but the host program does not listen: check the port, ask the acquirer",
    "connect-timeout": "no answer from the network: check cable, SIM card, APN, firewall and address",
    "unreachable": "no route: check cable, SIM card, APN and default route",
    "dns": "the host's name is unknown: check the spelling and the name server",
    "tls": "check the certificate files, the pinned key and this machine's date",
    "timeout": "the host is connected but silent: ask the acquirer",
    "send-timeout": "the host accepted the connection but does not read: ask the acquirer",
    "reset": "the other side or a firewall between cut the connection",
    "eof": "the host closed the connection without an answer: check terminal and merchant number",
    "garbage": "what came is no frame of this profile: check profile, port and TLS setting",
    "closed": "",
    "configuration": "check the lane's hosts in the configuration",
}


class LinkError(AgentError):
    """The way to the host failed. `kind` says how; the code is E-LINK- and the kind in capitals."""

    code = "E-LINK"

    def __init__(self, kind: LinkKind, text: str) -> None:
        super().__init__(text, _HINTS[kind])
        self.kind = kind
        self.code = f"E-LINK-{kind.upper()}"


@dataclass(slots=True)
class LinkCounters:
    """Counts since the start. `resets`: connections the other side ended; `timeouts`: send and reply."""

    exchanges: int = 0
    connects: int = 0
    connect_failures: int = 0
    probes: int = 0
    resets: int = 0
    timeouts: int = 0
    garbage: int = 0
    strays: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True)
class LinkState:
    """A snapshot. `since` and `last_error_at` are monotonic seconds; hosts are in the order of trying."""

    lane: str
    state: HostState
    since: float
    connected_to: str
    hosts: tuple[tuple[str, HostState], ...]
    last_error: str
    last_error_code: str
    last_error_at: float | None
    certificate_not_after: datetime | None
    counters: LinkCounters


@dataclass(slots=True)
class LinkBook:
    """Keeps the account that `LinkState` shows."""

    lane: str
    host_names: Iterable[str]
    clock: Callable[[], float]
    counters: LinkCounters = field(default_factory=LinkCounters)
    certificate_not_after: datetime | None = None
    _hosts: dict[str, HostState] = field(init=False)
    _state: HostState = field(init=False, default="unknown")
    _since: float = field(init=False)
    _last_error: LinkError | None = field(init=False, default=None)
    _last_error_at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._hosts = dict.fromkeys(self.host_names, "unknown")
        self._since = self.clock()

    def connected(self, host: str) -> bool:
        """Notes a connect that succeeded; True when this host was known to be down before."""
        self.counters.connects += 1
        return self._set(host, "up") == "down"

    def connect_failed(self, host: str, error: LinkError) -> None:
        self.counters.connect_failures += 1
        self.remember(error)
        self._set(host, "down")

    def broken(self, error: LinkError) -> None:
        """Notes that a standing connection failed; whether the host is up is another question."""
        self.remember(error)
        if error.kind in ("reset", "eof"):
            self.counters.resets += 1
        elif error.kind in ("timeout", "send-timeout"):
            self.counters.timeouts += 1
        elif error.kind == "garbage":
            self.counters.garbage += 1

    def remember(self, error: LinkError) -> None:
        self._last_error, self._last_error_at = error, self.clock()

    def down_hosts(self) -> list[str]:
        return [name for name, state in self._hosts.items() if state == "down"]

    def snapshot(self, connected_to: str) -> LinkState:
        error = self._last_error
        return LinkState(
            lane=self.lane,
            state=self._state,
            since=self._since,
            connected_to=connected_to,
            hosts=tuple(self._hosts.items()),
            last_error=error.text if error else "",
            last_error_code=error.code if error else "",
            last_error_at=self._last_error_at,
            certificate_not_after=self.certificate_not_after,
            counters=dataclasses.replace(self.counters),
        )

    def _set(self, host: str, state: HostState) -> HostState:
        before, self._hosts[host] = self._hosts[host], state
        overall = self._overall()
        if overall != self._state:
            self._state, self._since = overall, self.clock()
        return before

    def _overall(self) -> HostState:
        known = set(self._hosts.values())
        return "up" if "up" in known else "down" if "down" in known else "unknown"
