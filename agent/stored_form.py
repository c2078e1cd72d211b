"""A transaction as the journal's entry, and back."""

from __future__ import annotations

from agent.journal_contract import Entry, Row, Stored
from agent.records import Transaction, dump, load


def entry_of(txn: Transaction, event: str, secret: bytes, at_utc: str) -> Entry:
    """The record of one step; `secret` b"" means unchanged."""
    return Entry(
        txn_id=txn.id,
        lane=txn.lane,
        reference=txn.reference,
        state=str(txn.state),
        pending=txn.pending,
        event=event,
        public=dump(txn),
        secret=secret,
        at_utc=at_utc,
    )


def is_transaction(txn_id: str) -> bool:
    """Whether a journal id is a transaction's; sessions and settlements have a colon in theirs."""
    return ":" not in txn_id


def loaded(stored: Stored) -> Transaction:
    """The transaction with its exact reversal. Raises ProtocolError, ValueError, KeyError, TypeError."""
    return load(stored.entry.public, stored.entry.secret)


def stans_of(row: Row) -> set[str]:
    """The numbers of a stored item; an unreadable one has none (the loop tells of those that are pending)."""
    if not is_transaction(row.txn_id):
        return set()
    try:
        return load(row.public, b"").stans
    except (ValueError, KeyError, TypeError):
        return set()
