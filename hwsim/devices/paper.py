"""What came out of the printer: lines, images, codes and cuts, as text for tests and people.

The PNG of a slip is drawn from the same parts (`slip_png.py`).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import Literal

COLUMNS = 48  # font A, 12 dots, on 576 dots (80 mm paper)
DOTS = 576
Align = Literal["left", "center", "right"]


@dataclass(frozen=True)
class Style:
    """How characters look. Width and height are multiples 1..8."""

    bold: bool = False
    underline: bool = False
    reverse: bool = False
    width: int = 1
    height: int = 1


@dataclass(frozen=True)
class Run:
    """Characters of one style."""

    text: str
    style: Style

    @property
    def columns(self) -> int:
        return sum(map(cell_width, self.text)) * self.style.width


@dataclass(frozen=True)
class TextLine:
    runs: tuple[Run, ...]
    align: Align = "left"

    def as_text(self) -> str:
        text = "".join(run.text for run in self.runs)
        room = COLUMNS - sum(run.columns for run in self.runs)
        pad = {"left": 0, "center": room // 2, "right": room}[self.align]
        return (" " * max(pad, 0) + text).rstrip()


@dataclass(frozen=True)
class Raster:
    """A black and white image, one bit a dot, rows of whole bytes."""

    width_bytes: int
    height: int
    bits: bytes = field(repr=False)
    align: Align = "left"

    def as_text(self) -> str:
        return f"[image {self.width_bytes * 8}x{self.height}]"


@dataclass(frozen=True)
class Code:
    """A QR code or a bar code."""

    kind: str
    data: str
    module_dots: int = 3
    align: Align = "left"

    def as_text(self) -> str:
        return f"[{self.kind}: {self.data}]"


Part = TextLine | Raster | Code


@dataclass
class Slip:
    """Everything between two cuts."""

    parts: list[Part] = field(default_factory=list)

    def as_text(self) -> str:
        return "\n".join(part.as_text() for part in self.parts).strip("\n")


class Paper:
    """The roll: the slips that were cut off and the one that still hangs in the printer."""

    def __init__(self) -> None:
        self.cut_slips: list[Slip] = []
        self.hanging = Slip()

    def add(self, part: Part) -> None:
        self.hanging.parts.append(part)

    def cut(self) -> None:
        """Cuts; a cut without anything printed leaves no slip."""
        if self.hanging.as_text():
            self.cut_slips.append(self.hanging)
        self.hanging = Slip()


class LineBuffer:
    """The print buffer: characters of the line that is not printed yet."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def __bool__(self) -> bool:
        return bool(self._runs)

    def clear(self) -> None:
        self._runs = []

    def fits(self, text: str, style: Style) -> bool:
        used = sum(run.columns for run in self._runs)
        return used + Run(text, style).columns <= COLUMNS

    def add(self, text: str, style: Style) -> None:
        if self._runs and self._runs[-1].style == style:
            self._runs[-1] = replace(self._runs[-1], text=self._runs[-1].text + text)
        else:
            self._runs.append(Run(text, style))

    def tab(self, style: Style) -> None:
        used = sum(run.columns for run in self._runs)
        self.add(" " * (8 - used % 8), style)

    def take(self, align: Align) -> TextLine:
        line = TextLine(tuple(self._runs), align)
        self._runs = []
        return line


def cell_width(character: str) -> int:
    """2 for Chinese characters, 1 for the rest."""
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
