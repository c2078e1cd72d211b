"""The host's clock beside ours: from its own time only, over midnight and New Year, and never from nonsense."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.events import Now
from agent.host_clock import SAMPLES_KEPT, HostClocks, offset
from protocol.profile import load_profile


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "date", "time", "ours", "expected"),
    [
        ("+08:00", "0302", "183000", "2026-03-02T10:30:00", 0.0),
        ("+08:00", "0302", "183105", "2026-03-02T10:30:00", 65.0),
        ("+08:00", "0303", "000000", "2026-03-02T16:00:02", -2.0),
        ("+08:00", "0101", "000001", "2025-12-31T15:59:59", 2.0),  # over New Year, in the host's zone
        ("-03:30", "1231", "235959", "2026-01-01T03:30:01", -2.0),
        ("+00:00", "0229", "120000", "2025-02-28T12:00:00", -365 * 86_400.0),  # only 2024 had that day
    ],
)
def test_the_difference_is_that_of_the_nearest_year(
    zone: str, date: str, time: str, ours: str, expected: float
) -> None:
    assert offset(zone, date, time, at(ours)) == expected


@pytest.mark.parametrize(("date", "time"), [("", ""), ("1301", "000000"), ("0101", "250000"), ("01a1", "000000")])
def test_what_is_no_time_tells_nothing(date: str, time: str) -> None:
    clocks = HostClocks()
    clocks.told("main", "+08:00", date, time, Now(1.0, at("2026-03-02T10:30:00")))
    assert clocks.shown() == {}


def test_a_host_that_gives_back_our_own_time_is_not_compared() -> None:
    clocks = HostClocks()
    clocks.told("main", "", "0302", "103000", Now(1.0, at("2026-03-02T10:30:00")))
    assert clocks.shown() == {}


def test_one_late_answer_does_not_move_the_clock_and_a_lane_that_is_gone_is_forgotten() -> None:
    clocks, now = HostClocks(), Now(1.0, at("2026-03-02T10:30:00"))
    for second in ("183000", "182930", "183001", "182900"):
        clocks.told("main", "+08:00", "0302", second, now)
    assert clocks.shown()["main"]["offset_s"] == 0.0
    for _ in range(SAMPLES_KEPT):
        clocks.told("main", "+08:00", "0302", "182000", now)
    assert clocks.shown()["main"] == {"offset_s": -600.0, "samples": SAMPLES_KEPT, "last_utc": now.at_utc}
    clocks.drop({"other"})
    assert clocks.shown() == {}


@pytest.mark.parametrize(
    ("name", "zone"), [("unionpay-pos", "+08:00"), ("nac-edc", "+08:00"), ("iso87-ascii", ""), ("iso93", "")]
)
def test_the_profile_says_whose_time_an_answer_bears(name: str, zone: str) -> None:
    assert load_profile(name).session.host_clock == zone
