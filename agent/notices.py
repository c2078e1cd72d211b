"""What the host must still be told of a lane's sales and that moves no money: script results, in their order. Pure.

    kept ──counted, sent──▶ answered ──▶ ended (answered, or refused with a code)
            └─ no answer: again, `tries` times before any reversal or sale of the lane; then only on the slow schedule
    a person may close one that no host ever answers

Rules not to break:
1. A notice's message is fixed once; each try sends the same bytes, only the MAC is made anew.
2. A try is counted and stored before its bytes leave; one of which certainly no byte left is taken back.
3. Nothing ends a notice but an answer of the host or a person's closing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, replace
from typing import Any, Literal

from protocol.frozen import dataclass

# Ended ones that are still shown. Assumed: nobody asks for more.
ENDED_KEPT = 20
# A host that answers none must not fill the disk: each change stores the whole queue. Assumed; a script is rare.
WAITING_MAX = 100

How = Literal["answered", "refused", "closed"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One message that waits. `id`: the sale; `body` holds the card number and is sealed at rest."""

    id: str
    stan: str
    mti: str
    at_utc: str
    host: str
    identity: Mapping[str, str]
    result: str  # what the card says of the scripts (tag DF31); no secret
    body: bytes = field(repr=False, default=b"")
    tries: int = 0
    last_error: str = ""
    last_try_utc: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """One that is over: by which answer, or by whom."""

    id: str
    stan: str
    how: How
    code: str
    tries: int
    at_utc: str
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Outbox:
    """One lane's notices, oldest first."""

    lane: str
    waiting: tuple[Notice, ...] = ()
    ended: tuple[Ended, ...] = ()

    def first(self, tries: int) -> Notice | None:
        """The one that goes before any reversal; None where none does (any more)."""
        return next((notice for notice in self.waiting if notice.tries < tries), None)

    def late(self, tries: int) -> tuple[Notice, ...]:
        """Those that the host did not answer and that hold nothing up any more."""
        return tuple(notice for notice in self.waiting if notice.tries >= tries)

    def of(self, txn_id: str) -> Notice | None:
        """The one of a sale that still waits."""
        return next((notice for notice in self.waiting if notice.id == txn_id), None)

    def knows(self, txn_id: str) -> bool:
        """Whether this sale's result waits, or was sent lately."""
        return txn_id in {one.id for one in self.waiting} | {one.id for one in self.ended}

    def with_notice(self, notice: Notice) -> Outbox:
        """One more, last."""
        return replace(self, waiting=(*self.waiting, notice))

    def counted(self, txn_id: str, at_utc: str) -> Outbox:
        """A try is about to leave."""
        return self._changed(txn_id, lambda one: replace(one, tries=one.tries + 1, last_try_utc=at_utc))

    def failed(self, txn_id: str, text: str, *, left: bool) -> Outbox:
        """It brought no answer. `left` false: certainly no byte left, so it was no try."""
        return self._changed(
            txn_id, lambda one: replace(one, tries=one.tries if left else one.tries - 1, last_error=text)
        )

    def without(self, txn_id: str, how: How, at_utc: str, code: str = "", by: str = "", why: str = "") -> Outbox:
        """It is over."""
        gone = self.of(txn_id)
        assert gone is not None, f"{txn_id} has no notice"
        over = Ended(gone.id, gone.stan, how, code, gone.tries, at_utc, by, why)
        waiting = tuple(notice for notice in self.waiting if notice.id != txn_id)
        return replace(self, waiting=waiting, ended=(*self.ended, over)[-ENDED_KEPT:])

    def _changed(self, txn_id: str, change: Callable[[Notice], Notice]) -> Outbox:
        waiting = tuple(change(notice) if notice.id == txn_id else notice for notice in self.waiting)
        return replace(self, waiting=waiting)

    # --- stored form ---------------------------------------------------------------------------

    def public(self) -> str:
        """What is stored in clear: no message."""
        shown = {"waiting": [_shown(notice) for notice in self.waiting], "ended": [asdict(one) for one in self.ended]}
        return json.dumps(shown, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def secret(self) -> bytes:
        """The messages, to be sealed. Never empty: an empty secret would mean an unchanged one."""
        return json.dumps({notice.id: notice.body.hex() for notice in self.waiting}).encode()

    @staticmethod
    def load(lane: str, public: str, secret: bytes) -> Outbox:
        """An outbox from its stored parts."""
        facts, bodies = json.loads(public), json.loads(secret)
        waiting = tuple(Notice(**one, body=bytes.fromhex(bodies[one["id"]])) for one in facts["waiting"])
        return Outbox(lane, waiting, tuple(Ended(**one) for one in facts["ended"]))


def _shown(notice: Notice) -> dict[str, Any]:
    shown = asdict(notice)
    del shown["body"]
    return shown
