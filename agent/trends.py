"""What happened lately, counted: answers, time-outs, refusals, tries, and how long answers took. Pure, bounded.

Fed with every stored record (`note`) and every status (`look`); asked by the alerts and the metrics.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from agent.records import State, Transaction
from protocol.frozen import dataclass

# Bounds the memory: events of one span. A terminal makes some per minute.
EVENTS_MAX = 4_000
# A trend needs something to compare with, and enough of it.
TREND_EVENTS_MIN = 5


@dataclass(frozen=True, slots=True)
class Span:
    """One lane's last span, and the spans before it."""

    answered: int = 0
    unanswered: int = 0
    unanswered_before: float = 0.0  # per span, in the three spans before
    exchanges_before: float = 0.0
    refused: int = 0
    code: str = ""  # the most frequent refusal
    tries: int = 0
    reversed: int = 0
    slowest_s: float = 0.0  # the ninth of ten answers

    @property
    def exchanges(self) -> int:
        """Requests and reversals that had a result."""
        return self.answered + self.unanswered

    @property
    def lost_percent(self) -> int:
        """Of the exchanges, those without an answer."""
        return 100 * self.unanswered // self.exchanges if self.exchanges else 0

    @property
    def refused_percent(self) -> int:
        """Of the answers, those that refused."""
        return 100 * self.refused // self.answered if self.answered else 0

    @property
    def rising(self) -> bool:
        """Unanswered exchanges are at least three times as frequent as in the spans before, and no single accident."""
        if self.unanswered < 3 or self.exchanges < TREND_EVENTS_MIN:
            return False
        before = self.unanswered_before / self.exchanges_before if self.exchanges_before else 0.0
        return self.unanswered / self.exchanges >= max(3 * before, 0.1)

    @property
    def retries_rising(self) -> bool:
        """Reversals that are acknowledged need more and more tries."""
        return self.reversed >= 2 and self.tries >= 3 * self.reversed


@dataclass(frozen=True, slots=True)
class _Event:
    mono: float
    lane: str
    what: str
    code: str = ""
    value: float = 0.0


class Trends:
    """All lanes and devices."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._events: deque[_Event] = deque(maxlen=EVENTS_MAX)
        self._seen: dict[str, tuple[str, int, int]] = {}
        self._errors: deque[tuple[float, str, int]] = deque(maxlen=EVENTS_MAX)
        self._totals: dict[str, int] = {}
        self.results: Counter[str] = Counter()  # since the start, for the metrics
        self.last_success_utc = ""

    def note(self, txn: Transaction, mono: float) -> None:
        """A new record is stored."""
        before = self._seen.get(txn.id, ("", 0, 0))
        now = (str(txn.state), txn.attempts, int(txn.sending))
        if now == before:
            return
        self._seen[txn.id] = now
        if not txn.pending:
            self._seen.pop(txn.id, None)
        self._request(txn, before[0], mono)
        if before[2] and not txn.sending:
            self._try_ended(txn, mono)

    def _request(self, txn: Transaction, before: str, mono: float) -> None:
        """The original had its answer, or none."""
        if before != State.BEGUN:
            return
        if txn.response_code:
            taken_s = mono - txn.request_left_at if txn.request_left_at is not None else 0.0
            refused = txn.state is State.DECLINED
            self._add(mono, txn, "refused" if refused else "answered", txn.response_code, taken_s)
        elif txn.state in (State.REVERSING, State.PARKED) and txn.cause not in ("application", "card", "restart"):
            self._add(mono, txn, "unanswered")

    def _try_ended(self, txn: Transaction, mono: float) -> None:
        """One try of the reversal had its end."""
        if txn.state is State.REVERSED:
            self.last_success_utc = txn.ended_at_utc
            self._add(mono, txn, "reversed", value=float(txn.attempts))
        elif txn.last_code:
            self._add(mono, txn, "try-refused", txn.last_code)
        elif txn.last_error:
            self._add(mono, txn, "try-unanswered")

    def _add(self, mono: float, txn: Transaction, what: str, code: str = "", value: float = 0.0) -> None:
        self._events.append(_Event(mono, txn.lane, what, code, value))
        self.results[what] += 1

    def devices(self, devices: list[dict[str, Any]], mono: float, wrong: Mapping[str, int]) -> None:
        """The devices' error totals as they stand now: `wrong` by name."""
        for device in devices:
            name = str(device["name"])
            total = wrong.get(name, 0)
            grown = total - self._totals.get(name, total)
            self._totals[name] = total
            if grown > 0:
                self._errors.append((mono, name, grown))

    def device_errors(self, name: str, mono: float) -> int:
        """Errors of one device in the span."""
        return sum(count for at, who, count in self._errors if who == name and mono - at <= self.window_s)

    def span(self, lane: str, mono: float) -> Span:
        """One lane's last span."""
        mine = [event for event in self._events if event.lane == lane]
        last = [event for event in mine if mono - event.mono <= self.window_s]
        before = [event for event in mine if self.window_s < mono - event.mono <= 4 * self.window_s]
        count = Counter(event.what for event in last)
        codes = Counter(event.code for event in last if event.what in ("refused", "try-refused"))
        times = sorted(event.value for event in last if event.what in ("answered", "refused"))
        done = [event.value for event in last if event.what == "reversed"]
        lost_before = sum(event.what in ("unanswered", "try-unanswered") for event in before)
        return Span(
            answered=count["answered"] + count["refused"] + count["reversed"] + count["try-refused"],
            unanswered=count["unanswered"] + count["try-unanswered"],
            unanswered_before=lost_before / 3,
            exchanges_before=len(before) / 3,
            refused=count["refused"] + count["try-refused"],
            code=codes.most_common(1)[0][0] if codes else "",
            tries=int(sum(done)),
            reversed=len(done),
            slowest_s=times[min(len(times) - 1, 9 * len(times) // 10)] if len(times) >= TREND_EVENTS_MIN else 0.0,
        )
