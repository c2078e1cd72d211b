"""Loaded by Python at the start of the daemon under test: what only shows fails while a file exists."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# module: function; each is called by one part of what only shows
PLACES = {
    "text": ("agent.status_text", "label"),
    "page": ("agent.status_html", "_history"),
    "alerts": ("agent.alerts", "_of_lanes"),
    "metrics": ("agent.metrics", "_store"),
    "status": ("agent.status", "_impact"),
    "trends": ("agent.trends", "_Event"),
    "samples": ("agent.store_history", "read"),
    "clock": ("agent.host_clock", "offset"),
}


def faulty_while(file: Path, part: str, sound: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or a fault whose text holds a card number."""

    def called(*given: Any, **named: Any) -> Any:
        if file.exists() and part in file.read_text().split():
            raise ZeroDivisionError("6200000000000005")
        return sound(*given, **named)

    return called


if os.environ.get("SHOW_FAULT"):
    for name, (module_name, attribute) in PLACES.items():
        module = importlib.import_module(module_name)
        setattr(module, attribute, faulty_while(Path(os.environ["SHOW_FAULT"]), name, getattr(module, attribute)))
