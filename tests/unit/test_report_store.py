"""The store's part of the report: what was slow, when it is full, and nothing where nobody can tell."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import report_csv, report_html, report_text
from agent.report import Period, build
from agent.report_store import POINTS_MAX, summary
from agent.report_stories import Reading
from tests.dialogue import STARTED


def sample(hour: float, **changes: Any) -> dict[str, Any]:
    at_utc = (STARTED + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    usual = {"commits": 9, "commit_p50_ms": 2.0, "commit_p99_ms": 8.0, "head_seq": 5}
    usual |= {"bytes_used": 1e6, "bytes_free": 9e9}
    return {"at_utc": at_utc, **usual, **changes}


def codes(samples: list[dict[str, Any]]) -> set[str]:
    return {one["code"] for one in made(samples)["advice"]}


def made(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return build(Reading(), Period(), "2026-03-01T00:00:00Z", samples)


def test_without_samples_the_report_says_so() -> None:
    assert summary([]) is None
    for language, words in (("en", "No samples"), ("zh", "没有存储采样")):
        assert words in report_text.render(made([]), language)
        assert words in report_html.render(made([]), language)


def test_a_disk_that_fills_is_told_in_days_and_one_that_does_not_is_not() -> None:
    filling = [sample(24 * day, bytes_free=10e9 - 1e9 * day) for day in range(6)]
    told = summary(filling)
    assert told is not None
    assert (told["full_in_days"], told["bytes_free"], told["bytes_free_least"]) == (5, 5_000_000_000, 5_000_000_000)
    assert "R-DISK" in codes(filling)
    assert "R-DISK" not in codes(filling[::-1])  # a clock that went back: nobody can tell
    assert "R-DISK" not in codes([sample(hour) for hour in range(48)])
    assert "R-DISK" not in codes([sample(0, bytes_free=9e9), sample(1, bytes_free=1e9)])  # an hour is no trend


def test_a_card_that_gets_slower_is_told() -> None:
    slower = [sample(hour, commit_p99_ms=8.0 if hour < 12 else 40.0) for hour in range(24)]
    assert "R-STORE-SLOW" in codes(slower)
    assert "R-STORE-SLOW" not in codes(slower[10:14])  # too few to tell
    assert "R-STORE-SLOW" not in codes([sample(hour, commits=0, commit_p99_ms=hour) for hour in range(24)])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_form_has_the_store(language: str, tmp_path: Path) -> None:
    report = made([sample(hour, bytes_free=9e9 - hour) for hour in range(500)])
    assert len(report["store"]["points"]) <= POINTS_MAX
    assert "8.0" in report_text.render(report, language)
    page = report_html.render(report, language)
    for plot in ("store-p99-plot", "store-free-plot", "store-used-plot"):
        assert f'id="{plot}"' in page
    paths = report_csv.write(report, tmp_path / "x.csv")
    with paths[-1].open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(report["store"]["points"])
