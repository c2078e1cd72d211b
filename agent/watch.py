"""`reversalctl watch`: the status live in a terminal, or a line at each change where there is none.

Plain ANSI only (cursor position, erase to end of line, colour), so that a serial console of 80 by 24 shows it; only
lines that changed are written, so that nothing flickers and 9600 baud suffice. What is shown is pure (`screen`); the
terminal is one small class.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any, Protocol

from agent.cli_items import show_text
from agent.cli_place import CommandError
from agent.status_alive import life
from agent.status_text import bracketed, colon, cut, label, local_time, pad, render, table
from agent.visible import visible
from protocol.frozen import dataclass

# The rest of an escape sequence on a serial line of 1200 baud is there within this time; else it was the key itself.
ESCAPE_WAIT_S = 0.05
_WORDS: dict[str, tuple[str, str]] = {
    "overview": ("q quit  down: items  l 中文", "q 退出  ↓ 查看记录  l English"),
    "items": ("q quit  up/down choose  enter: show  left: back", "q 退出  ↑↓ 选择  回车 查看  ← 返回"),
    "item": ("q quit  up/down scroll  left: back", "q 退出  ↑↓ 滚动  ← 返回"),
    "waiting": ("waiting for the status file", "等待状态文件"),
    "gone": ("{id} is no longer open", "{id} 已不在未完成列表中"),
}
_SEVERITY_COLOUR = {"ok": "32", "warning": "33", "critical": "31;1", "unknown": "35"}
_KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1bOA": "up", "\x1bOB": "down",
    "\x1bOC": "right", "\x1bOD": "left", "\x1b[5~": "page-up", "\x1b[6~": "page-down", "\r": "right", "\n": "right",
    "k": "up", "j": "down", "q": "quit", "Q": "quit", "\x03": "quit", "\x04": "quit", "l": "language", "L": "language",
    "h": "left", "\x7f": "left", "\x08": "left",
}  # fmt: skip


# --- what is there -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the status file: the document, or why there is none; and what is wrong with its writer."""

    document: Mapping[str, Any] | None
    problem: CommandError | None = None


class Reader:
    """Looks at the file; a file that is missing is a state, not an end: the agent may start later."""

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        trouble: Callable[[dict[str, Any], float, str], CommandError | None],
        now_mono: Callable[[], float],
    ) -> None:
        self._read = read
        self._trouble = trouble
        self._now_mono = now_mono

    def look(self, language: str) -> Look:
        """Now."""
        try:
            document = self._read()
        except CommandError as error:
            return Look(None, error)
        return Look(document, self._trouble(document, self._now_mono(), language))

    def life(self, document: Mapping[str, Any]) -> str:
        """ "alive", "dead", "silent", ... (agent/status_alive.py)."""
        return life(document, self._now_mono())


# --- what is shown -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """Where the person is: the overview, the list of items, or one item."""

    language: str
    mode: str = "overview"
    chosen: str = ""
    scroll: int = 0


def press(view: View, key: str, look: Look) -> View:
    """The view after a key. "quit" is the caller's."""
    if key == "language":
        return replace(view, language="en" if view.language == "zh" else "zh")
    ids = [item["id"] for item in look.document["items"]] if look.document else []
    if view.mode == "overview":
        return replace(view, mode="items", chosen=ids[0]) if key in ("down", "right") and ids else view
    if key in ("left", "escape"):
        back = "items" if view.mode == "item" and ids else "overview"
        return replace(view, mode=back, scroll=0)
    step = {"up": -1, "down": 1, "page-up": -10, "page-down": 10}.get(key, 0)
    if view.mode == "item":
        return replace(view, scroll=max(0, view.scroll + step))
    if key == "right" and view.chosen in ids:
        return replace(view, mode="item", scroll=0)
    return _moved(view, step, ids)


def _moved(view: View, step: int, ids: Sequence[str]) -> View:
    if not ids:
        return replace(view, mode="overview")
    place = ids.index(view.chosen) if view.chosen in ids else 0
    if place + step < 0:
        return replace(view, mode="overview")
    return replace(view, chosen=ids[min(place + step, len(ids) - 1)])


def screen(look: Look, view: View, width: int, height: int) -> list[str]:
    """Exactly `height` lines of at most `width` columns; the last says which keys there are."""
    room = height - 1
    if look.document is None:
        lines = _problem_lines(look, view.language)
        keys = "overview"
    elif view.mode == "overview":
        lines = _overview(look, view.language, width, room)
        keys = "overview"
    elif view.mode == "items":
        lines = _items(look.document, view, room)
        keys = "items"
    else:
        lines = _item(look.document, view, room)
        keys = "item"
    shown = [cut(visible(one, "?"), width) for one in lines[:room]]
    return [*shown, *[""] * (room - len(shown)), pad(_word(keys, view.language), width).rstrip()]


def chosen_row(look: Look, view: View, height: int) -> int:
    """Which line of the list is the chosen one; -1 where there is none. It is shown in reverse."""
    if view.mode != "items" or look.document is None:
        return -1
    ids = [item["id"] for item in look.document["items"]]
    place = ids.index(view.chosen) if view.chosen in ids else 0
    return 2 + place - _first_row(place, height - 3)


def line(look: Look, language: str) -> str:
    """Everything in one line: for a pipe, a log, a modem."""
    if look.document is None:
        assert look.problem is not None
        return f"{label('unknown', language)} {look.problem.code}: {look.problem.sentence(language)}"
    document, suffix = look.document, "zh" if language == "zh" else "en"
    overall, impact = document["overall"], document["impact"]
    amounts = ", ".join(amount["text"] for amount in impact["amounts"])
    owed = label("none-open", language)
    if impact["owed"]:
        owed = f"{label('open', language)}{colon(language)}{impact['owed']}{bracketed(amounts, language)}"
    stop = "。" if language == "zh" else ". "
    if look.problem is not None:
        return f"{label('critical', language)} {look.problem.code}: {look.problem.sentence(language)} {owed}"
    return f"{label(overall['severity'], language)} {overall['code']}: {overall[f'text_{suffix}']}{stop}{owed}"


def _problem_lines(look: Look, language: str) -> list[str]:
    assert look.problem is not None
    told = [f"{look.problem.code}: {look.problem.sentence(language)}", look.problem.step(language)]
    return [label("unknown", language), "", *told, "", _word("waiting", language)]


def _overview(look: Look, language: str, width: int, room: int) -> list[str]:
    assert look.document is not None
    wrong = look.problem
    notice = None if wrong is None else (f"{wrong.code}: {wrong.sentence(language)}", wrong.step(language))
    return render(look.document, language, width=width, height=room, notice=notice).rstrip("\n").split("\n")


def _items(document: Mapping[str, Any], view: View, room: int) -> list[str]:
    suffix = "zh" if view.language == "zh" else "en"
    overall, items = document["overall"], document["items"]
    head, *rows = table(items, view.language)
    place = next((at for at, item in enumerate(items) if item["id"] == view.chosen), 0)
    first = _first_row(place, room - 2)
    top = f"{label(overall['severity'], view.language)}  {overall['code']}: {overall[f'text_{suffix}']}"
    marked = [("> " if at == place else "  ") + row for at, row in enumerate(rows)]
    return [top, "  " + head, *marked[first : first + room - 2]]


def _first_row(place: int, room: int) -> int:
    """The first row shown, so that the chosen one is in sight."""
    return max(0, place - room + 1)


def _item(document: Mapping[str, Any], view: View, room: int) -> list[str]:
    items = [*document["items"], *document["finished"]]
    found = next((item for item in items if item["id"] == view.chosen), None)
    if found is None:
        return [_word("gone", view.language).format(id=view.chosen)]
    lines = show_text(found, view.language).rstrip("\n").split("\n")
    first = min(view.scroll, max(0, len(lines) - room))
    return lines[first : first + room]


def _word(name: str, language: str) -> str:
    english, chinese = _WORDS[name]
    return chinese if language == "zh" else english


# --- how it gets to the terminal ---------------------------------------------------------------


class Painter:
    """Turns screens into the fewest bytes: only lines that changed are written again."""

    def __init__(self) -> None:
        self._before: list[str] = []
        self._width = 0

    def paint(self, lines: Sequence[str], width: int) -> str:
        """What to write to the terminal. After a change of its size everything is drawn anew."""
        parts = []
        if len(lines) != len(self._before) or width != self._width:
            parts.append("\x1b[0m\x1b[2J")
            self._before = [""] * len(lines)
        for row, (now, before) in enumerate(zip(lines, self._before, strict=True), start=1):
            if now != before:
                parts.append(f"\x1b[{row};1H{now}\x1b[K")
        if parts:
            parts.append(f"\x1b[{len(lines)};1H")
        self._before, self._width = list(lines), width
        return "".join(parts)


class Keys:
    """Bytes of a keyboard to names of keys; an escape sequence may come in pieces."""

    def __init__(self) -> None:
        self._held = ""

    @property
    def unfinished(self) -> bool:
        """Whether the beginning of a sequence is held."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete."""
        self._held += data.decode("utf-8", "ignore")
        found: list[str] = []
        while self._held:
            known = next((code for code in _KEYS if self._held.startswith(code)), None)
            if known is None and any(code.startswith(self._held) for code in _KEYS):
                break
            if known is not None:
                found.append(_KEYS[known])
            self._held = self._held[len(known or self._held[0]) :]
        return found

    def give_up(self) -> list[str]:
        """Nothing more came: what is held was the escape key."""
        held, self._held = self._held, ""
        return ["escape"] if held.startswith("\x1b") else []


class Terminal(Protocol):
    """A place with keys and a screen."""

    def size(self) -> tuple[int, int]: ...
    def write(self, text: str) -> None: ...
    def keys(self, wait_s: float) -> list[str]: ...


def run(terminal: Terminal, reader: Reader, language: str, every_s: float, *, colour: bool) -> int:
    """Until q. Looks at the file every `every_s` seconds, and at once after a key."""
    view, painter = View(language), Painter()
    while True:
        look = reader.look(view.language)
        width, height = terminal.size()
        # A line as wide as the terminal would make it wrap before the rest of the line is erased.
        lines = screen(look, view, width - 1, height)
        terminal.write(painter.paint(_dressed(lines, look, view, height) if colour else lines, width))
        for key in terminal.keys(every_s):
            if key == "quit":
                return 0
            view = press(view, key, look)


def _dressed(lines: list[str], look: Look, view: View, height: int) -> list[str]:
    """Colour for the first word, reverse for the chosen row."""
    row = chosen_row(look, view, height)
    if 0 <= row < len(lines) - 1:
        lines[row] = f"\x1b[7m{lines[row]}\x1b[0m"
    if look.document is not None and view.mode != "item" and lines[0]:
        severity = "critical" if look.problem else look.document["overall"]["severity"]
        word, blank, rest = lines[0].partition(" ")
        lines[0] = f"\x1b[{_SEVERITY_COLOUR[severity]}m{word}\x1b[0m{blank}{rest}"
    return lines


class Console:
    """The terminal that the command runs in; as it was when it is left, also after SIGTERM."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._keys = Keys()

    def __enter__(self) -> Console:
        self._settings = termios.tcgetattr(self._in)
        self._handler = signal.signal(signal.SIGTERM, _end_politely)
        tty.setcbreak(self._in)
        return self

    def __exit__(self, *_exc: object) -> None:
        termios.tcsetattr(self._in, termios.TCSADRAIN, self._settings)
        signal.signal(signal.SIGTERM, self._handler)
        self.write(f"\x1b[0m\x1b[{self.size()[1]};1H\x1b[K")

    def size(self) -> tuple[int, int]:
        """Columns and lines; a serial console that does not know them has 80 by 24."""
        found = shutil.get_terminal_size((80, 24))
        return max(40, found.columns), max(10, found.lines)

    def write(self, text: str) -> None:
        """All of it; what the terminal's character set lacks becomes "?"."""
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]

    def keys(self, wait_s: float) -> list[str]:
        """The keys that came within that time; a closed line is like q."""
        if not self._ready(wait_s):
            return []
        while True:
            data = os.read(self._in, 64)
            found = self._keys.feed(data) if data else ["quit"]
            if found or not self._keys.unfinished:
                return found
            if not self._ready(ESCAPE_WAIT_S):
                return self._keys.give_up()

    def _ready(self, wait_s: float) -> bool:
        return bool(select.select([self._in], [], [], wait_s)[0])


def _end_politely(_number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


def live_screen(reader: Reader, language: str, every_s: float, *, colour: bool) -> int:
    """In the terminal that the command runs in."""
    try:
        with Console() as console:
            return run(console, reader, language, every_s, colour=colour)
    except KeyboardInterrupt:
        return 0


def follow_lines(
    reader: Reader,
    language: str,
    out: Callable[[str], None],
    *,
    as_json: bool = False,
    flush: Callable[[], object] = sys.stdout.flush,
    sleep: Callable[[float], None] = time.sleep,
    every_s: float = 1.0,
    rounds: int | None = None,
) -> int:
    """A line at each change, for ever; `rounds`: so many looks, for a script."""
    before = ""
    look = reader.look(language)
    while True:
        now = line(look, language)
        if now != before:
            out(_json_line(reader, look) if as_json else f"{_stamp(look)} {now}")
            flush()
        before = now
        if rounds is not None and (rounds := rounds - 1) <= 0:
            return 0
        sleep(every_s)
        look = reader.look(language)


def _stamp(look: Look) -> str:
    return local_time(look.document["updated_utc"]) if look.document else "-"


def _json_line(reader: Reader, look: Look) -> str:
    if look.document is None:
        assert look.problem is not None
        return json.dumps({"life": "unknown", "problem": look.problem.code, "status": None})
    code = look.problem.code if look.problem else ""
    told = {"life": reader.life(look.document), "problem": code, "status": look.document}
    return json.dumps(told, ensure_ascii=False)
