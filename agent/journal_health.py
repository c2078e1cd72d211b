"""How the disk behaves, told from the time that each COMMIT takes."""

from __future__ import annotations

from collections import deque

WINDOW = 512
BASELINE_COMMITS = 64
# A COMMIT on a memory disk takes about 30 microseconds, on the fastest flash that really waits 100 and more (measured,
# docs/durability.md). Below this, the "disk" answers before anything is stored.
TOO_FAST_S = 50e-6
RISING_FACTOR = 4.0
# Assumed: a cashier notices a second; worn flash cards stall for longer.
SLOW_P99_S = 1.0


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
