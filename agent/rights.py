"""Who may do what over the API, and how fast: by the kernel's word on the peer, never by what the peer says.

    read      look: status, lists, stories, how a sale stands
    sell      sales of the application
    act       what an operator orders: retry, hold, release, park, devices, reload
    settle    what ends an obligation or touches keys and journal: settle, confirm, keys, export, archive

Rules not to break:
1. A right is checked before the method runs and before its parameters are looked at.
2. A method without a row here needs the strongest right: a new method is closed until somebody thinks about it.
3. root and the daemon's own user have every right: they could read the journal and the keys anyway.
4. Names are looked up when the configuration is read, not when a request comes: a name service may hang.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
from collections.abc import Callable, Iterable
from typing import Literal

from agent.config_schema import Rights as RightsSettings
from agent.rpc import Peer
from protocol.errors import AgentError
from protocol.frozen import dataclass

Right = Literal["read", "sell", "act", "settle"]

METHODS: dict[str, Right] = {
    "agent.status": "read",
    "reversal.list": "read",
    "reversal.show": "read",
    "reversal.why": "read",
    "reversal.explain": "read",
    "device.list": "read",
    "transaction.status": "read",
    "transaction.unconfirmed": "read",
    "keys.list": "read",
    "keys.check": "act",
    "maintenance.list": "read",
    "journal.rows": "read",
    "store.history": "read",
    "reversal.wait_clear": "read",
    "transaction.run": "sell",
    "transaction.begin": "sell",
    "transaction.reply": "sell",
    "transaction.complete": "sell",
    "transaction.reverse": "sell",
    "transaction.script_result": "sell",
    "script.list": "read",
    "script.close": "settle",
    "reversal.retry": "act",
    "reversal.hold": "act",
    "reversal.release": "act",
    "reversal.park": "act",
    "device.test": "act",
    "device.inhibit": "act",
    "device.release": "act",
    "agent.reload": "act",
    "session.sign_on": "act",
    "session.echo": "act",
    "batch.settle": "act",
    "slip.print": "act",
    "maintenance.note": "act",
}
STRONGEST: Right = "settle"
EVERYBODY = "*"
# Users whose pace is remembered; then those who are not behind are forgotten. Assumed.
USERS_KEPT = 256

log = logging.getLogger("reversald")


class RightsError(AgentError):
    """The user may not call this method."""

    code = "A-RIGHTS"


@dataclass(frozen=True, slots=True)
class _Holders:
    """Who has one right."""

    everybody: bool
    users: frozenset[int]
    groups: frozenset[int]

    def include(self, peer: Peer) -> bool:
        return self.everybody or peer.uid in self.users or not self.groups.isdisjoint(peer.groups)


class Rights:
    """As configured. `own_uid`: the daemon's own user."""

    def __init__(self, settings: RightsSettings, own_uid: int | None = None) -> None:
        self._always = {0, os.geteuid() if own_uid is None else own_uid}
        self._names: dict[str, tuple[str, ...]] = {
            "read": settings.read,
            "sell": settings.sell,
            "act": settings.act,
            "settle": settings.settle,
        }
        self._holders = {right: _holders(right, names) for right, names in self._names.items()}

    def check(self, peer: Peer, method: str) -> None:
        """Raises RightsError when this user may not call this method."""
        right = METHODS.get(method, STRONGEST)
        if peer.uid in self._always or self._holders[right].include(peer):
            return
        log.warning("api: %s may not call %s: it needs the right %r", peer, method, right)
        who = ", ".join(self._names[right]) or "nobody else"
        raise RightsError(f"{method} needs the right {right!r}", f"[rights] {right} gives it to: {who}")


def _holders(right: str, names: Iterable[str]) -> _Holders:
    users, groups = set(), set()
    for name in names:
        if name == EVERYBODY:
            continue
        number = _group(name[1:]) if name.startswith("%") else _user(name)
        if number is None:
            log.info("rights: %s: there is no %s on this machine", right, name)
        elif name.startswith("%"):
            groups.add(number)
        else:
            users.add(number)
    return _Holders(EVERYBODY in names, frozenset(users), frozenset(groups))


def _user(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


class Pace:
    """How fast one user's requests are read: a bucket that holds what one second gives, for each user.

    `clock` gives monotonic seconds. A user beyond the rate is not refused: its next line waits.
    """

    def __init__(self, requests_per_s: float, clock: Callable[[], float]) -> None:
        self._rate = requests_per_s
        self._clock = clock
        self._free_at: dict[int, float] = {}

    def wait_s(self, uid: int) -> float:
        """Counts one request; how long the next one of this user has to wait."""
        now = self._clock()
        if len(self._free_at) > USERS_KEPT:
            self._free_at = {user: at for user, at in self._free_at.items() if at > now}
        free_at = max(self._free_at.get(uid, now), now) + 1 / self._rate
        self._free_at[uid] = free_at
        return max(0.0, free_at - now - 1.0)
