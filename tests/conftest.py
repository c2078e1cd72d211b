"""What the harnesses against faults counted, said at the end of every test run that used them.

A test takes the fixture `counted` and calls it: `counted("power cuts", states=846, violations=0)`. Figures of one name
are added up over all tests of the run, also when several processes share the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

Counted = Callable[..., None]
PROPERTY = "counted"


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Counted:
    """Note figures of this test: `counted(area, name=number, ...)`; blanks in names are written as underscores."""

    def note(area: str, **figures: int) -> None:
        record_property(PROPERTY, [area, figures])

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line an area, after all tests."""
    areas: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == PROPERTY:
                        areas.setdefault(value[0], Counter()).update(value[1])
    if not areas:
        return
    terminalreporter.section("faults survived")
    for area, figures in sorted(areas.items()):
        told = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in figures.items())
        terminalreporter.write_line(f"{area}: {told}")
