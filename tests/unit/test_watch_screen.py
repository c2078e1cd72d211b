"""`reversalctl watch`: what is on the screen, with which keys, and with how few bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from agent.cli_place import CommandError
from agent.status import snapshot
from agent.status_text import columns
from agent.watch import Keys, Look, Painter, Reader, View, follow_lines, line, press, run, screen
from tests.unit.status_samples import MONO, StillLoop, link, owed, parked, scene


def document(count: int = 3, **changes: Any) -> dict[str, Any]:
    """A status with one parked item and others."""
    items = [parked(id="main-1"), *(owed(id=f"main-{number}", stan=f"{number:06d}") for number in range(2, count + 1))]
    return snapshot(StillLoop(*items[:count]), scene(**changes))


class Glass:
    """A terminal that understands what the painter writes."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.lines = ["?"] * height
        self.row = 0

    def feed(self, text: str) -> None:
        for code, plain in re.findall(r"(\x1b\[[0-9;]*[A-Za-z])|([^\x1b]+)", text):
            if code == "\x1b[2J":
                self.lines = [""] * self.height
            elif code.endswith("H"):
                self.row = int(code[2:].split(";")[0]) - 1
            elif plain:
                assert columns(plain) < self.width, "a full line would wrap"
                self.lines[self.row] = plain


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (132, 50)])
@pytest.mark.parametrize("mode", ["overview", "items", "item"])
def test_every_screen_fits(language: str, width: int, height: int, mode: str) -> None:
    look = Look(document(30, links={"main": link("down", "E-LINK-DNS", "x" * 300)}))
    lines = screen(look, View(language, mode, "main-1"), width - 1, height)
    assert len(lines) == height
    assert max(columns(one) for one in lines) < width


def test_arrows_lead_from_the_overview_to_an_item_and_back() -> None:
    look = Look(document())
    view = press(View("en"), "down", look)
    assert (view.mode, view.chosen) == ("items", "main-1")
    view = press(view, "down", look)
    assert view.chosen == "main-2"
    view = press(view, "right", look)
    assert view.mode == "item"
    assert "main-2" in screen(look, view, 79, 24)[0]
    view = press(press(view, "left", look), "left", look)
    assert view.mode == "overview"


def test_the_chosen_item_stays_in_sight_of_a_long_list() -> None:
    look = Look(document(60))
    view = press(View("en"), "down", look)
    for _ in range(45):
        view = press(view, "down", look)
    shown = screen(look, view, 79, 24)
    assert any(one.startswith(f"> {view.chosen}") for one in shown)


def test_an_item_that_was_done_meanwhile_is_said_to_be_gone() -> None:
    view = View("en", "item", "main-3")
    assert "no longer open" in screen(Look(document(2)), view, 79, 24)[0]
    assert press(View("en", "items", "main-3"), "down", Look(document(2))).chosen == "main-2"


def test_l_changes_the_language() -> None:
    look = Look(document())
    view = press(View("en"), "language", look)
    assert "严重" in screen(look, view, 79, 24)[0]


def test_a_dead_agent_is_said_first() -> None:
    trouble = CommandError("C-DEAD", pid="7", age="3 min", reason="")
    lines = screen(Look(document(), trouble), View("en"), 79, 24)
    assert "C-DEAD" in " ".join(lines[:3])


def test_no_status_file_is_a_state_and_not_an_end() -> None:
    look = Look(None, CommandError("C-NO-STATUS", path="/run/x"))
    lines = screen(look, View("en"), 79, 24)
    assert "C-NO-STATUS" in " ".join(lines)
    assert press(View("en"), "down", look) == View("en")


def test_a_hosts_control_characters_never_reach_the_terminal() -> None:
    hostile = document(2, links={"main": link("down", "E-LINK-RESET", "\x1b[2J\x07evil")})
    for mode in ("overview", "items", "item"):
        assert "\x1b" not in "".join(screen(Look(hostile), View("en", mode, "main-1"), 79, 24))
    assert "\x1b" not in line(Look(hostile), "en")


def test_only_lines_that_changed_are_written_again() -> None:
    painter, glass = Painter(), Glass(80, 4)
    glass.feed(painter.paint(["a", "b", "c", "d"], 80))
    assert glass.lines == ["a", "b", "c", "d"]
    second = painter.paint(["a", "B", "c", "d"], 80)
    assert second == "\x1b[2;1HB\x1b[K\x1b[4;1H"
    assert painter.paint(["a", "B", "c", "d"], 80) == ""
    assert painter.paint(["a", "B", "c"], 80).startswith("\x1b[0m\x1b[2J")


def test_keys_may_come_in_pieces() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.unfinished
    assert keys.feed(b"[") == []
    assert keys.feed(b"Bq\x1b[A") == ["down", "quit", "up"]
    assert keys.feed(b"\x1b") == []
    assert keys.give_up() == ["escape"]
    assert keys.feed("中x".encode()) == []
    assert keys.feed(b"\x1b[5~\r") == ["page-up", "right"]


class Desk:
    """A terminal played by a test: keys in, glass out."""

    def __init__(self, *keys: list[str]) -> None:
        self._keys = list(keys)
        self.glass = Glass(80, 24)
        self.seen: list[list[str]] = []

    def size(self) -> tuple[int, int]:
        return 80, 24

    def write(self, text: str) -> None:
        self.glass.feed(text)

    def keys(self, wait_s: float) -> list[str]:
        self.seen.append(list(self.glass.lines))
        return self._keys.pop(0)


def reader(read: Callable[[], dict[str, Any]]) -> Reader:
    return Reader(read, lambda document, now, language: None, lambda: MONO)


def test_a_whole_session_shows_what_each_screen_says() -> None:
    now = document()
    desk = Desk([], ["down"], ["down", "right"], ["quit"])
    assert run(desk, reader(lambda: now), "en", 1.0, colour=False) == 0
    assert "CRITICAL" in desk.seen[0][0]
    assert desk.seen[2][2].startswith("> main-1")
    assert desk.seen[3][0].startswith("main-2")
    for shown, view in zip(desk.seen, (View("en"), View("en")), strict=False):
        assert shown == [one.rstrip() for one in screen(Look(now), view, 79, 24)]


def test_colour_marks_the_severity_and_the_chosen_row() -> None:
    written: list[str] = []

    class Ink(Desk):
        def write(self, text: str) -> None:
            written.append(text)

    run(Ink(["down"], ["quit"]), reader(document), "en", 1.0, colour=True)
    assert "\x1b[31;1mCRITICAL\x1b[0m" in written[0]
    assert "\x1b[7m> main-1" in written[1]


def test_without_a_terminal_there_is_one_line_at_each_change() -> None:
    states = [document(1), document(1), document(3), CommandError("C-NO-STATUS", path="/run/x")]
    out: list[str] = []

    def read() -> dict[str, Any]:
        now = states.pop(0)
        if isinstance(now, CommandError):
            raise now
        return now

    assert follow_lines(reader(read), "en", out.append, flush=bool, sleep=lambda s: None, rounds=4) == 0
    assert len(out) == 3
    assert "S-PARKED" in out[0]
    assert "Open: 3" in out[1]
    assert "C-NO-STATUS" in out[2]


def test_json_lines_carry_the_document_and_whether_it_lives() -> None:
    now = document(1)
    out: list[str] = []
    follow_lines(reader(lambda: now), "en", out.append, as_json=True, flush=bool, sleep=lambda s: None, rounds=1)
    told = json.loads(out[0])
    assert told["status"] == json.loads(json.dumps(now))
    assert told["life"] in ("alive", "dead", "silent", "rebooted")
