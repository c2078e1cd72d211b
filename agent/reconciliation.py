"""What the host's books must show of one batch: reversed, parked, unknown, closed by hand, with the bank's references.

Pure: made from the journal's records (`latest`), or from items as the API shows them. Card numbers are masks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.currency import money
from agent.journal_contract import Row
from agent.money_effect import Effect, effect_of
from agent.records import Transaction, load
from agent.status_text import columns, pad
from agent.stored_form import is_transaction
from agent.texts import catalogue
from agent.texts_operations import operations, phrase
from protocol.masking import scrub

# A sum never adds what customers paid to what they were given back, or to what is only held on their cards. An inquiry
# is in none.
SIDES: Mapping[Effect, str] = {"takes": "", "holds": "-held", "undoes": "-given-back", "gives": "-given-back"}

# How a state counts in the books; in the order in which it is told. "unknown" covers all that is not decided yet.
KINDS = ("parked", "unknown", "reversed", "settled", "stands", "none")
BY_STATE = {
    "completed": "stands",
    "reversed": "reversed",
    "settled": "settled",
    "parked": "parked",
    "declined": "none",
}
COLUMNS = (
    *("kind", "terminal_id", "merchant_id", "batch", "stan", "rrn", "approval_code", "amount_minor", "currency"),
    *("card", "begun_utc", "ended_utc", "response_code", "acknowledged_with", "bank_reference", "reference", "id"),
    "transaction",
)


def latest(records: Iterable[Row | None]) -> tuple[list[dict[str, Any]], int]:
    """Every transaction as its last record has it, and how many records could not be read."""
    last: dict[str, Row] = {}
    unreadable = 0
    for row in records:
        if row is None:
            unreadable += 1
        elif row.txn_id and is_transaction(row.txn_id):
            last[row.txn_id] = row
    found = []
    for row in last.values():
        try:
            found.append(_facts(load(row.public, b"")))
        except (ValueError, KeyError, TypeError):
            unreadable += 1
    return found, unreadable


def _facts(txn: Transaction) -> dict[str, Any]:
    closing = txn.closing
    return {
        **{name: getattr(txn, name) for name in COLUMNS if hasattr(txn, name)},
        "lane": txn.lane,
        "state": str(txn.state),
        "card": txn.masked_pan,
        "begun_utc": txn.begun_at_utc,
        "ended_utc": txn.ended_at_utc,
        "reference": scrub(txn.reference),
        "closing": {"bank_reference": scrub(closing.bank_reference)} if closing else None,
    }


def rows(items: Iterable[Mapping[str, Any]], batch: str = "", lane: str = "") -> list[dict[str, Any]]:
    """One row an item, the worst kinds first, then by STAN. `batch`, `lane` "": all."""
    found = [
        {
            **{name: item.get(name, "") for name in COLUMNS},
            "transaction": item["kind"],
            "kind": kind_of(item),
            "bank_reference": _reference(item),
        }
        for item in items
        if batch in ("", item["batch"]) and lane in ("", item["lane"])
    ]
    place = ("terminal_id", "batch")
    found.sort(key=lambda row: (*(row[name] for name in place), KINDS.index(row["kind"]), row["stan"]))
    return found


def kind_of(item: Mapping[str, Any]) -> str:
    """How an item counts in the books."""
    return BY_STATE.get(item["state"], "unknown")


def csv_text(found: Sequence[Mapping[str, Any]]) -> str:
    """With a head line; a field that a spreadsheet would compute gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in found:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return out.getvalue()


def text(found: Sequence[Mapping[str, Any]], language: str) -> str:
    """A table for each batch, with its sums."""
    if not found:
        return phrase("reconcile-none", language) + "\n"
    lines: list[str] = []
    for key in dict.fromkeys((row["merchant_id"], row["terminal_id"], row["batch"]) for row in found):
        mine = [row for row in found if (row["merchant_id"], row["terminal_id"], row["batch"]) == key]
        merchant, terminal, batch = key
        lines += [phrase("reconcile-head", language, merchant=merchant, terminal=terminal, batch=batch), ""]
        lines += [*_table(mine, language), "", *_sums(mine, language), ""]
    if any(row["kind"] == "unknown" for row in found):
        lines.append(phrase("reconcile-unknown", language))
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(mine: Sequence[Mapping[str, Any]], language: str) -> list[str]:
    mixed = any(row["transaction"] != "sale" for row in mine)
    cells = [
        [
            operations().word("reconcile", row["kind"]).of(language),
            *([catalogue().word("kind", row["transaction"]).of(language)] if mixed else []),
            row["stan"],
            row["rrn"] or "-",
            money(row["amount_minor"], row["currency"]),
            row["card"] or "-",
            row["bank_reference"] or "-",
            row["id"],
        ]
        for row in mine
        if row["kind"] != "none"
    ]
    widths = [max(map(columns, cells_of)) + 2 for cells_of in zip(*cells, strict=True)]
    return ["".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _sums(mine: Sequence[Mapping[str, Any]], language: str) -> list[str]:
    lines = []
    for kind in KINDS:
        for side in dict.fromkeys(SIDES.values()):
            of_kind = [row for row in mine if row["kind"] == kind and SIDES.get(effect_of(row["transaction"])) == side]
            for currency in dict.fromkeys(row["currency"] for row in of_kind):
                chosen = [row for row in of_kind if row["currency"] == currency]
                amount = money(sum(row["amount_minor"] for row in chosen), currency)
                word = operations().word("reconcile", kind)
                lines.append(phrase(f"reconcile-sum{side}", language, kind=word, count=str(len(chosen)), amount=amount))
    return lines


def _reference(item: Mapping[str, Any]) -> str:
    closing = item.get("closing")
    return str(closing["bank_reference"]) if closing else ""


def _cell(value: Any) -> str:
    shown = str(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@", "\t")) else shown
