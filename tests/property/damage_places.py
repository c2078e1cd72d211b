"""Journals to be damaged, and where in their files the structure lies.

Source: SQLite file format, sections 1.3 (database header), 1.6 (b-tree pages), 4.1 and 4.2 (log); `agent/highwater.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.journal_scenes import Home, sale

PAGE_BYTES = 4096
DATABASE_HEADER_BYTES = 100
LOG_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
SLOT_BYTES = 68  # of the mark; one slot a page
INNER_PAGES = (2, 5)


def make_places(directory: Path, transactions: int) -> Path:
    """Below it: "killed" (older transactions in the database, newer ones in the log only) and "closed" (no log)."""
    home = Home(directory / "running")
    home.directory.mkdir()
    journal = home.open(checkpoint_frames=10_000)
    for number in range(transactions):
        sale(journal, f"old {number}", "begun", "reversing", "reversed")
    journal.close()
    journal = home.open(checkpoint_frames=10_000)
    for number in range(transactions):
        sale(journal, f"new {number}", "begun", "reversing")
    home.copy(directory / "killed")
    journal.close()
    home.copy(directory / "closed")
    return directory


def structure(name: str, content: bytes) -> set[int]:
    """Every position of a header, or of a list of cells, in this file."""
    if name.endswith(".db"):
        found = set(range(DATABASE_HEADER_BYTES))
        for start in range(0, len(content), PAGE_BYTES):
            found |= _page(content, start, start + DATABASE_HEADER_BYTES if start == 0 else start)
        return found
    if name.endswith("-wal"):
        found = set(range(LOG_HEADER_BYTES))
        for start in range(LOG_HEADER_BYTES, len(content), FRAME_HEADER_BYTES + PAGE_BYTES):
            page = start + FRAME_HEADER_BYTES
            found |= set(range(start, page)) | _page(content, page, page)
        return found
    if name.endswith(".mark"):
        return {start + at for start in range(0, len(content), PAGE_BYTES) for at in range(SLOT_BYTES)}
    return set(range(len(content)))


def _page(content: bytes, page: int, header: int) -> set[int]:
    """The header of a b-tree page and its list of cells."""
    length = 12 if content[header] in INNER_PAGES else 8
    cells = int.from_bytes(content[header + 3 : header + 5], "big")
    return set(range(header, min(header + length + 2 * cells, page + PAGE_BYTES, len(content))))
