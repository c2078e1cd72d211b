"""One journal item with its opened secret, out of a copy that `reversalctl export` made. Nothing is changed.

Raises the journal's and the vault's errors; LookupError is turned into JournalUnreadable.
"""

from __future__ import annotations

from pathlib import Path

from agent import config as settings
from agent.journal_contract import Entry, JournalUnreadable
from agent.journal_current import Standing
from agent.journal_image import image_of, reading
from agent.journal_open import start_errors
from agent.journal_read import stored
from agent.key_sources import open_vault
from agent.vault import Vault


def from_copy(txn_id: str, copy: Path, configuration_file: Path) -> Entry | None:
    """The latest entry of an item; None when the copy has none. The key is the one of the configuration."""
    vault = open_vault(settings.load(configuration_file).keys)
    return entry_in(txn_id, copy, vault)


def entry_in(txn_id: str, copy: Path, vault: Vault) -> Entry | None:
    """The same with the key at hand."""
    if not copy.is_file():
        raise JournalUnreadable("MISSING", copy, "the file is missing", "check the path")
    with start_errors(copy), image_of(copy) as image, reading(image) as connection:
        current = Standing.read_back(connection).current(txn_id)
        if current is None:
            return None
        try:
            return stored(connection, vault, current).entry
        except LookupError as error:
            raise JournalUnreadable("DAMAGED", copy, str(error), "use reversalctl verify --copy") from None
