"""Files that hold a key: used only where nobody else may read them.

systemd gives a credential to the service's user by an access list; since release 254 its mode then shows r for the
group (0440) although no group may read it (systemd issue 29435, "not a bug"). In a directory of credentials that one
bit says nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agent.vault_error import VaultError

# Where systemd keeps the credentials of all services: one directory a unit, gone when the unit has stopped.
CREDENTIALS = Path("/run/credentials")
# A key file has some lines; a larger file is a mistake (a journal, a device).
FILE_BYTES_MAX = 1 << 20

_OTHERS, _GROUP_READS = 0o077, 0o040


def is_credential(path: Path) -> bool:
    """Whether systemd put it there, for one service and for as long as that runs."""
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    return path.is_relative_to(CREDENTIALS) or (own is not None and path.parent == Path(own))


def open_to_others(path: Path, mode: int) -> bool:
    """Whether more than the owner may use a file with this mode."""
    return bool(mode & (_OTHERS & ~_GROUP_READS if is_credential(path) else _OTHERS))


def read_private(what: str, path: Path, hint: str) -> bytes:
    """The content of a file that only its owner may use. `what` it is and the `hint` for one that cannot be read stand
    in the error. Raises VaultError."""
    try:
        refuse_open_to_others(what, path, os.stat(path))
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise VaultError(f"{what} {path} cannot be read: {error.strerror}", hint) from error
    if len(content) > FILE_BYTES_MAX:
        raise VaultError(f"{what} {path} is larger than {FILE_BYTES_MAX} bytes", hint)
    return content


def refuse_open_to_others(what: str, path: Path, status: os.stat_result) -> None:
    """Raises VaultError unless it is a regular file for its owner alone."""
    if not stat.S_ISREG(status.st_mode):
        raise VaultError(f"{what} {path} is not a regular file")
    if open_to_others(path, status.st_mode):
        raise VaultError(
            f"{what} {path} has mode {stat.S_IMODE(status.st_mode):04o}: others may read it",
            f"chmod 0600 {path}, and change the key if others could have read it",
        )
