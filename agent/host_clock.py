"""How far this machine's clock stands from the host's, from the time in the host's answers. Only shown and alarmed.

Rules not to break:
1. No decision about money looks at this: a host's clock may be wrong as well as ours.
2. Only answers whose time is the host's own count (`session.host_clock` of the profile): an echo of our time would
   always agree.
3. The host's time has no year: the year that brings it nearest to ours is meant.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from agent.events import Now
from protocol.frozen import dataclass

# One late answer proves nothing: the sample that agrees best of the last ones is shown.
SAMPLES_KEPT = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """`offset_s`: the host's clock minus ours when the answer came; up to the answer's way too small."""

    offset_s: float
    at_utc: str


class HostClocks:
    """The last samples of each lane."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = {}

    def told(self, lane: str, zone: str, date: str, time: str, now: Now) -> None:
        """An answer bore this date (MMDD) and time (hhmmss). `zone` "": it is no host's time."""
        offset_s = offset(zone, date, time, now.utc) if zone else None
        if offset_s is not None:
            kept = self._samples.setdefault(lane, [])
            kept.append(Sample(offset_s, now.at_utc))
            del kept[:-SAMPLES_KEPT]

    def drop(self, lanes: set[str]) -> None:
        """Forget the lanes that are not among these."""
        for lane in set(self._samples) - lanes:
            del self._samples[lane]

    def shown(self) -> dict[str, Any]:
        """For the status: by lane, the smallest difference of the last samples and when the last one came."""
        return {lane: _shown(samples) for lane, samples in self._samples.items()}


def offset(zone: str, date: str, time: str, now_utc: datetime) -> float | None:
    """Seconds by which the host's clock is before ours; None where the text is no date and time."""
    if not (len(date) == 4 and len(time) == 6 and (date + time).isdigit()):
        return None
    candidates = []
    for year in (now_utc.year - 1, now_utc.year, now_utc.year + 1):
        try:
            local = datetime.strptime(f"{year}{date}{time}", "%Y%m%d%H%M%S")
        except ValueError:
            continue  # 29 February of a common year
        candidates.append((local.replace(tzinfo=_zone(zone)) - now_utc).total_seconds())
    return min(candidates, key=abs, default=None)


def _zone(zone: str) -> timezone:
    """ "+08:00" as the profile has it."""
    sign = -1 if zone[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])))


def _shown(samples: list[Sample]) -> dict[str, Any]:
    nearest = min(samples, key=lambda sample: abs(sample.offset_s))
    return {"offset_s": round(nearest.offset_s, 1), "samples": len(samples), "last_utc": samples[-1].at_utc}
