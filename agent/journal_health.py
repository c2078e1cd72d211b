"""How the disk behaves, told from the time that each COMMIT takes, and what the journal costs it."""

from __future__ import annotations

import resource
from collections import deque

WINDOW = 512
BASELINE_COMMITS = 64
# Assumed, between two measurements on one machine (docs/durability.md): a COMMIT on a memory disk, which waits for
# nothing, took 21 microseconds (p50); one on a fast virtual disk, whose flush alone takes 90, took 129 (facts of the
# choice of the store). No medium known to us stores in less than 50. A slower machine only errs on the quiet side.
TOO_FAST_S = 50e-6
RISING_FACTOR = 4.0
# Assumed: a cashier notices a second; worn flash cards stall for longer.
SLOW_P99_S = 1.0
# Begun, first try, second try, acknowledged: the life that docs/performance.md counts.
RECORDS_PER_REVERSAL = 4
_SECTOR_BYTES = 512  # getrusage counts in these


class Written:
    """Bytes that the journal makes the kernel send to the medium, as the kernel counts them for this thread."""

    def __init__(self) -> None:
        self._bytes = 0
        self._records = 0
        self._before = 0

    def begin(self) -> None:
        """The journal's work starts here."""
        self._before = resource.getrusage(resource.RUSAGE_THREAD).ru_oublock

    def end(self, records: int = 0) -> None:
        """It ends here, and stored so many records."""
        self._bytes += (resource.getrusage(resource.RUSAGE_THREAD).ru_oublock - self._before) * _SECTOR_BYTES
        self._records += records

    @property
    def per_reversal(self) -> int:
        """Bytes for four records, checkpoints and room included."""
        return RECORDS_PER_REVERSAL * self._bytes // self._records if self._records else 0


class CommitTimes:
    """The last commit times of this run (at most WINDOW), and what they mean."""

    def __init__(self) -> None:
        self.commits = 0
        self._baseline: list[float] = []
        self._last: deque[float] = deque(maxlen=WINDOW)

    def note(self, seconds: float) -> None:
        """One more commit."""
        self.commits += 1
        self._last.append(seconds)
        if len(self._baseline) < BASELINE_COMMITS:
            self._baseline.append(seconds)

    @property
    def last_s(self) -> float:
        """Seconds of the last commit; 0.0 before the first."""
        return self._last[-1] if self._last else 0.0

    def percentile_ms(self, percent: int) -> float:
        """The given percentile of the last commits in milliseconds; 0.0 before the first."""
        return 1000 * _percentile(list(self._last), percent)

    def warnings(self) -> list[str]:
        """What a person should know; empty while all is well or too few commits were made to tell."""
        if len(self._last) < BASELINE_COMMITS:
            return []
        p50, p99 = _percentile(list(self._last), 50), _percentile(list(self._last), 99)
        found = []
        if p50 < TOO_FAST_S:
            found.append(
                f"W-STORE-TOO-FAST: a commit takes {1e6 * p50:.0f} microseconds: the disk does not wait for its medium"
                " (memory disk, lying cache); a power cut may lose what was acknowledged"
            )
        if p50 > RISING_FACTOR * _percentile(self._baseline, 50):
            found.append(
                f"W-STORE-SLOWER: a commit takes {1000 * p50:.1f} ms, {RISING_FACTOR:.0f} times as long as before"
            )
        if p99 > SLOW_P99_S:
            found.append(
                f"W-STORE-SLOW: one commit in a hundred takes {p99:.1f} s or longer: the medium may be worn out"
            )
        return found


def _percentile(values: list[float], percent: int) -> float:
    """Nearest rank; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0
