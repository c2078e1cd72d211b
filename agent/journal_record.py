"""How an entry becomes a record: sealed, chained to the one before, and how much of the log it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from agent.journal_contract import Entry
from agent.journal_schema import Current, Record, chain_code, seal_context
from agent.journal_space import PAGE_BYTES
from agent.vault import Vault

# What stands in a record that belongs to no transaction: it only sets counters.
NO_TRANSACTION = Entry("", "", "", "", False, "counters", "", b"", "")
# Pages of a commit besides those of its records: inner page, first page, free list, padding.
COMMIT_FRAMES = 5
# Pages that settling one transaction touches at most: its row and two indexes.
SETTLE_FRAMES = 3
# Bytes of a record besides its bodies: ids, names, chain (about 250).
_RECORD_BYTES = 300
_COUNTERS = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def noted(counters: Mapping[str, int]) -> str:
    """Counters as they stand in the record that sets them; "" if it sets none."""
    return _COUNTERS.encode(dict(counters)) if counters else ""


def make(
    vault: Vault, seq: int, entry: Entry, before: Current | None, secret: bytes, counters: str, chain: bytes
) -> Record:
    """Record `seq`, which continues the chain value `chain`; `before` is how its transaction stood.

    Raises ValueError if the transaction would change its lane or reference.
    """
    if before and (entry.lane, entry.reference) != (before.lane, before.reference):
        raise ValueError(f"transaction {entry.txn_id} cannot change its lane or reference")
    sealed = vault.seal(secret, seal_context(entry.txn_id, seq)) if secret else b""
    numbers = (seq, before.last_seq if before else 0)
    names = (entry.txn_id, entry.lane, entry.reference, entry.state)
    rest = (entry.event, entry.at_utc, entry.public, counters)
    key_id, pending = vault.key_id, int(entry.pending)
    columns = in_bytes((str(seq), str(numbers[1]), *names, str(pending), *rest))
    code = chain_code(chain, (*columns, sealed, key_id.encode()), key_id, vault)
    return Record(*numbers, *names, pending, *rest, sealed, key_id, code)


def in_bytes(texts: Sequence[str]) -> Sequence[bytes]:
    """Each text in UTF-8; what UTF-8 has no bytes for is replaced, as reading it back does (`chain_of`)."""
    try:
        return list(map(str.encode, texts))
    except UnicodeEncodeError:
        return [text.encode("utf-8", "replace") for text in texts]


def frames_of(records: Sequence[Record]) -> int:
    """Pages that a commit of these records writes to the log, rather too many than too few."""
    body_bytes = _RECORD_BYTES * len(records)
    for record in records:
        body_bytes += len(record.public) + len(record.sealed)
    return COMMIT_FRAMES + 3 * body_bytes // (2 * PAGE_BYTES)
