"""Small plots as SVG: only shapes, no text and no colour of their own.

A plot stretches to the width of its place (`preserveAspectRatio="none"`), so text in it would be distorted: labels
stand beside it as HTML, and say in words what the shape shows. Colours come from the page's style by class, so that a
plot fits light, dark and paper; every state differs in height too, not in colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.status_html_markup import Html, tag
from protocol.frozen import dataclass

WIDTH, HEIGHT = 1000.0, 40.0  # of the drawing; the page stretches it
# How high a band stands, by its class: trouble is tall.
_TALL = {"good": 0.3, "none": 0.12, "warn": 0.7, "bad": 1.0}
# A short event must still be seen: a band is at least this wide (of WIDTH).
_BAND_MIN = 3.0


@dataclass(frozen=True, slots=True)
class Band:
    """A state from `start` to `end` (seconds). `look`: good, none, warn or bad."""

    start: float
    end: float
    look: str


def bands(row: Sequence[Band], start: float, end: float, labelled_by: str) -> Html:
    """States over time; the longest first, so that short trouble is drawn above it."""
    scale = WIDTH / max(end - start, 1e-9)
    order = sorted(row, key=lambda band: (_TALL[band.look], band.start - band.end))
    return _svg([_rect(band, start, scale) for band in order], labelled_by)


def _rect(band: Band, start: float, scale: float) -> Html:
    left = max(0.0, (band.start - start) * scale)
    width = max(_BAND_MIN, (band.end - start) * scale - left)
    tall = _TALL[band.look] * HEIGHT
    return tag(
        "rect", x=min(left, WIDTH - _BAND_MIN), y=HEIGHT - tall, width=width, height=tall, class_=f"band {band.look}"
    )


def steps(points: Sequence[tuple[float, float]], start: float, end: float, labelled_by: str) -> Html:
    """A count over time: each point's value holds until the next one. An empty one is a flat line."""
    top = max((value for _, value in points), default=0.0) or 1.0
    scale = WIDTH / max(end - start, 1e-9)
    path = [f"M0 {HEIGHT:g}"]
    for place, (moment, value) in enumerate(points):
        left = min(max(0.0, (moment - start) * scale), WIDTH)
        until = points[place + 1][0] if place + 1 < len(points) else end
        right = min(max(left, (until - start) * scale), WIDTH)
        y = HEIGHT - value / top * (HEIGHT - 2)
        path.append(f"L{left:.1f} {y:.1f}L{right:.1f} {y:.1f}")
    path.append(f"L{WIDTH:g} {HEIGHT:g}Z")
    return _svg([tag("path", d="".join(path), class_="steps")], labelled_by)


def bars(values: Sequence[float], labelled_by: str, marked: frozenset[int] = frozenset()) -> Html:
    """Columns side by side, each as wide as its label below it; `marked` ones stand out."""
    top = max(values, default=0.0) or 1.0
    slot = WIDTH / max(len(values), 1)
    drawn = [
        tag(
            "rect",
            x=place * slot + slot * 0.12,
            y=HEIGHT - value / top * (HEIGHT - 1),
            width=slot * 0.76,
            height=value / top * (HEIGHT - 1),
            class_="bar marked" if place in marked else "bar",
        )
        for place, value in enumerate(values)
        if value
    ]
    return _svg(drawn, labelled_by)


def _svg(shapes: Sequence[Html], labelled_by: str) -> Html:
    return tag(
        "svg",
        *shapes,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=labelled_by,
    )
