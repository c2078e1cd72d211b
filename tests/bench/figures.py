"""What a bench gives: one figure a row, each beside the baseline that was measured in the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    `value` and `baseline` in `unit`; `p99` and `p999` of the same samples where there are many. `goal` is what the
    agent promises, `met` whether this run kept it; None: nothing is promised.
    """

    subject: str
    name: str
    value: float
    unit: str
    p99: float | None = None
    p999: float | None = None
    baseline_name: str = ""
    baseline: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value by baseline."""
        return self.value / self.baseline if self.baseline else None

    def as_json(self) -> dict[str, Any]:
        """All of it, with the ratio."""
        return {**asdict(self), "ratio": self.ratio}


def percentile(samples: Sequence[float], percent: float) -> float:
    """Nearest rank."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def spread(subject: str, name: str, samples: Sequence[float], unit: str, **more: Any) -> Figure:
    """A figure out of many samples: p50, p99, p99.9."""
    p50, p99, p999 = (percentile(samples, percent) for percent in (50, 99, 99.9))
    return Figure(subject, name, p50, unit, p99, p999, **more)


COLUMNS: tuple[tuple[str, Callable[[Figure], str]], ...] = (
    ("what", lambda figure: figure.name),
    ("value (p50)", lambda figure: f"{_short(figure.value)} {figure.unit}"),
    ("p99", lambda figure: _short(figure.p99)),
    ("p99.9", lambda figure: _short(figure.p999)),
    ("baseline", lambda figure: f"{figure.baseline_name} {_short(figure.baseline)}".strip()),
    ("ratio", lambda figure: f"{figure.ratio:.2f}" if figure.ratio is not None else ""),
    ("goal", lambda figure: figure.goal),
    ("kept", lambda figure: {True: "yes", False: "NO", None: ""}[figure.met]),
    ("note", lambda figure: figure.note),
)


def table(figures: Sequence[Figure]) -> str:
    """Markdown, one table a subject."""
    lines: list[str] = []
    for subject in dict.fromkeys(figure.subject for figure in figures):
        rows = [[make(figure) for _, make in COLUMNS] for figure in figures if figure.subject == subject]
        titles = [title for title, _ in COLUMNS]
        kept = [at for at in range(len(titles)) if any(row[at] for row in rows)]
        lines += ["", f"### {subject}", "", _line([titles[at] for at in kept]), _line(["---"] * len(kept))]
        lines += [_line([row[at] for at in kept]) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
