"""`reversalctl verify`, `export`, `archive` and `salvage`: is anything missing, copies to keep, what can be saved.

Loads the whole configuration and the cryptography: these commands are allowed to be slow.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent import config as settings
from agent.cli_call import Call
from agent.cli_place import CommandError
from agent.journal_archive import archive_path
from agent.journal_contract import JournalLocked
from agent.journal_space import bytes_free
from agent.key_sources import open_vault
from agent.salvage import SalvageReport, salvage
from agent.verify import VerifyReport, walk, walk_export

EXIT_WHOLE, EXIT_NOT_WHOLE = 0, 2


def verify(configuration_file: Path, copy: Path | None, call: Call) -> VerifyReport:
    """Walks the journal and its archive, or a copy. Of a running agent it has a copy made, which does not stay.

    Raises AgentError.
    """
    configuration = settings.load(configuration_file)
    vault = open_vault(configuration.keys)
    journal = configuration.journal
    if copy is not None:
        return walk_export(copy, vault, journal.highwater, archive_path(journal.path))
    try:
        return walk(journal.path, vault, journal.highwater)
    except JournalLocked:
        with _place_of_copy(configuration) as directory:
            target = Path(export(call, directory / "journal.db"))
            report = walk_export(target, vault, journal.highwater, archive_path(journal.path))
    report.path, report.exported = journal.path, True
    return report


@contextmanager
def _place_of_copy(configuration: settings.Configuration) -> Iterator[Path]:
    """A directory that the daemon may write into, for its user alone; gone afterwards. Raises CommandError.

    Beside the journal: the service has a /tmp of its own. The copy leaves the room that is kept for acknowledgements.
    """
    state, journal = configuration.agent.state_dir, configuration.journal
    if bytes_free(state) < 2 * journal.path.stat().st_size + journal.reserve_bytes:
        raise CommandError("C-JOURNAL-IN-USE")
    try:
        directory = Path(tempfile.mkdtemp(prefix="verify-", dir=state))
    except OSError:
        raise CommandError("C-JOURNAL-IN-USE") from None
    try:
        if os.geteuid() == 0:
            owner = state.stat()
            os.chown(directory, owner.st_uid, owner.st_gid)
        yield directory
    finally:
        shutil.rmtree(directory)


def archive(call: Call, older_than_days: int) -> dict[str, object]:
    """Has the running agent move what ended so long ago into the archive, step by step; what went, and where."""
    told, transactions, records = {"more": True}, 0, 0
    while told["more"]:
        told = call("journal.archive", older_than_days=older_than_days)
        transactions, records = transactions + int(told["transactions"]), records + int(told["records"])
    return {"path": told["path"], "transactions": transactions, "records": records, "upto": told["upto"]}


def export(call: Call, target: Path) -> str:
    """Has the running agent write a whole copy of its journal; gives the path. Card data stays sealed in it."""
    return str(call("journal.export", target=str(target.absolute()))["path"])


def save(configuration_file: Path, target: Path) -> SalvageReport:
    """Builds a new journal at `target` from what can be read of the damaged one. Raises AgentError."""
    configuration = settings.load(configuration_file)
    vault = open_vault(configuration.keys)
    mark = target.with_name(target.name + ".highwater")
    try:
        return salvage(configuration.journal.path, vault, target, mark, configuration.journal.highwater)
    except JournalLocked:
        raise CommandError("C-JOURNAL-IN-USE") from None
