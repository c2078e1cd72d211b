"""status.txt: fits a serial console in both languages, worst first, ends with the next step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.diagnosis import DeviceFacts
from agent.journal_contract import StoreHealth
from agent.records import State
from agent.status import snapshot
from agent.status_text import HEIGHT, WIDTH, columns, cut, pad, render, short_span, table, wrap
from tests.unit.status_samples import PANS, STORE, StillLoop, begun_before, lane, link, owed, parked, scene
from tests.unit.test_status_snapshot import many_states

NOTICE = ("C-DEAD: THE AGENT IS NOT RUNNING (process 12 is gone). " * 2, "systemctl start reversald")
DOWN = {f"lane-{number}": link("down", "E-LINK-CONNECT-TIMEOUT", "x") for number in range(6)}


def crowded() -> dict[str, Any]:
    """More of everything than a console has room for."""
    pending = [parked(id=f"main-{number}", lane="lane-0", last_code="57", attempts=1) for number in range(30)]
    pending += [owed(id=f"second-{number}", lane="lane-1", held=True) for number in range(30)]
    lanes = tuple(lane(name) for name in DOWN)
    devices = [DeviceFacts(f"printer-with-a-long-name-{number}", "printer", "gone") for number in range(9)]
    return snapshot(StillLoop(*pending, lanes=lanes), scene(links=DOWN, devices=devices))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("notice", [None, NOTICE], ids=["alive", "dead"])
@pytest.mark.parametrize("make", [crowded, many_states, lambda: snapshot(StillLoop(), scene())])
def test_it_fits_a_serial_console(make: Any, notice: tuple[str, str] | None, language: str) -> None:
    lines = render(make(), language, notice=notice).splitlines()
    assert len(lines) <= HEIGHT
    assert max(columns(line) for line in lines) <= WIDTH


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_card_number_is_in_it(language: str) -> None:
    told = render(many_states(), language)
    assert [pan for pan in PANS if pan in told] == []


def test_the_first_word_is_how_bad_it_is() -> None:
    assert render(snapshot(StillLoop(), scene()), "en").startswith("OK  S-OK")
    assert render(snapshot(StillLoop(parked()), scene()), "en").startswith("CRITICAL  S-PARKED")
    assert render(snapshot(StillLoop(parked()), scene()), "zh").startswith("严重  S-PARKED")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("full", [True, False])
def test_the_worst_is_said_in_full_beside_the_time_or_beneath_it(full: bool, language: str) -> None:
    """A headline that lost its end to the time of day would hide what it is about."""
    store = StoreHealth(
        12, 4.0, 9.5, 0, 1 << 30, 16 << 20, 40, ("W-STORE-SPACE: 27 MiB are free, sales stop at 16 MiB",)
    )
    document = snapshot(StillLoop(), scene(store=store if full else STORE))
    told = " ".join(render(document, language).split())
    headline = " ".join(f"{document['overall']['code']}: {document['overall'][f'text_{language}']}".split())
    assert headline in told


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_busy_store_and_a_long_run_lose_nothing_at_the_edge(language: str) -> None:
    document = snapshot(StillLoop(), scene(store=replace(STORE, bytes_free=999_900_000_000)))
    document["store"] |= {"commits": 9, "commit_p50_ms": 1234.5, "bytes_per_reversal": 999_000}
    document["agent"] |= {"pid": 4_194_304, "version": "10.20.30", "uptime_s": 999 * 86_400}
    assert "~" not in render(document, language)


def test_a_dead_agent_is_the_first_thing_said_and_the_last_thing_done() -> None:
    lines = render(snapshot(StillLoop(), scene()), "en", notice=NOTICE).splitlines()
    assert lines[0].startswith("CRITICAL")
    assert "NOT RUNNING" in lines[1]
    assert lines[-1] == "Next step: systemctl start reversald"


def test_an_item_shows_what_the_bank_asks_for_and_what_to_do() -> None:
    told = render(snapshot(StillLoop(parked(id="main-7", last_code="57", attempts=1)), scene()), "en")
    for part in ("main-7", "CNY 12.50", "620000******0005", "000123", "57", "D-HOST-REFUSED", "Do (bank)"):
        assert part in told


def test_what_has_no_room_is_counted() -> None:
    lines = render(crowded(), "en").splitlines()
    assert any(line.startswith("... ") and line.endswith("more: reversalctl list") for line in lines)
    shown = sum(line.startswith("main-") for line in lines)
    assert f"... {60 - shown} more: reversalctl list" in lines


def test_with_nothing_open_the_last_finished_are_shown() -> None:
    done = owed(state=State.REVERSED, ended_at_utc=begun_before(30), wake_at=None)
    told = render(snapshot(StillLoop(), scene(finished=[done])), "en")
    assert "main-1  CNY 12.50  000123  reversed" in told


def test_columns_line_up_whatever_the_characters() -> None:
    rows = table([{**snapshot(StillLoop(owed()), scene())["items"][0]}], "zh")
    head, row = rows
    assert columns(head[: head.index("流水号")]) == columns(row[: row.index("000123")])


def test_chinese_characters_take_two_columns_and_combining_marks_none() -> None:
    assert columns("冲正ab") == 6
    assert columns("e\u0301") == 1


@pytest.mark.parametrize(
    ("text", "width", "expected"), [("冲正冲正", 5, "冲正~"), ("冲正冲正", 4, "冲~"), ("ab", 2, "ab")]
)
def test_a_cut_never_splits_a_wide_character(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected
    assert columns(pad(text, width + 3)) == width + 3


def test_lines_break_at_blanks_and_between_chinese_characters_but_not_before_a_stop() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("冲正冲正。冲", 8) == ["冲正冲", "正。冲"]
    assert wrap("", 10) == []
    assert all(columns(line) <= 20 for line in wrap("流水号 000123、批次号 000017，终端号 10000001。" * 3, 20, "  "))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_a_span_in_a_table_has_one_unit(seconds: float | None, text: str) -> None:
    assert short_span(seconds, "en") == text
