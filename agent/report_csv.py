"""The report for a spreadsheet: one file of reversals, and beside it incidents, batches and the store's samples.

UTF-8 with a byte order mark, so that spreadsheets show Chinese; a cell that would be a formula is quoted: the texts of
hosts and applications must not be run by whoever opens the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.report_files import writing
from agent.report_text import codes_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

CASES = (
    "id", "lane", "terminal_id", "merchant_id", "batch", "stan", "rrn", "approval_code", "reference", "kind",
    "amount_minor", "currency", "amount", "card", "host", "state", "cause", "begun_utc", "owed_utc",
    "first_attempt_utc", "last_attempt_utc", "attempts", "link_failures", "codes", "acknowledged_with", "ended_utc",
    "took_s", "bank_reference", "incidents",
)  # fmt: skip
INCIDENTS = (
    "number", "kind", "lane", "began_utc", "ended_utc", "open", "duration_s", "quiet_s", "symptoms", "items_count",
    "items", "amounts", "attempts", "first_attempt_utc", "last_attempt_utc", "codes", "causes",
)  # fmt: skip
BALANCE = (
    "lane", "batch", "currency", "letters", "intents", "completed", "declined", "reversed", "settled", "pending",
    "balanced", "amounts_minor",
)  # fmt: skip


STORE = ("at_utc", "commits", "commit_p50_ms", "commit_p99_ms", "bytes_used", "bytes_free", "head_seq")


def write(report: Mapping[str, Any], target: Path) -> list[Path]:
    """Writes `target` (reversals), and beside it "-incidents", "-batches" and "-store"; gives the paths.

    Raises ReportFileError.
    """
    tables = (("", CASES, report["cases"]), ("-incidents", INCIDENTS, report["incidents"]))
    written = []
    store = (report["store"] or {}).get("points", [])
    for name, columns, rows in (*tables, ("-batches", BALANCE, report["balance"]), ("-store", STORE, store)):
        path = target.with_name(f"{target.stem}{name}{target.suffix}")
        _write_table(path, columns, rows)
        written.append(path)
    return written


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with writing(path, newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_cell(row[name]) for name in columns] for row in rows)


def _cell(value: Any) -> str:
    """A number stays one; a text never becomes a formula."""
    if isinstance(value, Mapping):
        return codes_text(value) if all(isinstance(count, int) for count in value.values()) else str(dict(value))
    if isinstance(value, list):
        return "; ".join(_part(one) for one in value)
    if isinstance(value, bool | int | float):
        return str(value)
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _part(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['cause']} x{value['count']}" if "cause" in value else str(value.get("text", ""))
    return str(value)
