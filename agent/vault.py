"""Sealing of card data at rest: AES-256-GCM under keys from one key file.

Rules not to break:

1. A key file is created only when the journal it belongs to does not exist yet; nothing is ever overwritten.
2. A nonce is 96 random bits and never derived from a sequence number: a restored copy of a journal would use
   the same numbers again, and one repeated nonce opens both messages. Limit: 2^32 seals a key
   (NIST SP 800-38D, 8.3); a terminal with 1,000 sales a day needs 11,000 years.
3. No text, repr or error of this file holds a key or a plain body.

What a key file looks like stands in agent/key_file.py.

A sealed blob: version (1 byte, 01) | key id (4) | nonce (12) | ciphertext and tag (plain + 16).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.key_file import KeyFile, Keyring
from agent.key_material import KEY_BYTES, KEY_ID_BYTES, derive, id_of
from agent.vault_error import VaultError

if TYPE_CHECKING:
    from agent.key_envelope import Envelope
    from agent.key_wrapper import KeyWrapper

__all__ = ["Vault", "VaultError"]

NONCE_BYTES = 12
TAG_BYTES = 16
BLOB_VERSION = b"\x01"
_HEADER_BYTES = len(BLOB_VERSION) + KEY_ID_BYTES + NONCE_BYTES


class Vault:
    """Seals and opens bodies, and authenticates chains, with the keys of one key file."""

    def __init__(
        self,
        keys: Sequence[bytes],
        destroyed: Mapping[str, bytes] | None = None,
        file: KeyFile | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        """`destroyed`: chain keys by key id. `file`: where the keys came from; without it they cannot be changed.

        `fresh`: the file is new and waits for `settle`.
        """
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise VaultError(f"a key must have {KEY_BYTES} bytes", "restore the key file from its backup")
        self._take(Keyring(tuple(keys), destroyed or {}))
        self._file = file
        self._fresh = fresh

    def _take(self, ring: Keyring) -> None:
        self._seal_keys = {id_of(key): AESGCM(derive(key, b"seal")) for key in ring.keys}
        self._chain_keys = {id_of(key): derive(key, b"chain") for key in ring.keys} | dict(ring.destroyed)
        self._current = id_of(ring.keys[0])

    def __repr__(self) -> str:
        return f"Vault(key_id={self.key_id!r})"

    @classmethod
    def open(cls, key_file: Path, wrappers: Sequence[KeyWrapper] = ()) -> Vault:
        """The vault of an existing key file. Raises VaultError, with what to do, if it cannot be used.

        `wrappers`: what it may be wrapped under; the first wraps what is written.
        """
        file = KeyFile(key_file, wrappers)
        ring = file.load()
        return cls(ring.keys, ring.destroyed, file)

    @classmethod
    def open_or_create(cls, key_file: Path, belongs_to: Iterable[Path], wrappers: Sequence[KeyWrapper] = ()) -> Vault:
        """The vault of `key_file`; on the very first start a new key.

        `belongs_to`: journal and high-water file. If the key is missing while one of them exists, it was lost,
        and nothing is created. A new key has the name `<key file>.new` until `settle`: a power cut in the middle of
        a first start therefore does not look like a lost journal.
        """
        file = KeyFile(key_file, wrappers)
        if key_file.exists():
            return cls.open(key_file, wrappers)
        if not file.waiting.exists():
            left = [path for path in belongs_to if path.exists()]
            if left:
                hint = "restore the key file from its backup; without it card data of pending items is unreadable"
                raise VaultError(f"key file {key_file} is missing, but {left[0]} exists", hint)
            file.create()
        return cls(file.load_waiting().keys, file=file, fresh=True)

    @property
    def key_id(self) -> str:
        """Id (8 hex digits) of the key that seals now. It says nothing about the key."""
        return self._current

    @property
    def fresh(self) -> bool:
        """True while the key is new and nothing relies on it yet: a journal may be created."""
        return self._fresh

    def settle(self) -> None:
        """Gives a new key file its final name: from now on a missing journal means a lost journal."""
        if self._fresh and self._file is not None:
            self._file.settle()
        self._fresh = False

    @property
    def wrapped_under(self) -> str:
        """The name of what the key file is wrapped under; empty: it is in clear."""
        return self._file.source if self._file is not None else ""

    @property
    def wraps_under(self) -> str:
        """The name of what the next writing of it will be wrapped under; empty: nothing is configured."""
        return self._file.wanted_source if self._file is not None else ""

    def knows(self, key_id: str) -> bool:
        """Whether chains made with this key can be checked."""
        return key_id in self._chain_keys

    def keys(self) -> dict[str, str]:
        """Every key id with what the key still does: "seals", "opens" or "destroyed"."""
        state = {key_id: "opens" if key_id in self._seal_keys else "destroyed" for key_id in self._chain_keys}
        return {**state, self._current: "seals"}

    def was_destroyed(self, blob: bytes) -> bool:
        """Whether the key of this sealed body was destroyed on purpose: nobody can read it any more."""
        return self.keys().get(blob[1 : 1 + KEY_ID_BYTES].hex()) == "destroyed"

    def envelope(self) -> Envelope | None:
        """What the next change of the key file is written with; None: in clear. It may take as long as the source does,
        and another thread may do it. Raises VaultError."""
        return self._changeable().envelope()

    def check(self) -> None:
        """Opens the key file once more, as the next start will. Slow as `envelope`. Raises VaultError."""
        self._changeable().check()

    def rotate(self, envelope: Envelope | None = None) -> str:
        """Makes a new key that seals from now on; the old ones still open. Gives its id.

        `envelope`: made before, else it is made now. The key file is written and forced to the disk first. Raises
        VaultError; then everything is as before.
        """
        file = self._changeable()
        ring = file.unchanged()
        self._replace(file, Keyring((os.urandom(KEY_BYTES), *ring.keys), ring.destroyed), envelope)
        return self._current

    def destroy_old(self, envelope: Envelope | None = None) -> list[str]:
        """Destroys all keys but the one that seals; what they sealed can never be read again. Gives their ids.

        `envelope` and errors as for `rotate`.
        """
        file = self._changeable()
        ring = file.unchanged()
        gone = {id_of(key): derive(key, b"chain") for key in ring.keys[1:]}
        self._replace(file, Keyring(ring.keys[:1], {**ring.destroyed, **gone}), envelope)
        return list(gone)

    def wrap(self, envelope: Envelope | None = None) -> None:
        """Writes the same keys anew, as the configuration wants them wrapped. `envelope` and errors as for `rotate`."""
        file = self._changeable()
        if not file.wanted_source:
            raise VaultError("nothing is configured to wrap the keys under", "name it in [[keys.wrapping]], restart")
        file.replace(file.unchanged(), envelope or file.envelope(), same_age=True)

    def unwrap(self) -> None:
        """Writes the same keys anew, in clear. Raises VaultError; then everything is as before."""
        file = self._changeable()
        file.replace(file.unchanged(), None, same_age=True)

    def copy_keys(self, target: Path) -> None:
        """A new file with the same keys in clear, for the safe. Raises VaultError."""
        file = self._changeable()
        file.copy(file.unchanged(), target)

    def sweep(self) -> None:
        """Removes what a power cut left beside the key file. Only who holds the journal may. Raises VaultError."""
        if self._file is not None:
            self._file.sweep()

    def _changeable(self) -> KeyFile:
        if self._file is None or self._fresh:
            raise VaultError("the keys of this vault cannot be changed", "start the agent once with its key file")
        return self._file

    def _replace(self, file: KeyFile, ring: Keyring, envelope: Envelope | None) -> None:
        file.replace(ring, envelope or file.envelope())
        self._take(ring)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """`plain`, readable only with this key and the same `context` (the identity of its row)."""
        nonce = os.urandom(NONCE_BYTES)
        header = BLOB_VERSION + bytes.fromhex(self._current)
        return header + nonce + self._seal_keys[self._current].encrypt(nonce, plain, header + context)

    def open_sealed(self, blob: bytes, context: bytes) -> bytes:
        """The plain bytes. Raises VaultError if the blob is damaged, moved from another row, or its key is not here."""
        if len(blob) < _HEADER_BYTES + TAG_BYTES or blob[:1] != BLOB_VERSION:
            raise VaultError("a sealed body is damaged: not a blob of this vault")
        header = blob[: 1 + KEY_ID_BYTES]
        key = self._seal_keys.get(header[1:].hex())
        if key is None and self.was_destroyed(blob):
            raise VaultError(f"key {header[1:].hex()} was destroyed: this body can never be read again")
        if key is None:
            raise VaultError(f"key {header[1:].hex()} is not in the key file", "add the old key as a further line")
        try:
            return key.decrypt(blob[len(header) : _HEADER_BYTES], blob[_HEADER_BYTES:], header + context)
        except InvalidTag:
            raise VaultError("a sealed body is damaged or stands in the wrong row") from None

    def chain_code(self, data: bytes, key_id: str) -> bytes:
        """HMAC-SHA-256 (32 bytes) of `data` under the chain key of `key_id`. Raises VaultError if it is not here."""
        key = self._chain_keys.get(key_id)
        if key is None:
            raise VaultError(f"key {key_id} is not in the key file", "add the old key as a further line")
        return hmac.digest(key, data, "sha256")
