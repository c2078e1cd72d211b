"""The store's samples: one an hour, bounded, whole lines only, and a disk that refuses them disturbs nobody."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent import store_history
from agent.events import Now
from agent.rpc_socket import Peer
from agent.store_history import EVERY_S, FILE, StoreHistory, read
from tests.unit.status_samples import NOW, STORE

ANNA = Peer(1, 1000, 1000, "anna")


def later(seconds: float) -> Now:
    return Now(NOW.mono + seconds, NOW.utc + timedelta(seconds=seconds))


def test_an_hour_has_one_sample(tmp_path: Path) -> None:
    history = StoreHistory(tmp_path)
    for minute in range(0, 121, 10):
        history.look(asdict(replace(STORE, bytes_free=minute)), later(60 * minute))
    assert [sample["bytes_free"] for sample in read(tmp_path / FILE)] == [0, 60, 120]
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_a_torn_line_is_passed_over_and_a_period_is_kept_to(tmp_path: Path) -> None:
    history = StoreHistory(tmp_path)
    for hour in range(4):
        history.look(asdict(STORE), later(EVERY_S * hour))
        with (tmp_path / FILE).open("ab") as file:
            file.write(b'{"at_utc": "2026')
    since, until = later(EVERY_S).at_utc, later(3 * EVERY_S).at_utc
    answer = history.history(ANNA, {"since_utc": since, "until_utc": until})
    assert [sample["at_utc"] for sample in answer["samples"]] == [since, later(2 * EVERY_S).at_utc]


def test_the_file_does_not_grow_for_ever_and_long_periods_are_thinned_out(tmp_path: Path) -> None:
    history = StoreHistory(tmp_path)
    line = (tmp_path / FILE).open("ab")
    with line:
        history.look(asdict(STORE), NOW)
        one = (tmp_path / FILE).read_bytes()
        line.write(one * (store_history.BYTES_MAX // len(one) + 1))
    history.look(asdict(STORE), later(EVERY_S))
    assert (tmp_path / FILE).stat().st_size < store_history.BYTES_MAX * 0.6
    answer = history.history(ANNA, {})
    assert len(answer["samples"]) <= store_history.SHOWN_MAX
    assert answer["every"] > 1


def test_a_directory_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = StoreHistory(tmp_path / "none")
    history.look(asdict(STORE), NOW)
    history.look(asdict(STORE), later(EVERY_S))
    assert sum(FILE in record.getMessage() for record in caplog.records) == 1
