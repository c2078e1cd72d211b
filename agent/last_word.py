"""What the agent said last when it ended as asked: what was pending, and as of which record.

For whoever must know what is pending where the journal's key is out of reach: a wrapping key that systemd gives to the
running service alone, one on a medium that is not there. The word counts only if nothing was recorded since: the mark
outside of the journal, the journal's newest record and the status must name the same one.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from agent.cli_place import STATUS_FILE
from agent.highwater import Mark, read_mark
from agent.journal_contract import JournalError
from agent.journal_image import image_of, reading
from agent.journal_open import held


def pending_at_the_end(run_dir: Path, journal: Path, highwater: Path) -> list[dict[str, Any]] | None:
    """The items as the status had them; None where it cannot be relied on."""
    try:
        status = json.loads((run_dir / STATUS_FILE).read_text(encoding="utf-8"))
        ended_as_asked = status["stopped"] == {"reason": ""}
        head_seq, count, items = status["store"]["head_seq"], status["pending_count"], status["items"]
        if ended_as_asked and len(items) == count and _stands_at(journal, read_mark(highwater), head_seq):
            return list(items)
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error, JournalError):
        pass  # whatever is not as it was written is not believed
    return None


def _stands_at(journal: Path, mark: Mark | None, head_seq: object) -> bool:
    if mark is None or mark.seq != head_seq:
        return False
    with held(journal), image_of(journal) as copy, reading(copy) as connection:
        newest = connection.execute("SELECT seq, chain FROM record ORDER BY seq DESC LIMIT 1").fetchone()
    return bool(newest == (mark.seq, mark.chain))
