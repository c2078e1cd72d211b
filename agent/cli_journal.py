"""`reversalctl verify`, `export` and `salvage`: is anything missing, a copy to keep, and what can be saved.

Loads the whole configuration and the cryptography: these commands are allowed to be slow.
"""

from __future__ import annotations

from pathlib import Path

from agent import config as settings
from agent.cli_call import Call
from agent.cli_place import CommandError
from agent.journal_contract import JournalLocked
from agent.salvage import SalvageReport, salvage
from agent.vault import Vault
from agent.verify import VerifyReport, walk, walk_export

EXIT_WHOLE, EXIT_NOT_WHOLE = 0, 2


def verify(configuration_file: Path, copy: Path | None) -> VerifyReport:
    """Walks the journal of a stopped agent, or a copy of a running one's. Raises AgentError."""
    configuration = settings.load(configuration_file)
    vault = Vault.open(configuration.keys.data_key_file)
    if copy is not None:
        return walk_export(copy, vault, configuration.journal.highwater)
    try:
        return walk(configuration.journal.path, vault, configuration.journal.highwater)
    except JournalLocked:
        raise CommandError("C-JOURNAL-IN-USE") from None


def export(call: Call, target: Path) -> str:
    """Has the running agent write a whole copy of its journal; gives the path. Card data stays sealed in it."""
    return str(call("journal.export", target=str(target.absolute()))["path"])


def save(configuration_file: Path, target: Path) -> SalvageReport:
    """Builds a new journal at `target` from what can be read of the damaged one. Raises AgentError."""
    configuration = settings.load(configuration_file)
    vault = Vault.open(configuration.keys.data_key_file)
    mark = target.with_name(target.name + ".highwater")
    try:
        return salvage(configuration.journal.path, vault, target, mark, configuration.journal.highwater)
    except JournalLocked:
        raise CommandError("C-JOURNAL-IN-USE") from None
