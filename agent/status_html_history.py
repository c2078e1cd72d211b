"""What the page remembers: link, device and queue over the last hours, in the daemon's memory only.

Fed with every status document; keeps changes, not samples, so a quiet day costs nothing. Bounded in time and number.
After a restart it begins anew, and the page says since when it knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from protocol.frozen import dataclass

WINDOW_S = 6 * 3600.0
# Changes kept of one series: a link that flaps every minute fills the window with this many.
CHANGES_MAX = 400

Point = tuple[float, str]


@dataclass(slots=True)
class History:
    """Series by name: "queue", "lane NAME", "device NAME"; each a list of (monotonic second, value)."""

    window_s: float = WINDOW_S
    changes_max: int = CHANGES_MAX
    began_s: float | None = None
    until_s: float = 0.0
    _series: dict[str, deque[Point]] = field(default_factory=dict)

    def note(self, document: Mapping[str, Any]) -> None:
        """Takes one status document into account."""
        self.until_s = float(document["updated_mono_s"])
        if self.began_s is None:
            self.began_s = self.until_s
        now = dict(_values(document))
        for name in self._series.keys() - now.keys():
            del self._series[name]
        for name, value in now.items():
            self._keep(self._series.setdefault(name, deque(maxlen=self.changes_max)), value)

    @property
    def start_s(self) -> float:
        """Where the plots begin."""
        began = self.until_s if self.began_s is None else self.began_s
        return max(began, self.until_s - self.window_s)

    def points(self, name: str) -> list[Point]:
        """One series, oldest first; empty where nothing is known."""
        return list(self._series.get(name, ()))

    def spans(self, name: str) -> list[tuple[float, float, str]]:
        """The same as (from, to, value), inside the window."""
        points = self.points(name)
        if not points:
            return []
        ends = [moment for moment, _ in points[1:]] + [self.until_s]
        start = self.start_s
        return [(max(began, start), end, value) for (began, value), end in zip(points, ends, strict=True)]

    def _keep(self, series: deque[Point], value: str) -> None:
        if not series or series[-1][1] != value:
            series.append((self.until_s, value))
        while len(series) > 1 and series[1][0] <= self.until_s - self.window_s:
            series.popleft()


def _values(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "queue", str(document["impact"]["owed"])
    for lane in document["lanes"]:
        link = lane["link"]
        if link is not None:
            yield f"lane {lane['name']}", link["state"]
    for device in document["devices"]:
        yield f"device {device['name']}", "usable" if device["usable"] else device["state"]
