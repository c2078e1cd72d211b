"""Opens damaged copies of a journal in a process of its own, because a refused journal keeps its files open for ever.

    python -m tests.property.flip_one DIRECTORY SCRATCH FILE KIND POSITION...

One word a position: `same` (everything that was stored is there), `refused`, `DIFFERENT`, or `ERROR` (one of our own).
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import sys
from pathlib import Path

from agent.journal import Journal, JournalError
from agent.vault import VaultError
from tests.journal_scenes import Home


def content(journal: Journal) -> object:
    """Everything that a caller can see."""
    rows = journal.recent(100)
    return (
        journal.pending(),
        rows,
        [journal.history(row.txn_id) for row in rows],
        [journal.get(row.txn_id) for row in rows],
        journal.counters(),
        journal.counts(),
    )


def outcome(directory: Path, scratch: Path, name: str, kind: str, position: int, whole: object) -> str:
    """What a start makes of one damaged byte, or of a file cut at one position."""
    shutil.rmtree(scratch, ignore_errors=True)
    home = Home(directory).copy(scratch)
    damaged = bytearray((scratch / name).read_bytes())
    if kind == "flip":
        damaged[position] ^= 1 << position % 8
    else:
        del damaged[position:]
    (scratch / name).write_bytes(damaged)
    try:
        journal = home.open(check_last=None)
        found = content(journal)
        journal.close()
    except (JournalError, VaultError):
        return "refused"
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, struct.error, sqlite3.Error) as error:
        print(f"{kind} of {name} at {position}: {type(error).__name__}: {error}", file=sys.stderr)
        return "ERROR"
    return "same" if found == whole else "DIFFERENT"


def main() -> None:
    """See the module."""
    directory, scratch, name, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    shutil.rmtree(scratch, ignore_errors=True)
    journal = Home(directory).copy(scratch).open(check_last=None)
    whole = content(journal)
    journal.close()
    for position in sys.argv[5:]:
        print(outcome(directory, scratch, name, kind, int(position), whole))


if __name__ == "__main__":
    main()
