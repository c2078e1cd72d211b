"""Host names to addresses, without ever blocking the event loop or the end of the process.

The system's resolver cannot be interrupted: with a dead name server `getaddrinfo` hangs for
half a minute. It therefore runs in a daemon thread of its own (asyncio's default executor would
be joined at exit), and there is at most one such thread for each name: who asks while it
still hangs waits for the same answer. A literal address needs neither thread nor name server.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from agent.linkstate import LinkError

# family, type, protocol, canonical name, address: one row of getaddrinfo
AddressRow = tuple[int, int, int, str, Any]
Lookup = Callable[[str, int], list[AddressRow]]

# More addresses than this are not tried: the connect time-out is shared among them.
ADDRESSES_MAX = 4


def system_lookup(address: str, port: int) -> list[AddressRow]:
    """Asks the system's resolver; blocks."""
    return list(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM))


class Resolver:
    """Looks names up in threads; `lookup` is the blocking question itself."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._asked: dict[tuple[str, int], asyncio.Future[list[AddressRow]]] = {}

    async def resolve(self, address: str, port: int) -> list[AddressRow]:
        """One to four addresses, in the resolver's order. Raises LinkError (dns)."""
        rows = _literal(address, port) or await self._ask(address, port)
        if not rows:
            raise LinkError("dns", f"{address} has no address")
        return rows[:ADDRESSES_MAX]

    async def _ask(self, address: str, port: int) -> list[AddressRow]:
        asked = self._asked.get((address, port))
        if asked is None:
            asked = self._start(address, port)
        return await asyncio.shield(asked)

    def _start(self, address: str, port: int) -> asyncio.Future[list[AddressRow]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[AddressRow]] = loop.create_future()
        self._asked[address, port] = answer
        answer.add_done_callback(lambda done: self._forget(address, port, done))
        thread = threading.Thread(
            target=self._work, args=(loop, answer, address, port), name=f"dns {address}", daemon=True
        )
        thread.start()
        return answer

    def _forget(self, address: str, port: int, answer: asyncio.Future[list[AddressRow]]) -> None:
        del self._asked[address, port]
        if not answer.cancelled():
            answer.exception()  # nobody may be waiting any more; that is no reason for a warning

    def _work(
        self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[list[AddressRow]], address: str, port: int
    ) -> None:
        rows: list[AddressRow] = []
        error: LinkError | None = None
        try:
            rows = self._lookup(address, port)
        except (OSError, UnicodeError) as failure:  # UnicodeError: a label above 63 characters
            error = LinkError("dns", f"cannot look up {address}: {_reason(failure)}")
        try:
            loop.call_soon_threadsafe(_settle, answer, rows, error)
        except RuntimeError:
            return  # the loop was closed while the name server kept us waiting: nobody asks any more


def _settle(answer: asyncio.Future[list[AddressRow]], rows: list[AddressRow], error: LinkError | None) -> None:
    if answer.done():
        return
    if error:
        answer.set_exception(error)
    else:
        answer.set_result(rows)


def _literal(address: str, port: int) -> list[AddressRow]:
    """The row of a numeric address, which needs no name server; empty for a name."""
    try:
        digits = address.encode("ascii")  # as text it would load the tables of international names: 6 ms
        return list(socket.getaddrinfo(digits, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        return []


def _reason(failure: OSError | UnicodeError) -> str:
    return failure.strerror or str(failure) if isinstance(failure, OSError) else "not a possible name"
