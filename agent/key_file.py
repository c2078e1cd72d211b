"""The key file: mode 0600 or 0400, either exactly 32 raw bytes, or lines of base64 (44 characters, `#` comments).

The first key seals, the others only open what they sealed before (rotation: the new key comes on top). A line
`destroyed ID BASE64` is what is left of a destroyed key: its chain code's key, which proves that old records were not
altered and opens none of them.

Rules not to break:

1. The file is replaced whole or not at all, and never when it is not what we read: nothing that somebody put there is
   overwritten.
2. No text, repr or error of this file holds a key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from agent.durable_file import create_durably, rename_durably, replace_durably
from agent.key_material import KEY_BYTES, key_of, significant_lines, text_of
from agent.private_file import read_private
from agent.vault_error import VaultError
from protocol.frozen import dataclass

DESTROYED = "destroyed"
_WHAT = "key file"


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys of one file. `destroyed`: what is left of destroyed ones, by key id."""

    keys: tuple[bytes, ...] = field(repr=False)
    destroyed: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class KeyFile:
    """One key file. A new one has the name `<key file>.new` until `settle`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting = path.with_name(path.name + ".new")
        self._read = b""  # hash of what was read or written last

    def load(self) -> Keyring:
        """What it holds. Raises VaultError, with what to do, if it cannot be used."""
        return self._load(self.path)

    def load_waiting(self) -> Keyring:
        """What the new one holds. Raises VaultError."""
        return self._load(self.waiting)

    def create(self) -> None:
        """Makes a new one with one new key. Raises VaultError; then there is none."""
        try:
            create_durably(self.waiting, _written(Keyring((os.urandom(KEY_BYTES),))))
        except OSError as error:
            hint = "check the directory and its rights"
            raise VaultError(f"key file {self.waiting} cannot be created: {error.strerror}", hint) from error

    def settle(self) -> None:
        """Gives the new one its final name. Raises VaultError."""
        try:
            rename_durably(self.waiting, self.path)
        except OSError as error:
            raise VaultError(f"key file {self.path} cannot be created: {error.strerror}") from error

    def unchanged(self) -> Keyring:
        """What it holds, if that is what was read. Raises VaultError."""
        content = self._content(self.path)
        if hashlib.sha256(content).digest() != self._read:
            hint = "restart the agent, so that it works with the file as it is now"
            raise VaultError(f"key file {self.path} was changed since it was read", hint)
        return _parsed(self.path, content)

    def replace(self, ring: Keyring) -> None:
        """The file holds `ring` from now on, forced to the disk. Raises VaultError; then it is as before."""
        content = _written(ring)
        try:
            replace_durably(self.path, content)
        except OSError as error:
            hint = "check the directory and its rights; nothing was changed"
            raise VaultError(f"key file {self.path} cannot be written: {error.strerror}", hint) from error
        self._read = hashlib.sha256(content).digest()

    def _load(self, path: Path) -> Keyring:
        content = self._content(path)
        ring = _parsed(path, content)
        self._read = hashlib.sha256(content).digest()
        return ring

    def _content(self, path: Path) -> bytes:
        return read_private(_WHAT, path, "restore it from its backup")


def _written(ring: Keyring) -> bytes:
    lines = [text_of(key) for key in ring.keys]
    lines += [f"{DESTROYED} {key_id} {text_of(rest)}" for key_id, rest in ring.destroyed.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def _parsed(path: Path, content: bytes) -> Keyring:
    if len(content) == KEY_BYTES:
        return Keyring((content,))
    keys: list[bytes] = []
    destroyed: dict[str, bytes] = {}
    for number, line in significant_lines(content):
        word, _, rest = line.decode("ascii", "replace").partition(" ")
        if word == DESTROYED:
            key_id, _, chain_key = rest.partition(" ")
            destroyed[key_id] = key_of(chain_key.encode("ascii", "replace"), _WHAT, path, number)
        else:
            keys.append(key_of(line, _WHAT, path, number))
    return Keyring(tuple(keys), destroyed)
