"""A second copy of what is pending, on another medium: losing either one loses nothing that is owed.

Two files take turns (`.a`, `.b`); each write replaces the older one whole, durably, and says how new it is. So the copy
is whole at every instant, and damage to one file costs only what was new in it. Bodies are sealed as in the journal
(the same key file), and a code over everything tells damage.

The mirror is written after the journal's commit and never stands in its way: an error here is a warning, and the agent
goes on with the journal alone. `merge` brings back what the journal lost: at start, before anything is sent, and after
a salvage. Sequence numbers count within one journal, so it compares them only where the copy was made from this one.

    line 1   {"schema": 1, "journal_id": ..., "head_seq": n, "count": n, "counters": {...}, "key_id": ...}
    lines    {"seq": n, "txn_id": ..., ..., "sealed": base64}       one a pending transaction
    last     the HMAC-SHA-256 of all bytes before, in hexadecimal
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from pathlib import Path

from agent.durable_file import replace_durably
from agent.journal_contract import Entry, JournalError, Store, Stored
from agent.vault import Vault, VaultError
from protocol.frozen import dataclass

SCHEMA = 1
_TEXTS = ("txn_id", "lane", "reference", "state", "event", "public", "at_utc")


class MirrorError(JournalError):
    """The second copy cannot be written or read. The journal itself is not concerned."""

    code = "E-MIRROR"


@dataclass(frozen=True, slots=True)
class MirrorImage:
    """What a second copy holds: everything pending when the journal stood at `head_seq`."""

    journal_id: str
    head_seq: int
    pending: tuple[Stored, ...]
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Merged:
    """Ids of transactions: `added` were lost and are back; `doubtful` differ, and a person compares them."""

    added: tuple[str, ...]
    doubtful: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """For the status file: how far the copy is behind the journal (records), and its last error ("" if none)."""

    head_seq: int
    behind: int
    error: str


def image_of(journal: Store) -> MirrorImage:
    """What is to be copied now."""
    return MirrorImage(journal.journal_id, journal.health().head_seq, tuple(journal.pending()), journal.counters())


class Mirror:
    """The second copy below `path` (two files), written with the keys of `vault`."""

    def __init__(self, path: Path, vault: Vault) -> None:
        self._paths = (path.with_name(path.name + ".a"), path.with_name(path.name + ".b"))
        self._vault = vault
        self._head_seq = 0
        self._turn = 0
        self._error = ""

    def save(self, image: MirrorImage) -> bool:
        """Replaces the older copy; whether that worked (the reason why not is in `status`). Waits for its medium."""
        content = self._encode(image)
        try:
            replace_durably(self._paths[self._turn], content)
        except OSError as error:
            self._error = f"the second copy {self._paths[self._turn]} cannot be written: {error.strerror}"
            return False
        self._turn = 1 - self._turn
        self._head_seq, self._error = image.head_seq, ""
        return True

    def load(self) -> MirrorImage | None:
        """The newest whole copy; None if there never was one. Raises MirrorError if files exist and none is whole."""
        existing = [path for path in self._paths if path.exists()]
        images, reasons = [], []
        for path in existing:
            try:
                images.append((self._decode(path.read_bytes()), path))
            except (OSError, VaultError, ValueError, KeyError, TypeError) as error:
                reasons.append(f"{path}: {error}")
        if not images:
            if existing:
                raise MirrorError("; ".join(reasons), "the journal is not concerned; look at the second medium")
            return None
        newest, path = max(images, key=lambda one: one[0].head_seq)
        self._turn = 1 - self._paths.index(path)
        self._head_seq = newest.head_seq
        return newest

    def status(self, journal_head_seq: int) -> MirrorStatus:
        """How far behind."""
        return MirrorStatus(self._head_seq, max(0, journal_head_seq - self._head_seq), self._error)

    def _encode(self, image: MirrorImage) -> bytes:
        head = {
            "schema": SCHEMA,
            "journal_id": image.journal_id,
            "head_seq": image.head_seq,
            "count": len(image.pending),
            "counters": dict(image.counters),
            "key_id": self._vault.key_id,
        }
        lines = [json.dumps(head)] + [json.dumps(self._packed(stored)) for stored in image.pending]
        body = "".join(line + "\n" for line in lines).encode()
        return body + self._vault.chain_code(body, self._vault.key_id).hex().encode() + b"\n"

    def _packed(self, stored: Stored) -> dict[str, object]:
        entry = stored.entry
        sealed = self._vault.seal(entry.secret, _context(entry.txn_id, stored.seq))
        texts = {name: getattr(entry, name) for name in _TEXTS}
        return {"seq": stored.seq, **texts, "sealed": base64.b64encode(sealed).decode()}

    def _decode(self, content: bytes) -> MirrorImage:
        body, _, code = content.removesuffix(b"\n").rpartition(b"\n")
        body += b"\n"
        lines = body.decode().splitlines()
        head = json.loads(lines[0])
        if not hmac.compare_digest(self._vault.chain_code(body, head["key_id"]).hex().encode(), code):
            raise ValueError("the copy is damaged")
        if head["schema"] != SCHEMA:
            raise ValueError(f"the copy has schema {head['schema']}, this program knows {SCHEMA}")
        pending = tuple(self._unpacked(json.loads(line)) for line in lines[1:])
        return MirrorImage(head["journal_id"], head["head_seq"], pending, head["counters"])

    def _unpacked(self, packed: dict[str, str | int]) -> Stored:
        seq = int(packed["seq"])
        texts = {name: str(packed[name]) for name in _TEXTS}
        try:
            sealed = base64.b64decode(str(packed["sealed"]), validate=True)
        except binascii.Error as error:
            raise ValueError("a sealed body is damaged") from error
        secret = self._vault.open_sealed(sealed, _context(texts["txn_id"], seq))
        return Stored(Entry(**texts, pending=True, secret=secret), seq)


def merge(journal: Store, image: MirrorImage) -> Merged:
    """Brings what the journal lost into it, in one commit.

    Taken over: what it does not know at all, and, if the copy was made from this very journal, what it knows only from
    an earlier record (an older copy of it was restored). Never taken over: a transaction that is over in the journal.
    A counter is only ever raised: a STAN given out once must not be given out again.
    """
    added, doubtful = [], []
    for stored in image.pending:
        known = journal.get(stored.entry.txn_id)
        if known is None and stored.seq <= journal.archived_upto and image.journal_id == journal.journal_id:
            continue  # it was over and is archived, perhaps in a file that was put away
        if known is None or (known.entry.pending and _is_newer(journal, image, stored, known)):
            added.append(stored.entry)
        elif known.entry.pending and not _in_history(journal, stored.entry):
            doubtful.append(stored.entry.txn_id)
    known_counters = journal.counters()
    raised = {name: value for name, value in image.counters.items() if value > known_counters.get(name, -1)}
    if added:
        journal.append(added, raised)
    return Merged(tuple(entry.txn_id for entry in added), tuple(doubtful))


def _is_newer(journal: Store, image: MirrorImage, stored: Stored, known: Stored) -> bool:
    return image.journal_id == journal.journal_id and stored.seq > known.seq


def _in_history(journal: Store, entry: Entry) -> bool:
    facts = (entry.state, entry.event, entry.public, entry.at_utc)
    return any((row.state, row.event, row.public, row.at_utc) == facts for row in journal.history(entry.txn_id))


def _context(txn_id: str, seq: int) -> bytes:
    return f"pos-reversal-agent mirror 1|{txn_id}|{seq}".encode()
