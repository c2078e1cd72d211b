"""Sealing of card data at rest: AES-256-GCM under keys from one key file.

Rules not to break:

1. A key file is created only when the journal it belongs to does not exist yet; nothing is ever overwritten.
2. A nonce is 96 random bits and never derived from a sequence number: a restored copy of a journal would use
   the same numbers again, and one repeated nonce opens both messages. Limit: 2^32 seals a key
   (NIST SP 800-38D, 8.3); a terminal with 1,000 sales a day needs 11,000 years.
3. No text, repr or error of this file holds a key or a plain body.

Key file: mode 0600 or 0400, either exactly 32 raw bytes, or lines of base64 (44 characters, `#` comments): the
first key seals, the others only open what they sealed before (rotation: the new key comes on top). A line
`destroyed ID BASE64` is what is left of a destroyed key: its chain code's key, which proves that old records were
not altered and opens none of them.

A sealed blob: version (1 byte, 01) | key id (4) | nonce (12) | ciphertext and tag (plain + 16).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.durable_file import create_durably, rename_durably, replace_durably
from agent.private_file import read_private
from agent.vault_error import VaultError

__all__ = ["Vault", "VaultError"]

KEY_BYTES = 32
KEY_ID_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16
DESTROYED = "destroyed"
BLOB_VERSION = b"\x01"
_HEADER_BYTES = len(BLOB_VERSION) + KEY_ID_BYTES + NONCE_BYTES


class Vault:
    """Seals and opens bodies, and authenticates chains, with the keys of one key file."""

    def __init__(
        self,
        keys: Sequence[bytes],
        unsettled: tuple[Path, Path] | None = None,
        destroyed: Mapping[str, bytes] | None = None,
        key_file: Path | None = None,
    ) -> None:
        """`unsettled`: (new, final) name of a key file that is being created, see `settle`.

        `destroyed`: chain keys by key id. `key_file`: where the keys came from; without it they cannot be changed.
        """
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise VaultError(f"a key must have {KEY_BYTES} bytes", "restore the key file from its backup")
        self._take(keys, destroyed or {})
        self._key_file = key_file
        self._unsettled = unsettled

    def _take(self, keys: Sequence[bytes], destroyed: Mapping[str, bytes]) -> None:
        self._seal_keys = {_key_id(key): AESGCM(_derive(key, b"seal")) for key in keys}
        self._chain_keys = {_key_id(key): _derive(key, b"chain") for key in keys} | dict(destroyed)
        self._current = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"Vault(key_id={self.key_id!r})"

    @classmethod
    def open(cls, key_file: Path) -> Vault:
        """The vault of an existing key file. Raises VaultError, with what to do, if it cannot be used."""
        keys, destroyed = _load(key_file)
        return cls(keys, destroyed=destroyed, key_file=key_file)

    @classmethod
    def open_or_create(cls, key_file: Path, belongs_to: Iterable[Path]) -> Vault:
        """The vault of `key_file`; on the very first start a new key.

        `belongs_to`: journal and high-water file. If the key is missing while one of them exists, it was lost,
        and nothing is created. A new key has the name `<key file>.new` until `settle`: a power cut in the middle of
        a first start therefore does not look like a lost journal.
        """
        waiting = key_file.with_name(key_file.name + ".new")
        if key_file.exists():
            return cls.open(key_file)
        if waiting.exists():
            return cls(_load(waiting)[0], unsettled=(waiting, key_file), key_file=key_file)
        left = [path for path in belongs_to if path.exists()]
        if left:
            raise VaultError(
                f"key file {key_file} is missing, but {left[0]} exists",
                "restore the key file from its backup; without it the card data of pending reversals cannot be read",
            )
        _create_key(waiting)
        return cls(_load(waiting)[0], unsettled=(waiting, key_file), key_file=key_file)

    @property
    def key_id(self) -> str:
        """Id (8 hex digits) of the key that seals now. It says nothing about the key."""
        return self._current

    @property
    def fresh(self) -> bool:
        """True while the key is new and nothing relies on it yet: a journal may be created."""
        return self._unsettled is not None

    def settle(self) -> None:
        """Gives a new key file its final name: from now on a missing journal means a lost journal."""
        if self._unsettled is None:
            return
        waiting, final = self._unsettled
        try:
            rename_durably(waiting, final)
        except OSError as error:
            raise VaultError(f"key file {final} cannot be created: {error.strerror}") from error
        self._unsettled = None

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

    def rotate(self) -> str:
        """Makes a new key that seals from now on; the old ones still open. Gives its id.

        The key file is written and forced to the disk first. Raises VaultError; then everything is as before.
        """
        keys, destroyed = self._unchanged()
        self._replace([os.urandom(KEY_BYTES), *keys], destroyed)
        return self._current

    def destroy_old(self) -> list[str]:
        """Destroys all keys but the one that seals; what they sealed can never be read again. Gives their ids."""
        keys, destroyed = self._unchanged()
        gone = {_key_id(key): _derive(key, b"chain") for key in keys[1:]}
        self._replace(keys[:1], {**destroyed, **gone})
        return list(gone)

    def _unchanged(self) -> tuple[list[bytes], dict[str, bytes]]:
        """What the key file holds, if that is what we work with: nothing that somebody put there is overwritten."""
        if self._key_file is None or self._unsettled is not None:
            raise VaultError("the keys of this vault cannot be changed", "start the agent once with its key file")
        keys, destroyed = _load(self._key_file)
        if [_key_id(key) for key in keys] != list(self._seal_keys):
            hint = "restart the agent, so that it works with the file as it is now"
            raise VaultError(f"key file {self._key_file} was changed since it was read", hint)
        return keys, destroyed

    def _replace(self, keys: Sequence[bytes], destroyed: Mapping[str, bytes]) -> None:
        assert self._key_file is not None
        lines = [base64.b64encode(key).decode() for key in keys]
        lines += [f"{DESTROYED} {key_id} {base64.b64encode(rest).decode()}" for key_id, rest in destroyed.items()]
        try:
            replace_durably(self._key_file, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            hint = "check the directory and its rights; nothing was changed"
            raise VaultError(f"key file {self._key_file} cannot be written: {error.strerror}", hint) from error
        self._take(keys, destroyed)

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


def _derive(key: bytes, purpose: bytes) -> bytes:
    """A key for one purpose (one block of HKDF-Expand, RFC 5869: HMAC(key, info | 01))."""
    return hmac.digest(key, b"pos-reversal-agent " + purpose + b"\x01", "sha256")


def _key_id(key: bytes) -> str:
    return hashlib.sha256(_derive(key, b"id")).hexdigest()[: 2 * KEY_ID_BYTES]


def _load(key_file: Path) -> tuple[list[bytes], dict[str, bytes]]:
    """The keys, and what is left of destroyed ones. Raises VaultError."""
    content = read_private("key file", key_file, "restore it from its backup")
    if len(content) == KEY_BYTES:
        return [content], {}
    keys: list[bytes] = []
    destroyed: dict[str, bytes] = {}
    for number, line in _key_lines(content):
        word, _, rest = line.decode("ascii", "replace").partition(" ")
        if word == DESTROYED:
            key_id, _, chain_key = rest.partition(" ")
            destroyed[key_id] = _decode_line(key_file, number, chain_key.encode("ascii", "replace"))
        else:
            keys.append(_decode_line(key_file, number, line))
    return keys, destroyed


def _key_lines(content: bytes) -> list[tuple[int, bytes]]:
    numbered = ((number, line.strip()) for number, line in enumerate(content.splitlines(), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith(b"#")]


def _decode_line(key_file: Path, number: int, line: bytes) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultError(
            f"key file {key_file}, line {number}: not {KEY_BYTES} bytes in base64",
            "restore the key file from its backup",
        )
    return key


def _create_key(path: Path) -> None:
    try:
        create_durably(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    except OSError as error:
        raise VaultError(
            f"key file {path} cannot be created: {error.strerror}", "check the directory and its rights"
        ) from error
