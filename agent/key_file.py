"""The key file: mode 0600 or 0400, either exactly 32 raw bytes, or lines of base64 (44 characters, `#` comments).

The first key seals, the others only open what they sealed before (rotation: the new key comes on top). A line
`destroyed ID BASE64` is what is left of a destroyed key: its chain code's key, which proves that old records were not
altered and opens none of them.

The lines stand there in clear, or wrapped as a whole (agent/key_envelope.py) by one of the sources that the
configuration names. The first source wraps what is written, all of them open; a clear file is read as ever.

Rules not to break:

1. The file is replaced whole or not at all, and never when it is not what we read: nothing that somebody put there is
   overwritten.
2. Before it is replaced all that the new content needs is at hand: a source that fails changes nothing.
3. No text, repr or error of this file holds a key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from agent.durable_file import create_durably, rename_durably, replace_durably
from agent.key_material import KEY_BYTES, key_of, significant_lines, text_of
from agent.private_file import read_private
from agent.vault_error import VaultError
from protocol.frozen import dataclass

if TYPE_CHECKING:
    from agent.key_envelope import Envelope
    from agent.key_wrapper import KeyWrapper

DESTROYED = "destroyed"
_WHAT = "key file"
_RESTORE = "restore it from its backup"


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys of one file. `destroyed`: what is left of destroyed ones, by key id."""

    keys: tuple[bytes, ...] = field(repr=False)
    destroyed: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class KeyFile:
    """One key file. A new one has the name `<key file>.new` until `settle`. `wrappers`: the sources, as configured."""

    def __init__(self, path: Path, wrappers: Sequence[KeyWrapper] = ()) -> None:
        self.path = path
        self.waiting = path.with_name(path.name + ".new")
        self._wrappers = tuple(wrappers)
        self._envelope: Envelope | None = None
        self._read = b""  # hash of what was read or written last

    @property
    def source(self) -> str:
        """The name of what it is wrapped under; empty: it is in clear."""
        return self._envelope.source if self._envelope is not None else ""

    @property
    def wanted_source(self) -> str:
        """The name of what the next writing will be wrapped under; empty: nothing is configured."""
        return self._wrappers[0].name if self._wrappers else ""

    def load(self) -> Keyring:
        """What it holds. Raises VaultError, with what to do, if it cannot be used."""
        return self._load(self.path)

    def load_waiting(self) -> Keyring:
        """What the new one holds. Raises VaultError."""
        return self._load(self.waiting)

    def create(self) -> None:
        """Makes a new one with one new key. Raises VaultError; then there is none."""
        ring, envelope = Keyring((os.urandom(KEY_BYTES),)), self.envelope()
        _create(self.waiting, _content(ring, envelope))

    def settle(self) -> None:
        """Gives the new one its final name. Raises VaultError."""
        try:
            rename_durably(self.waiting, self.path)
        except OSError as error:
            raise VaultError(f"key file {self.path} cannot be created: {error.strerror}") from error

    def envelope(self) -> Envelope | None:
        """What to write it with: None where it is to stand in clear. Asks the source, so it may take as long as that
        does; another thread may do it. Raises VaultError."""
        if not self._wrappers:
            return None
        from agent.key_envelope import new_envelope  # only where keys are wrapped

        return new_envelope(self._wrappers[0])

    def check(self) -> None:
        """Opens it once more, as the next start will, and changes nothing. Slow as `envelope`. Raises VaultError."""
        content = read_private(_WHAT, self.path, _RESTORE)
        _parsed(self.path, self._opened(self.path, content)[1])
        if self.wanted_source != self.source:
            self.envelope()

    def unchanged(self) -> Keyring:
        """What it holds, if that is what was read; no source is asked. Raises VaultError."""
        content = read_private(_WHAT, self.path, _RESTORE)
        if hashlib.sha256(content).digest() != self._read:
            hint = "restart the agent, so that it works with the file as it is now"
            raise VaultError(f"key file {self.path} was changed since it was read", hint)
        if self._envelope is None:
            return _parsed(self.path, content)
        from agent.key_envelope import reopened  # only where keys are wrapped

        return _parsed(self.path, reopened(self._envelope, self.path, content))

    def replace(self, ring: Keyring, envelope: Envelope | None, *, same_age: bool = False) -> None:
        """The file holds `ring` from now on, forced to the disk. Raises VaultError; then it is as before.

        `same_age`: no key of it is new.
        """
        content = _content(ring, envelope)
        try:
            replace_durably(self.path, content, self.path.stat().st_mtime_ns if same_age else None)
        except OSError as error:
            hint = "check the directory and its rights; nothing was changed"
            raise VaultError(f"key file {self.path} cannot be written: {error.strerror}", hint) from error
        self._read, self._envelope = hashlib.sha256(content).digest(), envelope

    def copy(self, ring: Keyring, target: Path) -> None:
        """A new file with the same keys in clear. Raises VaultError."""
        _create(target, _content(ring, None))

    def sweep(self) -> None:
        """Removes what a power cut in the middle of a writing left: it may hold keys in clear. Raises VaultError."""
        draft = self.path.with_name(self.path.name + ".part")
        if not draft.exists():  # among credentials, where nothing can be removed, there is none
            return
        try:
            draft.unlink()
        except OSError as error:
            raise VaultError(f"{draft} may hold keys and cannot be removed: {error.strerror}", "remove it") from error

    def _load(self, path: Path) -> Keyring:
        content = read_private(_WHAT, path, _RESTORE)
        envelope, lines = self._opened(path, content)
        ring = _parsed(path, lines)
        self._read, self._envelope = hashlib.sha256(content).digest(), envelope
        return ring

    def _opened(self, path: Path, content: bytes) -> tuple[Envelope | None, bytes]:
        if not self._wrappers and not content.lstrip().startswith((b"#", b"wrapped")):
            return None, content  # the usual case pays for no further module
        from agent.key_envelope import is_wrapped, opened

        return opened(path, content, self._wrappers) if is_wrapped(content) else (None, content)


def _create(path: Path, content: bytes) -> None:
    try:
        create_durably(path, content)
    except OSError as error:
        hint = "check the directory and its rights"
        raise VaultError(f"key file {path} cannot be created: {error.strerror}", hint) from error


def _content(ring: Keyring, envelope: Envelope | None) -> bytes:
    return _written(ring) if envelope is None else envelope.closed(_written(ring))


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
